//! OpenTelemetry's way out: a thread that takes finished calls from the cores' rings, makes spans
//! and histograms of them, and has a collector take them. What it can't get rid of is dropped and
//! counted; no call, and not even the office, waits for it.

mod courier;
mod lane;
mod post;

pub use courier::{Courier, CourierHandle};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::telemetry::otlp::Tally;

/// What the courier counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Spans that the collector took.
    pub sent: AtomicU64,
    /// Spans that found no room while the collector didn't take any.
    pub dropped: AtomicU64,
    /// Spans that the collector refused for good.
    pub refused: AtomicU64,
    /// Exports of spans that failed, whether they are tried again or not.
    pub failed_traces: AtomicU64,
    /// Exports of metrics that failed. The next has all of it.
    pub failed_metrics: AtomicU64,
}

/// What the admin plane sees of it.
pub struct OtlpView {
    /// What the courier counts.
    pub counts: Arc<Counts>,
    /// What each core counts.
    pub tallies: Vec<Arc<Tally>>,
}

#[cfg(test)]
mod tests;
