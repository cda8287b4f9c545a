//! A closed-loop client: every connection sends its next call when the last one is answered.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hdrhistogram::Histogram;

use crate::tls::{Stream, Trust};
use crate::wire::{Chunks, Framing, Inbox};
use crate::{runtime, shape};

/// How long a connection that failed waits before it tries again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// The longest time that is told apart.
const TIME_MAX_NS: u64 = 60_000_000_000;

/// `srpd-bench load`
#[derive(clap::Args)]
pub struct Options {
    /// `http://ADDRESS:PORT/PATH`, or `https://…` with `--ca`
    #[arg(long)]
    url: String,
    /// For https: a PEM file with whom to trust.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Connections, each with one call in flight.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long new calls are made.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long calls are made before they count.
    #[arg(long, default_value_t = 0.0)]
    settle: f64,
    /// Calls per second, all connections together, evenly spread; without it, each connection
    /// calls again at once. A call that had to wait for its connection counts from when it was due.
    #[arg(long)]
    rate: Option<f64>,
    /// Whole responses or streams.
    #[arg(long, value_enum, default_value_t = Mode::Call)]
    mode: Mode,
    /// Size of a request's JSON.
    #[arg(long, default_value_t = 1024)]
    body_bytes: usize,
    /// The request's `model`.
    #[arg(long, default_value = "smart")]
    model: String,
    /// Ask for `stream_options.include_usage`.
    #[arg(long)]
    include_usage: bool,
    /// A field to send along, `name: value`. May be given several times.
    #[arg(long)]
    header: Vec<String>,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Call,
    Stream,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Call => "call",
            Mode::Stream => "stream",
        }
    }
}

/// Runs, prints one JSON object, and fails if not a single call succeeded.
pub fn run(options: &Options) -> io::Result<()> {
    let target = Target::new(options)?;
    let pace = Pace::new(options)?;
    let work = drive(target, options.connections, options.mode, pace);
    let (tally, elapsed) = runtime::block_on_timed(options.cpu, work)??;
    println!("{}", tally.json(options, elapsed));
    if tally.calls == 0 {
        return Err(io::Error::other("no call succeeded"));
    }
    Ok(())
}

/// When calls are made, and which count.
#[derive(Clone, Copy)]
struct Pace {
    settle: Duration,
    seconds: Duration,
    /// Between two calls of one connection.
    interval: Option<Duration>,
    connections: u32,
}

impl Pace {
    fn new(options: &Options) -> io::Result<Pace> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{name} out of range"))
            })
        };
        let interval = options
            .rate
            .map(|rate| seconds("--rate", options.connections as f64 / rate))
            .transpose()?;
        Ok(Pace {
            settle: seconds("--settle", options.settle)?,
            seconds: seconds("--seconds", options.seconds)?,
            interval,
            connections: u32::try_from(options.connections).unwrap_or(u32::MAX),
        })
    }

    /// When a connection makes its first call: they take turns.
    fn first(&self, start: Instant, number: usize) -> Instant {
        let interval = self.interval.unwrap_or_default();
        start + interval / self.connections.max(1) * u32::try_from(number).unwrap_or(0)
    }
}

/// Where to, and what is sent.
struct Target {
    address: SocketAddr,
    trust: Option<Trust>,
    request: Rc<Vec<u8>>,
}

impl Target {
    fn new(options: &Options) -> io::Result<Target> {
        let wrong = || {
            let what = "expected http://ADDRESS:PORT/PATH, or https:// and --ca";
            let what = format!("--url {}: {what}", options.url);
            io::Error::new(io::ErrorKind::InvalidInput, what)
        };
        let (scheme, rest) = options.url.split_once("://").ok_or_else(wrong)?;
        let trust = match (scheme, &options.ca) {
            ("http", _) => None,
            ("https", Some(ca)) => Some(Trust::read(ca, true)?),
            _ => return Err(wrong()),
        };
        let slash = rest.find('/').ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(slash);
        let stream = options.mode == Mode::Stream;
        let body = shape::chat_request(
            &options.model,
            stream,
            options.include_usage,
            options.body_bytes,
        );
        let fields: String = options
            .header
            .iter()
            .map(|line| format!("{line}\r\n"))
            .collect();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: srpd-bench\r\n\
             accept: application/json\r\ncontent-type: application/json\r\n{fields}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Target {
            address: authority.parse().map_err(|_| wrong())?,
            trust,
            request: request.into_bytes().into(),
        })
    }
}

