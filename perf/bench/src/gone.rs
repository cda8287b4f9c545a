//! A client that leaves: how long until the upstream sees its own connection end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::shape::{self, Ask};
use crate::tally::histogram;
use crate::watch;

/// Between two looks at what the upstream has seen.
const LOOK: Duration = Duration::from_millis(2);

/// `srpd-bench gone`
#[derive(clap::Args)]
pub struct Options {
    /// `ADDRESS:PORT`
    #[arg(long)]
    to: SocketAddr,
    /// The canned upstream itself, `ADDRESS:PORT`.
    #[arg(long)]
    upstream: SocketAddr,
    /// When the client leaves.
    #[arg(long, value_enum)]
    when: When,
    /// How often it does.
    #[arg(long, default_value_t = 50)]
    times: u64,
    /// Milliseconds after which the upstream counts as not told.
    #[arg(long, default_value_t = 3000)]
    patience_ms: u64,
    /// The request's `model`.
    #[arg(long, default_value = "smart")]
    model: String,
    /// A field to send along, `name: value`. May be given several times.
    #[arg(long)]
    header: Vec<String>,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

/// When the client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// Before the first byte of an answer.
    Early,
    /// In the middle of a stream.
    Streaming,
}

/// Runs and prints one JSON object. It fails if the upstream got no request at all.
pub fn run(options: &Options) -> io::Result<()> {
    if let Some(cpu) = options.cpu {
        monoio::utils::bind_to_cpu_set([cpu]).map_err(io::Error::from)?;
    }
    let (mut times, mut never) = (histogram()?, 0);
    for _ in 0..options.times {
        match leave(options)? {
            Some(ns) => times.saturating_record(ns),
            None => never += 1,
        }
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        r#"{{"times":{},"never":{never},"gone_us":{{"p50":{:.1},"p99":{:.1},"max":{:.1}}}}}"#,
        options.times,
        at(0.5),
        at(0.99),
        times.max() as f64 / 1000.0
    );
    Ok(())
}

/// One call that is left alone: ns until the upstream's connection ended, or none if it didn't.
fn leave(options: &Options) -> io::Result<Option<u64>> {
    // The clock gives a number that no earlier call has had.
    let number = shape::now_ns();
    let early = options.when == When::Early;
    let plan = match options.when {
        When::Early => format!("watch={number},hang"),
        When::Streaming => format!("watch={number},pace_ms=5,events=100000"),
    };
    let body = shape::chat_request(&Ask {
        model: &options.model,
        stream: !early,
        include_usage: false,
        plan: &plan,
        bytes: 1024,
    });
    let authority = options.to.to_string();
    let request = shape::request("/v1/chat/completions", &authority, &options.header, &body);
    let patience = Duration::from_millis(options.patience_ms);
    let mut client = TcpStream::connect(options.to)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(patience))?;
    client.write_all(&request)?;
    let mut upstream = TcpStream::connect(options.upstream)?;
    upstream.set_nodelay(true)?;
    wait(&mut upstream, number, patience, |(came, _)| came > 0)?
        .ok_or_else(|| io::Error::other("the upstream never got the request"))?;
    if !early {
        take_in_some(&mut client)?;
    }
    let left = shape::now_ns();
    drop(client);
    let gone = wait(&mut upstream, number, patience, |(_, gone)| gone > 0)?;
    Ok(gone.map(|(_, gone)| gone.saturating_sub(left)))
}

/// Reads until a few events have come.
fn take_in_some(client: &mut TcpStream) -> io::Result<()> {
    let (mut taken, mut buffer) = (Vec::new(), [0; 4096]);
    while memchr::memmem::find_iter(&taken, shape::STAMP_MARK).count() < 3 {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        taken.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}

/// Asks the upstream until it says what is waited for.
fn wait(
    upstream: &mut TcpStream,
    number: u64,
    patience: Duration,
    is_it: impl Fn((u64, u64)) -> bool,
) -> io::Result<Option<(u64, u64)>> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let times = ask(upstream, number)?;
        if is_it(times) {
            return Ok(Some(times));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

fn ask(upstream: &mut TcpStream, number: u64) -> io::Result<(u64, u64)> {
    let path = watch::PATH;
    upstream.write_all(format!("GET {path}{number} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())?;
    // The head says how long the body is, but it is short: the last digits end what is read at once.
    let mut buffer = [0; 1024];
    let read = upstream.read(&mut buffer)?;
    let text = std::str::from_utf8(&buffer[..read]).map_err(io::Error::other)?;
    let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
    watch::parse(body).ok_or_else(|| io::Error::other(format!("the upstream said: {text}")))
}
