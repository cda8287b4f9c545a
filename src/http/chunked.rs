//! The chunked coding, taken off in place (RFC 9112 section 7.1).

use std::ops::Range;

use super::fields::is_token_byte;

/// Hexadecimal digits of a chunk's size: as many as 64 bits have.
pub const SIZE_DIGITS_MAX: u32 = 16;

/// Bytes of all the chunk extensions of one body together. They are read and dropped.
pub const EXTENSION_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a body's trailer section. It is read and dropped.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// What one call of [`ChunkedDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where the payload now stands in the slice.
    pub payload: Range<usize>,
    /// Bytes of the slice that belong to this body. Less than all of them only when `done`.
    pub consumed: usize,
    /// The body has ended; what lies behind `consumed` is the next message's.
    pub done: bool,
}

/// Why a body's framing is not believed. Where the message ends is then unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// Not one to sixteen hexadecimal digits.
    #[error("a chunk's size is not a hexadecimal number")]
    Size,
    /// A line of the framing, or a chunk's data, is not followed by CR LF.
    #[error("a chunk or a line of its framing does not end in CR LF")]
    LineEnd,
    /// A control byte in a chunk extension.
    #[error("a chunk extension has a control byte")]
    Extension,
    /// More than [`EXTENSION_BYTES_MAX`].
    #[error("the chunk extensions are longer than this server accepts")]
    ExtensionsTooLong,
    /// A trailer line that is not a field.
    #[error("a trailer is not a field")]
    Trailer,
    /// More than [`TRAILER_BYTES_MAX`].
    #[error("the trailers are longer than this server accepts")]
    TrailersTooLong,
}

/// Reads a chunked body piece by piece, however it was cut. After an error every further call
/// returns that error.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// What is still to come of the chunk, or its size as far as its digits have been read.
    left: u64,
    /// Bytes of extensions, later of trailers.
    dropped: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Within the size, after so many digits.
    Size(u32),
    /// In white space behind the size, which only an extension may follow.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line of the trailer section.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Bad(BadChunk),
}

impl ChunkedDecoder {
    /// A decoder at the beginning of a body.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder {
            state: State::Size(0),
            left: 0,
            dropped: 0,
        }
    }

    /// Bytes that are still to come of the chunk that has begun; of one whose size isn't there
    /// whole, no more than it will have.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes the framing out of `bytes`, the next piece of the body: the payload of several chunks
    /// is moved together in place, that of one chunk is not moved. Keeps what it needs of a line
    /// that is cut, so that no byte need be presented twice.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, BadChunk> {
        let mut payload = 0..0;
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX);
                let end = at + here.min(bytes.len() - at);
                self.left -= (end - at) as u64;
                if payload.is_empty() {
                    payload = at..end;
                } else {
                    bytes.copy_within(at..end, payload.end);
                    payload.end += end - at;
                }
                at = end;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.after(bytes[at]).unwrap_or_else(State::Bad);
                at += 1;
            }
            if let State::Bad(bad) = self.state {
                return Err(bad);
            }
        }
        match self.state {
            State::Bad(bad) => Err(bad),
            state => Ok(Decoded {
                payload,
                consumed: at,
                done: state == State::Done,
            }),
        }
    }

    /// The state after one byte of framing.
    #[inline]
    fn after(&mut self, byte: u8) -> Result<State, BadChunk> {
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(BadChunk::Size);
                }
                self.left = self.left << 4 | u64::from(hex_value(byte));
                Ok(State::Size(digits + 1))
            }
            (State::Size(0), _) => Err(BadChunk::Size),
            (State::Size(_) | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Size(_) | State::Space, b';') => self.extension(State::Extension),
            (State::Size(_) | State::Space, b' ' | b'\t') => self.extension(State::Space),
            (State::Size(_), _) => Err(BadChunk::Size),
            (State::Space, _) => Err(BadChunk::Size),
            (State::Extension, _) if is_text(byte) => self.extension(State::Extension),
            (State::Extension, _) => Err(BadChunk::Extension),
            (State::SizeLf, b'\n') if self.left > 0 => Ok(State::Data),
            (State::SizeLf, b'\n') => {
                self.dropped = 0;
                Ok(State::Trailer)
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size(0)),
            (State::Trailer, b'\r') => Ok(State::EndLf),
            (State::Trailer | State::TrailerName, _) if is_token_byte(byte) => {
                self.trailer(State::TrailerName)
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::TrailerValue, b'\r') => self.trailer(State::TrailerLf),
            (State::TrailerValue, _) if is_text(byte) => self.trailer(State::TrailerValue),
            (State::Trailer | State::TrailerName | State::TrailerValue, _) => {
                Err(BadChunk::Trailer)
            }
            (State::TrailerLf, b'\n') => self.trailer(State::Trailer),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::Bad(bad), _) => Err(bad),
            (_, _) => Err(BadChunk::LineEnd),
        }
    }

    fn extension(&mut self, next: State) -> Result<State, BadChunk> {
        self.dropped += 1;
        match self.dropped {
            0..=EXTENSION_BYTES_MAX => Ok(next),
            _ => Err(BadChunk::ExtensionsTooLong),
        }
    }

    fn trailer(&mut self, next: State) -> Result<State, BadChunk> {
        self.dropped += 1;
        match self.dropped {
            0..=TRAILER_BYTES_MAX => Ok(next),
            _ => Err(BadChunk::TrailersTooLong),
        }
    }
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The value of a hexadecimal digit.
#[inline]
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// What may stand in an extension or in a trailer's value: no control byte but the tab.
#[inline]
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}
