//! `srpd accredit sign …`

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueHint;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::grounds;
use crate::cli::Failure;
use crate::config::endpoint::{EndpointError, parse_endpoint};
use crate::policy::accreditation::{AuthorityKey, Statement};
use crate::policy::residency::Jurisdiction;

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd accredit sign --key authority.pem --provider aloomu --jurisdiction au \\
    --endpoint http://10.1.0.5:8000 --days 365 --out aloomu.accreditation.json
  srpd accredit sign --key authority.pem --provider aloomu --jurisdiction au \\
    --endpoint https://silicon.example --report report.json --days 365 --out aloomu.accreditation.json

Exit status:
  0   done
  1   failed: standard error says why
  64  arguments that make no sense (EX_USAGE)";

/// Accredit a provider as the backstop of its jurisdiction
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The authority's private key (PKCS#8 PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key: PathBuf,
    /// The provider's name in configurations
    #[arg(long, value_name = "NAME", value_parser = crate::cli::name)]
    provider: String,
    /// Where it works: an ISO 3166-1 alpha-2 code
    #[arg(long, value_name = "XX", value_parser = jurisdiction)]
    jurisdiction: Jurisdiction,
    /// URLs of its endpoints; their hosts are accredited
    #[arg(long = "endpoint", value_name = "URL", required = true, num_args = 1.., value_parser = host)]
    hosts: Vec<String>,
    /// Reports of `srpd accredit test --json`: sign only if each host has one that conforms, about this
    /// provider, and no older than 30 days
    #[arg(long = "report", value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    reports: Vec<PathBuf>,
    /// How long it holds, from now on: 1 to 3650
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// Where the accreditation goes; a file that exists is replaced
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: PathBuf,
}

pub(super) fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let path = &arguments.key;
    let pem = fs::read_to_string(path).map_err(Failure::file(path))?;
    let key = AuthorityKey::from_pem(&Zeroizing::new(pem)).map_err(Failure::content(path))?;
    let now = Timestamp::now();
    let now = now - SignedDuration::from_nanos(now.subsec_nanosecond().into());
    if !arguments.reports.is_empty() {
        let Arguments {
            reports,
            provider,
            hosts,
            ..
        } = &arguments;
        grounds::examine(reports, provider, hosts, now)?;
    }
    let statement = Statement {
        provider: arguments.provider,
        jurisdiction: arguments.jurisdiction,
        hosts: arguments.hosts.into_iter().collect(),
        not_before: now,
        not_after: now + SignedDuration::from_hours(24 * i64::from(arguments.days)),
    };
    let summary = statement.to_string();
    let text = statement.sign(&key).to_string();
    fs::write(&arguments.out, text).map_err(Failure::file(&arguments.out))?;
    writeln!(out, "{summary}")?;
    Ok(())
}

fn jurisdiction(text: &str) -> Result<Jurisdiction, &'static str> {
    Jurisdiction::parse(text).ok_or("expected an ISO 3166-1 alpha-2 code, such as au")
}

fn host(url: &str) -> Result<String, EndpointError> {
    parse_endpoint(url).map(|endpoint| endpoint.host)
}
