//! A provider that has its answers ready: what is measured with it is the proxy, not the upstream.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::TcpStream;

use crate::plan::Plan;
use crate::runtime;
use crate::shape::{self, STAMP_MARK};
use crate::watch::{self, Watched};
use crate::wire::{Chunks, Framing, Head, Inbox};

/// How requests are answered that don't say how.
pub const USUAL: Plan = Plan {
    pace: Duration::from_millis(5),
    events: 200,
    bytes: 1024,
    watch: None,
    hang: false,
};

/// `srpd-bench upstream`
#[derive(clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// How requests are answered that don't say: `pace_ms=5,events=200,bytes=1024`.
    #[arg(long, default_value = "")]
    plan: String,
    /// Answer every call with 500.
    #[arg(long)]
    fail: bool,
}

/// Serves until the process is ended.
pub fn run(options: &Options) -> io::Result<()> {
    runtime::block_on_timed(options.cpu, accept(options))?
}

async fn accept(options: &Options) -> io::Result<()> {
    let canned = Rc::new(Canned::new(options)?);
    let listener = runtime::listen(options.listen)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let canned = Rc::clone(&canned);
        monoio::spawn(async move {
            // The usual end: the proxy closes a connection that it no longer needs.
            let _ = serve(stream, &canned).await;
        });
    }
}

/// Everything that can be prepared.
struct Canned {
    usual: Plan,
    fails: bool,
    /// By the size of their JSON.
    completions: RefCell<HashMap<usize, Rc<Vec<u8>>>>,
    /// Without and with usage.
    streams: [CannedStream; 2],
    watched: Watched,
}

/// A stream's parts, in chunks.
struct CannedStream {
    usage: bool,
    head: Rc<Vec<u8>>,
    event: Vec<u8>,
    /// Where the stamp's digits stand in `event`.
    stamp_at: usize,
}

impl Canned {
    fn new(options: &Options) -> io::Result<Canned> {
        Ok(Canned {
            usual: USUAL.with(&options.plan)?,
            fails: options.fail,
            completions: RefCell::default(),
            streams: [false, true].map(CannedStream::new),
            watched: Watched::default(),
        })
    }

    fn completion(&self, bytes: usize) -> Rc<Vec<u8>> {
        let mut completions = self.completions.borrow_mut();
        let made = || reply("200 OK", &shape::chat_completion(bytes));
        Rc::clone(completions.entry(bytes).or_insert_with(made))
    }

    /// What isn't a call: routers ask how their workers are and what they serve.
    fn page(&self, path: &str) -> Rc<Vec<u8>> {
        if let Some(number) = path.strip_prefix(watch::PATH) {
            let number = number.parse().unwrap_or_default();
            return reply("200 OK", &self.watched.text(number));
        }
        match path {
            "/v1/models" => reply(
                "200 OK",
                r#"{"object":"list","data":[{"id":"canned-1","object":"model","created":1760000000,"owned_by":"canned"}]}"#,
            ),
            "/health" | "/health_generate" => reply("200 OK", r#"{"status":"ok"}"#),
            _ => reply("404 Not Found", &error("unknown url")),
        }
    }
}

impl CannedStream {
    fn new(usage: bool) -> CannedStream {
        let event = chunk(&shape::chat_event(usage));
        let stamp_at =
            memchr::memmem::find(&event, STAMP_MARK).map_or(0, |at| at + STAMP_MARK.len());
        CannedStream {
            usage,
            head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec()
                .into(),
            event,
            stamp_at,
        }
    }

    /// What comes behind so many events.
    fn end(&self, events: usize) -> Rc<Vec<u8>> {
        let mut end = chunk(&shape::chat_end(self.usage, events));
        end.extend_from_slice(b"0\r\n\r\n");
        Rc::new(end)
    }
}

fn error(message: &str) -> String {
    format!(
        r#"{{"error":{{"message":"{message}","type":"invalid_request_error","param":null,"code":null}}}}"#
    )
}

fn reply(status: &str, body: &str) -> Rc<Vec<u8>> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         openai-processing-ms: 1\r\nserver: canned\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into()
}

fn chunk(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Completion(Plan),
    Stream { usage: bool, plan: Plan },
    Page(String),
}

impl Wanted {
    fn plan(&self) -> Option<&Plan> {
        match self {
            Wanted::Completion(plan) | Wanted::Stream { plan, .. } => Some(plan),
            Wanted::Page(_) => None,
        }
    }
}

async fn serve(mut stream: TcpStream, canned: &Canned) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut inbox = Inbox::new();
    loop {
        let wanted = match next_request(&mut inbox, &mut stream, canned.usual).await {
            Ok(wanted) => wanted,
            Err(wrong) if wrong.kind() == io::ErrorKind::InvalidInput => {
                return send(
                    &mut stream,
                    reply("400 Bad Request", &error(&wrong.to_string())),
                )
                .await;
            }
            Err(gone) => return Err(gone),
        };
        if let Some(Plan {
            watch: Some(number),
            ..
        }) = wanted.plan()
        {
            let number = *number;
            return serve_watched(stream, canned, number, wanted).await;
        }
        answer(&mut stream, canned, wanted).await?;
    }
}

