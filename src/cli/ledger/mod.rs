//! `srpd ledger tail|query|sum|export`: reads the segments themselves, whether their writer is alive
//! or not. It needs no instance, and disturbs none.

pub(in crate::cli) mod book;
mod export;
mod filter;
#[cfg(feature = "parquet")]
mod parquet;
mod sum;
mod tail;

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::ValueHint;
use jiff::Timestamp;

use super::Failure;
use crate::config;
use crate::control::ledger::line::Line;
use crate::policy::accreditation::PublicKey;
use book::Report;
use filter::Filter;

/// What ends the help of each command.
const STATUS: &str = "\
Exit status:
  0   done
  1   failed, or entries are missing: standard error says which
  64  arguments that make no sense (EX_USAGE)";

/// Bytes that are gathered before they are written.
const OUTPUT: usize = 256 * 1024;

/// What the ledger has recorded
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show the newest calls, and those to come
    #[command(after_long_help = format!("Examples:\n  srpd ledger tail --config /etc/srpd/srpd.toml --follow\n\n{STATUS}"))]
    Tail(tail::Arguments),
    /// Show the calls that fit, as JSON lines
    #[command(after_long_help = format!("Examples:\n  srpd ledger query --config srpd.toml --key acme --outcome cut\n  srpd ledger query --config srpd.toml --jurisdiction au --from 2026-11-01T00:00:00Z\n\n{STATUS}"))]
    Query(Query),
    /// Add calls, tokens and money up
    ///
    /// A call costs its input and output tokens times the price at its dispatch. The sum is exact: twelve
    /// digits behind the point, and nothing is rounded. Calls whose tokens nobody counted cost nothing
    /// here, and are counted as unknown.
    #[command(after_long_help = format!("Examples:\n  srpd ledger sum --config srpd.toml --by key,hour\n  srpd ledger sum --config srpd.toml --by key,supply,jurisdiction --json\n\n{STATUS}"))]
    Sum(sum::Arguments),
    /// Write the calls that fit into a file for other programs
    #[command(after_long_help = format!("Examples:\n  srpd ledger export --config srpd.toml --format csv --out calls.csv\n\n{STATUS}"))]
    Export(export::Arguments),
}

/// Where the ledger is.
#[derive(clap::Args)]
pub(in crate::cli) struct Source {
    /// The configuration whose [ledger] is read
    #[arg(long, value_name = "FILE", env = "SRPD_CONFIG", value_hint = ValueHint::FilePath, required_unless_present = "directory")]
    config: Option<PathBuf>,
    /// The ledger's directory, in place of the configuration's
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Source {
    pub(in crate::cli) fn directory(&self) -> Result<PathBuf, Failure> {
        Ok(self.open()?.0)
    }

    /// The directory, and who signs what is in it, as far as the configuration says so.
    pub(in crate::cli) fn open(&self) -> Result<(PathBuf, Option<PublicKey>), Failure> {
        if let Some(directory) = &self.directory {
            return Ok((directory.clone(), None));
        }
        let path = self.config.clone().unwrap_or_default();
        let config = config::load(&path, Timestamp::now())?;
        let ledger = config.ledger.ok_or_else(|| Failure::Content {
            path,
            message: "expected a table [ledger]".to_owned(),
        })?;
        let signer = config.audit.map(|audit| audit.key.public_key());
        Ok((ledger.directory, signer))
    }
}

/// `srpd ledger query`
#[derive(clap::Args)]
pub(super) struct Query {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
    /// No more than so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Tail(arguments) => tail::run(arguments, out),
        Command::Query(arguments) => query(arguments, out),
        Command::Sum(arguments) => sum::run(arguments, out),
        Command::Export(arguments) => export::run(arguments, out),
    }
}

fn query(arguments: &Query, out: &mut dyn Write) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT, out);
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let directory = arguments.source.directory()?;
    let report = book::read(&directory, &arguments.filter, |found| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        Line::of(&found).write(&mut out)?;
        Ok(true)
    })?;
    out.flush()?;
    finish(report)
}

/// What is missing makes the command fail, after it has shown what there is.
fn finish(report: Report) -> Result<(), Failure> {
    match report.complaint() {
        Some(complaint) => Err(Failure::Incomplete(complaint)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
