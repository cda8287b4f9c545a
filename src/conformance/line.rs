//! A connection to the backstop, and answers as they arrive on it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::plan::Plan;
use super::trouble::Trouble;
use crate::http::{
    ChunkedDecoder, FIELDS_MAX, HeadLimits, HeadSlots, ResponseFraming, parse_response,
};

/// What an instance reads of a provider's head (`limits.head_bytes` and its like, by default).
const HEAD: HeadLimits = HeadLimits {
    bytes: 64 * 1024,
    fields: FIELDS_MAX,
};

/// Bytes of a body that are read.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one read.
const PIECE_BYTES: usize = 64 * 1024;

/// One connection.
pub struct Line {
    socket: Socket,
    /// What has been read and belongs to nothing yet.
    buffer: Vec<u8>,
    /// When the current exchange must be over.
    deadline: Instant,
    patience: Duration,
    /// TLS version and cipher suite.
    pub secured: Option<String>,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// How the body ends.
    pub framing: ResponseFraming,
    /// Whether the connection may go on.
    pub persistent: bool,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// How much of the body had come when: since the request was sent.
    pub arrivals: Vec<(usize, Duration)>,
    /// From the request's last byte to the answer's.
    pub took: Duration,
}

/// How far a body has been read.
pub struct Body {
    kind: Kind,
    received: usize,
}

enum Kind {
    Left(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
    Over,
}

impl Head {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Its media type without parameters.
    pub fn media_type(&self) -> &str {
        let value = self.field("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }
}

impl Line {
    /// Connects, and shakes hands where TLS is spoken.
    pub fn open(plan: &Plan, address: SocketAddr) -> Result<Line, Trouble> {
        let stream =
            TcpStream::connect_timeout(&address, plan.timeout).map_err(Trouble::Connect)?;
        stream.set_nodelay(true).map_err(Trouble::Connect)?;
        let (socket, secured) = match &plan.tls {
            None => (Socket::Plain(stream), None),
            Some(tls) => {
                stream
                    .set_read_timeout(Some(plan.timeout))
                    .map_err(Trouble::Connect)?;
                let (config, name) = tls.apart();
                let connection = ClientConnection::new(config, name)
                    .map_err(|error| Trouble::Tls(io::Error::other(error)))?;
                let mut stream = StreamOwned::new(connection, stream);
                while stream.conn.is_handshaking() {
                    stream
                        .conn
                        .complete_io(&mut stream.sock)
                        .map_err(Trouble::Tls)?;
                }
                let version = stream.conn.protocol_version();
                let suite = stream.conn.negotiated_cipher_suite();
                let secured = version.zip(suite).map(|(version, suite)| {
                    format!("{:?}, {:?}", version, suite.suite()).replace('_', " ")
                });
                (Socket::Tls(Box::new(stream)), secured)
            }
        };
        Ok(Line {
            socket,
            buffer: Vec::new(),
            deadline: Instant::now() + plan.timeout,
            patience: plan.timeout,
            secured,
        })
    }

    /// Sends, in one go. From now on the exchange has the plan's time.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.deadline = Instant::now() + self.patience;
        self.stream()
            .set_write_timeout(Some(self.patience))
            .map_err(Trouble::Send)?;
        self.write(bytes).map_err(Trouble::Send)
    }

    /// Sends the head, then the body in so many pieces with a pause before each.
    pub fn send_slowly(
        &mut self,
        head: &[u8],
        body: &[u8],
        pieces: usize,
        pause: Duration,
    ) -> Result<(), Trouble> {
        self.send(head)?;
        for piece in body.chunks(body.len().div_ceil(pieces).max(1)) {
            thread::sleep(pause);
            self.send(piece)?;
        }
        Ok(())
    }

    /// Reads a head, past interim ones.
    pub fn head(&mut self) -> Result<Head, Trouble> {
        loop {
            let mut slots = HeadSlots::new();
            if let Some(head) = parse_response(&self.buffer, &HEAD, &mut slots, false)? {
                let fields = head.fields.iter().map(|(name, value)| {
                    let value = String::from_utf8_lossy(value).into_owned();
                    (name.to_ascii_lowercase(), value)
                });
                let read = Head {
                    status: head.status,
                    fields: fields.collect(),
                    framing: head.framing,
                    persistent: head.persistent,
                };
                let (interim, length) = (head.is_interim(), head.length);
                self.buffer.drain(..length);
                if !interim {
                    return Ok(read);
                }
                continue;
            }
            if self.fill("the response's head")? == 0 {
                return Err(Trouble::Closed("the response's head was whole"));
            }
        }
    }

    /// The next piece of the body; none when it is over.
    pub fn piece(&mut self, body: &mut Body) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            let mut given = std::mem::take(&mut self.buffer);
            if !given.is_empty() || matches!(body.kind, Kind::Over | Kind::Left(0)) {
                let payload = body.take(&mut given, &mut self.buffer)?;
                if !payload.is_empty() {
                    return Ok(Some(payload));
                }
                if matches!(body.kind, Kind::Over) {
                    return Ok(None);
                }
            }
            if self.fill("the rest of the body")? == 0 {
                return match body.kind {
                    Kind::UntilClose => Ok(None),
                    _ => Err(Trouble::Closed("the body's declared end")),
                };
            }
        }
    }

