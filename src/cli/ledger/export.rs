//! `srpd ledger export`

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{ValueEnum, ValueHint};

use super::super::Failure;
use super::book::{self, Report};
use super::filter::Filter;
use super::{OUTPUT, Source, finish};
use crate::control::ledger::line::Line;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An object a line
    Json,
    /// RFC 4180, with a line of names
    Csv,
    /// Apache Parquet, not compressed
    #[cfg(feature = "parquet")]
    Parquet,
}

/// `srpd ledger export`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
    /// How
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Into this file, which must not be there yet; else to standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = arguments.source.directory()?;
    let (filter, format) = (&arguments.filter, arguments.format);
    let report = match &arguments.out {
        None => write(&directory, filter, format, out)?,
        Some(path) => {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(Failure::file(path))?;
            let mut file = BufWriter::with_capacity(OUTPUT, file);
            let report = write(&directory, filter, format, &mut file)?;
            file.flush().map_err(Failure::file(path))?;
            report
        }
    };
    finish(report)
}

fn write(
    directory: &Path,
    filter: &Filter,
    format: Format,
    out: &mut dyn Write,
) -> Result<Report, Failure> {
    match format {
        Format::Json => book::read(directory, filter, |record| {
            Line::of(&record).write(out)?;
            Ok(true)
        }),
        Format::Csv => csv(directory, filter, out),
        #[cfg(feature = "parquet")]
        Format::Parquet => super::parquet::write(directory, filter, out),
    }
}

const COLUMNS: [&str; 23] = [
    "id",
    "request_id",
    "began",
    "key",
    "capability",
    "residency",
    "supply",
    "price",
    "currency",
    "cost",
    "jurisdiction",
    "provider",
    "status",
    "outcome",
    "code",
    "stream",
    "input_tokens",
    "output_tokens",
    "bytes_in",
    "bytes_out",
    "ttft_us",
    "total_us",
    "attempts",
];

fn csv(directory: &Path, filter: &Filter, out: &mut dyn Write) -> Result<Report, Failure> {
    let mut rows = csv::Writer::from_writer(out);
    rows.write_record(COLUMNS).map_err(unwritten)?;
    let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
    let report = book::read(directory, filter, |record| {
        let line = Line::of(&record);
        let attempts = line.attempts_text();
        let row = [
            line.id.as_str(),
            line.request_id,
            &line.began,
            line.key.unwrap_or_default(),
            line.capability.unwrap_or_default(),
            line.residency.unwrap_or_default(),
            line.supply.unwrap_or_default(),
            line.price.as_deref().unwrap_or_default(),
            line.currency.as_deref().unwrap_or_default(),
            line.cost.as_deref().unwrap_or_default(),
            line.jurisdiction.as_deref().unwrap_or_default(),
            line.provider.unwrap_or_default(),
            &line.status.to_string(),
            line.outcome,
            line.code.unwrap_or_default(),
            if line.stream { "true" } else { "false" },
            &number(line.input_tokens),
            &number(line.output_tokens),
            &line.bytes_in.to_string(),
            &line.bytes_out.to_string(),
            &number(line.ttft_us),
            &line.total_us.to_string(),
            &attempts,
        ];
        rows.write_record(row).map_err(unwritten)?;
        Ok(true)
    })?;
    rows.flush()?;
    Ok(report)
}

fn unwritten(error: csv::Error) -> Failure {
    Failure::Output(std::io::Error::other(error))
}
