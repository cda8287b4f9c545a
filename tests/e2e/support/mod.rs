//! What the tests stand on: a scripted upstream, a literal client, and a running instance.

pub mod client;
pub mod disk;
pub mod instance;
pub mod names;
pub mod nats;
pub mod postgres;
pub mod reply;
pub mod setup;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::io::Write;
use std::time::Duration;

pub use client::{Ask, Client, KEY, Response};
pub use instance::{Instance, eventually, spawn_bounded, within};
pub use reply::{Reply, chat_body, delta, usage_only};
pub use setup::Setup;
pub use tls::{Authority, Identity};
pub use upstream::{BlackHole, Mute, Refusing, Request, Upstream};

/// So many milliseconds.
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Says that a test passes without having tested anything, since what it needs isn't installed; not
/// by a macro, whose output the test runner keeps to itself. With `SRPD_E2E_SERVERS=required`, as in
/// CI, that is a failure.
pub fn skipped(why: &str) {
    let required = std::env::var("SRPD_E2E_SERVERS").is_ok_and(|it| it == "required");
    assert!(!required, "{why}");
    let current = std::thread::current();
    let test = current.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
