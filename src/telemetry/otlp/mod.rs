//! OpenTelemetry: what a finished call becomes on its way to a collector. A core puts a record of
//! fixed size into a ring of its own; a thread of the office's takes it out, and has it as spans and
//! as a part of histograms here, in OTLP's JSON form and under the names of the `gen_ai`
//! conventions. Never a body, never a key.

pub mod json;
pub mod meters;
pub mod record;
pub mod spans;

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

pub use meters::Meters;
pub use record::{CallRecord, TRIES_MAX, Trace, TryRecord};

use super::counter::Counter;

/// Records that one core's ring holds: at 25 ms between drains, 80 000 calls a second.
pub const RING_RECORDS: usize = 2048;

/// What one core counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records that a full ring could not take.
    pub lost: Counter,
    /// Calls that would have been recorded as spans, but for the bound on their rate.
    pub capped: Counter,
}

/// How a core chooses the calls that it records as spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of calls without a trace of their client's that begin one, from 0 to 1.
    pub share: f64,
    /// Calls that one core records a second, whoever asks for it.
    pub per_second: f64,
}

/// What a core needs.
pub struct Link {
    /// Where it puts records.
    pub ring: Producer<CallRecord>,
    /// What it counts.
    pub tally: Arc<Tally>,
    /// How it chooses.
    pub sampling: Sampling,
}

/// A core's link, and the other end of its ring.
pub fn link(sampling: Sampling) -> (Link, Consumer<CallRecord>) {
    let (ring, consumer) = RingBuffer::new(RING_RECORDS);
    let link = Link {
        ring,
        tally: Arc::default(),
        sampling,
    };
    (link, consumer)
}
