//! The notice boards, where the office and the cores meet without ever waiting for each other.
//!
//! Decisions come down as a [`Snapshot`]: immutable, published under an epoch, copied by each
//! core when the epoch moves. Facts go up as [`Fact`]s through a channel, and as counters. The
//! few words that several cores write stand on the [`Board`]; only failure paths touch them.

pub mod board;
pub mod demand;
pub mod fact;
pub mod ledger;
pub mod lines;
pub mod load;
pub mod market;
pub mod meter;
pub mod routes;
pub mod scatter;
pub mod snapshot;
pub mod view;

#[cfg(test)]
mod testing;

pub use board::Board;
pub use fact::{Fact, ProbeOutcome, Target};
pub use ledger::LedgerLink;
pub use load::{EndpointLoad, Loads, Outstanding, Queue};
pub use market::{Market, Reserve, ReserveId};
pub use meter::{Limit, Meter, MeterId};
pub use routes::Routes;
pub use snapshot::{BreakerView, Snapshot, Stage, States, TargetState};
pub use view::View;
