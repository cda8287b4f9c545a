//! Reading a segment from its first frame to its last, whatever has happened to it.

use super::frame::{ALIGN, Frame, HEAD_BYTES, Read, read};

/// What is found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'b> {
    /// A whole frame, and where it begins.
    Frame(usize, Frame<'b>),
    /// Bytes that are no whole frame, with whole frames behind them: the segment is damaged.
    Damage(usize),
}

/// The frames of a segment, in order. After the last, [`Scan::end`] says where the next would begin.
#[derive(Clone, Debug)]
pub struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
    last: Option<u64>,
    ended: bool,
}

impl<'b> Scan<'b> {
    /// Begins at `from`, where a frame begins or nothing.
    pub fn new(bytes: &'b [u8], from: usize) -> Scan<'b> {
        Scan {
            bytes,
            at: from.min(bytes.len()),
            last: None,
            ended: false,
        }
    }

    /// Behind the last whole frame.
    pub fn end(&self) -> usize {
        self.at
    }

    /// Bytes behind the last whole frame that are no zeros, and all before them: what a writer that
    /// died has left of a frame. To be asked at the end.
    pub fn torn(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
    }

    /// The next whole frame behind what is none.
    fn resume(&self) -> Option<usize> {
        let mut at = self.at;
        loop {
            at = next_written(self.bytes, at + ALIGN)?;
            if self.is_likely(at) && matches!(read(&self.bytes[at..]), Read::Frame(_)) {
                return Some(at);
            }
        }
    }

    /// Whether the serial number there could be: a checksum of everything that looks like a length
    /// would take for ever.
    fn is_likely(&self, at: usize) -> bool {
        let head = self.bytes[at..].first_chunk::<HEAD_BYTES>();
        let serial = head.and_then(|head| head[8..].first_chunk());
        let Some(serial) = serial.map(|bytes| u64::from_le_bytes(*bytes)) else {
            return false;
        };
        let most = (self.bytes.len() / HEAD_BYTES) as u64;
        match self.last {
            Some(last) => serial > last && serial - last <= most,
            None => true,
        }
    }
}

/// Reads once more what is no frame in a copy of a segment that is being written: two frames may be
/// stored while the first is being copied, and then the second is there without it. Whoever sees the
/// second finds the first by now. `again` fills bytes anew from their place in the copy; what is no
/// frame then either is damaged.
///
/// # Errors
/// What `again` says.
pub fn settle<E>(
    bytes: &mut [u8],
    from: usize,
    mut again: impl FnMut(&mut [u8], usize) -> Result<(), E>,
) -> Result<(), E> {
    let (mut from, mut seen_at) = (from, None);
    while let Some((begin, end)) = first_damage(bytes, from) {
        if seen_at == Some(begin) {
            from = end;
            continue;
        }
        again(&mut bytes[begin..end], begin)?;
        (from, seen_at) = (begin, Some(begin));
    }
    Ok(())
}

fn first_damage(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut scan = Scan::new(bytes, from);
    while let Some(found) = scan.next() {
        if let Found::Damage(length) = found {
            return Some((scan.end() - length, scan.end()));
        }
    }
    None
}

/// The first place from `at` on where a frame could begin and that isn't all zeros.
fn next_written(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    const STRIDE: usize = 16 * ALIGN;
    let zeros = rest
        .chunks_exact(STRIDE)
        .take_while(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        .count();
    let from = zeros * STRIDE;
    let near = rest[from..].chunks_exact(ALIGN);
    let blank = near.take_while(|word| word.iter().all(|byte| *byte == 0));
    let found = at + from + blank.count() * ALIGN;
    (found + HEAD_BYTES <= bytes.len()).then_some(found)
}

impl<'b> Iterator for Scan<'b> {
    type Item = Found<'b>;

    fn next(&mut self) -> Option<Found<'b>> {
        if self.ended {
            return None;
        }
        let begun = self.at;
        match read(self.bytes.get(begun..)?) {
            Read::Frame(frame) => {
                self.at += frame.size;
                self.last = Some(frame.serial);
                Some(Found::Frame(begun, frame))
            }
            Read::Nothing | Read::Torn => match self.resume() {
                Some(at) => {
                    self.at = at;
                    Some(Found::Damage(at - begun))
                }
                None => {
                    self.ended = true;
                    None
                }
            },
        }
    }
}
