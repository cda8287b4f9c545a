//! The ledger as bytes: what an entry says, how it lies in a segment, and what is left of a segment
//! whose writer died. No file, no clock: whoever writes or reads brings them. docs/LEDGER.md has the
//! format byte by byte.
//!
//! - An [`Entry`] is one call, with the names that it needs to be read: no table beside it.
//! - A frame carries an entry, or what [amends](frame::Kind::Amendment) one. Its checksum tells a
//!   whole one from a torn one, its serial number shows when one is missing.
//! - A segment is a [`Header`] and frames, one core's, in the order in which calls ended.
//! - What was written is a [`Leaf`] of a [Merkle tree](merkle), whose heads are signed: [`tree`] is the
//!   file that has them.

pub mod amount;
pub mod border;
mod bytes;
mod crc;
pub mod entry;
pub mod frame;
pub mod id;
pub mod leaf;
pub mod merge;
pub mod merkle;
pub mod scan;
pub mod segment;
pub mod text;
pub mod tree;

pub use amount::Amount;
pub use border::Border;
pub use entry::{Attempt, Call, Entry};
pub use id::{EntryId, RunId};
pub use leaf::Leaf;
pub use scan::{Found, Scan};
pub use segment::Header;
pub use text::{Kept, Text};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
