//! Time as the request path uses it: microseconds since the process began, read seldom and
//! passed down as an argument, so that everything below the corridor is deterministic.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A point in time: microseconds since the process's clock began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    pub fn micros_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    #[inline]
    fn add(self, duration: Duration) -> Moment {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(micros))
    }
}

static BEGINNING: OnceLock<Instant> = OnceLock::new();

/// The process's monotonic clock. Copies agree with each other on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// The process's clock; the first call in a process sets its zero.
    pub fn new() -> Clock {
        Clock(*BEGINNING.get_or_init(Instant::now))
    }

    /// The time now. Costs about 40 ns: read it once and pass it down.
    #[inline]
    pub fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
