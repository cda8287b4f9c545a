//! Reading HTTP/1.1 off a socket as slowly and as literally as a test needs it. Shared by the
//! scripted upstream and the client, and independent of the code under test.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How the other side ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A FIN.
    Closed,
    /// A RST.
    Reset,
}

/// The next piece of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A chunk's payload.
    Data(Vec<u8>),
    /// The terminating chunk, its trailer section included.
    Last,
    /// The connection ended first; what had arrived of the chunk.
    Cut(Vec<u8>),
}

/// A connection with what has been read from it and not been used yet.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// When bytes last arrived.
    pub last_read: Instant,
    /// Set once the other side has ended the connection.
    pub ended: Option<Ended>,
}

impl Wire {
    /// Reads wait for `patience` at most; a longer silence is a panic.
    pub fn new(stream: TcpStream, patience: Duration) -> Wire {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(patience)).expect("timeout");
        Wire {
            stream,
            buffer: Vec::new(),
            last_read: Instant::now(),
            ended: None,
        }
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes all of it; false if the other side is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads once; false at the end of the connection.
    pub fn fill(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let mut space = [0; 65536];
        match self.stream.read(&mut space) {
            Ok(0) => self.ended = Some(Ended::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&space[..count]);
                self.last_read = Instant::now();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "nothing came for too long; so far: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                )
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.ended = Some(Ended::Reset);
            }
            Err(error) => panic!("reading: {error}"),
        }
        self.ended.is_none()
    }

    /// What has been read and not been used.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes what has been read and not been used.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// The next message head with its blank line; none if the connection ends first.
    pub fn head(&mut self) -> Option<Vec<u8>> {
        self.through(b"\r\n\r\n")
    }

    /// Everything up to and with `mark`.
    fn through(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer[from..], mark) {
                return Some(self.buffer.drain(..from + at + mark.len()).collect());
            }
            from = self.buffer.len().saturating_sub(mark.len());
            if !self.fill() {
                return None;
            }
        }
    }

    /// Exactly `length` bytes, or as an error what came of them before the end.
    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill() {
                return Err(self.take_pending());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// The next chunk of a chunked body.
    pub fn chunk(&mut self) -> Chunk {
        let Some(line) = self.through(b"\r\n") else {
            return Chunk::Cut(Vec::new());
        };
        let text = String::from_utf8(line).expect("chunk size line");
        let digits = text.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16)
            .unwrap_or_else(|_| panic!("not a chunk size: {text:?}"));
        if size == 0 {
            loop {
                match self.through(b"\r\n") {
                    Some(line) if line == b"\r\n" => return Chunk::Last,
                    Some(_) => {}
                    None => return Chunk::Cut(Vec::new()),
                }
            }
        }
        match self.exactly(size + 2) {
            Ok(mut data) => {
                assert_eq!(data.split_off(size), b"\r\n", "chunk data ends with CRLF");
                Chunk::Data(data)
            }
            Err(mut part) => {
                part.truncate(size);
                Chunk::Cut(part)
            }
        }
    }
}

/// Where `needle` first stands in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// The header fields of a head, names in lower case, in order.
pub fn fields(head: &[u8]) -> Vec<(String, String)> {
    String::from_utf8_lossy(head)
        .split("\r\n")
        .skip(1)
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect()
}

/// The only value of a field; a panic if it stands there twice.
pub fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    let mut values = fields.iter().filter(|(n, _)| n == name);
    let value = values.next().map(|(_, v)| v.as_str());
    assert!(values.next().is_none(), "{name} stands there twice");
    value
}
