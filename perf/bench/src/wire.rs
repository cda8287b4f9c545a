//! Just enough HTTP/1.1 to measure with: heads and chunks of well-behaved peers. Independent of
//! srpd's own code, so that a fault there can't hide itself here.

use std::future::Future;
use std::io;

use monoio::buf::IoBufMut;
use monoio::io::AsyncReadRent;
use monoio::net::TcpStream;

/// Bytes of room for one read.
const READ_BYTES: usize = 64 * 1024;
/// The longest message head that is waited for.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What bytes come from.
pub trait Receive {
    /// Appends what comes next: how many bytes, 0 for the peer's end.
    fn receive(&mut self, buffer: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;
}

impl Receive for TcpStream {
    async fn receive(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let (from, to) = (buffer.len(), buffer.capacity());
        let (read, slice) = self.read(buffer.slice_mut(from..to)).await;
        (read, slice.into_inner())
    }
}

/// Received bytes that are not dealt with yet.
pub struct Inbox {
    buffer: Vec<u8>,
    begin: usize,
}

impl Inbox {
    /// Empty.
    pub fn new() -> Inbox {
        Inbox {
            buffer: Vec::with_capacity(READ_BYTES),
            begin: 0,
        }
    }

    /// What has come in and is not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..]
    }

    /// Marks the first `n` bytes as dealt with.
    pub fn consume(&mut self, n: usize) {
        self.begin += n;
        if self.begin == self.buffer.len() {
            self.buffer.clear();
            self.begin = 0;
        }
    }

    /// Reads once. `UnexpectedEof` if the peer has closed.
    pub async fn fill(&mut self, stream: &mut impl Receive) -> io::Result<()> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES {
            self.buffer.drain(..self.begin);
            self.begin = 0;
            self.buffer.reserve(READ_BYTES);
        }
        let read;
        (read, self.buffer) = stream.receive(std::mem::take(&mut self.buffer)).await;
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads until a message's first line is in hand, and shows it.
    pub async fn line(&mut self, stream: &mut impl Receive) -> io::Result<&str> {
        loop {
            if let Some(end) = memchr::memchr(b'\r', self.bytes()) {
                return std::str::from_utf8(&self.bytes()[..end]).map_err(io::Error::other);
            }
            if self.bytes().len() > HEAD_BYTES_MAX {
                return Err(invalid("the first line does not end"));
            }
            self.fill(stream).await?;
        }
    }

    /// Reads until a whole head is in hand, and consumes it.
    pub async fn head(&mut self, stream: &mut impl Receive) -> io::Result<Head> {
        loop {
            if let Some(head) = parse_head(self.bytes())? {
                self.consume(head.length);
                return Ok(head);
            }
            if self.bytes().len() > HEAD_BYTES_MAX {
                return Err(invalid("the head does not end"));
            }
            self.fill(stream).await?;
        }
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; a head that says nothing means 0.
    Length(usize),
    /// With the last chunk.
    Chunked,
}

/// What matters of a request's or a response's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes, the blank line included.
    pub length: usize,
    /// Of a response; 0 of a request.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the peer closes after the body.
    pub close: bool,
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Parses a head if it is complete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = bytes[..end].split(|&byte| byte == b'\n');
    let start = lines.next().unwrap_or_default();
    let status = match start.strip_prefix(b"HTTP/1.1 ") {
        Some(rest) => number(rest.get(..3).unwrap_or_default())
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| invalid("no status"))?,
        None => 0,
    };
    let mut head = Head {
        length: end + 4,
        status,
        framing: Framing::Length(0),
        close: false,
    };
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err(invalid("a field without a colon"));
        };
        let value = line[colon + 1..].trim_ascii();
        match colon {
            14 if line[..colon].eq_ignore_ascii_case(b"content-length") => {
                let length = number(value).ok_or_else(|| invalid("Content-Length"))?;
                head.framing = Framing::Length(length);
            }
            17 if line[..colon].eq_ignore_ascii_case(b"transfer-encoding") => {
                head.framing = Framing::Chunked;
            }
            10 if line[..colon].eq_ignore_ascii_case(b"connection") => {
                head.close = value.eq_ignore_ascii_case(b"close");
            }
            _ => {}
        }
    }
    Ok(Some(head))
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A chunked body being taken apart, across any cuts.
#[derive(Debug, Default)]
pub struct Chunks {
    state: ChunkState,
}

