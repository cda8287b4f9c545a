//! Reading HTTP/1.1 off a socket as slowly and as literally as a test needs it. Shared by the
//! scripted upstream and the client, and independent of the code under test.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::tls::Secured;

/// How the other side ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A FIN; over TLS a close_notify.
    Closed,
    /// A FIN without the close_notify that TLS asks for.
    Truncated,
    /// A RST.
    Reset,
    /// An alert of TLS.
    Alerted,
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

enum Transport {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

impl Transport {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.read(space),
            Transport::Secured(secured) => secured.read(space),
        }
    }

    /// Waits for anything to come. In plaintext it stays where it is, so that a sender still finds
    /// nobody who reads; TLS can't be looked at without reading.
    fn look(&mut self) -> io::Result<Looked> {
        let mut space = [0; 4096];
        Ok(match self {
            Transport::Plain(stream) => match stream.peek(&mut space)? {
                0 => Looked::End,
                _ => Looked::Unread,
            },
            Transport::Secured(secured) => match secured.read(&mut space)? {
                0 => Looked::End,
                count => Looked::Read(space[..count].to_vec()),
            },
        })
    }
}

/// What a look at a connection showed.
enum Looked {
    /// Its end.
    End,
    /// Bytes, which are still there.
    Unread,
    /// Bytes.
    Read(Vec<u8>),
}

/// A connection with what has been read from it and not been used yet.
pub struct Wire {
    transport: Transport,
    buffer: Vec<u8>,
    /// When bytes last arrived.
    pub last_read: Instant,
    /// Set once the other side has ended the connection.
    pub ended: Option<Ended>,
}

impl Wire {
    /// Reads wait for `patience` at most; a longer silence is a panic.
    pub fn new(stream: TcpStream, patience: Duration) -> Wire {
        Wire::over(Transport::Plain(stream), patience)
    }

    /// The same with TLS.
    pub fn secured(secured: Secured, patience: Duration) -> Wire {
        Wire::over(Transport::Secured(Box::new(secured)), patience)
    }

    fn over(transport: Transport, patience: Duration) -> Wire {
        let wire = Wire {
            transport,
            buffer: Vec::new(),
            last_read: Instant::now(),
            ended: None,
        };
        wire.stream().set_nodelay(true).expect("nodelay");
        wire.stream()
            .set_read_timeout(Some(patience))
            .expect("timeout");
        wire
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(stream) => stream,
            Transport::Secured(secured) => secured.tcp(),
        }
    }

    /// The TLS on it.
    pub fn tls(&self) -> Option<&Secured> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Secured(secured) => Some(secured),
        }
    }

    /// Writes all of it; false if the other side is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.transport {
            Transport::Plain(stream) => stream.write_all(bytes).is_ok(),
            Transport::Secured(secured) => secured.write_all(bytes).is_ok(),
        }
    }

    /// Says that nothing more will be sent, in TLS if there is any, and ends this direction.
    pub fn finish(&mut self) {
        if let Transport::Secured(secured) = &mut self.transport {
            secured.close_notify();
        }
        let _ = self.stream().shutdown(Shutdown::Write);
    }

    /// Whether the peer ends the connection within `time`; sent bytes are kept.
    pub fn left_within(&mut self, time: Duration) -> bool {
        let patience = self.stream().read_timeout().expect("timeout");
        let deadline = Instant::now() + time;
        let left = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            self.stream().set_read_timeout(Some(left)).expect("timeout");
            match self.transport.look() {
                Ok(Looked::End) => break true,
                // More than it asked for: nothing to watch by, so just wait.
                Ok(Looked::Unread) => thread::sleep(left.min(Duration::from_millis(5))),
                Ok(Looked::Read(bytes)) => self.buffer.extend(bytes),
                Err(error) if is_timeout(&error) => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        self.stream().set_read_timeout(patience).expect("timeout");
        left
    }

    /// Reads once; false at the end of the connection.
    pub fn fill(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let mut space = [0; 65536];
        match self.transport.read(&mut space) {
            Ok(0) => self.ended = Some(Ended::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&space[..count]);
                self.last_read = Instant::now();
            }
            Err(error) if is_timeout(&error) => {
                panic!(
                    "nothing came for too long; so far: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                )
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.ended = Some(Ended::Reset);
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.ended = Some(Ended::Truncated);
            }
            Err(error) if error.get_ref().is_some_and(|it| it.is::<rustls::Error>()) => {
                self.ended = Some(Ended::Alerted);
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

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
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
