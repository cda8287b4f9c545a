//! How a run goes, while it goes: each thread adds to its own figures, the main thread takes them.

use std::sync::Mutex;

use hdrhistogram::Histogram;

/// The time between two glances, ns.
const PERIOD: u64 = 500_000_000;

/// A thread's figures since they were last taken.
#[derive(Default)]
pub struct Live(Mutex<Glance>);

/// Figures of a short while.
#[derive(Clone)]
pub struct Glance {
    /// Calls that ended.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Tokens that came.
    pub tokens: u64,
    /// Calls in flight at the end of it.
    pub in_flight: u64,
    /// Times to the first token of streams, or to the end of other answers, µs.
    pub times: Histogram<u32>,
    /// How long it lasted, ns.
    pub nanos: u64,
    from: u64,
}

impl Default for Glance {
    fn default() -> Glance {
        Glance {
            calls: 0,
            failed: 0,
            tokens: 0,
            in_flight: 0,
            times: Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("bounds in order"),
            nanos: 0,
            from: 0,
        }
    }
}

impl Glance {
    /// Whether it is time to show it.
    pub(super) fn is_due(&self, since: u64) -> bool {
        since >= self.from + PERIOD
    }

    /// It, over at `since`.
    pub(super) fn shown(mut self, since: u64) -> Glance {
        self.nanos = since - self.from;
        self
    }

    /// The next one begins at `since`.
    pub(super) fn forget(&mut self, since: u64) {
        self.from = since;
    }
}

impl Live {
    /// Moves a thread's figures in.
    pub(super) fn put(&self, part: &mut Glance, in_flight: u64) {
        let mut shared = match self.0.lock() {
            Ok(shared) => shared,
            Err(poisoned) => poisoned.into_inner(),
        };
        shared.calls += std::mem::take(&mut part.calls);
        shared.failed += std::mem::take(&mut part.failed);
        shared.tokens += std::mem::take(&mut part.tokens);
        shared.in_flight = in_flight;
        merge(&mut shared.times, &mut part.times);
    }

    /// Moves them on.
    pub(super) fn take(&self, glance: &mut Glance) {
        let mut shared = match self.0.lock() {
            Ok(shared) => shared,
            Err(poisoned) => poisoned.into_inner(),
        };
        glance.calls += std::mem::take(&mut shared.calls);
        glance.failed += std::mem::take(&mut shared.failed);
        glance.tokens += std::mem::take(&mut shared.tokens);
        merge(&mut glance.times, &mut shared.times);
        glance.in_flight += shared.in_flight;
    }
}

fn merge(to: &mut Histogram<u32>, from: &mut Histogram<u32>) {
    if !from.is_empty() {
        to.add(&*from).expect("the same bounds");
        from.reset();
    }
}
