//! How long an endpoint takes until the first token comes, lately: a mean whose memory fades.
//!
//! Failures count as slow. An endpoint that fails at once has few calls under way, and would look
//! like the best of all to whoever counts them only.

use std::time::Duration;

use crate::base::Moment;

/// After this time without a sample, what was known counts for 1/e of what it did.
const MEMORY: Duration = Duration::from_secs(10);

/// Shorter times than this are all the same, in microseconds: what differs below is the noise of
/// networks and schedulers, which no client notices in a first token.
const SHORTEST_MICROS: f32 = 10e3;

/// How many times slower than before an endpoint counts after a failure: one in a long time costs
/// it most of its share for some seconds, several in a row all of it.
const FAILURE_FACTOR: f32 = 4.0;

/// How many times slower failures make an endpoint at most, so that it is tried again within a
/// minute.
const FAILURES_MAX: f32 = 1024.0;

/// What failures add is forgotten when less than this is left of it: else an endpoint without
/// calls would lose to one that is as idle for minutes, for a single failure.
const FAILURES_MIN: f32 = 0.1;

/// A number that was noted at some time, which is milliseconds since the clock's zero, modulo 2³²
/// (49 days).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Noted {
    value: f32,
    at: u32,
}

impl Noted {
    fn new(value: f32, now: Moment) -> Noted {
        let at = (now.0 / 1000) as u32;
        Noted { value, at }
    }

    /// How much of it is left. What another core noted a moment later than `now` is as new as can
    /// be.
    fn left(self, now: Moment) -> f32 {
        let now = (now.0 / 1000) as u32;
        let passed = now.wrapping_sub(self.at).cast_signed().max(0);
        (-(passed as f32) / MEMORY.as_millis() as f32).exp()
    }

    fn to_bits(self) -> u64 {
        u64::from(self.value.to_bits()) << 32 | u64::from(self.at)
    }

    fn from_bits(bits: u64) -> Noted {
        let value = f32::from_bits((bits >> 32) as u32);
        Noted {
            value,
            at: bits as u32,
        }
    }
}

/// A fading mean of times to the first token, and what failures have added to it. The default
/// knows nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Microseconds; 0 if nothing is known.
    mean: Noted,
    /// By how many times failures have made it slower, less 1.
    failures: Noted,
}

impl Pace {
    /// The mean at `now` in microseconds, failures left out; none if nothing is known. Without
    /// samples it falls, so that who was slow is tried again.
    pub fn micros(self, now: Moment) -> Option<f32> {
        let known = self.mean.value > 0.0;
        known.then(|| (self.mean.value * self.mean.left(now)).max(SHORTEST_MICROS))
    }

    /// By how many times failures have made it slower than its mean; 1 without any.
    pub fn slowed(self, now: Moment) -> f32 {
        match self.failures.value {
            0.0 => 1.0,
            added => match added * self.failures.left(now) {
                ..FAILURES_MIN => 1.0,
                left => 1.0 + left,
            },
        }
    }

    /// After one more first token, `took` after its call was sent. It is averaged, since it
    /// depends on the length of its prompt.
    #[must_use]
    pub fn served(self, took: Duration, now: Moment) -> Pace {
        let left = match self.mean.value {
            0.0 => 0.0,
            _ => self.mean.left(now),
        };
        let sample = took.as_micros() as f32;
        let mean = (self.mean.value * left + sample * (1.0 - left)).max(1.0);
        Pace {
            mean: Noted::new(mean, now),
            ..self
        }
    }

    /// After a call that failed. It is believed at once.
    #[must_use]
    pub fn failed(self, now: Moment) -> Pace {
        let slowed = (self.slowed(now) * FAILURE_FACTOR).min(FAILURES_MAX);
        Pace {
            failures: Noted::new(slowed - 1.0, now),
            ..self
        }
    }

    /// As two words, to be kept in atomics: the mean's and that of failures.
    pub fn to_bits(self) -> [u64; 2] {
        [self.mean.to_bits(), self.failures.to_bits()]
    }

