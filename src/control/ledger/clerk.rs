//! The clerk: the thread that waits for the ledger's disk, so that nobody else has to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rtrb::{Producer, RingBuffer};
use thiserror::Error;

use super::LedgerView;
use super::files::make_directory;
use super::recovery::recover;
use super::retention::{Noted, retain};
use super::segment::Segment;
use super::sent::{SinkState, SinkStates};
use crate::config::{Config, Ledger, OnFailure};
use crate::ledger::{Header, RunId};
use crate::tables::LedgerLink;
use crate::tables::ledger::{Sheet, Standing, Tally};

/// Between two rounds at most: a core that has begun its last sheet gets another soon.
const ROUND_MAX: Duration = Duration::from_millis(50);

/// Between two rounds at least.
const ROUND_MIN: Duration = Duration::from_millis(1);

/// Between two tries to make a segment ready where the last has failed.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Between two looks at what is old, too much, or somebody else's who has died.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Blank sheets that a core has beside the one that it writes.
const SPARES: usize = 1;

/// Why there is no ledger.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The directory, or what is in it.
    #[error("ledger.directory = {}: expected a directory that can be written: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// There is no room for the first segments.
    #[error("ledger.directory = {}: no room for segments of {bytes} bytes (ledger.segment_bytes): {error}", path.display())]
    Room {
        /// The directory.
        path: PathBuf,
        /// Of each segment.
        bytes: usize,
        /// What the kernel says.
        error: io::Error,
    },
    /// No run can be told from another.
    #[error("the operating system has no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The thread can't be had.
    #[error("the ledger's thread: {0}")]
    Thread(io::Error),
}

/// One core's part of the ledger.
struct Part {
    /// Its number is the next segment's.
    header: Header,
    /// In the order in which the core writes them; the last may be blank.
    segments: Vec<Segment>,
    spares: Producer<Sheet>,
}

impl Part {
    fn make(&mut self, config: &Ledger) -> io::Result<Sheet> {
        self.header.made_us = jiff::Timestamp::now().as_microsecond();
        let (segment, sheet) =
            Segment::make(&config.directory, &self.header, config.segment_bytes)?;
        self.header.number += 1;
        self.segments.push(segment);
        Ok(sheet)
    }

    /// Makes blank sheets until there are enough.
    fn restock(&mut self, config: &Ledger) -> io::Result<()> {
        while self.spares.slots() > 0 {
            let sheet = self.make(config)?;
            // There was room, and nobody else puts anything in.
            let _ = self.spares.push(sheet);
        }
        Ok(())
    }
}

/// The ledger, before its thread is started.
pub struct Clerk {
    config: Ledger,
    parts: Vec<Part>,
    standing: Arc<Standing>,
    /// What is in the tree, if there is one.
    noted: Option<Arc<Noted>>,
    sinks: SinkStates,
    retry_at: Instant,
    synced_at: Instant,
    tidied_at: Instant,
}

