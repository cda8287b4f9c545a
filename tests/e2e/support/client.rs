//! A small blocking client: it sends what it is told to, byte for byte, and keeps what came back
//! with its arrival times.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::tls::Secured;
use super::wire::{Chunk, Ended, Wire, field, fields};

/// A silence longer than this fails the test.
const PATIENCE: Duration = Duration::from_secs(15);

/// The client key that the default configuration knows.
pub const KEY: &str = "sk-of-the-client";

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Ask {
    /// A request without a body, with the default key.
    pub fn get(target: &str) -> Ask {
        Ask {
            method: "GET".to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: None,
        }
        .key(KEY)
    }

    /// A JSON request, with the default key.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Ask {
        Ask::get(target)
            .method("POST")
            .field("content-type", "application/json")
            .body(body)
    }

    /// A small chat call.
    pub fn chat(capability: &str) -> Ask {
        Ask::post(
            "/v1/chat/completions",
            format!(r#"{{"model":"{capability}","messages":[{{"role":"user","content":"hi"}}]}}"#),
        )
    }

    /// A small chat call for a stream.
    pub fn stream(capability: &str) -> Ask {
        Ask::post(
            "/v1/chat/completions",
            format!(
                r#"{{"model":"{capability}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#
            ),
        )
    }

    /// Another method.
    pub fn method(mut self, method: &str) -> Ask {
        self.method = method.to_owned();
        self
    }

    /// Another key.
    pub fn key(self, key: &str) -> Ask {
        self.without("authorization")
            .field("authorization", format!("Bearer {key}"))
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Takes a field out.
    pub fn without(mut self, name: &str) -> Ask {
        self.fields.retain(|(n, _)| n != name);
        self
    }

    /// Another body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Ask {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// As bytes, with a `Host` and the body's length.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nhost: srpd.test\r\n",
            self.method, self.target
        );
        if let Some(body) = &self.body {
            bytes.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut bytes = bytes.into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A response, or what came of it.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The pieces that the body came in, each with its arrival.
    pub pieces: Vec<(Instant, Vec<u8>)>,
    /// Whether the body ended as its framing says it must.
    pub complete: bool,
}

impl Response {
    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// What the assistant says in a chat completion.
    pub fn said(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["choices"][0]["message"]["content"]
            .as_str()
            .expect("a chat completion")
            .to_owned()
    }

    /// The events of the stream: name and data.
    pub fn events(&self) -> Vec<(String, String)> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
        text.split("\n\n")
            .filter(|event| event.lines().any(|line| line.starts_with("data:")))
            .map(|event| (values(event, "event:"), values(event, "data:")))
            .collect()
    }

    /// The data of the stream's events.
    pub fn data(&self) -> Vec<String> {
        self.events().into_iter().map(|(_, data)| data).collect()
    }

    /// When the first `count` bytes of the body had arrived.
    pub fn arrival(&self, count: usize) -> Instant {
        let mut sum = 0;
        for (at, piece) in &self.pieces {
            sum += piece.len();
            if sum >= count {
                return *at;
            }
        }
        panic!("only {sum} bytes came, not {count}")
    }

    /// Asserts an error made by the proxy: SRP section 2. `kind` and the rest as in its table.
    pub fn assert_error(&self, status: u16, kind: &str, code: Option<&str>, param: Option<&str>) {
        let text = self.text();
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.field("content-type"), Some("application/json"));
        let id = self.field("x-request-id").expect("x-request-id");
        assert!((1..=128).contains(&id.len()), "{id:?}");
        let retry = self.field("x-should-retry");
        assert!(matches!(retry, Some("true" | "false")), "{retry:?}");
        let json = self.json();
        let error = json["error"].as_object().expect("an error object");
        assert_eq!(
            json.as_object().map(serde_json::Map::len),
            Some(1),
            "{text}"
        );
        assert_eq!(error.len(), 4, "{text}");
        let message = error["message"].as_str().expect("a message");
        assert!(!message.is_empty());
        assert_eq!(error["type"].as_str(), Some(kind), "{text}");
        assert_eq!(error["code"].as_str(), code, "{text}");
        assert!(
            error["code"].is_null() || error["code"].is_string(),
            "{text}"
        );
        let named = error["param"].as_str();
        assert!(
            error["param"].is_null() || error["param"].is_string(),
            "{text}"
        );
        assert!(
            match (named, param) {
                (Some(named), Some(param)) => named.eq_ignore_ascii_case(param),
                (named, param) => named == param,
            },
            "param is not {param:?} in {text}"
        );
    }

    /// Asserts that the proxy tells SDKs not to try again (or to).
    pub fn assert_should_retry(&self, should: bool) {
        let expected = if should { "true" } else { "false" };
        assert_eq!(
            self.field("x-should-retry"),
            Some(expected),
            "{}",
            self.text()
        );
    }
}

fn values(event: &str, name: &str) -> String {
    let values: Vec<&str> = event
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .map(|value| value.strip_prefix(' ').unwrap_or(value))
        .collect();
    values.join("\n")
}

