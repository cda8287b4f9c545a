//! Skeleton: types only.
use std::time::Duration;
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
