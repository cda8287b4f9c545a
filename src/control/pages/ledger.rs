//! The ledger's part of `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::ledger::LedgerView;
use crate::tables::ledger::Tally;
use crate::telemetry::Counter;
use crate::telemetry::exposition::{Exposition, Kind};

/// Writes every family.
pub fn metrics(view: &LedgerView, page: &mut Exposition) {
    let standing = &view.standing;
    let sum = |count: fn(&Tally) -> &Counter| {
        let counts = view.tallies.iter().map(|tally| count(tally).get());
        counts.sum::<u64>()
    };
    let families: [(&'static str, &str, [(&str, u64); 2]); 2] = [
        (
            "srpd_ledger_frames_total",
            "What was written to the ledger: an entry for each call, and what amends one.",
            [
                ("entry", sum(|tally| &tally.entries)),
                ("amendment", sum(|tally| &tally.amendments)),
            ],
        ),
        (
            "srpd_ledger_lost_total",
            "What found no room in the ledger: of calls that were served, and of those refused.",
            [
                ("served", sum(|tally| &tally.lost)),
                ("refused", sum(|tally| &tally.refused)),
            ],
        ),
    ];
    for (name, help, samples) in families {
        page.family(name, Kind::Counter, help);
        for (of, count) in samples {
            page.sample(&[("of", of)], count);
        }
    }
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
