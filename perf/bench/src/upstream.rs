//! A provider that has its answers ready: what is measured with it is the proxy, not the upstream.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monoio::io::AsyncWriteRentExt;
use monoio::net::TcpStream;

use crate::shape::{self, STAMP_MARK};
use crate::wire::{Framing, Inbox};
use crate::{runtime, wire};

/// `srpd-bench upstream`
#[derive(clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Size of a completion's JSON.
    #[arg(long, default_value_t = 1024)]
    response_bytes: usize,
    /// Events of a stream, the usage event and `[DONE]` not counted.
    #[arg(long, default_value_t = 200)]
    events: usize,
    /// Milliseconds from one event of a stream to the next; 0: as fast as they are taken.
    #[arg(long, default_value_t = 5)]
    pace_ms: u64,
}

/// Serves until the process is ended.
pub fn run(options: &Options) -> io::Result<()> {
    runtime::block_on_timed(options.cpu, accept(options))?
}

async fn accept(options: &Options) -> io::Result<()> {
    let canned = Rc::new(Canned::new(options));
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
    completion: Rc<Vec<u8>>,
    not_found: Rc<Vec<u8>>,
    length_required: Rc<Vec<u8>>,
    streams: [CannedStream; 2],
    events: usize,
    pace: Duration,
}

/// A stream's parts, in chunks.
struct CannedStream {
    head: Rc<Vec<u8>>,
    event: Vec<u8>,
    /// Where the stamp's digits stand in `event`.
    stamp_at: usize,
    end: Rc<Vec<u8>>,
}

impl Canned {
    fn new(options: &Options) -> Canned {
        Canned {
            completion: reply("200 OK", &shape::chat_completion(options.response_bytes)),
            not_found: reply("404 Not Found", &error("unknown url")),
            length_required: reply("411 Length Required", &error("no length")),
            streams: [false, true].map(|usage| CannedStream::new(usage, options.events)),
            events: options.events,
            pace: Duration::from_millis(options.pace_ms),
        }
    }
}

impl CannedStream {
    fn new(usage: bool, events: usize) -> CannedStream {
        let event = chunk(&shape::chat_event(usage));
        let stamp_at =
            memchr::memmem::find(&event, STAMP_MARK).map_or(0, |at| at + STAMP_MARK.len());
        let mut end = chunk(&shape::chat_end(usage, events));
        end.extend_from_slice(b"0\r\n\r\n");
        CannedStream {
            head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec()
                .into(),
            event,
            stamp_at,
            end: Rc::new(end),
        }
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
enum Wanted {
    Completion,
    Stream { usage: bool },
    NotFound,
    LengthRequired,
}

async fn serve(mut stream: TcpStream, canned: &Canned) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut inbox = Inbox::new();
    loop {
        match next_request(&mut inbox, &mut stream).await? {
            Wanted::Completion => send(&mut stream, &canned.completion).await?,
            Wanted::NotFound => send(&mut stream, &canned.not_found).await?,
            // Where the body ends is unknown: nothing more can be read.
            Wanted::LengthRequired => return send(&mut stream, &canned.length_required).await,
            Wanted::Stream { usage } => {
                let parts = &canned.streams[usize::from(usage)];
                send_stream(&mut stream, parts, canned.events, canned.pace).await?;
            }
        }
    }
}

async fn send(stream: &mut TcpStream, bytes: &Rc<Vec<u8>>) -> io::Result<()> {
    stream.write_all(Rc::clone(bytes)).await.0?;
    Ok(())
}

async fn next_request(inbox: &mut Inbox, stream: &mut TcpStream) -> io::Result<Wanted> {
    while inbox.bytes().is_empty() {
        inbox.fill(stream).await?;
    }
    let known = inbox.bytes().starts_with(b"POST /v1/chat/completions ");
    let wire::Head { framing, .. } = inbox.head(stream).await?;
    let Framing::Length(length) = framing else {
        return Ok(Wanted::LengthRequired);
    };
    while inbox.bytes().len() < length {
        inbox.fill(stream).await?;
    }
    let wanted = if known {
        wanted(&inbox.bytes()[..length])
    } else {
        Wanted::NotFound
    };
    inbox.consume(length);
    Ok(wanted)
}

fn wanted(body: &[u8]) -> Wanted {
    let says = |member: &[u8]| memchr::memmem::find(body, member).is_some();
    if says(b"\"stream\":true") || says(b"\"stream\": true") {
        Wanted::Stream {
            usage: says(b"\"include_usage\":true") || says(b"\"include_usage\": true"),
        }
    } else {
        Wanted::Completion
    }
}

async fn send_stream(
    stream: &mut TcpStream,
    parts: &CannedStream,
    events: usize,
    pace: Duration,
) -> io::Result<()> {
    stream.write_all(Rc::clone(&parts.head)).await.0?;
    let mut event = parts.event.clone();
    let mut due = Instant::now();
    for _ in 0..events {
        if !pace.is_zero() {
            due += pace;
            monoio::time::sleep_until(due.into()).await;
        }
        shape::stamp(&mut event, parts.stamp_at, shape::now_ns());
        let (written, back) = stream.write_all(event).await;
        written?;
        event = back;
    }
    send(stream, &parts.end).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_says_what_is_wanted() {
        assert!(matches!(wanted(b"{}"), Wanted::Completion));
        assert!(matches!(
            wanted(shape::chat_request("m", true, false, 0).as_bytes()),
            Wanted::Stream { usage: false }
        ));
        assert!(matches!(
            wanted(shape::chat_request("m", true, true, 0).as_bytes()),
            Wanted::Stream { usage: true }
        ));
    }

    #[test]
    fn a_canned_stream_is_well_framed_and_ends_with_done() {
        let parts = CannedStream::new(true, 3);
        let whole = [&parts.event[..], &parts.end].concat();
        let mut text = Vec::new();
        let (used, done) = wire::Chunks::default()
            .feed(&whole, |payload| text.extend_from_slice(payload))
            .unwrap();
        assert_eq!((used, done), (whole.len(), true));
        assert!(text.ends_with(b"\"total_tokens\":215}}\n\ndata: [DONE]\n\n"));
        assert_eq!(shape::stamp_of(&text), Some(0));
    }
}
