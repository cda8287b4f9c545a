//! TLS 1.3 and 1.2, both sides: what is configured, and the session of one connection.
//!
//! A [`Session`] is rustls' unbuffered state machine with the bytes that it is in the middle of.
//! It knows no socket: ciphertext is put into it, plaintext and ciphertext come out. Its
//! connection is `net/stream.rs`.

mod broken;
mod config;
mod machine;
mod record;
mod session;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

pub use broken::{Broken, Cause, cause, flaw};
pub use config::{BadTls, ClientTls, Roots, ServerTls, Trust};
pub(super) use record::PAYLOAD_MAX;
pub use session::Opening;
pub(super) use session::{Received, Session};
