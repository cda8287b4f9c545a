//! Clients that take up room: each holds a connection, does as little with it as it is told to, and
//! comes back when it is sent away. They leave all at once, when standard input ends.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::runtime;
use crate::shape::{self, Ask};
use crate::tls::{Stream, Trust};
use crate::wire::{Framing, Inbox};

/// Connections that begin within a millisecond, so that no backlog overflows.
const ARRIVALS_PER_MS: usize = 5;
/// Between two bytes of a slow head.
const SLOW: Duration = Duration::from_secs(1);

/// `srpd-bench crowd`
#[derive(clap::Args)]
pub struct Options {
    /// `ADDRESS:PORT`
    #[arg(long)]
    to: SocketAddr,
    /// Speak TLS: a PEM file with whom to trust.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// What each does.
    #[arg(long, value_enum)]
    manner: Manner,
    /// How many there are.
    #[arg(long)]
    connections: usize,
    /// Milliseconds until one that was sent away comes back.
    #[arg(long, default_value_t = 1000)]
    back_ms: u64,
    /// Size of a request's JSON.
    #[arg(long, default_value_t = 1024)]
    body_bytes: usize,
    /// The request's `model`.
    #[arg(long, default_value = "smart")]
    model: String,
    /// What the canned upstream is told: `pace_ms=1000,events=1000`.
    #[arg(long, default_value = "")]
    plan: String,
    /// A field to send along, `name: value`. May be given several times.
    #[arg(long)]
    header: Vec<String>,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

/// What each of a crowd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Manner {
    /// Connects, and says nothing.
    Silent,
    /// Makes one call, and says nothing more.
    Served,
    /// Sends a head, a byte each second.
    Slow,
    /// Makes a call, and takes in what comes for as long as it comes: a stream, if the model gives
    /// one; or waits, if nothing comes.
    Waiting,
}

/// Figures that are added up by all of them.
#[derive(Default)]
struct Tally {
    /// Connections that are as far as they are meant to be.
    held: AtomicU64,
    /// Those that were, or weren't let get there.
    tried: AtomicU64,
    /// Times that one was sent away: without an answer, or with another than 200.
    sent_away: AtomicU64,
    /// Bytes of answers.
    bytes: AtomicU64,
}

impl Tally {
    fn json(&self) -> String {
        let [held, sent_away, bytes] =
            [&self.held, &self.sent_away, &self.bytes].map(|it| it.load(Ordering::Relaxed));
        format!(r#"{{"held":{held},"sent_away":{sent_away},"bytes":{bytes}}}"#)
    }
}

/// What all of them share.
struct Plan {
    to: SocketAddr,
    trust: Option<Trust>,
    manner: Manner,
    back: Duration,
    request: Rc<Vec<u8>>,
    tally: Arc<Tally>,
}

/// Runs until standard input ends. Prints one JSON object when everybody has tried to take a
/// place, and one for each line that is read.
pub fn run(options: &Options) -> io::Result<()> {
    let tally = Arc::new(Tally::default());
    listen(Arc::clone(&tally));
    runtime::block_on_timed(options.cpu, gather(options, tally))?
}

/// Answers lines with figures, and ends the process with standard input: the kernel closes all
/// connections then, as it would for a crowd that is cut off.
fn listen(tally: Arc<Tally>) {
    std::thread::spawn(move || {
        let mut byte = [0];
        while let Ok(1) = io::stdin().read(&mut byte) {
            if byte == *b"\n" {
                println!("{}", tally.json());
            }
        }
        std::process::exit(0);
    });
}

async fn gather(options: &Options, tally: Arc<Tally>) -> io::Result<()> {
    let trust = options.ca.as_ref().map(|ca| Trust::read(ca, false));
    let plan = Rc::new(Plan {
        to: options.to,
        trust: trust.transpose()?,
        manner: options.manner,
        back: Duration::from_millis(options.back_ms),
        request: Rc::new(request(options)),
        tally,
    });
    let begun = Instant::now();
    for number in 0..options.connections {
        if number % ARRIVALS_PER_MS == 0 {
            let due = Duration::from_millis((number / ARRIVALS_PER_MS) as u64);
            monoio::time::sleep_until((begun + due).into()).await;
        }
        monoio::spawn(one(Rc::clone(&plan), number));
    }
    while plan.tally.tried.load(Ordering::Relaxed) < options.connections as u64 {
        monoio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{}", plan.tally.json());
    std::future::pending().await
}

fn request(options: &Options) -> Vec<u8> {
    let body = shape::chat_request(&Ask {
        model: &options.model,
        stream: options.manner == Manner::Waiting,
        include_usage: false,
        plan: &options.plan,
        bytes: options.body_bytes,
    });
    let authority = options.to.to_string();
    shape::request("/v1/chat/completions", &authority, &options.header, &body)
}

async fn one(plan: Rc<Plan>, number: usize) {
    let tally = &plan.tally;
    let mut tried = false;
    loop {
        let mut place = Place {
            tally,
            held: false,
            tried: &mut tried,
        };
        // However it ends: it was sent away, and comes back.
        let _ = stay(&plan, number, &mut place).await;
        place.lose();
        monoio::time::sleep(plan.back).await;
    }
}

/// One's place, counted while it is held.
struct Place<'p> {
    tally: &'p Tally,
    held: bool,
    tried: &'p mut bool,
}

impl Place<'_> {
    fn take(&mut self) {
        self.held = true;
        self.tally.held.fetch_add(1, Ordering::Relaxed);
        self.try_once();
    }

    fn lose(&mut self) {
        self.tally.sent_away.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut self.held) {
            self.tally.held.fetch_sub(1, Ordering::Relaxed);
        }
        self.try_once();
    }

    fn try_once(&mut self) {
        if !std::mem::replace(self.tried, true) {
            self.tally.tried.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes a place and holds it for as long as it can. What comes while it does is counted.
async fn stay(plan: &Plan, number: usize, place: &mut Place<'_>) -> io::Result<()> {
    let mut stream = Stream::connect(plan.to, plan.trust.as_ref()).await?;
    let mut inbox = Inbox::new();
    match plan.manner {
        Manner::Silent => place.take(),
        Manner::Slow => {
            place.take();
            return dawdle(&mut stream, number).await;
        }
        Manner::Waiting => {
            stream.send(&plan.request).await?;
            place.take();
        }
        Manner::Served => {
            stream.send(&plan.request).await?;
            let head = inbox.head(&mut stream).await?;
            let Framing::Length(length) = head.framing else {
                return Err(io::Error::other("an answer of unknown length"));
            };
            while inbox.bytes().len() < length {
                inbox.fill(&mut stream).await?;
            }
            if head.status != 200 {
                return Err(io::Error::other("not a 200"));
            }
            inbox.consume(length);
            place.take();
        }
    }
    loop {
        inbox.fill(&mut stream).await?;
        let come = inbox.bytes().len();
        inbox.consume(come);
        plan.tally.bytes.fetch_add(come as u64, Ordering::Relaxed);
    }
}

/// Sends a head that has no end, not at the same moment as all others do.
async fn dawdle(stream: &mut Stream, number: usize) -> io::Result<()> {
    monoio::time::sleep(SLOW / 1000 * (number % 1000) as u32).await;
    let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: slow.example\r\nx-slow: "
        .iter()
        .chain(std::iter::repeat(&b'x'));
    for byte in head {
        stream.send(&Rc::new(vec![*byte])).await?;
        monoio::time::sleep(SLOW).await;
    }
    Ok(())
}
