//! Two endpoints side by side.
//!
//! The power of two choices (Mitzenmacher, 2001): to take the better of two endpoints keeps the
//! longest queue nearly as short as to look at all of them, and a crowd of callers doesn't run to
//! the same one. The first of the two is whose turn it is, and only the second is drawn at random:
//! so calls that are all alike come as evenly as by turns. In a simulation of 16 servers with four
//! fifths of their time taken up, the median wait was a quarter shorter than with two random ones.

use std::time::Duration;

use super::pace::Pace;
use crate::base::Moment;

/// How long an endpoint that is new or has returned takes to grow to its full share: its caches
/// are cold, and calls that all came to it at once would fail together.
pub const SLOW_START: Duration = Duration::from_secs(10);

/// The share that a returning endpoint begins with.
const FIRST_SHARE: f32 = 0.1;

/// As how many more calls one counts that waits for its first token: answers are given side by
/// side, but a prompt is read before those that came later.
const WAITING: u64 = 4;

/// The share of its full weight that an endpoint has which can be used since `ready_from`: it
/// grows linearly from a tenth to 1.
pub fn grown(ready_from: Moment, now: Moment) -> f32 {
    let since = now.since(ready_from);
    match since >= SLOW_START {
        true => 1.0,
        false => (since.as_secs_f32() / SLOW_START.as_secs_f32()).max(FIRST_SHARE),
    }
}

/// What an endpoint has to do.
#[derive(Clone, Copy, Debug)]
pub struct Burden {
    /// Calls under way through this instance.
    pub outstanding: u32,
    /// Those of them that wait for their first token, of which the prompt is still to be read.
    pub awaiting: u32,
    /// Calls that others have sent it, as far as it says.
    pub others: u32,
    /// Calls, whosever, that it hasn't begun with, as far as it says.
    pub queued: u32,
    /// How soon its first tokens come.
    pub pace: Pace,
    /// Its share of a full weight, above 0.
    pub share: f32,
}

impl Burden {
    /// Calls that it has, whosever.
    pub fn calls(&self) -> u32 {
        self.outstanding.saturating_add(self.others)
    }

    /// Calls ahead of the next one.
    fn ahead(&self) -> f32 {
        let waiting = WAITING * u64::from(self.awaiting.max(self.queued));
        let all = u64::from(self.outstanding) + u64::from(self.others) + waiting;
        (all + 1) as f32 / self.share
    }

    /// Whether a call is as well sent here as to `other`, or better. Times to the first token are
    /// compared only if both are known.
    pub fn is_at_most(&self, other: &Burden, now: Moment) -> bool {
        let own = self.ahead() * self.pace.slowed(now);
        let others = other.ahead() * other.pace.slowed(now);
        match (self.pace.micros(now), other.pace.micros(now)) {
            (Some(own_pace), Some(others_pace)) => own * own_pace <= others * others_pace,
            _ => own <= others,
        }
    }
}

/// Two different positions below `count`: whose turn it is, and one of the others, drawn by random
/// bits. None below two.
#[inline]
pub fn two_of(count: usize, turn: usize, random: u64) -> Option<(usize, usize)> {
    let others = count.checked_sub(1).filter(|others| *others > 0)?;
    let first = turn % count;
    // Multiplied and shifted, which spreads a 32-bit number over `0..others`.
    let step = 1 + (((random >> 32) * others as u64) >> 32) as usize;
    Some((first, (first + step) % count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Prng;

    const NOW: Moment = Moment(50_000_000);

    fn burden(outstanding: u32) -> Burden {
        Burden {
            outstanding,
            awaiting: 0,
            others: 0,
            queued: 0,
            pace: Pace::default(),
            share: 1.0,
        }
    }

    fn paced(outstanding: u32, milliseconds: u64) -> Burden {
        Burden {
            pace: Pace::default().served(Duration::from_millis(milliseconds), NOW),
            ..burden(outstanding)
        }
    }

    #[test]
    fn fewer_calls_are_better_and_waiting_ones_count_five_times() {
        assert!(burden(3).is_at_most(&burden(4), NOW));
        assert!(!burden(4).is_at_most(&burden(3), NOW));
        let queued = |queued| Burden {
            queued,
            ..burden(4)
        };
        assert!(burden(12).is_at_most(&queued(2), NOW));
        assert!(!burden(13).is_at_most(&queued(2), NOW));
        let awaiting = Burden {
            awaiting: 3,
            ..burden(3)
        };
        assert!(burden(15).is_at_most(&awaiting, NOW));
        assert!(!burden(16).is_at_most(&awaiting, NOW));
        let shared = Burden {
            others: 9,
            ..burden(0)
        };
        assert!(burden(8).is_at_most(&shared, NOW));
    }

    #[test]
    fn a_slow_endpoint_gets_as_many_fewer_calls() {
        assert!(paced(7, 100).is_at_most(&paced(3, 210), NOW));
        assert!(!paced(7, 100).is_at_most(&paced(3, 190), NOW));
        assert!(
            paced(3, 900).is_at_most(&burden(4), NOW),
            "nothing is known of the other's pace"
        );
    }

    #[test]
    fn who_fails_fast_attracts_nothing() {
        let mut failing = burden(0);
        for _ in 0..4 {
            failing.pace = failing.pace.failed(NOW);
        }
        let long = burden(200);
        assert!(long.is_at_most(&failing, NOW), "nothing else is known");
        failing.pace = failing.pace.served(Duration::from_millis(100), NOW);
        assert!(paced(200, 100).is_at_most(&failing, NOW));
        assert!(!paced(300, 100).is_at_most(&failing, NOW));
    }

    #[test]
    fn a_returning_endpoint_grows_to_its_share() {
        let share = |seconds: u64| grown(NOW, NOW + Duration::from_secs(seconds));
        assert_eq!([share(0), share(1), share(5)], [0.1, 0.1, 0.5]);
        assert_eq!([share(10), share(1000)], [1.0, 1.0]);
        let returning = |seconds| Burden {
            share: share(seconds),
            ..burden(0)
        };
        assert!(burden(8).is_at_most(&returning(0), NOW));
        assert!(!burden(10).is_at_most(&returning(0), NOW));
        assert!(!burden(2).is_at_most(&returning(5), NOW));
    }

    #[test]
    fn the_longest_queue_stays_short() {
        // 16 endpoints, 16,000 calls that never end: at random the longest would be about 80
        // above the mean, with two choices it is a few.
        let mut random = Prng::new(7);
        let mut calls = [0u32; 16];
        for turn in 0..16_000 {
            let (one, other) = two_of(16, turn / 3, random.next_u64()).unwrap();
            let better = match burden(calls[one]).is_at_most(&burden(calls[other]), NOW) {
                true => one,
                false => other,
            };
            calls[better] += 1;
        }
        assert!(calls.iter().all(|calls| (990..=1010).contains(calls)));
    }

    proptest! {
        #[test]
        fn two_are_two_and_all_are_drawn(count in 2..40usize, seed in any::<u64>()) {
            let mut random = Prng::new(seed);
            let mut pairs = vec![false; count * count];
            for turn in 0..count * count * 20 {
                let (one, other) = two_of(count, turn, random.next_u64()).unwrap();
                prop_assert!(one == turn % count && other < count && one != other);
                pairs[one * count + other] = true;
            }
            let drawn = pairs.iter().filter(|drawn| **drawn).count();
            prop_assert_eq!(drawn, count * (count - 1));
        }
    }

    #[test]
    fn of_fewer_than_two_no_two_are_drawn() {
        assert_eq!([two_of(0, 5, 5), two_of(1, 5, 5)], [None, None]);
    }
}
