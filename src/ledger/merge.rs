//! One entry for each call: what amends one is in its place.

use std::collections::HashMap;

use super::entry::Entry;
use super::frame::Kind;
use super::scan::{Found, Scan};

/// What amends the entries of one core of one run: by call, the last payload. Few calls have one:
/// those that ended otherwise than it looked when their last bytes were about to be sent.
#[derive(Debug, Default)]
pub struct Amendments(HashMap<u64, Box<[u8]>>);

impl Amendments {
    /// Takes in those of a segment; all segments of a core go in before the first is read.
    pub fn collect(&mut self, scan: Scan<'_>) {
        for found in scan {
            if let Found::Frame(_, frame) = found
                && frame.payload.first() == Some(&(Kind::Amendment as u8))
                && let Some(entry) = Entry::decode(frame.payload)
            {
                self.0.insert(entry.call.number, frame.payload.into());
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in an entry's place, which is not asked for again.
    pub fn take(&mut self, call: u64) -> Option<Box<[u8]>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.remove(&call)
    }

    /// Those whose entry was nowhere: it lay in a part that is gone.
    pub fn rest(self) -> impl Iterator<Item = Box<[u8]>> {
        let mut rest: Vec<(u64, Box<[u8]>)> = self.0.into_iter().collect();
        rest.sort_by_key(|(call, _)| *call);
        rest.into_iter().map(|(_, payload)| payload)
    }
}
