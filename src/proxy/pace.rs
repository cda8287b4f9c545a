//! Whether a core keeps up with what comes. Everything that is ready has its turn before the sweeper
//! has its own: how late the sweeper is, is how long everybody waits. To know costs a call nothing
//! but a comparison.

use std::cell::Cell;
use std::time::Duration;

use crate::base::Moment;
use crate::net::deadline::TICK;

/// A core is behind if its turns take so much longer than a sweeper's tick. A call has a handful of
/// turns: those which are let in are still answered within a second or two, and a burst that is over
/// by then is refused nobody.
const BEHIND: Duration = Duration::from_millis(250);

/// With so few calls, that a core is late is somebody else's doing, and to refuse them helps nobody.
const FEW: usize = 64;

/// The end of time.
const NEVER: Moment = Moment(u64::MAX);

/// A core's pace. One late turn says little: the machine, or somebody's work, may have held the core
/// up once. Who is late twice in a row has more to do than it can, and takes on nothing until it is
/// in time again: what it has begun lasts for longer than a turn.
#[derive(Debug)]
pub struct Pace {
    /// Later than this, the sweeper finds that it was late.
    late_after: Cell<Moment>,
    /// Later than this, no call is taken on.
    refuse_after: Cell<Moment>,
}

impl Pace {
    /// A core that keeps up.
    pub fn new(now: Moment) -> Pace {
        Pace {
            late_after: Cell::new(now + TICK + BEHIND),
            refuse_after: Cell::new(NEVER),
        }
    }

    /// The sweeper's turn has come.
    pub fn tick(&self, now: Moment) {
        let is_late = now > self.late_after.get();
        let was_late = self.refuse_after.get() < NEVER;
        let late_after = now + TICK + BEHIND;
        self.late_after.set(late_after);
        self.refuse_after.set(match (was_late, is_late) {
            (_, false) => NEVER,
            (false, true) => late_after,
            (true, true) => Moment(0),
        });
    }

    /// Whether the last turn came late: what has timed out meanwhile may have been in time, had
    /// somebody looked.
    #[inline]
    pub fn was_late(&self) -> bool {
        self.refuse_after.get() < NEVER
    }

    /// Whether a call that begins now comes to a core that is behind for the second time in a row, with
    /// as many `calls` in flight.
    #[inline]
    pub fn is_behind(&self, now: Moment, calls: usize) -> bool {
        now > self.refuse_after.get() && calls > FEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sweeper's turns after so many milliseconds each; and whether a call that begins so many
    /// after the last is refused.
    fn refused(turns: &[u64], then: u64) -> bool {
        let mut now = Moment(0);
        let pace = Pace::new(now);
        for turn in turns {
            now = now + Duration::from_millis(*turn);
            pace.tick(now);
        }
        let now = now + Duration::from_millis(then);
        assert!(!pace.is_behind(now, FEW));
        pace.is_behind(now, FEW + 1)
    }

    #[test]
    fn a_core_that_was_held_up_once_refuses_nobody() {
        assert!(!refused(&[25, 25], 10_000));
        assert!(!refused(&[275], 10_000));
        assert!(!refused(&[10_000], 275));
        assert!(!refused(&[10_000, 25], 10_000));
    }

    #[test]
    fn a_late_turn_is_known_until_one_is_in_time() {
        let pace = Pace::new(Moment(0));
        let after = |millis: u64| pace.tick(Moment(millis * 1000));
        assert!(!pace.was_late());
        after(276);
        assert!(pace.was_late());
        after(301);
        assert!(!pace.was_late());
    }

    #[test]
    fn a_core_that_is_late_again_does() {
        // While the second is still under way, too.
        assert!(refused(&[276], 276));
        assert!(!refused(&[276], 275));
        assert!(refused(&[25, 400, 290], 0));
        assert!(refused(&[25, 400, 290, 290], 0));
        assert!(!refused(&[25, 400, 290, 275], 10_000));
    }
}