/// How a response's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A client connection.
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("a connection to srpd");
        Client {
            wire: Wire::new(stream, PATIENCE),
        }
    }

    /// Connects, and begins with TLS.
    ///
    /// # Errors
    /// What the handshake fails with.
    pub fn over_tls(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> std::io::Result<Client> {
        let stream = TcpStream::connect(address).expect("a connection to srpd");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let secured = Secured::client(stream, config, name)?;
        let wire = Wire::secured(secured, PATIENCE);
        Ok(Client { wire })
    }

    /// The TLS on it.
    pub fn tls(&self) -> &Secured {
        self.wire.tls().expect("TLS")
    }

    /// Sends raw bytes; a peer that has left is no error here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes.as_ref());
    }

    /// Sends a request and reads its response.
    pub fn ask(&mut self, ask: &Ask) -> Response {
        self.send(ask.bytes());
        self.response()
    }

    /// Reads one response to its end.
    pub fn response(&mut self) -> Response {
        self.incoming().finish()
    }

    /// Reads one response head that has no body whatever it says (to HEAD).
    pub fn bodiless(&mut self) -> Response {
        let mut incoming = self.incoming();
        incoming.framing = Framing::None;
        incoming.finish()
    }

    /// Reads one response head; the body can then be read piece by piece.
    pub fn incoming(&mut self) -> Incoming<'_> {
        let head = self.wire.head().unwrap_or_else(|| {
            panic!(
                "{:?} instead of a response; before it: {:?}",
                self.wire.ended,
                String::from_utf8_lossy(self.wire.pending())
            )
        });
        let status = std::str::from_utf8(&head[9..12])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("no status in {:?}", String::from_utf8_lossy(&head)));
        assert!(
            head.starts_with(b"HTTP/1.1 "),
            "{:?}",
            String::from_utf8_lossy(&head)
        );
        let fields = fields(&head);
        let framing = framing(status, &fields);
        Incoming {
            wire: &mut self.wire,
            framing,
            response: Response {
                status,
                fields,
                body: Vec::new(),
                pieces: Vec::new(),
                complete: false,
            },
        }
    }

    /// Asserts that the connection ends now, with no more bytes on it.
    pub fn assert_closed(&mut self) {
        while self.wire.fill() {}
        assert_eq!(String::from_utf8_lossy(self.wire.pending()), "");
    }

    /// Whether the connection ends in an error of TLS before there is an answer; waits for either.
    pub fn is_refused(&mut self) -> bool {
        while self.wire.pending().is_empty() && self.wire.fill() {}
        matches!(self.wire.ended, Some(Ended::Alerted | Ended::Reset))
    }

    /// Asserts that.
    pub fn assert_refused(&mut self) {
        assert!(self.is_refused(), "{:?}", self.wire.ended);
    }

    /// Whether anything else comes, whatever it is; it is thrown away.
    pub fn hears_more(&mut self) -> bool {
        self.wire.take_pending();
        self.wire.fill()
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> (Vec<u8>, Ended) {
        while self.wire.fill() {}
        let ended = self.wire.ended.expect("an end");
        (self.wire.take_pending(), ended)
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        self.wire.stream()
    }

    /// Ends the connection in both directions.
    pub fn close(self) {
        let _ = self.wire.stream().shutdown(Shutdown::Both);
    }
}

fn framing(status: u16, fields: &[(String, String)]) -> Framing {
    let length = field(fields, "content-length");
    let coding = field(fields, "transfer-encoding");
    assert!(length.is_none() || coding.is_none(), "both CL and TE");
    if status < 200 || status == 204 || status == 304 {
        Framing::None
    } else if let Some(coding) = coding {
        assert_eq!(coding, "chunked");
        Framing::Chunked
    } else if let Some(length) = length {
        Framing::Length(length.parse().expect("a content-length"))
    } else {
        Framing::UntilClose
    }
}

/// A response whose body is still being read.
pub struct Incoming<'c> {
    wire: &'c mut Wire,
    framing: Framing,
    /// What has been read of it.
    pub response: Response,
}

impl Incoming<'_> {
    /// Whether the body is in chunked coding.
    pub fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Reads the next piece of the body; false at its end, in whatever way it ended.
    pub fn piece(&mut self) -> bool {
        let (piece, more) = match self.framing {
            Framing::None => {
                self.response.complete = true;
                (Vec::new(), false)
            }
            Framing::Chunked => match self.wire.chunk() {
                Chunk::Data(data) => (data, true),
                Chunk::Last => {
                    self.response.complete = true;
                    (Vec::new(), false)
                }
                Chunk::Cut(part) => (part, false),
            },
            Framing::Length(length) => {
                let left = length - self.response.body.len();
                if self.wire.pending().is_empty() && left > 0 {
                    self.wire.fill();
                }
                let here = self.wire.pending().len().min(left);
                self.response.complete = here == left;
                let piece = self.wire.exactly(here).expect("bytes in hand");
                (piece, here > 0 && here < left)
            }
            Framing::UntilClose => {
                let more = self.wire.fill();
                self.response.complete = self.wire.ended == Some(Ended::Closed);
                (self.wire.take_pending(), more)
            }
        };
        self.response.body.extend_from_slice(&piece);
        if !piece.is_empty() {
            self.response.pieces.push((self.wire.last_read, piece));
        }
        more
    }

    /// Reads until the body holds `text`.
    pub fn until(&mut self, text: &str) {
        while !self.response.text().contains(text) {
            assert!(
                self.piece(),
                "{text:?} never came: {}",
                self.response.text()
            );
        }
    }

    /// Reads the rest.
    pub fn finish(mut self) -> Response {
        while self.piece() {}
        self.response
    }
}
