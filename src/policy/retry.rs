//! How many repeats within one provider are left (SRP section 5): a share of its calls over a
//! sliding window, so that repeats can't add to an overload. Kept by the office.

use std::time::Duration;

use crate::base::Moment;

/// The window that calls and repeats are counted over.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Ticks that the window is made of.
const TICKS: usize = 20;

const TICK_MICROS: u64 = WINDOW.as_micros() as u64 / TICKS as u64;

/// One more than a window has, since repeats are counted over no less than a window.
const MARKS: usize = TICKS + 1;

/// Running totals as they stood when a tick began. What happened between two observations is
/// dated so that the budget errs low: calls to the first, repeats to the second.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    calls: u64,
    repeats: u64,
}

/// The repeats that a provider may still be given.
#[derive(Clone, Debug)]
pub struct RepeatBudget {
    ratio: f64,
    min: u32,
    /// The mark of tick `t` is at `t % MARKS`.
    marks: [Mark; MARKS],
    newest: Option<Observation>,
}

#[derive(Clone, Copy, Debug)]
struct Observation {
    tick: u64,
    totals: Mark,
}

impl RepeatBudget {
    /// A budget of `ratio` repeats per call over [`WINDOW`], and of no less than `min` repeats.
    pub fn new(ratio: f64, min: u32) -> RepeatBudget {
        RepeatBudget {
            ratio,
            min,
            marks: [Mark::default(); MARKS],
            newest: None,
        }
    }

    /// Takes new figures over; what was counted stays.
    pub fn reconfigure(&mut self, ratio: f64, min: u32) {
        self.ratio = ratio;
        self.min = min;
    }

    /// Takes note of the provider's running totals: its calls, repeats not counted among them,
    /// and its repeats. The first observation is the zero that later ones are measured from.
    pub fn observe(&mut self, calls_total: u64, repeats_total: u64, now: Moment) {
        let totals = Mark {
            calls: calls_total,
            repeats: repeats_total,
        };
        let tick = now.0 / TICK_MICROS;
        let Some(newest) = self.newest else {
            self.marks = [totals; MARKS];
            self.newest = Some(Observation { tick, totals });
            return;
        };
        let tick = tick.max(newest.tick);
        let oldest = tick.saturating_sub(TICKS as u64);
        for begun in (newest.tick + 1).max(oldest)..=tick {
            self.marks[(begun % MARKS as u64) as usize] = Mark {
                calls: totals.calls,
                repeats: newest.totals.repeats,
            };
        }
        self.newest = Some(Observation { tick, totals });
    }

    /// max(min, ⌊ratio × calls in the window⌋) less the repeats in the window, at the last
    /// observation.
    pub fn left(&self) -> u32 {
        let Some(Observation { tick, totals }) = self.newest else {
            return self.min;
        };
        let mark = |ticks_after_oldest: u64| {
            &self.marks[((tick + 1 + ticks_after_oldest) % MARKS as u64) as usize]
        };
        let calls = totals.calls.saturating_sub(mark(1).calls);
        let repeats = totals.repeats.saturating_sub(mark(0).repeats);
        let share = (self.ratio * calls as f64) as u64;
        let left = share.max(u64::from(self.min)).saturating_sub(repeats);
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
