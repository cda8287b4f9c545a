//! Times by capability. A core records into histograms that nobody else sees, and swaps them with
//! an empty set about once a second: recording is a few nanoseconds, handing over moves a pointer.

use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::base::CapabilityId;
use crate::base::ids::CAPABILITIES_MAX;

/// The longest time that is told apart: an hour, in microseconds. Longer ones count as it.
pub const LONGEST_US: u64 = 3_600_000_000;

/// Two decimal digits: what is read off is at most 1% too large.
const DIGITS: u8 = 2;

/// A distribution of times, with their exact sum.
#[derive(Clone, Debug)]
pub struct Times {
    counts: Histogram<u64>,
    sum_us: u64,
}

impl Times {
    fn new() -> Option<Times> {
        let counts = Histogram::new_with_bounds(1, LONGEST_US, DIGITS).ok()?;
        Some(Times { counts, sum_us: 0 })
    }

    fn record(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.counts.saturating_record(us.clamp(1, LONGEST_US));
        self.sum_us = self.sum_us.saturating_add(us);
    }

    fn add(&mut self, other: &Times) {
        // Both have the same bounds, the only thing that could fail.
        if self.counts.add(&other.counts).is_ok() {
            self.sum_us = self.sum_us.saturating_add(other.sum_us);
        }
    }

    fn clear(&mut self) {
        self.counts.reset();
        self.sum_us = 0;
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// Their sum, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// How many lie at or below each of the ascending bounds (microseconds). What lies within
    /// 1% below a bound may count as above it, never the other way round.
    pub fn at_or_below(&self, bounds_us: &[u64]) -> Vec<u64> {
        let mut counts = vec![0u64; bounds_us.len()];
        for step in self.counts.iter_recorded() {
            let bucket = bounds_us.partition_point(|bound| *bound < step.value_iterated_to());
            if let Some(count) = counts.get_mut(bucket) {
                *count += step.count_at_value();
            }
        }
        let mut below = 0;
        for count in &mut counts {
            below += *count;
            *count = below;
        }
        counts
    }
}

impl Times {
    /// The time that so many thousandths of all lie at or below, in microseconds; none if nothing
    /// was recorded.
    pub fn permille_us(&self, thousandths: u32) -> Option<u64> {
        let share = f64::from(thousandths.min(1000)) / 1000.0;
        (self.count() > 0).then(|| self.counts.value_at_quantile(share))
    }
}

/// What was recorded between two looks at sums that only grow.
#[derive(Debug, Default)]
pub struct Lately(Option<Times>);

impl Lately {
    /// Adds up `all` and returns what of it the last look hasn't seen; none if it was nothing.
    pub fn look<'t>(&mut self, all: impl Iterator<Item = &'t Times>) -> Option<Times> {
        let mut total = Times::new()?;
        all.for_each(|times| total.add(times));
        let before = self.0.replace(total.clone());
        if let Some(before) = before {
            // Sums only grow, and that is all that could fail.
            total.counts.subtract(&before.counts).ok()?;
            total.sum_us = total.sum_us.saturating_sub(before.sum_us);
        }
        (total.count() > 0).then_some(total)
    }
}

#[derive(Debug, Default)]
struct Row {
    first_token: Option<Times>,
    call: Option<Times>,
}

fn record(times: &mut Option<Times>, time: Duration) {
    if times.is_none() {
        *times = Times::new();
    }
    if let Some(times) = times {
        times.record(time);
    }
}

fn merge(into: &mut Option<Times>, from: &Option<Times>) {
    match (into.as_mut(), from) {
        (Some(into), Some(from)) => into.add(from),
        (None, Some(from)) if from.count() > 0 => *into = Some(from.clone()),
        _ => {}
    }
}

/// Times to first token and of whole calls, by capability. A capability's first record allocates
/// its 27 KB; later ones never do.
#[derive(Debug)]
pub struct CoreHistograms {
    rows: Box<[Row]>,
    empty: bool,
}

impl CoreHistograms {
    /// Nothing recorded.
    pub fn new() -> CoreHistograms {
        CoreHistograms {
            rows: std::iter::repeat_with(Row::default)
                .take(CAPABILITIES_MAX)
                .collect(),
            empty: true,
        }
    }

    /// The time from a call's start to the first event or body byte that the client was sent.
    #[inline]
    pub fn record_ttft(&mut self, capability: CapabilityId, time: Duration) {
        record(&mut self.rows[capability.index()].first_token, time);
        self.empty = false;
    }

    /// The time of a whole call.
    #[inline]
    pub fn record_call(&mut self, capability: CapabilityId, time: Duration) {
        record(&mut self.rows[capability.index()].call, time);
        self.empty = false;
    }

    /// A capability's times to first token, if there were any.
    pub fn ttft(&self, capability: CapabilityId) -> Option<&Times> {
        self.rows[capability.index()].first_token.as_ref()
    }

    /// A capability's call times, if there were any.
    pub fn calls(&self, capability: CapabilityId) -> Option<&Times> {
        self.rows[capability.index()].call.as_ref()
    }

    /// Every capability's times to first token.
    pub fn every_ttft(&self) -> impl Iterator<Item = &Times> {
        self.rows.iter().filter_map(|row| row.first_token.as_ref())
    }

    /// Every capability's call times.
    pub fn every_call(&self) -> impl Iterator<Item = &Times> {
        self.rows.iter().filter_map(|row| row.call.as_ref())
    }

    fn add(&mut self, other: &CoreHistograms) {
        for (mine, theirs) in self.rows.iter_mut().zip(&other.rows) {
            merge(&mut mine.first_token, &theirs.first_token);
            merge(&mut mine.call, &theirs.call);
        }
        self.empty &= other.empty;
    }

