//! A client: in a closed loop every connection sends its next call when the last one is answered; in
//! an open one calls are due at a steady rate, whoever has been answered, and count from then.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};

use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::runtime;
use crate::shape::{self, Ask};
use crate::tally::{Answer, Mode, Tally, nanos};
use crate::tls::{Stream, Trust};
use crate::upstream;
use crate::wire::{Chunks, Framing, Inbox};

/// How long a connection that failed waits before it tries again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// How long after the end calls that were due before it are still made.
const OVERTIME: Duration = Duration::from_secs(2);

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
    /// calls again at once. A call counts from when it was due, not from when it could be sent.
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
    /// What the canned upstream is told: `pace_ms=5,events=200,bytes=1024`, any of them.
    #[arg(long, default_value = "")]
    plan: String,
    /// A field to send along, `name: value`. May be given several times.
    #[arg(long)]
    header: Vec<String>,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

/// Runs, prints one JSON object, and fails if not a single call succeeded.
pub fn run(options: &Options) -> io::Result<()> {
    let (target, pace) = (Target::new(options)?, Pace::new(options)?);
    let work = drive(target, options.connections, pace);
    let (tally, elapsed) = runtime::block_on_timed(options.cpu, work)??;
    let figures = tally.json(options.mode, elapsed);
    println!(r#"{{"connections":{},{figures}}}"#, options.connections);
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
    /// Between two calls, in an open loop.
    interval: Option<Duration>,
    /// From one connection's first call to that of the next: streams are not to beat as one.
    stagger: Duration,
}

impl Pace {
    fn new(options: &Options) -> io::Result<Pace> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{name} out of range"))
            })
        };
        let interval = options.rate.map(|rate| seconds("--rate", 1.0 / rate));
        let plan: Plan = upstream::USUAL.with(&options.plan)?;
        let stagger = match options.mode {
            Mode::Call => Duration::ZERO,
            Mode::Stream => plan.pace / u32::try_from(options.connections.max(1)).unwrap_or(1),
        };
        Ok(Pace {
            settle: seconds("--settle", options.settle)?,
            seconds: seconds("--seconds", options.seconds)?,
            interval: interval.transpose()?,
            stagger,
        })
    }
}

/// Where to, and what is sent.
struct Target {
    address: SocketAddr,
    trust: Option<Trust>,
    mode: Mode,
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
        let body = shape::chat_request(&Ask {
            model: &options.model,
            stream: options.mode == Mode::Stream,
            include_usage: options.include_usage,
            plan: &options.plan,
            bytes: options.body_bytes,
        });
        Ok(Target {
            address: authority.parse().map_err(|_| wrong())?,
            trust,
            mode: options.mode,
            request: shape::request(path, authority, &options.header, &body).into(),
        })
    }
}

async fn drive(target: Target, connections: usize, pace: Pace) -> io::Result<(Tally, Duration)> {
    let (target, tally) = (Rc::new(target), Rc::new(RefCell::new(Tally::new()?)));
    let start = Instant::now();
    let end = start + pace.settle + pace.seconds;
    let due = pace.interval.map(|interval| {
        let (tell, due) = async_channel::unbounded();
        let pacing = monoio::spawn(pace_calls(start, end, interval, tell));
        (pacing, due)
    });
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let (target, tally) = (Rc::clone(&target), Rc::clone(&tally));
            let turns = Turns {
                counts_from: start + pace.settle,
                end,
                due: due.as_ref().map(|(_, due)| due.clone()),
            };
            let first = start + pace.stagger * u32::try_from(number).unwrap_or(0);
            monoio::spawn(async move {
                if !pace.stagger.is_zero() {
                    monoio::time::sleep_until(first.into()).await;
                }
                while !turns.are_over() {
                    if let Err(failed) = converse(&target, &tally, &turns).await {
                        tally.borrow_mut().error(&failed);
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
    if let Some((pacing, due)) = due {
        pacing.await?;
        tally.borrow_mut().errors += due.len() as u64;
    }
    let tally = Rc::try_unwrap(tally).map_err(|_| io::Error::other("a connection is left"))?;
    Ok((tally.into_inner(), elapsed))
}

/// Hands on the times of calls until the end.
async fn pace_calls(
    start: Instant,
    end: Instant,
    interval: Duration,
    tell: Sender<Instant>,
) -> io::Result<()> {
    let (mut pacer, mut times) = (Pacer::start(start, end, interval)?, Vec::new());
    while pacer.next(&mut times).await? {
        for due in times.drain(..) {
            // It has no bound, and is open for as long as a connection is left.
            let _ = tell.try_send(due);
        }
    }
    Ok(())
}

/// When one connection's calls are due.
struct Turns {
    counts_from: Instant,
    end: Instant,
    /// The calls of an open loop, which all connections take from; none: a closed loop.
    due: Option<Receiver<Instant>>,
}

impl Turns {
    fn are_over(&self) -> bool {
        match &self.due {
            None => Instant::now() >= self.end,
            Some(due) => {
                Instant::now() >= self.end + OVERTIME || (due.is_closed() && due.is_empty())
            }
        }
    }

    /// Waits for the next call's time, and returns it; none at the end.
    async fn next(&self) -> Option<Instant> {
        match &self.due {
            None => Some(Instant::now()),
            Some(due) => due.recv().await.ok(),
        }
    }
}

/// Calls over one connection until time is up or it fails.
async fn converse(target: &Target, tally: &RefCell<Tally>, turns: &Turns) -> io::Result<()> {
    let mut stream = Stream::connect(target.address, target.trust.as_ref()).await?;
    let mut inbox = Inbox::new();
    while !turns.are_over() {
        let Some(due) = turns.next().await else {
            break;
        };
        stream.send(&target.request).await?;
        let head = inbox.head(&mut stream).await?;
        let mut answer = Answer::new(target.mode, due);
        match head.framing {
            Framing::Length(length) => {
                take_length(&mut inbox, &mut stream, length, &mut answer, tally).await?;
            }
            Framing::Chunked => take_chunks(&mut inbox, &mut stream, &mut answer, tally).await?,
        }
        if head.status != 200 || !answer.is_complete() {
            let what = format!("not a complete 200, but {}", head.status);
            return Err(io::Error::other(what));
        }
        if due >= turns.counts_from {
            let mut tally = tally.borrow_mut();
            tally.calls += 1;
            tally.bytes += answer.bytes;
            tally.call.saturating_record(nanos(due.elapsed()));
        }
        if head.close {
            break;
        }
    }
    Ok(())
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
