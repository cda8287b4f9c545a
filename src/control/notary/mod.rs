//! The notary: a thread of the office's that puts what the ledger says into a Merkle tree and signs
//! its heads, so that nobody can change it afterwards unseen. docs/AUDIT.md says what that proves.
//!
//! It reads the segments themselves, as anybody could: cores and clerk know nothing of it. So one
//! tree has the entries of all processes that share a directory, and one of them at a time, which
//! holds the lock of the tree's file, goes on with it.

mod gather;
pub mod roll;

use std::path::PathBuf;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use super::ledger::retention::Noted;
use crate::config::Config;
use crate::policy::accreditation::AuthorityKey;
use gather::{Gathered, gather};
use roll::{Roll, RollError};

/// How the notary stands, for the admin plane.
#[derive(Debug, Default)]
pub struct NotaryView {
    /// Leaves of the tree; 0 while another process has it.
    pub leaves: AtomicU64,
    /// What was in the ledger then is in the tree: milliseconds since 1970.
    pub head_ms: AtomicI64,
    /// Rounds that failed.
    pub failures: AtomicU64,
    /// Whether this process goes on with the tree.
    pub active: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl NotaryView {
    /// What is wrong, if anything is.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// True if it is another than before.
    fn set_trouble(&self, why: Option<String>) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *trouble != why;
        *trouble = why;
        is_news
    }
}

/// The notary, before its thread is started.
pub struct Notary {
    directory: PathBuf,
    key: AuthorityKey,
    interval: Duration,
    noted: Arc<Noted>,
    view: Arc<NotaryView>,
    roll: Option<Roll>,
    /// Nothing but a restart helps: the tree must not go on from what may not be there.
    gave_up: bool,
}

impl Notary {
    /// None if the configuration has no `[audit]`. `noted` is what the clerk asks before it removes
    /// a segment.
    pub fn new(config: &Config, noted: Arc<Noted>) -> Option<Notary> {
        let (audit, ledger) = (config.audit.as_ref()?, config.ledger.as_ref()?);
        Some(Notary {
            directory: ledger.directory.clone(),
            key: audit.key.clone(),
            interval: audit.interval,
            noted,
            view: Arc::default(),
            roll: None,
            gave_up: false,
        })
    }

    /// What the admin plane sees of it.
    pub fn view(&self) -> Arc<NotaryView> {
        Arc::clone(&self.view)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// It can't be had.
    pub fn start(mut self) -> io::Result<NotaryHandle> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                self.look();
                thread::park_timeout(self.interval);
            }
            // What the cores and the clerk have written last.
            self.look();
        };
        let thread = thread::Builder::new()
            .name("srpd-notary".into())
            .spawn(run)?;
        Ok(NotaryHandle { thread, stop })
    }

    /// A round, and what is said about it.
    fn look(&mut self) {
        if self.gave_up {
            return;
        }
        let outcome = self.round();
        let why = outcome.as_ref().err().map(ToString::to_string);
        if let Err(error) = &outcome {
            self.gave_up = error.is_final();
            self.view.failures.fetch_add(1, Relaxed);
        }
        if !self.view.set_trouble(why.clone()) {
            return;
        }
        match why {
            None => tracing::info!("audit: entries are signed again"),
            Some(error) => {
                tracing::error!(directory = %self.directory.display(), error, "audit: entries can't be signed");
            }
        }
    }

    /// Takes in all that is new. Nothing if another process does that.
    fn round(&mut self) -> Result<(), RollError> {
        if self.roll.is_none() {
            let opened = Roll::open(&self.directory);
            let Some(roll) = opened? else {
                return Ok(());
            };
            tracing::info!(leaves = roll.size(), tree = %roll.name(), "audit: signing entries");
            self.roll = Some(roll);
            self.view.active.store(true, Relaxed);
        }
        let Some(roll) = &mut self.roll else {
            return Ok(());
        };
        loop {
            let now = jiff::Timestamp::now().as_millisecond();
            let Gathered {
                batch,
                positions,
                more,
            } = gather(&self.directory, roll.positions())?;
            if !batch.leaves.is_empty() {
                roll.append(&self.key, &batch, now)?;
                self.view.head_ms.store(now, Relaxed);
            }
            roll.move_to(positions);
            if !more {
                break;
            }
        }
        self.view.leaves.store(roll.size(), Relaxed);
        let parts = roll.positions().iter();
        let parts = parts.map(|((run, core), position)| (*run, *core, position.segment));
        self.noted.set(parts);
        Ok(())
    }
}

/// The running notary.
pub struct NotaryHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl NotaryHandle {
    /// Signs what is left and ends. To be called when the ledger is closed.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the notary's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
