//! `[ledger]`: where calls are recorded, and for how long.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::model::{Ledger, OnFailure, Sink};
use super::reader::Table;
use super::tls::SystemRoots;
use super::{Surroundings, sinks};

/// Where segments are, if the table doesn't say.
const DIRECTORY: &str = "/var/lib/srpd/ledger";

const SYNC: Duration = Duration::from_millis(100);

const SEGMENT_BYTES: usize = 64 * 1024 * 1024;

/// Bytes that a segment can have: from what a few dozen calls take on, to what a reader may hold.
const SEGMENT_BYTES_RANGE: RangeInclusive<usize> = 64 * 1024..=1024 * 1024 * 1024;

const KEEP_DAYS_MAX: u32 = 36_500;

/// None if there is no such table: nobody is to find out by an accident where it would be.
pub(super) fn read(
    root: &Table<'_>,
    surroundings: &Surroundings<'_>,
    system_roots: &SystemRoots,
) -> (Option<Ledger>, Vec<Option<Sink>>) {
    let Some(table) = root.get("ledger").and_then(|value| value.table()) else {
        return (None, Vec::new());
    };
    let directory = directory(&table).unwrap_or_else(|| DIRECTORY.into());
    let optional = |key: &'static str| table.get(key).is_some();
    let keep_days = optional("keep_days").then(|| table.whole("keep_days", 1, 1..=KEEP_DAYS_MAX));
    let segment_bytes = table.whole("segment_bytes", SEGMENT_BYTES, SEGMENT_BYTES_RANGE);
    // The sheets in use and the spare ones can't be removed: below a few segments nothing is kept.
    let least = 4 * segment_bytes as u64;
    let bytes_max = optional("bytes_max").then(|| table.whole("bytes_max", least, least..=1 << 60));
    let ledger = Ledger {
        directory: surroundings.directory.join(directory),
        sync: table.duration("sync", SYNC),
        segment_bytes,
        keep_days,
        bytes_max,
        on_failure: table.choice(
            "on_failure",
            [("stop", OnFailure::Stop), ("serve", OnFailure::Serve)],
        ),
    };
    let sinks = sinks::read(table.tables("sink"), surroundings, system_roots);
    table.finish();
    (Some(ledger), sinks)
}

fn directory(table: &Table<'_>) -> Option<PathBuf> {
    const EXPECTED: &str = "the path of a directory";
    let text = table.get("directory")?.text(EXPECTED)?;
    if text.text.is_empty() || text.text.contains('\0') {
        text.at.fail(format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.text.into())
}
