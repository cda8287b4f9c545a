//! What the tests stand on: a scripted upstream, a literal client, and a running instance.

pub mod client;
pub mod instance;
pub mod names;
pub mod nats;
pub mod postgres;
pub mod reply;
pub mod setup;
pub mod tls;
pub mod upstream;
pub mod wire;

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
