//! Counts and histograms of one target's calls of one class.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{Metric, add, times};
use crate::wire::{Seen, Sink};

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The answer's status; 0 where there was no answer.
    pub status: u16,
    /// The error's code, or what happened to the connection.
    pub code: String,
}

/// What a call has to keep to count as good: bounds on its own times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// One of [`Goal::METRICS`].
    pub metric: Metric,
    /// The most, ns.
    pub most: u64,
}

impl Goal {
    /// What a single call has one time of.
    pub const METRICS: [Metric; 4] = [Metric::Ttfb, Metric::Ttft, Metric::Tpot, Metric::E2e];
}

/// The figures.
#[derive(Clone)]
pub struct Tally {
    times: [Histogram<u32>; Metric::ALL.len()],
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Calls that ended well.
    pub succeeded: u64,
    /// Calls that ended well and kept every goal.
    pub good: u64,
    /// Tokens of calls that ended well.
    pub tokens: u64,
    /// Bytes of bodies received.
    pub bytes: u64,
    /// Calls that the proxy had to try more than once.
    pub failovers: u64,
    /// Gaps that were stalls.
    pub stalls: u64,
    /// Calls with a stall in them.
    pub stalled_calls: u64,
    /// Stamps that another system's clock had made.
    pub foreign_stamps: u64,
    /// Calls that failed, by how.
    pub failures: BTreeMap<Failure, u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            times: std::array::from_fn(|_| times()),
            calls: 0,
            succeeded: 0,
            good: 0,
            tokens: 0,
            bytes: 0,
            failovers: 0,
            stalls: 0,
            stalled_calls: 0,
            foreign_stamps: 0,
            failures: BTreeMap::new(),
        }
    }
}

impl Sink for Tally {
    fn gap(&mut self, nanos: u64) {
        self.record(Metric::Gap, nanos);
    }

    fn added(&mut self, nanos: u64) {
        self.record(Metric::Added, nanos);
    }
}

impl Tally {
    /// The histogram of that metric, ns.
    pub fn times(&self, metric: Metric) -> &Histogram<u32> {
        &self.times[metric as usize]
    }

    /// One more time.
    pub fn record(&mut self, metric: Metric, nanos: u64) {
        self.times[metric as usize].saturating_record(nanos);
    }

    /// A call ended well, at `end`; it was due at `intended`.
    pub fn success(&mut self, seen: &Seen, intended: u64, end: u64, goals: &[Goal]) {
        self.ended(seen);
        self.succeeded += 1;
        self.tokens += seen.all_tokens();
        let mut good = true;
        for metric in Goal::METRICS {
            let Some(time) = time_of(metric, seen, intended, end) else {
                continue;
            };
            self.record(metric, time);
            good &= goals
                .iter()
                .all(|goal| goal.metric != metric || time <= goal.most);
        }
        self.good += u64::from(good);
    }

    /// A call failed. What was seen of it still counts: a token that came has been waited for.
    pub fn failure(&mut self, seen: &Seen, failure: Failure) {
        self.ended(seen);
        *self.failures.entry(failure).or_default() += 1;
    }

    fn ended(&mut self, seen: &Seen) {
        self.calls += 1;
        self.bytes += seen.bytes;
        self.failovers += u64::from(seen.head.is_some_and(|head| head.attempts > 1));
        self.stalls += u64::from(seen.stalls);
        self.stalled_calls += u64::from(seen.stalls > 0);
        self.foreign_stamps += u64::from(seen.foreign);
    }

    /// Calls that failed.
    pub fn failed(&self) -> u64 {
        self.calls - self.succeeded
    }

    /// Adds another thread's, or another class's.
    pub fn merge(&mut self, other: &Tally) {
        for (mine, theirs) in self.times.iter_mut().zip(&other.times) {
            add(mine, theirs);
        }
        self.calls += other.calls;
        self.succeeded += other.succeeded;
        self.good += other.good;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        self.failovers += other.failovers;
        self.stalls += other.stalls;
        self.stalled_calls += other.stalled_calls;
        self.foreign_stamps += other.foreign_stamps;
        for (failure, count) in &other.failures {
            *self.failures.entry(failure.clone()).or_default() += count;
        }
    }
}

/// That time of a single call that ended at `end`.
pub fn time_of(metric: Metric, seen: &Seen, intended: u64, end: u64) -> Option<u64> {
    match metric {
        Metric::Ttfb => Some(seen.first_byte.saturating_sub(intended)),
        Metric::Ttft if seen.tokens > 0 => Some(seen.first_token.saturating_sub(intended)),
        // Whatever events the tokens came in: the server's count is of tokens.
        Metric::Tpot if seen.tokens > 1 => {
            let rest = seen.all_tokens().max(2) - 1;
            Some((seen.last_token - seen.first_token) / rest)
        }
        Metric::E2e => Some(end.saturating_sub(intended)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Framing, Head};

    fn seen() -> Seen {
        Seen {
            head: Some(Head {
                status: 200,
                framing: Framing::Chunked,
                close: false,
                attempts: 2,
            }),
            first_byte: 1_100,
            first_token: 1_200,
            last_token: 1_600,
            tokens: 5,
            stalls: 2,
            bytes: 10,
            done: true,
            ..Seen::default()
        }
    }

    #[test]
    fn a_call_has_its_times_from_when_it_was_due() {
        let mut tally = Tally::default();
        tally.success(&seen(), 1_000, 1_700, &[]);
        let max = |metric| tally.times(metric).max();
        assert_eq!(max(Metric::Ttfb), 100);
        assert_eq!(max(Metric::Ttft), 200);
        assert_eq!(max(Metric::Tpot), 100);
        assert_eq!(max(Metric::E2e), 700);
        assert_eq!(
            (tally.failovers, tally.stalls, tally.stalled_calls),
            (1, 2, 1)
        );
    }

    #[test]
    fn goodput_asks_for_every_goal() {
        let goal = |metric, most| Goal { metric, most };
        let mut tally = Tally::default();
        tally.success(
            &seen(),
            1_000,
            1_700,
            &[goal(Metric::Ttft, 200), goal(Metric::E2e, 700)],
        );
        assert_eq!(tally.good, 1);
        tally.success(
            &seen(),
            1_000,
            1_700,
            &[goal(Metric::Ttft, 200), goal(Metric::E2e, 699)],
        );
        assert_eq!((tally.succeeded, tally.good), (2, 1));
    }

    #[test]
    fn merging_adds_everything_up() {
        let mut one = Tally::default();
        one.success(&seen(), 1_000, 1_700, &[]);
        let mut two = one.clone();
        let failure = Failure {
            status: 0,
            code: "connection_reset".to_owned(),
        };
        two.failure(&Seen::default(), failure.clone());
        one.merge(&two);
        assert_eq!((one.calls, one.succeeded, one.failed()), (3, 2, 1));
        assert_eq!(one.times(Metric::E2e).len(), 2);
        assert_eq!(one.failures[&failure], 1);
    }
}