/// What came of it.
struct Tally {
    calls: u64,
    errors: u64,
    events: u64,
    bytes: u64,
    /// From sending a call to the end of its answer, ns.
    call: Histogram<u64>,
    /// From sending a call to its first event, ns.
    first_event: Histogram<u64>,
    /// From the upstream's stamp to its arrival here, ns.
    event: Histogram<u64>,
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, TIME_MAX_NS, 3).map_err(io::Error::other)
}

impl Tally {
    fn new() -> io::Result<Tally> {
        Ok(Tally {
            calls: 0,
            errors: 0,
            events: 0,
            bytes: 0,
            call: histogram()?,
            first_event: histogram()?,
            event: histogram()?,
        })
    }

    fn json(&self, options: &Options, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let times = |name: &str, histogram: &Histogram<u64>| {
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
            format!(
                r#""{name}_us":{{"p50":{:.1},"p90":{:.1},"p99":{:.1},"p999":{:.1},"max":{:.1}}}"#,
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                histogram.max() as f64 / 1000.0
            )
        };
        let stream = match options.mode {
            Mode::Call => String::new(),
            Mode::Stream => format!(
                r#","events":{},"events_per_second":{:.1},{},{}"#,
                self.events,
                self.events as f64 / seconds,
                times("first_event", &self.first_event),
                times("event", &self.event)
            ),
        };
        format!(
            r#"{{"mode":"{}","connections":{},"seconds":{seconds:.3},"calls":{},"errors":{},"calls_per_second":{:.1},"response_body_bytes":{},{}{stream}}}"#,
            options.mode.name(),
            options.connections,
            self.calls,
            self.errors,
            self.calls as f64 / seconds,
            self.bytes,
            times("call", &self.call)
        )
    }
}

