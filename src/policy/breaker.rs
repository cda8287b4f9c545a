//! Circuit breakers: when a target has failed enough to be left alone, for how long, and what
//! brings it back. Time and randomness are arguments.

use std::time::Duration;

use crate::base::Moment;

/// `[breaker]`, with a provider's overrides applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that trip it.
    pub consecutive_failures: u32,
    /// Share of failures in the window that trips it.
    pub failure_ratio: f64,
    /// Length of the window.
    pub ratio_window: Duration,
    /// Outcomes in the window below which the share says nothing.
    pub ratio_min_calls: u32,
    /// The first open interval, before jitter.
    pub open: Duration,
    /// The longest open interval, before jitter.
    pub open_max: Duration,
    /// Jitter of an open interval, as a share of it in either direction.
    pub open_jitter: f64,
    /// Clean completions of probes that close it.
    pub close_after: u32,
    /// How long a 429 without `retry-after` gates the target.
    pub rate_limit_gate: Duration,
    /// How long an exhausted quota (402, `insufficient_quota`) gates the provider.
    pub quota_gate: Duration,
}

impl Default for BreakerConfig {
    /// The figures of SRP section 6.
    fn default() -> BreakerConfig {
        BreakerConfig {
            consecutive_failures: 5,
            failure_ratio: 0.5,
            ratio_window: Duration::from_secs(10),
            ratio_min_calls: 20,
            open: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
            open_jitter: 0.5,
            close_after: 2,
            rate_limit_gate: Duration::from_secs(1),
            quota_gate: Duration::from_secs(300),
        }
    }
}

/// Buckets of a [`Detector`]'s window: what it counts is at most the window old, and at least
/// nine tenths of it.
const BUCKETS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    succeeded: u64,
    failed: u64,
}

/// Counts the outcomes of one target, and says when they call for an open breaker: every core
/// has one per target, and the office's [`Breaker`] another. Times that go backwards count as
/// the latest one seen.
#[derive(Clone, Debug)]
pub struct Detector {
    consecutive_max: u32,
    ratio: f64,
    ratio_min: u64,
    bucket_micros: u64,
    /// Failures since the last success.
    consecutive: u32,
    /// The bucket of tick `t` is at `t % BUCKETS`.
    buckets: [Bucket; BUCKETS],
    newest_tick: u64,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(config: &BreakerConfig) -> Detector {
        Detector {
            consecutive_max: config.consecutive_failures,
            ratio: config.failure_ratio,
            ratio_min: u64::from(config.ratio_min_calls),
            bucket_micros: (micros(config.ratio_window) / BUCKETS as u64).max(1),
            consecutive: 0,
            buckets: [Bucket::default(); BUCKETS],
            newest_tick: 0,
        }
    }

    /// `n` clean completions since the last report.
    #[inline]
    pub fn succeeded(&mut self, n: u64, now: Moment) {
        if n == 0 {
            return;
        }
        self.consecutive = 0;
        let bucket = self.bucket(now);
        bucket.succeeded = bucket.succeeded.saturating_add(n);
    }

    /// A failure. True if the trip condition is met with it: so many in a row, or so large a
    /// share of the window's outcomes (SRP section 6). A success never trips.
    pub fn failed(&mut self, now: Moment) -> bool {
        self.consecutive = self.consecutive.saturating_add(1);
        self.bucket(now).failed += 1;
        self.consecutive >= self.consecutive_max || self.share_is_too_large()
    }

    fn share_is_too_large(&self) -> bool {
        let (mut succeeded, mut failed) = (0_u64, 0_u64);
        for bucket in &self.buckets {
            succeeded = succeeded.saturating_add(bucket.succeeded);
            failed = failed.saturating_add(bucket.failed);
        }
        let outcomes = succeeded.saturating_add(failed);
        outcomes >= self.ratio_min && failed as f64 >= self.ratio * outcomes as f64
    }

    /// The bucket of `now`, after those that have left the window were emptied.
    #[inline]
    fn bucket(&mut self, now: Moment) -> &mut Bucket {
        let tick = now.0 / self.bucket_micros;
        if tick > self.newest_tick {
            let begun = (tick - self.newest_tick).min(BUCKETS as u64);
            for back in 0..begun {
                self.buckets[((tick - back) % BUCKETS as u64) as usize] = Bucket::default();
            }
            self.newest_tick = tick;
        }
        &mut self.buckets[(self.newest_tick % BUCKETS as u64) as usize]
    }

