//! The embedded upstreams: two vendors abroad, a fleet and a backstop in Australia, each on a
//! loopback port of its own, in one thread. They answer as OpenAI would, word by word, and fail
//! on demand (see [`super::panel`]).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::answers::{self, Answer, Event};
use super::panel::{self, Mode, Panel, listen};
use super::question::Question;
use crate::base::Prng;

/// Bytes of a request body that an upstream reads; more is its 413.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Events that wait for a slow reader.
const EVENTS_WAITING: usize = 8;

/// How much slower a slow upstream is.
const SLOWDOWN: u32 = 20;

/// What a 429 asks for, in seconds.
const PAUSE_SECONDS: u16 = 3;

/// Words that a prompt may have: what these upstreams take for tokens.
const CONTEXT_TOKENS: usize = 8192;

/// One part in the play.
struct Role {
    name: &'static str,
    jurisdiction: &'static str,
    models: &'static [&'static str],
    endpoints: usize,
    /// Until its first token.
    think: Duration,
    /// Between two tokens.
    pace: Duration,
}

const CAST: [Role; 4] = [
    Role {
        name: "vendor-us",
        jurisdiction: "us",
        models: &["frontier-1", "frontier-1-mini"],
        endpoints: 1,
        think: Duration::from_millis(140),
        pace: Duration::from_millis(25),
    },
    Role {
        name: "vendor-de",
        jurisdiction: "de",
        models: &["grenze-2"],
        endpoints: 1,
        think: Duration::from_millis(190),
        pace: Duration::from_millis(30),
    },
    Role {
        name: "fleet-per",
        jurisdiction: "au",
        models: &["qwen3-8b"],
        endpoints: 2,
        think: Duration::from_millis(40),
        pace: Duration::from_millis(20),
    },
    Role {
        name: "aloomu",
        jurisdiction: "au",
        models: &["aloomu-70b"],
        endpoints: 1,
        think: Duration::from_millis(60),
        pace: Duration::from_millis(35),
    },
];