async fn drive(
    target: Target,
    connections: usize,
    mode: Mode,
    pace: Pace,
) -> io::Result<(Tally, Duration)> {
    let (target, tally) = (Rc::new(target), Rc::new(RefCell::new(Tally::new()?)));
    let start = Instant::now();
    let end = start + pace.settle + pace.seconds;
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let (target, tally) = (Rc::clone(&target), Rc::clone(&tally));
            let mut turns = Turns {
                pace,
                counts_from: start + pace.settle,
                due: pace.first(start, number),
                end,
            };
            monoio::spawn(async move {
                while Instant::now() < end {
                    if let Err(_failed) = converse(&target, mode, &tally, &mut turns).await {
                        tally.borrow_mut().errors += 1;
                        monoio::time::sleep(RECONNECT_PAUSE).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    let elapsed = start.elapsed().saturating_sub(pace.settle);
    let tally = Rc::try_unwrap(tally).map_err(|_| io::Error::other("a connection is left"))?;
    Ok((tally.into_inner(), elapsed))
}

/// When one connection's calls are due.
struct Turns {
    pace: Pace,
    counts_from: Instant,
    due: Instant,
    end: Instant,
}

impl Turns {
    /// Waits for the next call's time. Returns when it should have been sent.
    async fn next(&mut self) -> Instant {
        let Some(interval) = self.pace.interval else {
            return Instant::now();
        };
        let due = self.due;
        self.due += interval;
        if Instant::now() >= due {
            return due;
        }
        monoio::time::sleep_until(due.into()).await;
        // The timer is coarse: its lateness is not the other side's.
        Instant::now()
    }
}

/// Calls over one connection until time is up or it fails.
async fn converse(
    target: &Target,
    mode: Mode,
    tally: &RefCell<Tally>,
    turns: &mut Turns,
) -> io::Result<()> {
    let mut stream = Stream::connect(target.address, target.trust.as_ref()).await?;
    let mut inbox = Inbox::new();
    while Instant::now() < turns.end {
        let sent = turns.next().await;
        stream.send(&target.request).await?;
        let head = inbox.head(&mut stream).await?;
        let mut answer = Answer::new(mode, sent);
        match head.framing {
            Framing::Length(length) => {
                take_length(&mut inbox, &mut stream, length, &mut answer, tally).await?;
            }
            Framing::Chunked => take_chunks(&mut inbox, &mut stream, &mut answer, tally).await?,
        }
        if head.status != 200 || !answer.is_complete() {
            return Err(io::Error::other("not a complete 200"));
        }
        if sent >= turns.counts_from {
            let mut tally = tally.borrow_mut();
            tally.calls += 1;
            tally.bytes += answer.bytes;
            tally.call.saturating_record(nanos(sent.elapsed()));
        }
        if head.close {
            break;
        }
    }
    Ok(())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn take_length(
    inbox: &mut Inbox,
    stream: &mut Stream,
    length: usize,
    answer: &mut Answer,
    tally: &RefCell<Tally>,
) -> io::Result<()> {
    let mut left = length;
    loop {
        let n = inbox.bytes().len().min(left);
        answer.take(&inbox.bytes()[..n], &mut tally.borrow_mut());
        inbox.consume(n);
        left -= n;
        if left == 0 {
            return Ok(());
        }
        inbox.fill(stream).await?;
    }
}

async fn take_chunks(
    inbox: &mut Inbox,
    stream: &mut Stream,
    answer: &mut Answer,
    tally: &RefCell<Tally>,
) -> io::Result<()> {
    let mut chunks = Chunks::default();
    loop {
        let (used, done) = {
            let mut tally = tally.borrow_mut();
            chunks.feed(inbox.bytes(), |payload| answer.take(payload, &mut tally))?
        };
        inbox.consume(used);
        if done {
            return Ok(());
        }
        inbox.fill(stream).await?;
    }
}

/// One answer as it comes in.
struct Answer {
    mode: Mode,
    sent: Instant,
    bytes: u64,
    /// Bytes of an event that has not ended yet.
    pending: Vec<u8>,
    started: bool,
    done: bool,
}

impl Answer {
    fn new(mode: Mode, sent: Instant) -> Answer {
        Answer {
            mode,
            sent,
            bytes: 0,
            pending: Vec::new(),
            started: false,
            done: false,
        }
    }

    fn take(&mut self, payload: &[u8], tally: &mut Tally) {
        self.bytes += payload.len() as u64;
        if self.mode == Mode::Call {
            return;
        }
        self.pending.extend_from_slice(payload);
        let now = shape::now_ns();
        let mut begin = 0;
        while let Some(end) = memchr::memmem::find(&self.pending[begin..], b"\n\n") {
            let event = &self.pending[begin..begin + end];
            begin += end + 2;
            if let Some(stamp) = shape::stamp_of(event) {
                tally.events += 1;
                tally.event.saturating_record(now.saturating_sub(stamp));
                if !self.started {
                    self.started = true;
                    tally
                        .first_event
                        .saturating_record(nanos(self.sent.elapsed()));
                }
            }
            self.done |= event == b"data: [DONE]";
        }
        self.pending.drain(..begin);
    }

    /// A stream ends with `[DONE]`; for anything else the framing has decided.
    fn is_complete(&self) -> bool {
        self.mode == Mode::Call || (self.done && self.pending.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_across_cuts_and_the_end_is_seen() {
        let text = [
            shape::chat_event(false),
            shape::chat_event(false),
            shape::chat_end(false, 2),
        ]
        .concat();
        for cut in 0..text.len() {
            let mut tally = Tally::new().unwrap();
            let mut answer = Answer::new(Mode::Stream, Instant::now());
            answer.take(&text.as_bytes()[..cut], &mut tally);
            assert!(!answer.is_complete());
            answer.take(&text.as_bytes()[cut..], &mut tally);
            assert!(answer.is_complete());
            assert_eq!((tally.events, tally.first_event.len()), (2, 1));
        }
    }
}
