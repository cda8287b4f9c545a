//! `srpd doctor`: whether the host is what srpd needs, and what to change.

mod cpus;
mod finding;
mod host;
mod kernel;
mod limits;
mod needs;
mod nic;
mod system;
mod tcp;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use jiff::Timestamp;

use super::Failure;
use crate::config;
use crate::net::{clock, ring};
use finding::{Check, Finding, Grade};
use host::{Host, Probed};
use needs::Needs;

/// Where space for logs is looked for.
const LOGS: &str = "/var/log";

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd doctor --config /etc/srpd/srpd.toml
  srpd doctor --config /etc/srpd/srpd.toml --pid 4711    the limits of the service that runs
  srpd doctor --json | jq '.findings[] | select(.grade == \"warning\")'

Grades:
  PROBLEM  srpd won't start, or calls will fail
  warning  it costs much, or calls as soon as much happens
  advice   it works, and could cost less: measure before and after
  unknown  the host doesn't say
  ok       as it should be

Exit status:
  0   no problem; there may be warnings and advice
  1   at least one problem, or the configuration is invalid
  64  arguments that make no sense (EX_USAGE)

Documents:
  docs/TUNING.md says what to set and why.";

/// Say whether this host is what srpd needs, and what to change
///
/// Looks at the kernel, io_uring, limits, CPUs, network cards, TCP, memory, names and logs; changes
/// nothing. Limits are those of this process, unless --pid names another: a service's are its unit's.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration to hold the host against; without one, the defaults
    #[arg(long, value_name = "FILE", env = "SRPD_CONFIG", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// The process whose limits and control groups are looked at, instead of this one's
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Say of what is as it should be why it matters, too
    #[arg(long, conflicts_with = "json")]
    verbose: bool,
}

/// All that is looked at.
fn checks() -> impl Iterator<Item = &'static Check> {
    let all = [
        kernel::CHECKS,
        limits::CHECKS,
        cpus::CHECKS,
        nic::CHECKS,
        tcp::CHECKS,
        system::CHECKS,
    ];
    all.into_iter().flatten()
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let needs = match &arguments.config {
        Some(file) => Needs::of(&config::load(file, Timestamp::now())?),
        None => Needs::usual(),
    };
    let host = Host::new(Path::new("/"), arguments.pid, probe());
    if !host.has_process() {
        return Err(Failure::NoProcess);
    }
    let findings: Vec<Finding> = checks().map(|check| check.finding(&host, &needs)).collect();
    match arguments.json {
        true => finding::write_json(&findings, out)?,
        false => finding::show(&findings, arguments.verbose, out)?,
    }
    let problems = findings
        .iter()
        .filter(|finding| finding.grade == Grade::Problem);
    match problems.count() {
        0 => Ok(()),
        count => Err(Failure::Unfit(count)),
    }
}

/// What the running system says, and no file.
fn probe() -> Probed {
    let logs = rustix::fs::statvfs(LOGS).ok();
    Probed {
        ring: ring::probe().map_err(|error| error.to_string()),
        synchronised: clock::is_synchronised(),
        log_bytes_free: logs.map(|logs| logs.f_bavail.saturating_mul(logs.f_frsize)),
        privileged: rustix::process::geteuid().is_root(),
    }
}
