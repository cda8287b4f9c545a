//! What the office remembers of the last hour, for those who look inside: a sample every five
//! seconds, made from counters that are there anyway. A call pays nothing for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::{Moment, ProviderId};
use crate::market::Price;
use crate::telemetry::Times;

/// Time from sample to sample.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Samples that are kept: an hour of them.
pub const SAMPLES_MAX: usize = 720;

/// How calls ended, as a client would tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// 1xx to 3xx.
    pub served: u64,
    /// 4xx.
    pub refused: u64,
    /// 5xx.
    pub failed: u64,
    /// The client left before an answer (499).
    pub left: u64,
}

impl Calls {
    /// Counts calls that ended with a status, or its class, as metrics have it.
    pub fn add(&mut self, status: &str, calls: u64) {
        let count = match status.as_bytes() {
            b"499" => &mut self.left,
            [b'4', ..] => &mut self.refused,
            [b'5', ..] => &mut self.failed,
            _ => &mut self.served,
        };
        *count += calls;
    }

    fn since(self, earlier: Calls) -> Calls {
        Calls {
            served: self.served.saturating_sub(earlier.served),
            refused: self.refused.saturating_sub(earlier.refused),
            failed: self.failed.saturating_sub(earlier.failed),
            left: self.left.saturating_sub(earlier.left),
        }
    }
}

/// Percentiles of times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of them.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// All but one in a hundred.
    pub p99: u64,
}

impl Percentiles {
    /// Of these times; none if there are none.
    pub fn of(times: &Times) -> Option<Percentiles> {
        Some(Percentiles {
            p50: times.permille_us(500)?,
            p90: times.permille_us(900)?,
            p99: times.permille_us(990)?,
        })
    }
}

/// What has been counted at a provider since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts that have ended.
    pub ended: u64,
    /// Those of them that count against its breaker.
    pub failed: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
}

impl Tally {
    fn since(self, earlier: Tally) -> Tally {
        Tally {
            ended: self.ended.saturating_sub(earlier.ended),
            failed: self.failed.saturating_sub(earlier.failed),
            input_tokens: self.input_tokens.saturating_sub(earlier.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(earlier.output_tokens),
        }
    }
}

/// A provider at the time of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderSample {
    /// Which.
    pub provider: ProviderId,
    /// In what is given to [`History::push`] since the start, in samples since the one before.
    pub tally: Tally,
    /// Attempts under way.
    pub in_flight: u64,
    /// What a floating call pays there.
    pub price: Price,
}

/// The instance at the time of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the epoch.
    pub at: i64,
    /// Over how many milliseconds was counted.
    pub lasted_ms: u64,
    /// As [`ProviderSample::tally`].
    pub calls: Calls,
    /// Errors that the proxy made itself, by code; as [`ProviderSample::tally`].
    pub errors: Vec<u64>,
    /// Calls begun and not ended.
    pub in_flight: u64,
    /// Client connections.
    pub connections: u64,
    /// Times to the first token since the sample before.
    pub ttft: Option<Percentiles>,
    /// Times of whole calls since the sample before.
    pub call: Option<Percentiles>,
    /// Every provider of the configuration in force.
    pub providers: Vec<ProviderSample>,
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    /// When the last one was taken, and what was counted by then.
    last: Option<(Moment, Sample)>,
}

impl History {
    /// Whether it is time for a sample.
    pub fn is_due(&self, now: Moment) -> bool {
        let last = self.last.as_ref();
        last.is_none_or(|(then, _)| now.since(*then) >= SAMPLE_EVERY)
    }

    /// Takes in what was counted since the start. The first time only says where counting begins.
    pub fn push(&mut self, counted: Sample, now: Moment) {
        if let Some((then, before)) = self.last.take() {
            let mut sample = counted.clone();
            sample.lasted_ms = now.micros_since(then).div_ceil(1000).max(1);
            sample.calls = counted.calls.since(before.calls);
            for (count, before) in sample.errors.iter_mut().zip(&before.errors) {
                *count = count.saturating_sub(*before);
            }
            for provider in &mut sample.providers {
                let mut earlier = before.providers.iter();
                let earlier = earlier.find(|it| it.provider == provider.provider);
                // A provider that is new, or back, has been counted since the start all the same.
                let tally = earlier.map_or(provider.tally, |it| it.tally);
                provider.tally = provider.tally.since(tally);
            }
            if self.samples.len() == SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
        self.last = Some((now, counted));
    }

    /// The samples after a second since the epoch, the oldest first.
    pub fn after(&self, second: i64) -> impl Iterator<Item = &Sample> + Clone {
        let seen = self.samples.partition_point(|sample| sample.at <= second);
        self.samples.range(seen..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn counted(at: i64, served: u64, tokens: &[u64]) -> Sample {
        let provider = |(id, &output_tokens): (usize, &u64)| ProviderSample {
            provider: ProviderId(id as u16),
            tally: Tally {
                output_tokens,
                ..Tally::default()
            },
            in_flight: 0,
            price: Price::ZERO,
        };
        Sample {
            at,
            lasted_ms: 0,
            calls: Calls {
                served,
                ..Calls::default()
            },
            errors: vec![0, served * 2],
            in_flight: 0,
            connections: 0,
            ttft: None,
            call: None,
            providers: tokens.iter().enumerate().map(provider).collect(),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment(seconds * SECOND)
    }

    #[test]
    fn samples_are_what_was_counted_in_between() {
        let mut history = History::default();
        assert!(history.is_due(at(1)));
        history.push(counted(101, 40, &[7]), at(1));
        assert_eq!(history.after(0).count(), 0, "nobody knows since when");
        assert!(!history.is_due(at(5)) && history.is_due(at(6)));
        history.push(counted(106, 50, &[9, 100]), at(6));
        history.push(counted(117, 51, &[9, 103]), at(17));
        let seen: Vec<_> = history.after(0).cloned().collect();
        assert_eq!((seen[0].calls.served, seen[0].lasted_ms), (10, 5000));
        assert_eq!((seen[1].calls.served, seen[1].lasted_ms), (1, 11_000));
        assert_eq!(
            (&seen[0].errors, &seen[1].errors),
            (&vec![0, 20], &vec![0, 2])
        );
        let tokens = |sample: &Sample, at: usize| sample.providers[at].tally.output_tokens;
        assert_eq!((tokens(&seen[0], 0), tokens(&seen[1], 0)), (2, 0));
        assert_eq!((tokens(&seen[0], 1), tokens(&seen[1], 1)), (0, 3));
        let later: Vec<_> = history.after(106).map(|sample| sample.at).collect();
        assert_eq!(later, [117]);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut history = History::default();
        for round in 0..SAMPLES_MAX as u64 + 10 {
            let served = round * 3;
            history.push(counted(round as i64 * 5, served, &[]), at(round * 5));
        }
        assert_eq!(history.after(i64::MIN).count(), SAMPLES_MAX);
        let oldest = history.after(i64::MIN).next().map(|sample| sample.at);
        assert_eq!(oldest, Some(50));
        assert_eq!(SAMPLE_EVERY * SAMPLES_MAX as u32, Duration::from_secs(3600));
    }

    #[test]
    fn every_status_is_of_one_kind() {
        let mut calls = Calls::default();
        for status in crate::telemetry::metrics::STATUSES {
            calls.add(status, 1);
        }
        let all = calls.served + calls.refused + calls.failed + calls.left;
        assert_eq!(all, crate::telemetry::metrics::STATUSES.len() as u64);
        assert_eq!((calls.left, calls.failed, calls.served), (1, 7, 5));
    }
}