    /// From [`Pace::to_bits`].
    pub fn from_bits([mean, failures]: [u64; 2]) -> Pace {
        Pace {
            mean: Noted::from_bits(mean),
            failures: Noted::from_bits(failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Moment = Moment(3_600_000_000);

    fn at(seconds: f64) -> Moment {
        START + Duration::from_secs_f64(seconds)
    }

    fn steady(pace: Pace, took: Duration, from: f64, seconds: u32) -> Pace {
        (0..seconds * 10).fold(pace, |pace, tenth| {
            pace.served(took, at(from + f64::from(tenth) / 10.0))
        })
    }

    fn micros(pace: Pace, seconds: f64) -> f32 {
        pace.micros(at(seconds)).unwrap()
    }

    #[test]
    fn nothing_is_known_at_first_and_one_sample_is_something() {
        assert_eq!(Pace::default().micros(START), None);
        assert_eq!(Pace::default().slowed(START), 1.0);
        let pace = Pace::default().served(Duration::from_millis(200), START);
        assert_eq!(pace.micros(START), Some(200_000.0));
    }

    #[test]
    fn the_mean_follows_and_one_long_prompt_is_not_taken_for_a_slow_endpoint() {
        let pace = steady(Pace::default(), Duration::from_millis(100), 0.0, 30);
        assert!((micros(pace, 30.0) - 100_000.0).abs() < 2_000.0);
        let once = pace.served(Duration::from_secs(2), at(30.0));
        assert!(micros(once, 30.0) < 130_000.0, "{once:?}");
        let slower = steady(pace, Duration::from_millis(300), 30.0, 40);
        assert!((micros(slower, 70.0) - 300_000.0).abs() < 10_000.0);
    }

    #[test]
    fn failures_count_as_slow_however_fast_they_come() {
        let slowed = |failures: usize| {
            let pace = (0..failures).fold(Pace::default(), |pace, _| pace.failed(START));
            pace.slowed(START)
        };
        assert_eq!([slowed(1), slowed(2), slowed(4)], [4.0, 16.0, 256.0]);
        assert_eq!([slowed(6), slowed(1000)], [FAILURES_MAX; 2]);
    }

    #[test]
    fn what_was_slow_is_forgotten() {
        let slow = Pace::default().served(Duration::from_secs(1), START);
        let slow = (0..9).fold(slow, |pace, _| pace.failed(START));
        assert!(slow.slowed(at(70.0)) < 2.0 && slow.slowed(at(30.0)) > 20.0);
        assert_eq!(Pace::default().failed(START).slowed(at(35.0)), 1.0);
        assert!((micros(slow, 10.0) - 368_000.0).abs() < 1_000.0);
        assert_eq!(micros(slow, 120.0), SHORTEST_MICROS);
    }

    #[test]
    fn no_client_notices_microseconds() {
        let [one, other] = [80, 2_000].map(|took| {
            Pace::default()
                .served(Duration::from_micros(took), START)
                .micros(START)
        });
        assert_eq!(one, other);
    }

    proptest! {
        #[test]
        fn words_hold_all_of_it(took in 0..10_000_000u64, now in 0..1u64 << 50, fails: bool) {
            let mut pace = Pace::default().served(Duration::from_micros(took), Moment(now));
            if fails {
                pace = pace.failed(Moment(now));
            }
            prop_assert_eq!(Pace::from_bits(pace.to_bits()), pace);
        }

        #[test]
        fn the_mean_stays_between_what_was_seen(
            samples in proptest::collection::vec((10_000..5_000_000u64, 0..20_000_000u64), 1..50),
        ) {
            let (mut pace, mut now) = (Pace::default(), START);
            for (took, later) in &samples {
                now = now + Duration::from_micros(*later);
                pace = pace.served(Duration::from_micros(*took), now);
            }
            let seen = samples.iter().map(|(took, _)| *took);
            let (least, most) = (seen.clone().min().unwrap(), seen.max().unwrap());
            let mean = pace.micros(now).unwrap();
            prop_assert!(mean >= least as f32 * 0.99 && mean <= most as f32 * 1.01);
        }
    }
}
