//! Where the cores' ledger and the office meet: sheets come down, blank and ready; how far each is
//! written, and what could not be written, goes up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::Consumer;

use crate::ledger::RunId;
use crate::net::mapped::Mapped;
use crate::telemetry::Counter;

/// How far a sheet is written: the core's to say, the office's to read.
#[derive(Debug, Default)]
pub struct Progress {
    written: AtomicU64,
    full: AtomicBool,
}

impl Progress {
    /// Bytes of whole frames, the header included.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The core has written so far.
    #[inline]
    pub fn set_written(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Release);
    }

    /// Whether the core has gone on to the next sheet.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// The core writes it no more.
    pub fn set_full(&self) {
        self.full.store(true, Ordering::Release);
    }
}

/// A segment that a core may write: its header is there, its blocks are allocated.
#[derive(Debug)]
pub struct Sheet {
    /// The file.
    pub page: Mapped,
    /// How far it is written.
    pub progress: Arc<Progress>,
}

/// What one core counts of its ledger.
#[derive(Debug, Default)]
pub struct Tally {
    /// Entries written.
    pub entries: Counter,
    /// Entries amended.
    pub amendments: Counter,
    /// Entries and amendments of calls that were let in, for which there was no room.
    pub lost: Counter,
    /// Entries of calls that were refused, for which there was no room.
    pub refused: Counter,
}

/// How the ledger stands, for cores and admin plane.
#[derive(Debug, Default)]
pub struct Standing {
    /// New calls are to be refused: what they would write may not last.
    unsafe_to_write: AtomicBool,
    /// A core may be writing its last sheet, and no other can be made ready.
    starved: AtomicBool,
    trouble: Mutex<Option<String>>,
    /// Segments made durable, each counted each time.
    pub syncs: AtomicU64,
    /// Times that this failed.
    pub sync_failures: AtomicU64,
    /// Times that no segment could be made ready.
    pub prepare_failures: AtomicU64,
    /// Tails that were cut off segments of writers that had died, because they held half a frame.
    pub torn: AtomicU64,
    /// Bytes of these tails.
    pub torn_bytes: AtomicU64,
    /// Segments found damaged before their end.
    pub damaged: AtomicU64,
    /// Segments that retention has removed.
    pub removed: AtomicU64,
    /// Bytes that the directory's segments have.
    pub bytes: AtomicU64,
}

impl Standing {
    /// Whether what is written now may not last.
    #[inline]
    pub fn is_unsafe(&self) -> bool {
        self.unsafe_to_write.load(Ordering::Relaxed)
    }

    /// An error that nothing but a restart mends: what the kernel has dropped may be anything.
    pub fn give_up(&self, why: String) {
        self.unsafe_to_write.store(true, Ordering::Relaxed);
        self.set_trouble(Some(why));
    }

    /// Whether no more sheets can be made ready.
    pub fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// Whether no more sheets can be made ready.
    pub fn set_starved(&self, starved: bool) {
        self.starved.store(starved, Ordering::Relaxed);
    }

    /// What is wrong, if anything is. An error that can't be mended stays.
    pub fn set_trouble(&self, why: Option<String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if why.is_some() || !self.is_unsafe() {
            *trouble = why;
        }
    }

    /// What is wrong, if anything is.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }
}

/// What a core needs to write its part of the ledger.
pub struct LedgerLink {
    /// The process's life.
    pub run: RunId,
    /// The first sheet.
    pub first: Sheet,
    /// The next, when the office has one ready.
    pub next: Consumer<Sheet>,
    /// How the ledger stands.
    pub standing: Arc<Standing>,
    /// What the core counts.
    pub tally: Arc<Tally>,
    /// `ledger.on_failure = "serve"`: calls are served whether they can be recorded or not.
    pub serve_on: bool,
}
