//! What was measured over time: figures of each interval. A call belongs to the interval in which
//! it was due, whenever it ended.

use hdrhistogram::Histogram;

use super::{Metric, add, bounded};

/// The longest time that an interval tells apart, µs.
const TIME_MAX_US: u64 = 3_600_000_000;
/// The metrics that intervals have.
const METRICS: [Metric; 4] = [Metric::Ttft, Metric::Gap, Metric::E2e, Metric::Added];

/// Figures of one interval. Times are in µs, to a hundredth.
pub struct Interval {
    /// Calls that were due in it and have ended.
    pub calls: u64,
    /// Of these, the ones that ended well.
    pub succeeded: u64,
    /// Tokens of these.
    pub tokens: u64,
    times: [Histogram<u32>; METRICS.len()],
}

impl Default for Interval {
    fn default() -> Interval {
        Interval {
            calls: 0,
            succeeded: 0,
            tokens: 0,
            times: std::array::from_fn(|_| bounded(TIME_MAX_US, 2)),
        }
    }
}

impl Interval {
    /// The metrics that an interval has.
    pub const METRICS: [Metric; METRICS.len()] = METRICS;

    /// The histogram of a metric, µs, if intervals have it.
    pub fn times(&self, metric: Metric) -> Option<&Histogram<u32>> {
        let at = METRICS.iter().position(|known| *known == metric)?;
        Some(&self.times[at])
    }

    /// One more time, ns.
    pub fn record(&mut self, metric: Metric, nanos: u64) {
        if let Some(at) = METRICS.iter().position(|known| *known == metric) {
            self.times[at].saturating_record(nanos / 1000);
        }
    }

    fn merge(&mut self, other: &Interval) {
        self.calls += other.calls;
        self.succeeded += other.succeeded;
        self.tokens += other.tokens;
        for (mine, theirs) in self.times.iter_mut().zip(&other.times) {
            add(mine, theirs);
        }
    }
}

/// Intervals of one length, one after the other.
pub struct Series {
    length: u64,
    intervals: Vec<Option<Box<Interval>>>,
}

impl Series {
    /// The most intervals that a run is divided into: each takes some 50 KiB.
    pub const INTERVALS_MAX: u64 = 600;

    /// Intervals of `length` ns for a run of `total` ns.
    pub fn new(length: u64, total: u64) -> Series {
        let count = total.div_ceil(length).clamp(1, Series::INTERVALS_MAX) as usize;
        Series {
            length,
            intervals: (0..count).map(|_| None).collect(),
        }
    }

    /// The interval of a time since the start, ns; the last one, for what is later.
    pub fn at(&mut self, since: u64) -> &mut Interval {
        let last = self.intervals.len() - 1;
        let at = usize::try_from(since / self.length)
            .unwrap_or(last)
            .min(last);
        self.intervals[at].get_or_insert_with(Box::default)
    }

    /// Each interval's place and figures; those in which nothing was due are left out.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Interval)> {
        let all = self.intervals.iter().enumerate();
        all.filter_map(|(at, interval)| Some((at, interval.as_deref()?)))
    }

    /// The length of an interval, ns.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds another thread's, of the same run.
    pub fn merge(&mut self, other: &Series) {
        for (at, interval) in other.iter() {
            if let Some(mine) = self.intervals.get_mut(at) {
                mine.get_or_insert_with(Box::default).merge(interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_belongs_to_its_interval_and_a_late_one_to_the_last() {
        let mut series = Series::new(100, 250);
        for since in [0, 99, 100, 249, 5_000] {
            series.at(since).calls += 1;
        }
        let calls: Vec<_> = series
            .iter()
            .map(|(at, interval)| (at, interval.calls))
            .collect();
        assert_eq!(calls, [(0, 2), (1, 1), (2, 2)]);
    }

    #[test]
    fn threads_are_added_up() {
        let (mut one, mut two) = (Series::new(100, 200), Series::new(100, 200));
        one.at(0).record(Metric::E2e, 5_000);
        two.at(0).record(Metric::E2e, 7_000);
        two.at(150).tokens += 3;
        one.merge(&two);
        let first = one.iter().next().unwrap().1;
        assert_eq!(first.times(Metric::E2e).unwrap().len(), 2);
        assert_eq!(first.times(Metric::E2e).unwrap().max(), 7);
        assert!(first.times(Metric::Lag).is_none());
        assert_eq!(one.iter().count(), 2);
    }
}
