//! Which calls are recorded as spans, and where the records go. Only with a table `[otlp]`.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use rtrb::Producer;

use crate::base::{Moment, Prng};
use crate::http::{Fields, TraceParent, traceparent};
use crate::telemetry::otlp::{CallRecord, Link, Sampling, Tally, Trace};

/// How far calls may come ahead of their rate.
const AHEAD: Duration = Duration::from_secs(1);

/// A core's part of it.
pub struct Tracing {
    ring: RefCell<Producer<CallRecord>>,
    tally: Arc<Tally>,
    sampling: Sampling,
    /// When the next call would be in time, if all came evenly.
    next: Cell<Moment>,
}

impl Tracing {
    /// What a core begins with.
    pub fn new(link: Link) -> Tracing {
        Tracing {
            ring: RefCell::new(link.ring),
            tally: link.tally,
            sampling: link.sampling,
            next: Cell::default(),
        }
    }

    /// Whether a call is recorded as spans, and which trace it is part of. A client that records its
    /// part has ours recorded too, and one that says it doesn't has not; without a word of its own
    /// some share begins a trace. Above the bound on their rate, none is.
    pub fn begin(&self, fields: &Fields<'_, '_>, prng: &mut Prng, now: Moment) -> Option<Trace> {
        let parent = match fields.single(traceparent::FIELD_NAME) {
            Ok(Some(value)) => TraceParent::parse(value),
            _ => None,
        };
        let wanted = match parent {
            Some(parent) => parent.sampled,
            None => prng.unit() < self.sampling.share,
        };
        if !wanted {
            return None;
        }
        if !self.is_in_time(now) {
            self.tally.capped.add(1);
            return None;
        }
        let span = prng.next_u64().max(1);
        Some(match parent {
            Some(parent) => Trace {
                id: parent.trace,
                parent: parent.parent,
                span,
                random: parent.random,
            },
            None => Trace {
                id: u128::from(prng.next_u64()) << 64 | u128::from(prng.next_u64().max(1)),
                parent: 0,
                span,
                random: true,
            },
        })
    }

    /// Counts a call in, if it comes no further ahead of its rate than it may (the generic cell rate
    /// algorithm, ITU-T I.371).
    fn is_in_time(&self, now: Moment) -> bool {
        let next = self.next.get().max(now);
        let in_time = next.since(now) < AHEAD;
        if in_time {
            let between = Duration::from_secs(1).div_f64(self.sampling.per_second);
            self.next.set(next + between);
        }
        in_time
    }

    /// Hands a finished call over. If the ring is full it is lost, and counted: a call never waits.
    pub fn put(&self, record: CallRecord) {
        // It is in use only if a panic has begun in it.
        let ring = self.ring.try_borrow_mut();
        if !ring.is_ok_and(|mut ring| ring.push(record).is_ok()) {
            self.tally.lost.add(1);
        }
    }
}

/// What a provider is told of an attempt: it is the attempt's span that it works for.
pub fn parent_of(trace: &Trace, number: usize) -> TraceParent {
    TraceParent {
        trace: trace.id,
        parent: trace.attempt(number),
        sampled: true,
        random: trace.random,
    }
}

#[cfg(test)]
mod tests;
