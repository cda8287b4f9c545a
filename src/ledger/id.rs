//! What entries are called: for ever, everywhere, and before they are written.

use std::fmt;
use std::str::FromStr;

/// One process's life as an instance: when it began, in milliseconds since 1970 (48 bits), and 48
/// bits of chance, so that no two share one. Sorts by time. Shown as 24 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub [u8; 12]);

impl RunId {
    /// A life that begins now.
    pub fn new(unix_ms: u64, chance: u64) -> RunId {
        let mut id = [0; 12];
        id[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        id[6..].copy_from_slice(&chance.to_be_bytes()[2..]);
        RunId(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected RUN-CORE-CALL: 24 hexadecimal digits, and two numbers")]
pub struct NotAnId;

impl FromStr for RunId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<RunId, NotAnId> {
        let mut id = [0; 12];
        let digits = text.as_bytes();
        if digits.len() != 2 * id.len() {
            return Err(NotAnId);
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Ok(digit - b'0'),
                b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(NotAnId),
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(RunId(id))
    }
}

/// One entry: the how-manieth call of a core in a run. Shown as `RUN-CORE-CALL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The process.
    pub run: RunId,
    /// Its core.
    pub core: u16,
    /// The call, counted from 0 in the order in which calls began.
    pub call: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.run, self.core, self.call)
    }
}

impl FromStr for EntryId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<EntryId, NotAnId> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(NotAnId);
        let (run, core, call) = (next()?, next()?, next()?);
        let id = EntryId {
            run: run.parse()?,
            core: core.parse().map_err(|_| NotAnId)?,
            call: call.parse().map_err(|_| NotAnId)?,
        };
        // One id has one text.
        (id.to_string() == text).then_some(id).ok_or(NotAnId)
    }
}