    fn clear(&mut self) {
        for row in &mut self.rows {
            row.first_token.iter_mut().for_each(Times::clear);
            row.call.iter_mut().for_each(Times::clear);
        }
        self.empty = true;
    }
}

impl Default for CoreHistograms {
    fn default() -> Self {
        Self::new()
    }
}

/// What lies between a core and the office.
#[derive(Debug)]
enum Handover {
    /// An empty set for the core to go on with.
    Spare(CoreHistograms),
    /// What the core has recorded.
    Filled(CoreHistograms),
    /// The office is reading.
    Away,
}

/// The place where a core leaves its histograms and finds an empty set.
#[derive(Debug)]
pub struct HistogramSlot(Mutex<Handover>);

impl HistogramSlot {
    /// A slot with an empty set in it.
    pub fn new() -> HistogramSlot {
        HistogramSlot(Mutex::new(Handover::Spare(CoreHistograms::new())))
    }

    /// For the core, about each second and never inside a call: swaps what it has recorded for
    /// an empty set. If the office has not taken the last one yet, nothing happens, and the core
    /// goes on with what it has. Never waits.
    pub fn offer(&self, recorded: &mut CoreHistograms) {
        if recorded.empty {
            return;
        }
        let mut slot = match self.0.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Handover::Spare(spare) = &mut *slot {
            std::mem::swap(spare, recorded);
            if let Handover::Spare(filled) = std::mem::replace(&mut *slot, Handover::Away) {
                *slot = Handover::Filled(filled);
            }
        }
    }

    /// For the office: adds what the core left to `total`, and leaves an empty set.
    pub fn collect(&self, total: &mut CoreHistograms) {
        let lock = || {
            self.0
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        };
        let taken = {
            let mut slot = lock();
            match std::mem::replace(&mut *slot, Handover::Away) {
                Handover::Filled(filled) => filled,
                other => {
                    *slot = other;
                    return;
                }
            }
        };
        // Outside the lock: the core never finds it held for longer than a swap.
        let mut set = taken;
        total.add(&set);
        set.clear();
        *lock() = Handover::Spare(set);
    }
}

impl Default for HistogramSlot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMART: CapabilityId = CapabilityId(3);

    #[test]
    fn nothing_recorded_is_lost_or_counted_twice() {
        let (slot, mut core) = (HistogramSlot::new(), CoreHistograms::new());
        let mut total = CoreHistograms::new();
        for round in 0..100u64 {
            core.record_ttft(SMART, Duration::from_micros(round + 1));
            core.record_call(SMART, Duration::from_millis(round + 1));
            slot.offer(&mut core);
            if round % 3 == 0 {
                slot.collect(&mut total);
            }
        }
        for _ in 0..2 {
            slot.offer(&mut core);
            slot.collect(&mut total);
        }
        let ttft = total.ttft(SMART).expect("recorded");
        assert_eq!((ttft.count(), ttft.sum_us()), (100, 5050));
        let calls = total.calls(SMART).expect("recorded");
        assert_eq!((calls.count(), calls.sum_us()), (100, 5_050_000));
        assert!(total.calls(CapabilityId(4)).is_none());
    }

    #[test]
    fn a_core_never_waits_for_the_office() {
        let (slot, mut core) = (HistogramSlot::new(), CoreHistograms::new());
        core.record_call(SMART, Duration::from_secs(1));
        let held = slot.0.lock().expect("unpoisoned");
        slot.offer(&mut core);
        drop(held);
        assert_eq!(core.calls(SMART).map(Times::count), Some(1));
    }

    #[test]
    fn buckets_are_cumulative_and_never_flatter() {
        let mut times = Times::new().expect("valid bounds");
        for ms in [1, 2, 5, 40, 90, 101, 5000] {
            times.record(Duration::from_millis(ms));
        }
        assert_eq!(times.at_or_below(&[3_000, 100_000, 1_000_000]), [2, 5, 6]);
        assert_eq!(times.count(), 7);
    }

    #[test]
    fn a_look_sees_what_came_since_the_last() {
        let mut recorded = CoreHistograms::new();
        let mut lately = Lately::default();
        assert!(lately.look(recorded.every_call()).is_none());
        recorded.record_call(SMART, Duration::from_millis(10));
        recorded.record_call(CapabilityId(4), Duration::from_millis(20));
        let first = lately.look(recorded.every_call()).expect("two");
        assert_eq!((first.count(), first.sum_us()), (2, 30_000));
        recorded.record_call(SMART, Duration::from_millis(500));
        let second = lately.look(recorded.every_call()).expect("one");
        assert_eq!((second.count(), second.sum_us()), (1, 500_000));
        let median = second.permille_us(500).expect("a time");
        assert!((500_000..=505_000).contains(&median), "{median}");
        assert!(lately.look(recorded.every_call()).is_none());
        assert!(lately.look(recorded.every_ttft()).is_none());
    }

    #[test]
    fn percentiles_are_read_off() {
        let mut times = Times::new().expect("valid bounds");
        assert_eq!(times.permille_us(500), None);
        for ms in 1..=100 {
            times.record(Duration::from_millis(ms));
        }
        for (thousandths, ms) in [(0, 1), (500, 50), (990, 99), (1000, 100)] {
            let us = times.permille_us(thousandths).expect("a time");
            assert!((ms * 1000..=ms * 1010 + 100).contains(&us), "{us}");
        }
    }

    #[test]
    fn times_out_of_range_count_at_the_ends() {
        let mut times = Times::new().expect("valid bounds");
        times.record(Duration::ZERO);
        times.record(Duration::from_secs(86_400));
        assert_eq!(times.at_or_below(&[1, LONGEST_US * 2]), [1, 2]);
    }
}