    /// Forgets what it has seen.
    pub fn reset(&mut self) {
        self.consecutive = 0;
        self.buckets = [Bucket::default(); BUCKETS];
    }

    /// Takes new figures over. What was counted stays, unless the window's length changed: then
    /// only the failures in a row do.
    pub fn reconfigure(&mut self, config: &BreakerConfig) {
        let fresh = Detector::new(config);
        let consecutive = self.consecutive;
        if fresh.bucket_micros == self.bucket_micros {
            *self = Detector {
                consecutive,
                buckets: self.buckets,
                newest_tick: self.newest_tick,
                ..fresh
            };
        } else {
            *self = Detector {
                consecutive,
                ..fresh
            };
        }
    }
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Every call.
    Closed,
    /// No call before `until`; from then on it is half-open: one probe at a time.
    Open {
        /// When it becomes half-open.
        until: Moment,
    },
}

/// A change of [`Phase`], for the snapshot, the log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// From closed to open.
    Opened {
        /// When it becomes half-open.
        until: Moment,
    },
    /// From half-open to closed.
    Closed,
    /// From half-open to open, for longer.
    Reopened {
        /// When it becomes half-open again.
        until: Moment,
    },
}

/// The circuit breaker of one target (SRP section 6), kept by the office.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    detector: Detector,
    phase: Phase,
    /// Reopenings since it was closed last.
    reopened: u32,
    /// Clean probes since it opened last.
    clean_probes: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig) -> Breaker {
        Breaker {
            config,
            detector: Detector::new(&config),
            phase: Phase::Closed,
            reopened: 0,
            clean_probes: 0,
        }
    }

    /// `n` clean completions of ordinary calls. Ignored while open: they began before.
    pub fn succeeded(&mut self, n: u64, now: Moment) {
        if self.phase == Phase::Closed {
            self.detector.succeeded(n, now);
        }
    }

    /// A failure of an ordinary call. Ignored while open. `unit` is random in `[0, 1)`: it
    /// places the open interval within its jitter.
    pub fn failed(&mut self, now: Moment, unit: f64) -> Option<Transition> {
        let trips = self.phase == Phase::Closed && self.detector.failed(now);
        trips.then(|| self.open(now, unit))
    }

    /// A core's own detector has tripped. Nothing new if it is open already.
    pub fn tripped(&mut self, now: Moment, unit: f64) -> Option<Transition> {
        (self.phase == Phase::Closed).then(|| self.open(now, unit))
    }

    /// A probe ended cleanly: enough of them close it. Ignored unless half-open.
    pub fn probe_succeeded(&mut self, now: Moment) -> Option<Transition> {
        if !self.is_half_open(now) {
            return None;
        }
        self.clean_probes += 1;
        (self.clean_probes >= self.config.close_after).then(|| {
            self.phase = Phase::Closed;
            self.detector.reset();
            Transition::Closed
        })
    }

    /// A probe failed: it opens again, for twice as long. Ignored unless half-open.
    pub fn probe_failed(&mut self, now: Moment, unit: f64) -> Option<Transition> {
        if !self.is_half_open(now) {
            return None;
        }
        self.reopened = self.reopened.saturating_add(1);
        let until = self.open_until(now, unit);
        Some(Transition::Reopened { until })
    }

    /// What it lets through.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes new figures over. An open interval that has begun keeps its end.
    pub fn reconfigure(&mut self, config: BreakerConfig) {
        self.detector.reconfigure(&config);
        self.config = config;
    }

    fn is_half_open(&self, now: Moment) -> bool {
        matches!(self.phase, Phase::Open { until } if until <= now)
    }

    fn open(&mut self, now: Moment, unit: f64) -> Transition {
        self.reopened = 0;
        let until = self.open_until(now, unit);
        Transition::Opened { until }
    }

    fn open_until(&mut self, now: Moment, unit: f64) -> Moment {
        let until = now + self.interval(unit);
        self.phase = Phase::Open { until };
        self.clean_probes = 0;
        until
    }

    /// The open interval: doubled for each reopening, bounded, then moved within its jitter.
    fn interval(&self, unit: f64) -> Duration {
        let doublings = 2_u64.saturating_pow(self.reopened);
        let plain = micros(self.config.open)
            .saturating_mul(doublings)
            .min(micros(self.config.open_max));
        let factor = 1.0 + self.config.open_jitter * (2.0 * unit - 1.0);
        Duration::from_micros((plain as f64 * factor) as u64)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
