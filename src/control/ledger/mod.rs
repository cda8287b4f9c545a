//! The office's side of the ledger: blank segments are made ready before they are needed, written
//! ones made durable, full ones sealed, old ones removed, and those of writers that died put in
//! order. All of it on a thread of its own, since all of it waits for a disk.

mod clerk;
pub mod files;
pub mod line;
mod recovery;
pub mod retention;
mod segment;
pub mod sent;

pub use clerk::{Clerk, ClerkHandle, LedgerError};

use std::sync::Arc;

use crate::tables::ledger::{Standing, Tally};
use sent::SinkStates;

/// What the admin plane sees of it.
pub struct LedgerView {
    /// How it stands.
    pub standing: Arc<Standing>,
    /// What each core counts.
    pub tallies: Vec<Arc<Tally>>,
    /// The sinks, and how they stand.
    pub sinks: SinkStates,
    /// Whether calls are served whether they can be recorded or not.
    pub serve_on: bool,
}

impl LedgerView {
    /// Why the instance should get no calls, if it should get none.
    pub fn unready(&self) -> Option<String> {
        let starved = self.standing.is_unsafe() || self.standing.is_starved();
        if self.serve_on || !starved {
            return None;
        }
        let trouble = self.standing.trouble()?;
        Some(format!("the ledger can't be written: {trouble}"))
    }
}

#[cfg(test)]
mod tests;
