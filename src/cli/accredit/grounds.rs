//! Reports as grounds for a signature.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::cli::Failure;
use crate::config::endpoint::parse_endpoint;
use crate::policy::accreditation::SRP_VERSION;

/// How old a report may be.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Of a report, what a signature depends on.
#[derive(Deserialize)]
struct Report {
    format: u32,
    srp: String,
    provider: String,
    endpoint: String,
    started: Timestamp,
    conforms: bool,
}

/// Whether each host has a report that speaks for it.
pub(super) fn examine(
    files: &[PathBuf],
    provider: &str,
    hosts: &[String],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut proven = BTreeSet::new();
    for path in files {
        proven.insert(host(path, provider, now)?);
    }
    match hosts.iter().find(|host| !proven.contains(*host)) {
        Some(host) => Err(Failure::Groundless(host.clone())),
        None => Ok(()),
    }
}

/// The host that the report speaks for.
fn host(path: &Path, provider: &str, now: Timestamp) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(Failure::file(path))?;
    let wrong = |what: String| Failure::content(path)(what);
    let report: Report = serde_json::from_str(&text).map_err(|error| {
        wrong(format!(
            "expected a report of `srpd accredit test`: {error}"
        ))
    })?;
    if report.format != 1 || report.srp != SRP_VERSION {
        let expected = format!("expected a report of format 1 on SRP {SRP_VERSION}");
        return Err(wrong(expected));
    }
    if report.provider != provider {
        let about = format!(
            "it is about provider {:?}, expected {provider:?}",
            report.provider
        );
        return Err(wrong(about));
    }
    if !report.conforms {
        return Err(wrong("its endpoint does not conform".to_owned()));
    }
    if now.duration_since(report.started) > AGE_MAX {
        let old = format!("it is of {}, more than 30 days ago", report.started);
        return Err(wrong(old));
    }
    if report.started > now {
        return Err(wrong(format!("it is of {}, in the future", report.started)));
    }
    parse_endpoint(&report.endpoint)
        .map(|endpoint| endpoint.host)
        .map_err(|error| wrong(error.to_string()))
}
