//! The tables that hold figures: `[limits]`, `[timeouts]`, `[retry]`, `[breaker]` and `[log]`.

use std::num::NonZeroU32;
use std::time::Duration;

use tracing::Level;

use super::model::{Log, LogFormat, Retry};
use super::reader::Table;
use crate::policy::breaker::BreakerConfig;
use crate::policy::chain::CHAIN_LINKS_MAX;
use crate::policy::limits::{Limits, Timeouts};

/// The most that `limits.head_bytes` can be: a head is read into one I/O buffer.
pub const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// The most that `limits.headers` can be.
pub const HEADERS_MAX: usize = 256;

/// The most that `limits.body_bytes` can be.
pub const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The most that `limits.pipelined_requests` can be.
const PIPELINED_MAX: usize = 1024;

/// The least that `limits.memory_bytes` can be: an instance has that much before the first call.
pub const MEMORY_BYTES_MIN: usize = 64 * 1024 * 1024;

/// The most: 1 PiB.
pub const MEMORY_BYTES_MAX: usize = 1 << 50;

/// The most that a limit on connections, calls or outcomes can be.
const COUNT_MAX: u32 = 1_000_000;

/// The least that `timeouts.stall` can be.
const STALL_MIN: Duration = Duration::from_millis(500);

const SHARE_EXPECTED: &str = "a share above 0 and at most 1";

fn is_share(number: f64) -> bool {
    number > 0.0 && number <= 1.0
}

pub(super) fn limits(table: Table<'_>) -> Limits {
    let limits = Limits {
        head_bytes: table.whole("head_bytes", 32_768, 1024..=HEAD_BYTES_MAX),
        headers: table.whole("headers", 100, 1..=HEADERS_MAX),
        body_bytes: table.whole("body_bytes", 67_108_864, 1..=BODY_BYTES_MAX),
        connections_per_core: table.whole("connections_per_core", 20_000, 1..=COUNT_MAX as usize),
        pipelined_requests: table.whole("pipelined_requests", 16, 1..=PIPELINED_MAX),
        calls_per_core: table.whole("calls_per_core", 10_000, 1..=COUNT_MAX as usize),
        memory_bytes: memory_bytes(&table),
    };
    table.finish();
    limits
}

/// `"auto"`, or a number.
fn memory_bytes(table: &Table<'_>) -> Option<usize> {
    let value = table.get("memory_bytes")?;
    if value.is_text() {
        table.choice("memory_bytes", [("auto", ())]);
        return None;
    }
    Some(table.whole(
        "memory_bytes",
        MEMORY_BYTES_MIN,
        MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX,
    ))
}

pub(super) fn timeouts(table: Table<'_>) -> Timeouts {
    let base = Timeouts::default();
    let timeouts = Timeouts {
        head: table.duration("head", base.head),
        body: table.duration("body", base.body),
        connect: table.duration("connect", base.connect),
        first_byte: table.duration("first_byte", base.first_byte),
        stream_idle: table.duration("stream_idle", base.stream_idle),
        call: table.duration("call", base.call),
        keep_alive: table.duration("keep_alive", base.keep_alive),
        drain: table.duration("drain", base.drain),
        stall: table.duration("stall", base.stall),
    };
    if timeouts.stall < STALL_MIN
        && let Some(value) = table.get("stall")
    {
        value.fail("expected at least \"500ms\": a core may be held up for less without being ill");
    }
    table.finish();
    timeouts
}

/// A provider's own: those that are about an attempt. The others are about the client's side of
/// a call, which has no provider yet, or several.
pub(super) fn provider_timeouts(table: Table<'_>, instance: &Timeouts) -> Timeouts {
    let timeouts = Timeouts {
        connect: table.duration("connect", instance.connect),
        first_byte: table.duration("first_byte", instance.first_byte),
        stream_idle: table.duration("stream_idle", instance.stream_idle),
        keep_alive: table.duration("keep_alive", instance.keep_alive),
        ..*instance
    };
    for key in ["head", "body", "call", "drain", "stall"] {
        if let Some(value) = table.get(key) {
            value.fail(
                "expected in [timeouts] of the instance only: it is about the client's side of a \
                 call, whichever provider serves it",
            );
        }
    }
    table.finish();
    timeouts
}

pub(super) fn retry(table: Table<'_>) -> Retry {
    const ATTEMPTS: NonZeroU32 = NonZeroU32::new(3).unwrap();
    let most = CHAIN_LINKS_MAX as u32;
    let attempts = table.whole("max_attempts", ATTEMPTS.get(), 1..=most);
    let retry = Retry {
        max_attempts: NonZeroU32::new(attempts).unwrap_or(ATTEMPTS),
        budget_ratio: table.share("budget_ratio", 0.2, SHARE_EXPECTED, is_share),
        budget_min: table.whole("budget_min", 3, 0..=COUNT_MAX),
    };
    table.finish();
    retry
}

/// `[breaker]` over the defaults, or a provider's over the instance's.
pub(super) fn breaker(table: Table<'_>, base: &BreakerConfig) -> BreakerConfig {
    const JITTER_EXPECTED: &str = "a share of at least 0 and below 1";
    let is_jitter = |number: f64| (0.0..1.0).contains(&number);
    let count = |key, default| table.whole(key, default, 1..=COUNT_MAX);
    let breaker = BreakerConfig {
        consecutive_failures: count("consecutive_failures", base.consecutive_failures),
        failure_ratio: table.share(
            "failure_ratio",
            base.failure_ratio,
            SHARE_EXPECTED,
            is_share,
        ),
        ratio_window: table.duration("ratio_window", base.ratio_window),
        ratio_min_calls: count("ratio_min_calls", base.ratio_min_calls),
        open: table.duration("open", base.open),
        open_max: table.duration("open_max", base.open_max),
        open_jitter: table.share("open_jitter", base.open_jitter, JITTER_EXPECTED, is_jitter),
        close_after: count("close_after", base.close_after),
        rate_limit_gate: table.duration("rate_limit_gate", base.rate_limit_gate),
        quota_gate: table.duration("quota_gate", base.quota_gate),
    };
    if breaker.open > breaker.open_max {
        let longer = table.get("open").or_else(|| table.get("open_max"));
        if let Some(value) = longer {
            value.fail(format!(
                "expected `open` to be at most `open_max`, found {:?} above {:?}",
                breaker.open, breaker.open_max
            ));
        }
    }
    table.finish();
    breaker
}

pub(super) fn log(table: Table<'_>) -> Log {
    let log = Log {
        format: table.choice(
            "format",
            [("json", LogFormat::Json), ("text", LogFormat::Text)],
        ),
        level: table.choice(
            "level",
            [
                ("info", Level::INFO),
                ("error", Level::ERROR),
                ("warn", Level::WARN),
                ("debug", Level::DEBUG),
                ("trace", Level::TRACE),
            ],
        ),
        access: table.flag("access", true),
    };
    table.finish();
    log
}
