//! TLS handshakes at a steady rate, each on a connection of its own that is closed after it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::runtime;
use crate::tls::{Stream, Trust};

/// The longest time that is told apart.
const TIME_MAX_NS: u64 = 60_000_000_000;
/// Handshakes that may be under way at once: what is beyond is counted as an error.
const UNDER_WAY_MAX: usize = 4096;

/// `srpd-bench handshakes`
#[derive(clap::Args)]
pub struct Options {
    /// `ADDRESS:PORT`
    #[arg(long)]
    to: SocketAddr,
    /// A PEM file with whom to trust.
    #[arg(long)]
    ca: PathBuf,
    /// Handshakes per second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How many begin at once.
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Resume the session of an earlier one.
    #[arg(long)]
    resume: bool,
    /// How long new ones begin.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

struct Tally {
    done: u64,
    resumed: u64,
    errors: u64,
    under_way: usize,
    time: Histogram<u64>,
}

/// Runs, prints one JSON object, and fails if not a single handshake succeeded.
pub fn run(options: &Options) -> io::Result<()> {
    let trust = Trust::read(&options.ca, options.resume)?;
    let (tally, elapsed) = runtime::block_on_timed(options.cpu, drive(options, trust))??;
    let at = |quantile| tally.time.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        r#"{{"handshakes":{},"resumed":{},"errors":{},"per_second":{:.1},"handshake_us":{{"p50":{:.1},"p99":{:.1},"max":{:.1}}}}}"#,
        tally.done,
        tally.resumed,
        tally.errors,
        tally.done as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        tally.time.max() as f64 / 1000.0
    );
    if tally.done == 0 {
        return Err(io::Error::other("no handshake succeeded"));
    }
    Ok(())
}

async fn drive(options: &Options, trust: Trust) -> io::Result<(Tally, Duration)> {
    let wrong = |_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "--rate or --seconds out of range",
        )
    };
    let pause = Duration::try_from_secs_f64(f64::from(options.burst) / options.rate);
    let pause = pause.map_err(wrong)?;
    let seconds = Duration::try_from_secs_f64(options.seconds).map_err(wrong)?;
    let tally = Rc::new(RefCell::new(Tally {
        done: 0,
        resumed: 0,
        errors: 0,
        under_way: 0,
        time: Histogram::new_with_bounds(1, TIME_MAX_NS, 3).map_err(io::Error::other)?,
    }));
    let start = Instant::now();
    let mut due = start;
    while start.elapsed() < seconds {
        for _ in 0..options.burst {
            begin(options.to, &trust, options.resume, &tally);
        }
        due += pause;
        monoio::time::sleep_until(due.into()).await;
    }
    let elapsed = start.elapsed();
    while tally.borrow().under_way > 0 {
        monoio::time::sleep(Duration::from_millis(10)).await;
    }
    let tally = Rc::try_unwrap(tally).map_err(|_| io::Error::other("a handshake is left"))?;
    Ok((tally.into_inner(), elapsed))
}

fn begin(to: SocketAddr, trust: &Trust, resumes: bool, tally: &Rc<RefCell<Tally>>) {
    if tally.borrow().under_way >= UNDER_WAY_MAX {
        tally.borrow_mut().errors += 1;
        return;
    }
    tally.borrow_mut().under_way += 1;
    let (trust, tally) = (trust.clone(), Rc::clone(tally));
    monoio::spawn(async move {
        let begun = Instant::now();
        let mut stream = Stream::connect(to, Some(&trust)).await;
        let time = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if resumes && let Ok(stream) = &mut stream {
            stream.take_tickets().await;
        }
        let mut tally = tally.borrow_mut();
        tally.under_way -= 1;
        match stream {
            Ok(stream) => {
                tally.done += 1;
                tally.resumed += u64::from(stream.is_resumed());
                tally.time.saturating_record(time);
            }
            Err(error) => {
                if tally.errors == 0 {
                    eprintln!("srpd-bench: the first that failed: {error}");
                }
                tally.errors += 1;
            }
        }
    });
}