async fn answer(stream: &mut impl AsyncWriteRent, canned: &Canned, is: Wanted) -> io::Result<()> {
    match is {
        Wanted::Page(path) => send(stream, canned.page(&path)).await,
        _ if canned.fails => {
            let fails = reply("500 Internal Server Error", &error("canned failure"));
            send(stream, fails).await
        }
        Wanted::Completion(plan) if plan.hang => std::future::pending().await,
        Wanted::Completion(plan) => send(stream, canned.completion(plan.bytes)).await,
        Wanted::Stream { usage, plan } => {
            send_stream(stream, &canned.streams[usize::from(usage)], plan).await
        }
    }
}

/// Answers while it looks for the connection's end, which is what it is about.
async fn serve_watched(
    stream: TcpStream,
    canned: &Canned,
    number: u64,
    wanted: Wanted,
) -> io::Result<()> {
    canned.watched.came(number);
    let (mut from, mut to) = stream.into_split();
    let end = async move {
        let mut buffer = Vec::with_capacity(1024);
        loop {
            let read;
            (read, buffer) = from.read(buffer).await;
            if !matches!(read, Ok(n) if n > 0) {
                return;
            }
        }
    };
    let answered = async {
        if answer(&mut to, canned, wanted).await.is_ok() {
            // It is over, and was not left: wait for whatever ends the connection.
            std::future::pending::<()>().await;
        }
    };
    futures_lite::future::or(end, answered).await;
    canned.watched.gone(number);
    Ok(())
}

async fn send(stream: &mut impl AsyncWriteRent, bytes: Rc<Vec<u8>>) -> io::Result<()> {
    stream.write_all(bytes).await.0?;
    Ok(())
}

/// The next request. `InvalidInput` for one whose plan makes no sense.
async fn next_request(
    inbox: &mut Inbox,
    stream: &mut TcpStream,
    usual: Plan,
) -> io::Result<Wanted> {
    let line = inbox.line(stream).await?;
    let path = match line.strip_prefix("POST /v1/chat/completions ") {
        Some(_) => None,
        None => Some(line.split(' ').nth(1).unwrap_or_default().to_owned()),
    };
    let Head { framing, .. } = inbox.head(stream).await?;
    match framing {
        Framing::Length(length) => {
            while inbox.bytes().len() < length {
                inbox.fill(stream).await?;
            }
            let wanted = wanted(path, &inbox.bytes()[..length], usual);
            inbox.consume(length);
            wanted
        }
        Framing::Chunked => {
            let (mut chunks, mut body, mut done) = (Chunks::default(), Vec::new(), false);
            while !done {
                if inbox.bytes().is_empty() {
                    inbox.fill(stream).await?;
                }
                let used;
                (used, done) = chunks.feed(inbox.bytes(), |part| body.extend_from_slice(part))?;
                inbox.consume(used);
            }
            wanted(path, &body, usual)
        }
    }
}

fn wanted(path: Option<String>, body: &[u8], usual: Plan) -> io::Result<Wanted> {
    if let Some(path) = path {
        return Ok(Wanted::Page(path));
    }
    let says = |member: &[u8]| memchr::memmem::find(body, member).is_some();
    let plan = usual.of_body(body)?;
    Ok(if says(b"\"stream\":true") || says(b"\"stream\": true") {
        Wanted::Stream {
            usage: says(b"\"include_usage\":true") || says(b"\"include_usage\": true"),
            plan,
        }
    } else {
        Wanted::Completion(plan)
    })
}

async fn send_stream(
    stream: &mut impl AsyncWriteRent,
    parts: &CannedStream,
    plan: Plan,
) -> io::Result<()> {
    stream.write_all(Rc::clone(&parts.head)).await.0?;
    let mut event = parts.event.clone();
    let mut due = Instant::now();
    for _ in 0..plan.events {
        if !plan.pace.is_zero() {
            due += plan.pace;
            monoio::time::sleep_until(due.into()).await;
        }
        shape::stamp(&mut event, parts.stamp_at, shape::now_ns());
        let (written, back) = stream.write_all(event).await;
        written?;
        event = back;
    }
    send(stream, parts.end(plan.events)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Ask;

    fn asked(stream: bool, include_usage: bool, plan: &str) -> Wanted {
        let ask = Ask {
            model: "m",
            stream,
            include_usage,
            plan,
            bytes: 0,
        };
        wanted(None, shape::chat_request(&ask).as_bytes(), USUAL).unwrap()
    }

    #[test]
    fn the_body_says_what_is_wanted() {
        assert_eq!(asked(false, false, ""), Wanted::Completion(USUAL));
        assert_eq!(
            asked(true, false, "events=3"),
            Wanted::Stream {
                usage: false,
                plan: Plan { events: 3, ..USUAL },
            }
        );
        assert!(matches!(
            asked(true, true, ""),
            Wanted::Stream { usage: true, .. }
        ));
        assert!(wanted(None, br#"{"content":"bench:nonsense"}"#, USUAL).is_err());
    }

    #[test]
    fn a_canned_stream_is_well_framed_and_ends_with_done() {
        let parts = CannedStream::new(true);
        let whole = [&parts.event[..], &parts.end(3)].concat();
        let mut text = Vec::new();
        let (used, done) = Chunks::default()
            .feed(&whole, |payload| text.extend_from_slice(payload))
            .unwrap();
        assert_eq!((used, done), (whole.len(), true));
        assert!(text.ends_with(b"\"total_tokens\":215}}\n\ndata: [DONE]\n\n"));
        assert_eq!(shape::stamp_of(&text), Some(0));
    }
}
