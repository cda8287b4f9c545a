//! The monotonic clock, as a number: it is sent along with events, and read back from them.

use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: comparable between processes of one running system.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Tells one running system from another: times of this clock compare only where it is the same.
/// Zero where the kernel doesn't say.
pub fn system() -> u32 {
    static SYSTEM: OnceLock<u32> = OnceLock::new();
    *SYSTEM.get_or_init(|| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let first = boot.split('-').next().unwrap_or_default();
        u32::from_str_radix(first, 16).unwrap_or(0)
    })
}

/// Nanoseconds as seconds.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Seconds as nanoseconds; nothing below zero.
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).max(0.0) as u64
}
