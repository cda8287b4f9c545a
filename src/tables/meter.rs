//! What the cores share about a key's limits: a word per limit. Cores take several requests at a
//! time and charge tokens in batches, so that a word is written seldom, and nobody waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::base::Moment;
use crate::policy::meter::{Mark, Rate};

/// Position of a key's [`Meter`] in [`Routes::meters`](super::Routes::meters). It stays the
/// key's for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeterId(pub u16);

impl MeterId {
    /// The id as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One key's limits, and what is used of them. On a cache line of its own.
#[derive(Debug, Default)]
pub struct Meter(CachePadded<Limits>);

#[derive(Debug, Default)]
struct Limits {
    requests: Bucket,
    tokens: Bucket,
    refused: [AtomicU64; 2],
}

/// Which limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `requests_per_minute`
    Requests,
    /// `tokens_per_minute`
    Tokens,
}

impl Meter {
    /// The bucket of requests.
    #[inline]
    pub fn requests(&self) -> &Bucket {
        &self.0.requests
    }

    /// The bucket of tokens.
    #[inline]
    pub fn tokens(&self) -> &Bucket {
        &self.0.tokens
    }

    /// Counts calls that a limit has refused.
    pub fn add_refused(&self, limit: Limit, calls: u64) {
        self.0.refused[limit as usize].fetch_add(calls, Ordering::Relaxed);
    }

    /// Calls that a limit has refused since the start.
    pub fn refused(&self, limit: Limit) -> u64 {
        self.0.refused[limit as usize].load(Ordering::Relaxed)
    }
}

/// A token bucket that several threads take from.
///
/// The rate and the mark must change together, and a mark means nothing at another rate. So the
/// word has the mark, and in its lowest bits the generation of its rate, which tells where that
/// stands: the office writes a new rate to the other place, which nobody reads yet, and then the
/// word. A core whose word is overtaken by that tries again with the new one. One that sleeps
/// between two instructions through 256 reloads could take one rate for another: no core does.
#[derive(Debug, Default)]
pub struct Bucket {
    word: AtomicU64,
    /// Units per minute; 0 for no limit.
    rates: [AtomicU64; 2],
}

/// How a bucket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Units per minute.
    pub limit: u64,
    /// Units that can be taken.
    pub left: u64,
    /// Time until it is full.
    pub reset: Duration,
}

/// Bits of a word that number its rate's generation. What is left is good for 13 years at the
/// highest rate.
const GENERATION_BITS: u32 = 8;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

fn word(mark: Mark, generation: u64) -> u64 {
    let mark = mark.0.min(u64::MAX >> GENERATION_BITS);
    mark << GENERATION_BITS | generation & GENERATION_MASK
}

fn mark(word: u64) -> Mark {
    Mark(word >> GENERATION_BITS)
}

impl Bucket {
    fn rate_of(&self, word: u64) -> Option<Rate> {
        Rate::new(self.rates[(word & 1) as usize].load(Ordering::Relaxed))
    }

    /// The limit, if there is one.
    #[inline]
    pub fn rate(&self) -> Option<Rate> {
        self.rate_of(self.word.load(Ordering::Acquire))
    }

    /// Changes the mark; a `change` to None leaves it. What `change` made last is returned, None
    /// without a limit too.
    fn update<T>(&self, change: impl Fn(Rate, Mark) -> Option<(T, Mark)>) -> Option<T> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (made, next) = change(self.rate_of(seen)?, mark(seen))?;
            let next = word(next, seen);
            match self
                .word
                .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(made),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Takes up to `wanted` units; how many it took. An empty bucket is not written to.
    #[inline]
    pub fn take(&self, wanted: u64, now: Moment) -> u64 {
        self.update(|rate, mark| rate.take(mark, wanted, now))
            .unwrap_or(0)
    }

    /// Gives back units that were taken and not used.
    pub fn give_back(&self, units: u64) {
        self.update(|rate, mark| Some(((), rate.give_back(mark, units))));
    }

    /// Takes units whether they are there or not.
    pub fn charge(&self, units: u64, now: Moment) {
        self.update(|rate, mark| Some(((), rate.charge(mark, units, now))));
    }

    /// How the bucket stands for a core that holds `lent` units of it, and has used `owed` that
    /// it hasn't charged. None without a limit.
    pub fn standing(&self, lent: u64, owed: u64, now: Moment) -> Option<Standing> {
        let seen = self.word.load(Ordering::Acquire);
        let rate = self.rate_of(seen)?;
        let mark = rate.charge(rate.give_back(mark(seen), lent), owed, now);
        Some(Standing {
            limit: rate.per_minute(),
            left: rate.left(mark, now),
            reset: rate.until_full(mark, now),
        })
    }

    /// How long until a unit can be taken, with `owed` units still to be charged. Zero without a
    /// limit.
    #[inline]
    pub fn until_one(&self, owed: u64, now: Moment) -> Duration {
        let seen = self.word.load(Ordering::Acquire);
        self.rate_of(seen).map_or(Duration::ZERO, |rate| {
            rate.until_one(rate.charge(mark(seen), owed, now), now)
        })
    }

