//! Limits per minute: a token bucket in one word, in the manner of GCRA (ITU-T I.371). A bucket
//! holds one minute's worth of units and is filled continuously, in whole units.
//!
//! Units are numbered: by a moment, [`Rate::come`] of them have come since the clock's zero. The
//! one word of a bucket is the number of the last unit that was taken; a word that is behind what
//! has come is a full bucket. Nothing needs to be written while time passes, nothing is rounded
//! but the unit that is on its way, and a clock that reads late on one thread errs low.

use std::time::Duration;

use crate::base::Moment;

/// The most units that a minute can have.
pub const PER_MINUTE_MAX: u64 = 10_000_000_000;

/// No debt lasts longer, however much a provider says that a call used: minutes.
const DEBT_MINUTES_MAX: u64 = 24 * 60;

const MINUTE_US: u64 = 60_000_000;

/// Units per minute: how fast a bucket is filled, and how many units it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

/// The state of a bucket: the number of the last unit taken. It means nothing without its
/// [`Rate`]; the default is a bucket that nothing was ever taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Rate {
    /// A rate of 1 to [`PER_MINUTE_MAX`] units per minute; None for any other number.
    pub fn new(per_minute: u64) -> Option<Rate> {
        (1..=PER_MINUTE_MAX)
            .contains(&per_minute)
            .then_some(Rate(per_minute))
    }

    /// Units per minute, and the most that the bucket holds.
    #[inline]
    pub fn per_minute(self) -> u64 {
        self.0
    }

    /// How many units have come by then since the clock's zero.
    #[inline]
    fn come(self, now: Moment) -> u64 {
        match self.0.checked_mul(now.0) {
            Some(product) => product / MINUTE_US,
            None => {
                let units = u128::from(self.0) * u128::from(now.0) / u128::from(MINUTE_US);
                u64::try_from(units).unwrap_or(u64::MAX)
            }
        }
    }

    /// The first moment by which so many units have come.
    fn comes(self, units: u64) -> Moment {
        let micros = (u128::from(units) * u128::from(MINUTE_US)).div_ceil(u128::from(self.0));
        Moment(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Units that are taken out and haven't come again: more than the bucket holds if there is a
    /// debt.
    #[inline]
    pub fn used(self, mark: Mark, now: Moment) -> u64 {
        mark.0.saturating_sub(self.come(now))
    }

    /// Units that can be taken now.
    #[inline]
    pub fn left(self, mark: Mark, now: Moment) -> u64 {
        self.0.saturating_sub(self.used(mark, now))
    }

    /// Takes as many units as there are, at most `wanted`. None if there is none.
    #[inline]
    pub fn take(self, mark: Mark, wanted: u64, now: Moment) -> Option<(u64, Mark)> {
        let taken = self.left(mark, now).min(wanted);
        (taken > 0).then(|| (taken, Mark(mark.0.max(self.come(now)) + taken)))
    }

    /// Takes `units` whether they are there or not: what isn't there is a debt, of 24 hours'
    /// worth at most.
    #[inline]
    pub fn charge(self, mark: Mark, units: u64, now: Moment) -> Mark {
        let come = self.come(now);
        let most = come.saturating_add(self.0 * (1 + DEBT_MINUTES_MAX));
        Mark(mark.0.max(come).saturating_add(units).min(most))
    }

    /// Gives back units that were taken and not used.
    #[inline]
    pub fn give_back(self, mark: Mark, units: u64) -> Mark {
        Mark(mark.0.saturating_sub(units))
    }

    /// How long until a unit can be taken.
    pub fn until_one(self, mark: Mark, now: Moment) -> Duration {
        match self.left(mark, now) {
            0 => self.comes(mark.0 + 1 - self.0).since(now),
            _ => Duration::ZERO,
        }
    }

    /// How long until the bucket is full.
    pub fn until_full(self, mark: Mark, now: Moment) -> Duration {
        self.comes(mark.0).since(now)
    }

    /// The same bucket at another rate. What is used stays used, as far as the new bucket holds
    /// it; a debt stays a debt.
    pub fn convert(self, mark: Mark, to: Rate, now: Moment) -> Mark {
        let used = self.used(mark, now);
        let debt = used.saturating_sub(self.0);
        let kept = if to.0 < self.0 {
            (used - debt).min(to.0) + debt
        } else {
            used
        };
        to.charge(Mark::default(), kept, now)
    }
}

#[cfg(test)]
mod tests;
