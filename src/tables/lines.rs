//! Who waits for slots, as all cores see it. Each core keeps its own waiting calls in order, and
//! shows the first of them at each provider; the first of all is the lowest of as many words as
//! there are cores. Only calls that wait, and slots that somebody waits for, touch any of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};

use crossbeam_utils::CachePadded;

use crate::base::ProviderId;
use crate::base::ids::PROVIDERS_MAX;
use crate::market::{Price, Turn};

/// What a waiting call bids, and the cheapest of the providers that it waits for.
pub type Waiting = (ProviderId, Price);

/// The lines of all cores.
pub struct Lines {
    /// The number of the call that came last.
    numbered: AtomicU64,
    /// Calls that wait, by the provider that their location is counted at.
    counts: Box<[AtomicU32]>,
    /// By core.
    shown: Box<[CachePadded<Line>]>,
}

/// What one core shows.
struct Line {
    /// By provider.
    first: Box<[First]>,
    /// Each of its waiting calls, as of some second.
    waiting: Mutex<Vec<Waiting>>,
}

/// A [`Turn`] in two words. Who reads one while it changes takes a wrong core for the first: that
/// core knows better.
#[derive(Default)]
struct First {
    /// One more than the bid; 0: nobody.
    bid: AtomicU64,
    number: AtomicU64,
}

/// What has changed with what a core shows at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// There was nobody before.
    Came,
    /// There is nobody any more.
    Left,
    /// Neither.
    Same,
}

impl Lines {
    pub(super) fn new(cores: usize) -> Lines {
        let line = || Line {
            first: (0..PROVIDERS_MAX).map(|_| First::default()).collect(),
            waiting: Mutex::default(),
        };
        Lines {
            numbered: AtomicU64::new(0),
            counts: (0..PROVIDERS_MAX).map(|_| AtomicU32::new(0)).collect(),
            shown: (0..cores).map(|_| CachePadded::new(line())).collect(),
        }
    }

    pub(super) fn show(&self, core: usize, provider: ProviderId, first: Option<Turn>) -> Shown {
        let Some(line) = self.shown.get(core) else {
            return Shown::Same;
        };
        let word = &line.first[provider.index()];
        let bid = first.map_or(0, |turn| turn.bid().micros() + 1);
        if let Some(turn) = first {
            word.number.store(turn.number(), Ordering::Release);
        }
        let before = word.bid.swap(bid, Ordering::AcqRel);
        match (before, bid) {
            (0, 1..) => Shown::Came,
            (1.., 0) => Shown::Left,
            _ => Shown::Same,
        }
    }

    pub(super) fn first(&self, provider: ProviderId) -> Option<(usize, Turn)> {
        let turns = self.shown.iter().enumerate().filter_map(|(core, line)| {
            let word = &line.first[provider.index()];
            let bid = word.bid.load(Ordering::Acquire).checked_sub(1)?;
            let number = word.number.load(Ordering::Acquire);
            Some((core, Turn::new(Price::from_micros(bid)?, number)))
        });
        turns.min_by_key(|&(_, turn)| turn)
    }

    /// The number of a call that comes now.
    pub fn number(&self) -> u64 {
        self.numbered.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts one more who waits at a location, if that makes no more than `most`. The location is
    /// named by one of its providers, always the same.
    pub fn join(&self, location: ProviderId, most: u32) -> bool {
        let one_more = |count: u32| (count < most).then(|| count + 1);
        self.counts[location.index()]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Counts one less.
    pub fn part(&self, location: ProviderId) {
        self.counts[location.index()].fetch_sub(1, Ordering::Relaxed);
    }

    /// How many wait at a location.
    pub fn count(&self, location: ProviderId) -> u32 {
        self.counts[location.index()].load(Ordering::Relaxed)
    }

    /// Shows who waits on a core. If the office is just reading, it sees it next time.
    pub fn offer(&self, core: usize, waiting: &mut Vec<Waiting>) {
        let Some(line) = self.shown.get(core) else {
            return;
        };
        match line.waiting.try_lock() {
            Ok(mut shown) => std::mem::swap(&mut *shown, waiting),
            Err(TryLockError::Poisoned(poisoned)) => *poisoned.into_inner() = Vec::new(),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Everybody who waits, as the cores have last shown it. Office only.
    pub fn collect(&self) -> Vec<Waiting> {
        let read = |line: &CachePadded<Line>| match line.waiting.lock() {
            Ok(shown) => shown.clone(),
            Err(_poisoned) => Vec::new(),
        };
        self.shown.iter().flat_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ProviderId = ProviderId(3);

    #[test]
    fn no_more_wait_at_a_location_than_may() {
        let lines = Lines::new(1);
        assert!(lines.join(HERE, 2) && lines.join(HERE, 2) && !lines.join(HERE, 2));
        assert!(lines.join(ProviderId(4), 1), "another location");
        lines.part(HERE);
        assert_eq!(lines.count(HERE), 1);
        assert!(lines.join(HERE, 2));
    }

    #[test]
    fn numbers_go_up_and_who_waits_is_shown_anew_each_time() {
        let lines = Lines::new(2);
        assert!(lines.number() < lines.number());
        let bid = Price::from_micros(5).expect("a price");
        for core in 0..2 {
            lines.offer(core, &mut vec![(HERE, bid)]);
        }
        lines.offer(1, &mut vec![(HERE, bid); 2]);
        assert_eq!(lines.collect(), [(HERE, bid); 3]);
        lines.offer(1, &mut Vec::new());
        assert_eq!(lines.collect(), [(HERE, bid)]);
    }
}
