//! The corridor: the way of a call, from the bytes that arrive to the settlement. Hot path.
//!
//! [`handshake`] lets a client in, [`connection`] reads requests, [`intake`] decides whose they are and where they may go,
//! [`call`] tries the candidates, [`attempt`] speaks to one endpoint, [`relay`] carries the
//! answer back, [`settle`] closes the books.

pub mod admission;
pub mod ahead;
pub mod answer;
pub mod ask;
pub mod attempt;
pub mod body;
pub mod call;
pub mod client;
pub mod conclude;
pub mod connection;
pub mod contain;
pub mod core;
pub mod deferral;
pub mod edits;
pub mod handshake;
pub mod inbound;
pub mod intake;
pub mod leases;
pub mod ledger;
pub mod memory;
pub mod message;
pub mod models;
pub mod pace;
pub mod payload;
pub mod queue;
pub mod reject;
pub mod relay;
pub mod room;
pub mod settle;
pub mod slots;
#[cfg(test)]
mod soak;
pub mod strain;
pub mod supply;
pub mod targets;
#[cfg(test)]
mod testing;
pub mod tracing;
mod trail;
pub mod verdict;
pub mod waiter;
pub mod waiting;

pub use connection::{serve, turn_away};
pub use contain::contain;
pub use core::{Core, CoreParts};
pub use room::{Place, Room};