/// The running upstreams; they end when this is dropped.
pub struct Upstreams {
    endpoints: Vec<(&'static str, SocketAddr)>,
    panel: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstreams {
    /// Starts all of them, and the panel that breaks them on `panel_port` if that is free.
    pub fn start(panel_port: u16) -> io::Result<Upstreams> {
        let mut servers = Vec::new();
        let mut panel = Panel::default();
        let mut endpoints = Vec::new();
        for role in &CAST {
            for _ in 0..role.endpoints {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let (switch, mode) = watch::channel(Mode::Up);
                panel.add(role.name, switch);
                endpoints.push((role.name, listener.local_addr()?));
                servers.push((listener, Server::new(role, mode)));
            }
        }
        let desk = TcpListener::bind((Ipv4Addr::LOCALHOST, panel_port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let panel_address = desk.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("upstreams".into())
            .spawn(move || runtime.block_on(play(servers, desk, panel, stopped)))?;
        Ok(Upstreams {
            endpoints,
            panel: panel_address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where a provider listens: an address for each of its endpoints.
    pub fn endpoints(&self, name: &str) -> Vec<SocketAddr> {
        let named = self.endpoints.iter().filter(|(owner, _)| *owner == name);
        named.map(|(_, address)| *address).collect()
    }

    /// Where the panel listens.
    pub fn panel(&self) -> SocketAddr {
        self.panel
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed where it happened.
            let _ = thread.join();
        }
    }
}

async fn play(
    servers: Vec<(TcpListener, Server)>,
    desk: TcpListener,
    panel: Panel,
    stopped: oneshot::Receiver<()>,
) {
    for (listener, server) in servers {
        tokio::spawn(accept(listener, Arc::new(server)));
    }
    tokio::spawn(panel::serve(desk, Arc::new(panel)));
    // Ends with the sender; the runtime then drops whatever is still being said.
    let _ = stopped.await;
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let listener = match listen(listener) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{} can't listen: {error}", server.name);
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, server.clone()))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Serves one connection until it ends or the upstream goes down, in the middle of a word too.
async fn connection(stream: TcpStream, server: Arc<Server>) {
    let mut mode = server.mode.clone();
    if *mode.borrow_and_update() == Mode::Down || stream.set_nodelay(true).is_err() {
        return;
    }
    let service = hyper::service::service_fn(|request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Its errors are the peer's doing.
        _ = serving => {}
        _ = mode.wait_for(|mode| *mode == Mode::Down) => {}
    }
}

/// One endpoint of one provider.
struct Server {
    name: &'static str,
    jurisdiction: &'static str,
    models: &'static [&'static str],
    think: Duration,
    pace: Duration,
    mode: watch::Receiver<Mode>,
    calls: AtomicU64,
    seed: u64,
}

type Answered = Response<Either<Full<Bytes>, Events>>;

impl Server {
    fn new(role: &Role, mode: watch::Receiver<Mode>) -> Server {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Server {
            name: role.name,
            jurisdiction: role.jurisdiction,
            models: role.models,
            think: role.think,
            pace: role.pace,
            mode,
            calls: AtomicU64::new(0),
            seed: now.map_or(0, |since| since.as_nanos() as u64),
        }
    }

    fn is(&self, mode: Mode) -> bool {
        *self.mode.borrow() == mode
    }

    async fn answer(&self, request: Request<Incoming>) -> Answered {
        let mut prng = Prng::new(self.seed ^ self.calls.fetch_add(1, Ordering::Relaxed));
        let id = format!("req_{:016x}", prng.next_u64());
        let mut answered = self.answer_plainly(request, &mut prng).await;
        // What a vendor says about itself; none of it reaches a client of srpd.
        let headers = answered.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-request-id", id);
        }
        headers.insert(SERVER, HeaderValue::from_static(self.name));
        headers.insert("openai-organization", HeaderValue::from_static("demo"));
        headers.insert(
            "x-ratelimit-remaining-requests",
            HeaderValue::from_static("59"),
        );
        answered
    }

    async fn answer_plainly(&self, request: Request<Incoming>, prng: &mut Prng) -> Answered {
        let path = request.uri().path().to_owned();
        if request.method() == Method::GET && path == "/v1/models" {
            return json(StatusCode::OK, &answers::models(self.models, self.name));
        }
        if request.method() != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "POST only", None);
        }
        let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
        else {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large", None);
        };
        if self.is(Mode::RateLimited) {
            return rate_limited();
        }
        let Some(question) = Question::read(&path, &body.to_bytes()) else {
            let message = "We could not parse the JSON body of your request";
            return refuse(StatusCode::BAD_REQUEST, message, None);
        };
        if let Some(refused) = self.objection(&question) {
            return refused;
        }
        let slowdown = if self.is(Mode::Slow) { SLOWDOWN } else { 1 };
        let jitter = 0.7 + 0.6 * prng.unit();
        tokio::time::sleep((self.think * slowdown).mul_f64(jitter)).await;
        let who = format!("{} ({})", self.name, self.jurisdiction);
        let created = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = created.map_or(0, |since| since.as_secs());
        let answer = Answer::new(&question, &who, created, prng);
        let pace = self.pace * slowdown;
        let words = pace * u32::try_from(answer.token_count()).unwrap_or(u32::MAX);
        let (whole, events) = match (path.as_str(), question.stream) {
            ("/v1/embeddings", _) => return json(StatusCode::OK, &answers::embeddings(&question)),
            ("/v1/chat/completions", false) => (answer.chat(), None),
            ("/v1/chat/completions", true) => (Value::Null, Some(answer.chat_events())),
            ("/v1/completions", false) => (answer.completion(), None),
            ("/v1/completions", true) => (Value::Null, Some(answer.completion_events())),
            ("/v1/responses", false) => (answer.response(), None),
            ("/v1/responses", true) => (Value::Null, Some(answer.response_events())),
            _ => {
                let message = format!("Invalid URL (POST {path})");
                return refuse(StatusCode::NOT_FOUND, &message, Some("unknown_url"));
            }
        };
        match events {
            Some(events) => stream(events, pace),
            None => {
                tokio::time::sleep(words).await;
                json(StatusCode::OK, &whole)
            }
        }
    }
}

impl Server {
    /// What speaks against answering it at all.
    fn objection(&self, question: &Question) -> Option<Answered> {
        if !self.models.contains(&question.model.as_str()) {
            let message = format!("The model {:?} does not exist", question.model);
            let code = Some("model_not_found");
            return Some(refuse(StatusCode::NOT_FOUND, &message, code));
        }
        if let Some(lacks) = question.lacks {
            let message = format!("Missing required parameter: '{lacks}'");
            return Some(refuse(StatusCode::BAD_REQUEST, &message, None));
        }
        if question.prompt_tokens > CONTEXT_TOKENS {
            let message = format!("This model's maximum context length is {CONTEXT_TOKENS} tokens");
            let code = Some("context_length_exceeded");
            return Some(refuse(StatusCode::BAD_REQUEST, &message, code));
        }
        None
    }
}

fn json(status: StatusCode, body: &Value) -> Answered {
    let mut response = Response::new(Either::Left(Full::from(body.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn refuse(status: StatusCode, message: &str, code: Option<&str>) -> Answered {
    json(
        status,
        &answers::error(message, "invalid_request_error", code),
    )
}

fn rate_limited() -> Answered {
    let body = answers::error(
        "Rate limit reached",
        "requests",
        Some("rate_limit_exceeded"),
    );
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, &body);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(PAUSE_SECONDS));
    response
}

/// Says the events, a pause before each token.
fn stream(events: Vec<Event>, pace: Duration) -> Answered {
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(async move {
        for event in events {
            if event.token {
                tokio::time::sleep(pace).await;
            }
            if sender.send(event.bytes).await.is_err() {
                return; // nobody listens any more
            }
        }
    });
    let mut response = Response::new(Either::Right(Events(receiver)));
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A body of events as they come.
struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let event = self.0.poll_recv(context);
        event.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        // A server that is down may close before it has read.
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn chat(upstreams: &Upstreams, name: &str, stream: bool) -> String {
        let model = CAST.iter().find(|role| role.name == name).unwrap().models[0];
        let body = format!(
            r#"{{"model":"{model}","max_tokens":3,"stream":{stream},"messages":[{{"role":"user","content":"Hi"}}]}}"#
        );
        let address = upstreams.endpoints(name)[0];
        exchange(address, "POST", "/v1/chat/completions", &body)
    }

    #[test]
    fn each_endpoint_answers_whole_and_streamed() {
        let upstreams = Upstreams::start(0).unwrap();
        assert_eq!(upstreams.endpoints("fleet-per").len(), 2);
        let whole = chat(&upstreams, "vendor-de", false);
        assert!(whole.starts_with("HTTP/1.1 200 OK"), "{whole}");
        assert!(whole.contains("chat.completion\""), "{whole}");
        let streamed = chat(&upstreams, "fleet-per", true);
        assert_eq!(streamed.matches("chat.completion.chunk").count(), 5);
        assert!(streamed.contains("data: [DONE]"), "{streamed}");
        let unknown = exchange(
            upstreams.endpoints("aloomu")[0],
            "POST",
            "/v1/x",
            r#"{"model":"aloomu-70b"}"#,
        );
        assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
        assert!(unknown.contains("unknown_url"), "{unknown}");
    }

    #[test]
    fn what_cannot_be_answered_is_refused_as_openai_would() {
        let upstreams = Upstreams::start(0).unwrap();
        let backstop = upstreams.endpoints("aloomu")[0];
        let ask = |body: &str| exchange(backstop, "POST", "/v1/chat/completions", body);
        let other = ask(r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#);
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        assert!(other.contains("model_not_found"), "{other}");
        let nothing = ask(r#"{"model":"aloomu-70b"}"#);
        assert!(nothing.starts_with("HTTP/1.1 400"), "{nothing}");
        assert!(nothing.contains("messages"), "{nothing}");
        let words = "one ".repeat(CONTEXT_TOKENS + 1);
        let long = format!(
            r#"{{"model":"aloomu-70b","messages":[{{"role":"user","content":"{words}"}}]}}"#
        );
        assert!(ask(&long).contains("context_length_exceeded"));
        let list = exchange(backstop, "GET", "/v1/models", "");
        assert!(list.contains(r#""id":"aloomu-70b""#), "{list}");
    }

    #[test]
    fn the_panel_breaks_and_mends_them() {
        let upstreams = Upstreams::start(0).unwrap();
        let switch = |to: &str| exchange(upstreams.panel(), "POST", to, "");
        assert!(switch("/demo/vendor-us/429").contains("vendor-us: rate limited"));
        let limited = chat(&upstreams, "vendor-us", false);
        assert!(limited.starts_with("HTTP/1.1 429"), "{limited}");
        assert!(limited.contains("retry-after: 3"), "{limited}");
        switch("/demo/vendor-us/down");
        assert_eq!(chat(&upstreams, "vendor-us", false), "");
        switch("/demo/vendor-us/up");
        assert!(chat(&upstreams, "vendor-us", false).starts_with("HTTP/1.1 200"));
        assert!(switch("/demo/nobody/down").starts_with("HTTP/1.1 404"));
        assert!(switch("/demo/vendor-us/sideways").starts_with("HTTP/1.1 404"));
        let list = exchange(upstreams.panel(), "GET", "/demo", "");
        assert!(list.contains("fleet-per-2: up"), "{list}");
    }

    #[test]
    fn going_down_cuts_a_stream() {
        let upstreams = Upstreams::start(0).unwrap();
        let address = upstreams.endpoints("aloomu")[0];
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let body =
            r#"{"model":"aloomu-70b","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
        let mut first = [0; 16];
        stream.read_exact(&mut first).unwrap();
        exchange(upstreams.panel(), "POST", "/demo/aloomu/down", "");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
    }
}
