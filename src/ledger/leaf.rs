//! What is hashed of an entry: its own bytes, and what it takes to read them that stands elsewhere in
//! its segment. docs/AUDIT.md has it byte by byte.

use super::bytes::Eye;
use super::merkle::{Hash, leaf_hash};
use super::segment::Header;
use super::{EntryId, RunId};

/// Bytes before the payload.
pub const ORIGIN_BYTES: usize = 28;

/// A frame's payload, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'l> {
    /// The process.
    pub run: RunId,
    /// Its core.
    pub core: u16,
    /// Where the instance stands.
    pub jurisdiction: [u8; 2],
    /// What prices are in, or zeros.
    pub currency: [u8; 3],
    /// The frame's serial number.
    pub serial: u64,
    /// An entry, or an amendment, which is a leaf of its own.
    pub payload: &'l [u8],
}

impl<'l> Leaf<'l> {
    /// Of a frame in a segment.
    pub fn new(header: &Header, serial: u64, payload: &'l [u8]) -> Leaf<'l> {
        Leaf {
            run: header.run,
            core: header.core,
            jurisdiction: header.jurisdiction,
            currency: header.currency,
            serial,
            payload,
        }
    }

    fn origin(&self) -> [u8; ORIGIN_BYTES] {
        let mut bytes = [0; ORIGIN_BYTES];
        bytes[..12].copy_from_slice(&self.run.0);
        bytes[12..14].copy_from_slice(&self.core.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.jurisdiction);
        bytes[16..19].copy_from_slice(&self.currency);
        bytes[20..].copy_from_slice(&self.serial.to_le_bytes());
        bytes
    }

    /// Its hash in the tree.
    pub fn hash(&self) -> Hash {
        leaf_hash(&[&self.origin(), self.payload])
    }

    /// All that is hashed.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.origin(), self.payload].concat()
    }

    /// Reads what was hashed. None if it can't be.
    pub fn decode(bytes: &'l [u8]) -> Option<Leaf<'l>> {
        let mut eye = Eye(bytes);
        let (run, core) = (RunId(*eye.array()?), u16::from_le_bytes(*eye.array()?));
        let (jurisdiction, currency) = (*eye.array()?, *eye.array()?);
        let [0] = *eye.array()? else {
            return None;
        };
        Some(Leaf {
            run,
            core,
            jurisdiction,
            currency,
            serial: u64::from_le_bytes(*eye.array()?),
            payload: eye.0,
        })
    }

    /// What the entry of this call would be called.
    pub fn id(&self, call: u64) -> EntryId {
        EntryId {
            run: self.run,
            core: self.core,
            call,
        }
    }
}
