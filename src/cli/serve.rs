//! `srpd serve --config FILE`

use std::path::PathBuf;

use clap::ValueHint;
use jiff::Timestamp;

use super::Failure;
use crate::config::{self, LogFormat};
use crate::control::Ended;
use crate::control::handover::Program;
use crate::net::handed;
use crate::server::{self, Line, Options, StartError};
use crate::telemetry::{Format, Sink};

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd serve --config /etc/srpd/srpd.toml
  srpd serve --config srpd.toml > access.log

Signals:
  SIGHUP           reads the configuration and its files again; an invalid one changes nothing
  SIGUSR2          upgrade: starts the program anew, gives it the listening sockets, and drains
  SIGTERM, SIGINT  drain: no new calls, those in flight end; a second one ends at once

Exit status:
  0   ended as it was told to
  1   it couldn't start: standard error says why
  64  arguments that make no sense (EX_USAGE)";

/// Run an instance
///
/// SIGHUP reads the configuration again; SIGUSR2 hands over to a new process; SIGTERM and SIGINT
/// drain, a second one ends at once. The access log goes to standard output, one line a call,
/// everything else to standard error.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration: docs/CONFIGURATION.md has every key
    #[arg(long, value_name = "FILE", env = "SRPD_CONFIG", value_hint = ValueHint::FilePath)]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // First of all: the path is still that of this program, and nobody else opens files.
    let program = Program::running().map_err(StartError::Program)?;
    let (predecessor, mut handed) = handed::by_predecessor()
        .map_err(StartError::Predecessor)?
        .map_or((None, Vec::new()), |(one, sockets)| (Some(one), sockets));
    handed.extend(handed::by_manager().map_err(StartError::Handed)?);
    let config = config::load(&arguments.config, Timestamp::now())?;
    super::log::begin(config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.ledger.is_none() {
        tracing::warn!("there is no [ledger]: no call is recorded");
    }
    let format = match config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    let options = Options {
        source: Some(arguments.config.clone()),
        access: Sink::Stdout(format),
        signals: true,
        line: Line {
            handed,
            predecessor,
            program: Some(program),
        },
    };
    match server::start(config, options)?.wait() {
        Ended::Drained => tracing::info!("every call has ended"),
        Ended::DrainTimedOut => tracing::warn!("the drain took too long: calls were cut off"),
        Ended::Stopped => tracing::warn!("stopped at once"),
        Ended::Panicked => return Err(Failure::Panicked),
    }
    Ok(())
}
