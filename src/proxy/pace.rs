//! Whether a core keeps up with what comes. Everything that is ready has its turn before the next one
//! begins: how long a turn takes is how long everybody waits. To know costs a call nothing but a
//! comparison.

use std::cell::Cell;
use std::time::Duration;

use crate::base::Moment;
use crate::net::deadline::TICK;

/// A core is late if a turn takes so much longer than a sweeper's tick. A call has a handful of turns:
/// those which are let in are still answered within a second or two, and a burst that is over by then
/// is refused nobody.
const BEHIND: Duration = Duration::from_millis(350);
const IN_TIME: Duration = TICK.saturating_add(BEHIND);

/// With so few calls, that a core is late is somebody else's doing, and to refuse them helps nobody.
const FEW: usize = 64;

/// What a first late turn leaves room for: a quarter more calls than there are.
const AT_FIRST: usize = 4;

/// Each further one takes off what it was too long by: no less than an eighth, no more than a quarter.
const LESS_MIN: usize = 8;
const LESS_MAX: usize = 4;

/// Each turn in time gives a fifth of that part back by which it was shorter than it might have been.
const MORE: f64 = 5.0;

/// A core's pace. One late turn says little: the machine, or somebody's work, may have held the core
/// up once. Who is late again has more to do than it can, and takes on so many calls at a time as keep
/// it in time, found as TCP finds its window: down quickly while it is late, up more slowly while it
/// isn't, and gone once not half of it is used.
#[derive(Debug)]
pub struct Pace {
    /// Later than this, a turn ends late.
    late_after: Cell<Moment>,
    was_late: Cell<bool>,
    calls_max: Cell<usize>,
}

impl Pace {
    /// A core that keeps up.
    pub fn new(now: Moment) -> Pace {
        Pace {
            late_after: Cell::new(now + IN_TIME),
            was_late: Cell::new(false),
            calls_max: Cell::new(usize::MAX),
        }
    }

    /// A turn has ended, with so many `calls` in flight.
    pub fn tick(&self, now: Moment, calls: usize) {
        let late_after = self.late_after.replace(now + IN_TIME);
        let spare = late_after.since(now).div_duration_f64(IN_TIME);
        let is_late = now > late_after;
        self.was_late.set(is_late);
        let bound = self.calls_max.get();
        let is_bound = bound < usize::MAX;
        self.calls_max.set(match (is_late, is_bound) {
            (true, true) => {
                let calls = bound.min(calls);
                let took = IN_TIME + now.since(late_after);
                let served = (calls as f64 * IN_TIME.div_duration_f64(took)) as usize;
                FEW.max(served.clamp(calls - calls / LESS_MAX, calls - calls / LESS_MIN))
            }
            (true, false) => (2 * FEW).max(calls + calls / AT_FIRST),
            (false, true) if calls < bound / 2 => usize::MAX,
            (false, true) => bound + (bound as f64 * spare / MORE) as usize + 1,
            (false, false) => bound,
        });
    }

    /// Whether the last turn came late: what has timed out meanwhile may have been in time, had
    /// somebody looked.
    #[inline]
    pub fn was_late(&self) -> bool {
        self.was_late.get()
    }

    /// Whether so many `calls` in flight, the one that begins `now` among them, are more than the core
    /// can serve in time; or this turn, too, is late already: what it takes on only makes it longer.
    #[inline]
    pub fn is_behind(&self, calls: usize, now: Moment) -> bool {
        let bound = self.calls_max.get();
        calls > FEW && (calls > bound || bound < usize::MAX && now > self.late_after.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that had turns of so many milliseconds each, with `calls` in flight.
    fn after(turns: &[u64], calls: usize) -> Pace {
        let mut now = Moment(0);
        let pace = Pace::new(now);
        for turn in turns {
            now = now + Duration::from_millis(*turn);
            pace.tick(now, calls);
        }
        pace
    }

    /// Whether it is behind with so `many` at the beginning of the next turn.
    fn takes_on_less(turns: &[u64], calls: usize, many: usize) -> bool {
        let now = Moment(turns.iter().sum::<u64>() * 1000);
        after(turns, calls).is_behind(many, now)
    }

    #[test]
    fn a_core_that_was_held_up_once_refuses_nobody() {
        assert!(!takes_on_less(&[25, 25], 1000, 100_000));
        assert!(!takes_on_less(&[375], 1000, 100_000));
        assert!(!takes_on_less(&[10_000], 1000, 1000 + 250));
        assert!(!takes_on_less(&[10_000, 25], 1000, 1000 + 250));
        // However long the turn that held it up lasts.
        assert!(!after(&[25], 1000).is_behind(1000, Moment(10_000_000)));
        // Who goes on as before is as free as before; so is who was held up with few calls.
        let pace = after(&[10_000], 1000);
        pace.tick(Moment(10_025_000), 600);
        assert!(!pace.is_behind(100_000, Moment(10_025_000)));
        assert!(!takes_on_less(&[10_000, 10_000, 10_000], 10, FEW));
    }

    #[test]
    fn a_late_turn_is_known_until_one_is_in_time() {
        assert!(!after(&[], 1).was_late());
        assert!(after(&[376], 1).was_late());
        assert!(!after(&[376, 25], 1).was_late());
    }

    #[test]
    fn a_core_that_is_late_again_takes_on_less() {
        let most = |turns: &[u64]| after(turns, 960).calls_max.get();
        assert_eq!(most(&[376]), 1200);
        assert_eq!(most(&[376, 376]), 840, "an eighth less at least");
        assert_eq!(most(&[376, 10_000]), 720, "a quarter less at most");
        assert_eq!(most(&[376, 450]), 800, "what it was too late by");
        assert_eq!(most(&[376, 376, 376]), 735, "and again");
        assert_eq!(most(&[376, 376, 375]), 840 + 1, "just in time, one more");
        assert_eq!(most(&[376, 376, 75]), 840 + 134 + 1, "in good time, more");
        assert!(takes_on_less(&[376, 376], 960, 841));
        assert!(!takes_on_less(&[376, 376], 960, 840));
    }

    #[test]
    fn a_core_that_is_late_again_takes_on_nothing_while_its_turn_is_late_already() {
        let pace = after(&[376], 960);
        assert!(!pace.is_behind(FEW + 1, Moment(751_000)));
        assert!(pace.is_behind(FEW + 1, Moment(751_001)));
        assert!(!pace.is_behind(FEW, Moment(751_001)));
    }
}
