//! From bytes as they were framed by the other side to bare payload, in the buffer they came in.

use crate::http::chunked::ChunkedDecoder;
use crate::net::Buffer;

/// A body's framing, and how far it has been read.
pub enum Payload {
    /// This many bytes are still to come.
    Length(u64),
    /// Chunked transfer coding.
    Chunked(ChunkedDecoder),
    /// Everything up to the end of the connection.
    UntilClose,
}

/// What a read added to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    More,
    /// The body ends here, exactly where the bytes do.
    Done,
    /// The body ends here, but `excess` bytes came behind it. They stay in the buffer.
    DoneEarly {
        /// Bytes behind the body's end, at the end of the readable part.
        excess: usize,
    },
}

/// The body is not framed as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Payload {
    /// Whether a body with that framing is over before it begins.
    pub fn is_empty(&self) -> bool {
        matches!(self, Payload::Length(0))
    }

    /// Bytes that are known to come: the rest of a length, or of the chunk that has begun.
    pub fn announced(&self) -> u64 {
        match self {
            Payload::Length(left) => *left,
            Payload::Chunked(decoder) => decoder.left(),
            Payload::UntilClose => 0,
        }
    }

    /// Turns `readable()[from..]`, which is as it was received, into payload right behind the
    /// first `from` bytes, which are payload already. The smaller part moves.
    ///
    /// # Errors
    /// A chunk that is not one.
    pub fn absorb(&mut self, buffer: &mut Buffer, from: usize) -> Result<Progress, Broken> {
        let received = buffer.len() - from;
        match self {
            Payload::UntilClose => Ok(Progress::More),
            Payload::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(received);
                *left -= taken as u64;
                Ok(match (*left, received - taken) {
                    (0, 0) => Progress::Done,
                    (0, excess) => Progress::DoneEarly { excess },
                    _ => Progress::More,
                })
            }
            Payload::Chunked(decoder) => {
                let decoded = decoder
                    .decode(&mut buffer.readable_mut()[from..])
                    .map_err(|_| Broken)?;
                let excess = received - decoded.consumed;
                let (start, length) = (decoded.payload.start, decoded.payload.len());
                buffer.close_gap(from, start, length, excess);
                Ok(match (decoded.done, excess) {
                    (false, _) => Progress::More,
                    (true, 0) => Progress::Done,
                    (true, excess) => Progress::DoneEarly { excess },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::with_headroom(1024, 32);
        buffer.extend(bytes);
        buffer
    }

    #[test]
    fn chunks_become_payload_behind_what_was_there() {
        for kept in ["", "k", "kept, and longer than what comes"] {
            let mut payload = Payload::Chunked(ChunkedDecoder::new());
            let mut bytes = buffer(format!("{kept}5\r\nhello\r\n1\r\n \r\n").as_bytes());
            assert_eq!(payload.absorb(&mut bytes, kept.len()), Ok(Progress::More));
            assert_eq!(bytes.readable(), format!("{kept}hello ").as_bytes());
            let from = bytes.len();
            bytes.extend(b"5\r\nworld\r\n0\r\nTrailer: x\r\n\r\nHTTP");
            let done = payload.absorb(&mut bytes, from);
            assert_eq!(done, Ok(Progress::DoneEarly { excess: 4 }));
            assert_eq!(
                bytes.readable(),
                format!("{kept}hello worldHTTP").as_bytes()
            );
        }
    }

    #[test]
    fn a_length_is_counted_down_and_excess_is_told_apart() {
        let mut payload = Payload::Length(5);
        let mut bytes = buffer(b"abc");
        assert_eq!(payload.absorb(&mut bytes, 0), Ok(Progress::More));
        bytes.extend(b"de");
        assert_eq!(payload.absorb(&mut bytes, 3), Ok(Progress::Done));
        let mut payload = Payload::Length(2);
        let done = payload.absorb(&mut buffer(b"abc"), 0);
        assert_eq!(done, Ok(Progress::DoneEarly { excess: 1 }));
    }

    #[test]
    fn a_bad_chunk_is_broken() {
        let mut payload = Payload::Chunked(ChunkedDecoder::new());
        assert_eq!(payload.absorb(&mut buffer(b"zz\r\n"), 0), Err(Broken));
    }
}
