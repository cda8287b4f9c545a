//! Making the calls: one thread per CPU, each with a runtime, connections and histograms of its
//! own. The main thread shows how it goes and adds up.

mod live;
mod session;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use live::{Glance, Live};

use crate::clock;
use crate::measure::{Series, Tally};
use crate::runtime;
use crate::scenario::Scenario;

/// How long the threads have to be ready before the first call is due, ns.
const START_DELAY: u64 = 50_000_000;
/// How often the main thread looks.
const LOOK: Duration = Duration::from_millis(50);

/// What all threads of a run share.
pub struct Run {
    /// What is to be done.
    pub scenario: Scenario,
    /// The monotonic time from which arrivals count.
    pub start: u64,
    /// No more calls, and those in flight end now.
    stop: Arc<AtomicBool>,
    /// How it goes, by thread.
    live: Vec<Live>,
}

impl Run {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What came of a run.
pub struct Outcome {
    /// Figures by target, then class.
    pub tallies: Vec<Vec<Tally>>,
    /// Figures over time, by target.
    pub series: Vec<Series>,
    /// From the first call that counts to the last answer, ns.
    pub elapsed: u64,
    /// Calls in flight when it was stopped: they count nowhere.
    pub cut_short: u64,
    /// Whether it was stopped before its time.
    pub stopped: bool,
}

/// Runs the scenario until it is over or `stop` is set; calls `look` every now and then.
///
/// # Errors
/// A thread that couldn't be put on its CPU, or has no runtime.
pub fn run(
    scenario: Scenario,
    stop: Arc<AtomicBool>,
    mut look: impl FnMut(&Scenario, u64, Glance),
) -> io::Result<(Scenario, Outcome)> {
    let threads = scenario.cpus.len().max(1);
    let run = Arc::new(Run {
        start: clock::now() + START_DELAY,
        stop,
        live: (0..threads).map(|_| Live::default()).collect(),
        scenario,
    });
    let mut handles = Vec::new();
    for index in 0..threads {
        let of = Arc::clone(&run);
        let thread = std::thread::Builder::new().name(format!("srpd-load-{index}"));
        handles.push(thread.spawn(move || {
            let cpu = of.scenario.cpus.get(index).copied();
            runtime::block_on(cpu, worker::work(of, index))?
        })?);
    }
    let mut glance = Glance::default();
    while handles.iter().any(|handle| !handle.is_finished()) {
        std::thread::sleep(LOOK);
        glance.in_flight = 0;
        for live in &run.live {
            live.take(&mut glance);
        }
        let since = clock::now().saturating_sub(run.start);
        if glance.is_due(since) {
            look(
                &run.scenario,
                since,
                std::mem::take(&mut glance).shown(since),
            );
            glance.forget(since);
        }
    }
    let mut parts = Vec::new();
    for handle in handles {
        let part = handle
            .join()
            .map_err(|_| io::Error::other("a thread panicked"))?;
        parts.push(part?);
    }
    let outcome = add_up(&run, parts)?;
    let run = Arc::try_unwrap(run).map_err(|_| io::Error::other("a thread is left"))?;
    Ok((run.scenario, outcome))
}

fn add_up(run: &Run, parts: Vec<worker::Part>) -> io::Result<Outcome> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().ok_or_else(|| io::Error::other("no thread"))?;
    for part in parts {
        for (mine, theirs) in sum
            .tallies
            .iter_mut()
            .flatten()
            .zip(part.tallies.iter().flatten())
        {
            mine.merge(theirs);
        }
        for (mine, theirs) in sum.series.iter_mut().zip(&part.series) {
            mine.merge(theirs);
        }
        sum.last = sum.last.max(part.last);
        sum.cut_short += part.cut_short;
    }
    let stopped = run.is_stopped();
    let scenario = &run.scenario;
    // An open loop that ended early in answers still took its whole time.
    let due = run.start + if stopped { 0 } else { scenario.total };
    let end = sum.last.max(due);
    Ok(Outcome {
        tallies: sum.tallies,
        series: sum.series,
        elapsed: end.saturating_sub(run.start + scenario.warmup),
        cut_short: sum.cut_short,
        stopped,
    })
}
