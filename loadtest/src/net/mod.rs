//! Connections: bytes that come in and go out, with TLS or without, and how one waits for them.

mod connection;
mod inbox;
mod seat;
mod tls;

pub use connection::Connection;
pub use inbox::{Inbox, Incoming};
pub use seat::{Seat, Turn};
pub use tls::Trust;