#[derive(Debug, Default)]
enum ChunkState {
    /// In the digits of a size; so much of it is known.
    #[default]
    Size,
    SizeDigits(usize),
    /// So many payload bytes to come.
    Payload(usize),
    /// The line end after a payload.
    AfterPayload,
    /// The blank line after the last chunk.
    End,
}

impl Chunks {
    /// Takes in `bytes`, hands payload to `sink`; returns how many bytes were used and whether
    /// the body is over.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> io::Result<(usize, bool)> {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match self.state {
                ChunkState::Payload(left) => {
                    let take = left.min(bytes.len() - at);
                    sink(&bytes[at..at + take]);
                    at += take;
                    self.state = if take == left {
                        ChunkState::AfterPayload
                    } else {
                        ChunkState::Payload(left - take)
                    };
                    continue;
                }
                ChunkState::Size => self.state = ChunkState::SizeDigits(hex(byte)?),
                ChunkState::SizeDigits(size) => match byte {
                    b'\r' => {}
                    b'\n' if size == 0 => self.state = ChunkState::End,
                    b'\n' => self.state = ChunkState::Payload(size),
                    _ => self.state = ChunkState::SizeDigits(size * 16 + hex(byte)?),
                },
                ChunkState::AfterPayload if byte == b'\n' => self.state = ChunkState::Size,
                ChunkState::End if byte == b'\n' => return Ok((at + 1, true)),
                ChunkState::AfterPayload | ChunkState::End if byte == b'\r' => {}
                ChunkState::AfterPayload => return Err(invalid("no line end after a chunk")),
                ChunkState::End => return Err(invalid("a trailer: none is expected here")),
            }
            at += 1;
        }
        Ok((at, false))
    }
}

fn hex(byte: u8) -> io::Result<usize> {
    char::from(byte)
        .to_digit(16)
        .map(|digit| digit as usize)
        .ok_or_else(|| invalid("a chunk size with something other than hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whole_or_not_at_all() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nrest";
        let head = parse_head(text).unwrap().unwrap();
        assert_eq!(
            head,
            Head {
                length: text.len() - 4,
                status: 200,
                framing: Framing::Length(12),
                close: true,
            }
        );
        assert!(parse_head(&text[..40]).unwrap().is_none());
    }

    #[test]
    fn a_request_has_no_status() {
        let head = parse_head(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        let head = head.unwrap().unwrap();
        assert_eq!((head.status, head.framing), (0, Framing::Chunked));
    }

    #[test]
    fn chunks_survive_every_cut() {
        let text = b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
        for cut in 0..=text.len() {
            let (mut chunks, mut payload) = (Chunks::default(), Vec::new());
            let (used, done) = chunks
                .feed(&text[..cut], |bytes| payload.extend_from_slice(bytes))
                .unwrap();
            assert_eq!((used, done), (cut, cut == text.len()));
            if !done {
                let end = chunks.feed(&text[cut..], |bytes| payload.extend_from_slice(bytes));
                assert_eq!(end.unwrap(), (text.len() - cut, true));
            }
            assert_eq!(payload, b"hello0123456789abcdef");
        }
    }

    #[test]
    fn bytes_after_the_last_chunk_are_left() {
        let (used, done) = Chunks::default()
            .feed(b"0\r\n\r\nHTTP/1.1", |_| {})
            .unwrap();
        assert_eq!((used, done), (5, true));
    }

    #[test]
    fn a_broken_chunk_is_an_error() {
        assert!(Chunks::default().feed(b"xyz\r\n", |_| {}).is_err());
        assert!(Chunks::default().feed(b"1\r\nab\r\n", |_| {}).is_err());
    }
}
