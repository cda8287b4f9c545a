//! OpenTelemetry's part of `/metrics`: what became of what was to be exported.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::otlp::OtlpView;
use crate::telemetry::Counter;
use crate::telemetry::exposition::{Exposition, Kind};
use crate::telemetry::otlp::Tally;

/// Writes every family.
pub fn metrics(view: &OtlpView, page: &mut Exposition) {
    let counts = &view.counts;
    let read = |count: &AtomicU64| count.load(Relaxed);
    page.family(
        "srpd_otlp_spans_total",
        Kind::Counter,
        "Spans by what became of them: taken by the collector, refused by it, or dropped because it took none.",
    );
    for (result, count) in [
        ("sent", &counts.sent),
        ("refused", &counts.refused),
        ("dropped", &counts.dropped),
    ] {
        page.sample(&[("result", result)], read(count));
    }
    page.family(
        "srpd_otlp_failed_exports_total",
        Kind::Counter,
        "Exports that the collector didn't take; spans are sent again if that can help.",
    );
    page.sample(&[("signal", "traces")], read(&counts.failed_traces));
    page.sample(&[("signal", "metrics")], read(&counts.failed_metrics));
    let sum = |count: fn(&Tally) -> &Counter| {
        let counts = view.tallies.iter().map(|tally| count(tally).get());
        counts.sum::<u64>()
    };
    page.single(
        "srpd_otlp_lost_total",
        Kind::Counter,
        "Calls that a full ring could not take: they are neither spans nor in the exported metrics.",
        sum(|tally| &tally.lost),
    );
    page.single(
        "srpd_otlp_capped_total",
        Kind::Counter,
        "Calls that are no spans for want of otlp.traces_per_second.",
        sum(|tally| &tally.capped),
    );
}
