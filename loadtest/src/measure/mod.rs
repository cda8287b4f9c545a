//! What was measured: histograms and counts of each target and class, and of each interval of
//! time. Every thread has its own; they are added up at the end.

mod series;
mod tally;

pub use series::{Interval, Series};
pub use tally::{Failure, Goal, Tally};

use hdrhistogram::Histogram;

/// The longest time that is told apart, ns: an hour.
const TIME_MAX: u64 = 3_600_000_000_000;

/// What is measured as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From the intended time of sending to the first byte.
    Ttfb,
    /// From the intended time of sending to the first token of a stream.
    Ttft,
    /// From one token of a stream to the next.
    Gap,
    /// A stream's mean time per token after the first.
    Tpot,
    /// From the intended time of sending to the end of the answer.
    E2e,
    /// From an event's stamp to its arrival.
    Added,
    /// From the intended time of sending to the actual one: the generator's own lateness, or a
    /// connection that had to be opened or waited for.
    Lag,
}

impl Metric {
    /// All of them, in the order of reports.
    pub const ALL: [Metric; 7] = [
        Metric::Ttfb,
        Metric::Ttft,
        Metric::Gap,
        Metric::Tpot,
        Metric::E2e,
        Metric::Added,
        Metric::Lag,
    ];

    /// As options and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Ttfb => "ttfb",
            Metric::Ttft => "ttft",
            Metric::Gap => "gap",
            Metric::Tpot => "tpot",
            Metric::E2e => "e2e",
            Metric::Added => "added",
            Metric::Lag => "lag",
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Ttfb => "time to first byte",
            Metric::Ttft => "time to first token",
            Metric::Gap => "gap between tokens",
            Metric::Tpot => "time per token of a call",
            Metric::E2e => "end to end",
            Metric::Added => "stamp to arrival",
            Metric::Lag => "intended to sent",
        }
    }

    /// The metric of that name.
    pub fn named(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

/// A histogram of times, to a thousandth.
fn times() -> Histogram<u32> {
    bounded(TIME_MAX, 3)
}

fn bounded(max: u64, digits: u8) -> Histogram<u32> {
    // Two bounds in order and 1 to 5 digits are all that it asks for.
    Histogram::new_with_bounds(1, max, digits).expect("bounds in order")
}

/// Adds `other`, which has the same bounds.
fn add(to: &mut Histogram<u32>, other: &Histogram<u32>) {
    to.add(other).expect("the same bounds");
}
