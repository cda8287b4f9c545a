//! `srpd serve --config FILE`

use std::path::PathBuf;

use jiff::Timestamp;

use super::Failure;
use crate::config::{self, LogFormat};
use crate::control::Ended;
use crate::server::{self, Options};
use crate::telemetry::{Format, Sink};

/// Run an instance
///
/// SIGHUP reads the configuration again; SIGTERM and SIGINT drain, a second one ends at once.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(long)]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config, Timestamp::now())?;
    super::log::begin(config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let format = match config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    let options = Options {
        source: Some(arguments.config.clone()),
        access: Sink::Stdout(format),
        signals: true,
    };
    match server::start(config, options)?.wait() {
        Ended::Drained => tracing::info!("every call has ended"),
        Ended::DrainTimedOut => tracing::warn!("the drain took too long: calls were cut off"),
        Ended::Stopped => tracing::warn!("stopped at once"),
        Ended::Panicked => return Err(Failure::Panicked),
    }
    Ok(())
}
