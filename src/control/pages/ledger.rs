//! The ledger's part of `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::ledger::LedgerView;
use crate::tables::ledger::{Standing, Tally};
use crate::telemetry::Counter;
use crate::telemetry::exposition::{Exposition, Kind};

/// Writes every family.
pub fn metrics(view: &LedgerView, page: &mut Exposition) {
    let sum = |count: fn(&Tally) -> &Counter| {
        let counts = view.tallies.iter().map(|tally| count(tally).get());
        counts.sum::<u64>()
    };
    page.family(
        "srpd_ledger_frames_total",
        Kind::Counter,
        "What was written to the ledger: an entry for each call, and what amends one.",
    );
    page.sample(&[("of", "entry")], sum(|tally| &tally.entries));
    page.sample(&[("of", "amendment")], sum(|tally| &tally.amendments));
    page.family(
        "srpd_ledger_lost_total",
        Kind::Counter,
        "What found no room in the ledger: of calls that were let in, and of those refused.",
    );
    page.sample(&[("of", "served")], sum(|tally| &tally.lost));
    page.sample(&[("of", "refused")], sum(|tally| &tally.refused));
    disk(&view.standing, page);
}

/// What the clerk counts.
fn disk(standing: &Standing, page: &mut Exposition) {
    page.single(
        "srpd_ledger_failing",
        Kind::Gauge,
        "1 while the ledger can't be written, or made durable, as it should.",
        u64::from(standing.trouble().is_some()),
    );
    page.single(
        "srpd_ledger_bytes",
        Kind::Gauge,
        "What all segments of the directory take, as of the last minute.",
        standing.bytes.load(Relaxed),
    );
    let counters: [(&'static str, &str, &AtomicU64); 7] = [
        (
            "srpd_ledger_syncs_total",
            "Times that a segment was made durable.",
            &standing.syncs,
        ),
        (
            "srpd_ledger_sync_failures_total",
            "Times that this failed.",
            &standing.sync_failures,
        ),
        (
            "srpd_ledger_prepare_failures_total",
            "Times that no segment could be made ready.",
            &standing.prepare_failures,
        ),
        (
            "srpd_ledger_torn_total",
            "Segments whose torn tail was cut off.",
            &standing.torn,
        ),
        (
            "srpd_ledger_torn_bytes_total",
            "Bytes of these tails.",
            &standing.torn_bytes,
        ),
        (
            "srpd_ledger_damaged_total",
            "Segments that were found damaged before their end.",
            &standing.damaged,
        ),
        (
            "srpd_ledger_removed_total",
            "Segments that were removed for their age, or for want of room.",
            &standing.removed,
        ),
    ];
    for (name, help, count) in counters {
        page.single(name, Kind::Counter, help, count.load(Relaxed));
    }
}
