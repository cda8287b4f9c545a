//! How entries follow each other in a segment.
//!
//! A frame begins at a multiple of 8 bytes: the payload's length, a checksum of all that follows it,
//! the frame's serial number, the payload, and zeros up to the next multiple. A length of zero is the
//! end: the file is zeros from there on. The length is written last, so that a process that dies at
//! any instant leaves whole frames only; what a machine that dies leaves, the checksum tells.

use super::bytes::{Eye, Pen};
use super::crc;

/// Bytes before a payload.
pub const HEAD_BYTES: usize = 16;

const CHECKSUM_AT: usize = 4;
const SERIAL_AT: usize = 8;

/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;

/// No payload is longer: whatever says otherwise is no frame.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// What a payload is: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A call has ended.
    Entry = 1,
    /// A call had ended otherwise than its entry says: this is in the entry's place.
    Amendment = 2,
}

/// Bytes that a frame with such a payload takes.
pub const fn size(payload: usize) -> usize {
    (HEAD_BYTES + payload).next_multiple_of(ALIGN)
}

/// A frame that lies in its place but for its length: that is to be written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What to write into its first four bytes, little-endian.
    pub length: u32,
    /// Bytes that the frame takes.
    pub size: usize,
}

/// Writes a frame at the beginning of `place`, which is zeros, and leaves its first four bytes as
/// they are. None if there is no room for it, or its payload is too long.
pub fn write(
    place: &mut [u8],
    serial: u64,
    payload: impl FnOnce(&mut Pen<'_>) -> Option<()>,
) -> Option<Written> {
    let (head, rest) = place.split_first_chunk_mut::<HEAD_BYTES>()?;
    let room = rest.len().min(PAYLOAD_BYTES_MAX);
    let mut pen = Pen::new(&mut rest[..room]);
    let wrote = payload(&mut pen);
    let length = pen.written();
    let size = size(length);
    if wrote.is_none() || length == 0 || size > HEAD_BYTES + rest.len() {
        // What was written of it must not be taken for a frame that was torn.
        rest[..length].fill(0);
        return None;
    }
    head[8..].copy_from_slice(&serial.to_le_bytes());
    let covered = place.get(SERIAL_AT..HEAD_BYTES + length)?;
    let checksum = checksum(length as u32, covered);
    place[CHECKSUM_AT..SERIAL_AT].copy_from_slice(&checksum.to_le_bytes());
    Some(Written {
        length: length as u32,
        size,
    })
}

/// CRC-32C (Castagnoli) of a length, and of serial number and payload as they lie behind each other.
#[inline]
fn checksum(length: u32, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc::of_word(length), covered)
}

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Counted from 0 over all segments of one core of one run.
    pub serial: u64,
    /// An entry, or an amendment.
    pub payload: &'b [u8],
    /// Bytes that it takes.
    pub size: usize,
}

/// What lies at a place where a frame could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'b> {
    /// A whole frame.
    Frame(Frame<'b>),
    /// No frame: a length of zero, or not even room for one.
    Nothing,
    /// Something that is no whole frame.
    Torn,
}

/// Reads what lies at the beginning of `bytes`.
pub fn read(bytes: &[u8]) -> Read<'_> {
    let mut eye = Eye(bytes);
    let Some(head) = eye.array::<HEAD_BYTES>() else {
        return match bytes.iter().all(|byte| *byte == 0) {
            true => Read::Nothing,
            false => Read::Torn,
        };
    };
    let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let length = u32::from_le_bytes(word(0));
    if length == 0 {
        return Read::Nothing;
    }
    let serial = [word(8), word(12)].concat();
    let serial = u64::from_le_bytes(serial.first_chunk().copied().unwrap_or_default());
    let payload = match length as usize <= PAYLOAD_BYTES_MAX {
        true => eye.bytes(length as usize),
        false => None,
    };
    match payload {
        Some(payload)
            if bytes.len() >= size(payload.len())
                && checksum(length, &bytes[SERIAL_AT..HEAD_BYTES + payload.len()])
                    == u32::from_le_bytes(word(CHECKSUM_AT)) =>
        {
            Read::Frame(Frame {
                serial,
                payload,
                size: size(payload.len()),
            })
        }
        _ => Read::Torn,
    }
}