    /// Puts a limit in force, or takes it away; what is used stays used. Office only.
    pub fn set(&self, rate: Option<Rate>, now: Moment) {
        let mut seen = self.word.load(Ordering::Acquire);
        let old = self.rate_of(seen);
        if rate == old {
            return;
        }
        let generation = seen.wrapping_add(1);
        let per_minute = rate.map_or(0, Rate::per_minute);
        self.rates[(generation & 1) as usize].store(per_minute, Ordering::Relaxed);
        loop {
            let kept = match (old, rate) {
                (Some(old), Some(new)) => old.convert(mark(seen), new, now),
                _ => Mark::default(),
            };
            let next = word(kept, generation);
            match self
                .word
                .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const NOW: Moment = Moment(86_400_000_000);

    fn rate(per_minute: u64) -> Option<Rate> {
        Some(Rate::new(per_minute).unwrap())
    }

    fn bucket(per_minute: u64) -> Bucket {
        let bucket = Bucket::default();
        bucket.set(rate(per_minute), NOW);
        bucket
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_take_or_to_wait_for() {
        let bucket = Bucket::default();
        bucket.charge(5, NOW);
        bucket.give_back(5);
        assert_eq!((bucket.rate(), bucket.take(1, NOW)), (None, 0));
        assert_eq!(bucket.standing(0, 0, NOW), None);
        assert_eq!(bucket.until_one(9, NOW), Duration::ZERO);
        assert_eq!(bucket.word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_a_core_holds_and_owes_is_part_of_how_it_stands() {
        let bucket = bucket(60);
        assert_eq!(bucket.take(10, NOW), 10);
        let standing = |lent, owed| bucket.standing(lent, owed, NOW).unwrap();
        let seconds = Duration::from_secs;
        let expected = |left, reset| Standing {
            limit: 60,
            left,
            reset: seconds(reset),
        };
        assert_eq!(standing(0, 0), expected(50, 10));
        assert_eq!(standing(4, 0), expected(54, 6));
        assert_eq!(standing(0, 60), expected(0, 70));
        assert_eq!(bucket.until_one(49, NOW), Duration::ZERO);
        assert_eq!(bucket.until_one(50, NOW), seconds(1));
    }

    #[test]
    fn a_limit_changes_and_what_is_used_stays_used() {
        let bucket = bucket(5);
        assert_eq!(bucket.take(9, NOW), 5);
        bucket.set(rate(8), NOW);
        assert_eq!(bucket.take(9, NOW), 3);
        bucket.set(rate(8), NOW);
        assert_eq!(bucket.take(9, NOW), 0, "the same again is no change");
        bucket.set(rate(2), NOW);
        assert_eq!(bucket.until_one(0, NOW), Duration::from_secs(30));
        bucket.set(None, NOW);
        assert_eq!(bucket.rate(), None);
        bucket.set(rate(4), NOW);
        assert_eq!(bucket.take(9, NOW), 4, "nothing was counted meanwhile");
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let bucket = bucket(100_000);
        let taken: u64 = std::thread::scope(|scope| {
            let take = |wanted| {
                (0..).map(move |_| wanted).scan((), |(), wanted| {
                    let taken = bucket.take(wanted, NOW);
                    bucket.give_back(taken / 3);
                    (taken > 0).then_some(taken - taken / 3)
                })
            };
            let threads: Vec<_> = [1, 2, 7, 46]
                .map(|wanted| scope.spawn(move || take(wanted).sum::<u64>()))
                .into();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(taken, 100_000);
    }

    #[test]
    fn nothing_is_lost_while_the_limit_changes_under_way() {
        // Each rate is the other's multiple: a unit at the wrong one would show.
        const RATES: [u64; 3] = [1_000_000, 40_000_000, 7_000_000];
        let bucket = bucket(RATES[0]);
        let done = AtomicBool::new(false);
        let charged: u64 = std::thread::scope(|scope| {
            let charge = || {
                let charged = (0..100_000).map(|_| {
                    bucket.charge(1, NOW);
                    1
                });
                charged.sum::<u64>()
            };
            let threads = [scope.spawn(charge), scope.spawn(charge)];
            scope.spawn(|| {
                for per_minute in RATES.into_iter().cycle() {
                    bucket.set(rate(per_minute), NOW);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let charged = threads.map(|it| it.join().unwrap()).iter().sum();
            done.store(true, Ordering::Relaxed);
            charged
        });
        bucket.set(rate(RATES[2]), NOW);
        let standing = bucket.standing(0, 0, NOW).unwrap();
        assert_eq!(standing.limit - standing.left, charged);
    }

    #[test]
    fn refusals_are_counted_apart() {
        let meter = Meter::default();
        meter.add_refused(Limit::Tokens, 2);
        meter.add_refused(Limit::Requests, 3);
        meter.add_refused(Limit::Tokens, 1);
        assert_eq!(
            [Limit::Requests, Limit::Tokens].map(|limit| meter.refused(limit)),
            [3, 3]
        );
    }
}