    /// Reads a whole answer. `sent`: when the request had been sent.
    pub fn answer(&mut self, sent: Instant) -> Result<Answer, Trouble> {
        let head = self.head()?;
        let mut body = Body::of(&head);
        let mut whole = Vec::new();
        let mut arrivals = Vec::new();
        while let Some(piece) = self.piece(&mut body)? {
            whole.extend_from_slice(&piece);
            arrivals.push((whole.len(), sent.elapsed()));
        }
        if !self.buffer.is_empty() {
            return Err(Trouble::Surplus(self.buffer.len()));
        }
        Ok(Answer {
            head,
            body: whole,
            arrivals,
            took: sent.elapsed(),
        })
    }

    fn fill(&mut self, what: &'static str) -> Result<usize, Trouble> {
        let late = Trouble::Late {
            what,
            after: self.patience,
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late);
        }
        let broken = |error| Trouble::Broken { what, error };
        self.stream().set_read_timeout(Some(left)).map_err(broken)?;
        let mut piece = vec![0; PIECE_BYTES];
        match self.read(&mut piece) {
            Ok(read) => {
                self.buffer.extend_from_slice(&piece[..read]);
                Ok(read)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(late)
            }
            Err(error) => Err(broken(error)),
        }
    }

    fn stream(&self) -> &TcpStream {
        match &self.socket {
            Socket::Plain(stream) => stream,
            Socket::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Plain(stream) => stream.read(into),
            Socket::Tls(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Plain(stream) => stream.write_all(bytes),
            Socket::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

impl Body {
    /// The body that comes behind this head.
    pub fn of(head: &Head) -> Body {
        let kind = match head.framing {
            ResponseFraming::None => Kind::Over,
            ResponseFraming::Length(length) => Kind::Left(length),
            ResponseFraming::Chunked => Kind::Chunked(ChunkedDecoder::new()),
            ResponseFraming::UntilClose => Kind::UntilClose,
        };
        Body { kind, received: 0 }
    }

    /// Takes what of `given` is this body's; the rest goes to `surplus`.
    fn take(&mut self, given: &mut [u8], surplus: &mut Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let (payload, consumed, over) = match &mut self.kind {
            Kind::Over => (0..0, 0, true),
            Kind::UntilClose => (0..given.len(), given.len(), false),
            Kind::Left(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(given.len());
                *left -= here as u64;
                (0..here, here, *left == 0)
            }
            Kind::Chunked(decoder) => {
                let decoded = decoder.decode(given)?;
                (decoded.payload, decoded.consumed, decoded.done)
            }
        };
        surplus.extend_from_slice(&given[consumed..]);
        if over {
            self.kind = Kind::Over;
        }
        self.received += payload.len();
        if self.received > BODY_BYTES_MAX {
            return Err(Trouble::TooLong(BODY_BYTES_MAX));
        }
        Ok(given[payload].to_vec())
    }
}
