//! Doors: what touches a socket, a ring or raw memory. With the body probe's SIMD file, the only
//! room with `unsafe`; everything above it sees owned buffers and plain futures.
//!
//! The rest of the proxy knows [`Reader`], [`Writer`] and [`Conn`] only, so that another backend
//! than monoio could stand behind them.

pub mod bell;
pub mod buffer;
pub mod clock;
pub mod cpu;
pub mod deadline;
pub mod descriptors;
pub mod dumps;
pub mod gather;
pub mod gauge;
pub mod handed;
pub mod listener;
pub mod mapped;
pub mod memory;
pub mod pool;
mod recycled;
pub mod ring;
mod socket;
pub mod stream;
pub mod tls;
pub mod turn;
mod turnstile;

#[cfg(test)]
pub(crate) mod testing;

pub use bell::{Bell, Ear};
pub use buffer::Buffer;
pub use deadline::{Deadline, Deadlines, Ends};
pub use gather::Gather;
pub use pool::{Pool, Terms};
pub use recycled::Recycled;
pub use stream::{Conn, Reader, Writer};
pub use tls::{BadTls, ClientTls, Roots, ServerTls, Trust};