impl Clerk {
    /// Puts the directory in order and has the first sheets of so many cores ready. None if the
    /// configuration has no ledger. With `noted`, only what is noted there is ever removed.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn open(
        config: &Config,
        cores: usize,
        noted: Option<Arc<Noted>>,
    ) -> Result<Option<(Clerk, Vec<LedgerLink>, LedgerView)>, LedgerError> {
        let Some(ledger) = config.ledger.clone() else {
            return Ok(None);
        };
        let standing = Arc::new(Standing::default());
        let sinks = sinks(config);
        make_directory(&ledger.directory)
            .and_then(|()| recover(&ledger.directory, &standing))
            .and_then(|()| {
                retain(
                    &ledger.directory,
                    &ledger,
                    noted.as_deref(),
                    &sinks.load(),
                    &standing,
                )
            })
            .map_err(|error| LedgerError::Directory {
                path: ledger.directory.clone(),
                error,
            })?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let run = RunId::new(now_ms.unsigned_abs(), getrandom::u64()?);
        let mut clerk = Clerk {
            config: ledger,
            parts: Vec::with_capacity(cores),
            standing: Arc::clone(&standing),
            noted,
            sinks: Arc::clone(&sinks),
            retry_at: Instant::now(),
            synced_at: Instant::now(),
            tidied_at: Instant::now(),
        };
        let serve_on = clerk.config.on_failure == OnFailure::Serve;
        let (mut links, mut tallies) = (Vec::new(), Vec::new());
        for core in 0..cores {
            let (spares, next) = RingBuffer::new(SPARES);
            let header = header(config, run, core);
            let mut part = Part {
                header,
                segments: Vec::new(),
                spares,
            };
            let first = part.make(&clerk.config);
            let first = first.and_then(|first| part.restock(&clerk.config).map(|()| first));
            clerk.parts.push(part);
            let first = first.map_err(|error| clerk.no_room(error))?;
            let tally = Arc::new(Tally::default());
            tallies.push(Arc::clone(&tally));
            links.push(LedgerLink {
                run,
                first,
                next,
                standing: Arc::clone(&standing),
                tally,
                serve_on,
            });
        }
        let view = LedgerView {
            standing,
            tallies,
            sinks,
            serve_on,
        };
        Ok(Some((clerk, links, view)))
    }

    /// Nothing of a start that fails is left behind.
    fn no_room(&mut self, error: io::Error) -> LedgerError {
        self.close();
        LedgerError::Room {
            path: self.config.directory.clone(),
            bytes: self.config.segment_bytes,
            error,
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// It can't be had.
    pub fn start(mut self) -> Result<ClerkHandle, LedgerError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // Twice in the time that is promised, so that the wait and the disk both fit into it.
        let pause = (self.config.sync / 2).clamp(ROUND_MIN, ROUND_MAX);
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                self.round(Instant::now());
                std::thread::park_timeout(pause);
            }
            self.close();
        };
        let thread = std::thread::Builder::new()
            .name("srpd-ledger".into())
            .spawn(run)
            .map_err(LedgerError::Thread)?;
        Ok(ClerkHandle { thread, stop })
    }

    /// What is due now.
    fn round(&mut self, now: Instant) {
        if now >= self.retry_at {
            self.restock(now);
        }
        if now.duration_since(self.synced_at) >= self.config.sync / 2 {
            self.synced_at = now;
            self.sync();
        }
        self.seal_full();
        if now.duration_since(self.tidied_at) >= TIDY_EVERY {
            self.tidied_at = now;
            self.tidy();
        }
    }

    /// Has a blank sheet ready for each core. A full disk is found out here, with a sheet or two
    /// still to write.
    fn restock(&mut self, now: Instant) {
        let mut parts = self.parts.iter_mut();
        let made = parts.try_for_each(|part| part.restock(&self.config));
        let Err(error) = made else {
            if self.standing.is_starved() {
                tracing::info!("ledger: there is room again");
                self.standing.set_starved(false);
                self.standing.set_trouble(None);
            }
            return;
        };
        self.retry_at = now + TRY_AGAIN;
        self.standing.prepare_failures.fetch_add(1, Relaxed);
        if !self.standing.is_starved() {
            let directory = self.config.directory.display();
            tracing::error!(%directory, %error, "ledger: no room for another segment");
            self.standing.set_starved(true);
        }
        self.standing
            .set_trouble(Some(format!("no room for another segment: {error}")));
    }

    fn sync(&mut self) {
        for segment in self.parts.iter_mut().flat_map(|part| &mut part.segments) {
            match segment.sync() {
                Ok(true) => {
                    self.standing.syncs.fetch_add(1, Relaxed);
                }
                Ok(false) => {}
                Err(error) => failed(&self.standing, &error),
            }
        }
    }

    fn seal_full(&mut self) {
        for part in &mut self.parts {
            let full = part.segments.extract_if(.., |segment| segment.is_full());
            for segment in full {
                if let Err(error) = segment.seal() {
                    failed(&self.standing, &error);
                }
            }
        }
    }

    fn tidy(&self) {
        let directory = &self.config.directory;
        let noted = self.noted.as_deref();
        let tidied = recover(directory, &self.standing).and_then(|()| {
            let sinks = self.sinks.load();
            retain(directory, &self.config, noted, &sinks, &self.standing)
        });
        if let Err(error) = tidied {
            tracing::error!(directory = %directory.display(), %error, "ledger: can't be tidied");
        }
    }

    /// The cores have ended: everything is sealed.
    fn close(&mut self) {
        for segment in self.parts.iter_mut().flat_map(|it| it.segments.drain(..)) {
            if let Err(error) = segment.seal() {
                failed(&self.standing, &error);
            }
        }
    }
}

/// After an error of fsync the kernel may have dropped what it could not write, and says so once
/// only: nothing that is written from now on can be relied on.
fn failed(standing: &Standing, error: &io::Error) {
    standing.sync_failures.fetch_add(1, Relaxed);
    if !standing.is_unsafe() {
        tracing::error!(%error, "ledger: what was written can't be made durable; only a restart helps");
    }
    standing.give_up(format!("what was written can't be made durable: {error}"));
}

/// None has sent anything yet, as far as this process knows.
fn sinks(config: &Config) -> SinkStates {
    let now = jiff::Timestamp::now().as_second();
    let states = config.sinks.iter();
    let states = states.map(|sink| Arc::new(SinkState::new(&sink.name, now)));
    Arc::new(ArcSwap::from_pointee(states.collect()))
}

fn header(config: &Config, run: RunId, core: usize) -> Header {
    let code = config.instance.jurisdiction.code().as_bytes();
    let currency = config.instance.currency.as_deref().unwrap_or_default();
    Header {
        run,
        // As many cores as CPUs: far fewer.
        core: core as u16,
        number: 0,
        made_us: 0,
        jurisdiction: code.first_chunk().copied().unwrap_or_default(),
        currency: currency
            .as_bytes()
            .first_chunk()
            .copied()
            .unwrap_or_default(),
    }
}

/// The running clerk.
pub struct ClerkHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl ClerkHandle {
    /// Seals everything and ends. To be called when no core writes any more.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the ledger's thread panicked");
        }
    }
}
