//! How far each sink has sent the ledger: what it counts, and the file that outlives it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, rename};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::files::sync_directory;
use crate::ledger::RunId;

/// The first line of the file.
const TITLE: &str = "srpd sink 1";

/// A place in the segments of one core of one run: everything before it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number.
    pub number: u32,
    /// Bytes of it.
    pub offset: u64,
}

/// How far a sink has come, by run and core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent(pub BTreeMap<(RunId, u16), Place>);

impl Sent {
    /// The sink's file in a ledger's directory.
    pub fn path(directory: &Path, sink: &str) -> PathBuf {
        directory.join(format!("{sink}.sent"))
    }

    /// Reads a sink's file. Without one, nothing has been sent.
    ///
    /// # Errors
    /// It can't be read, or isn't one.
    pub fn load(path: &Path) -> io::Result<Sent> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Sent::default()),
            Err(error) => return Err(error),
        };
        Sent::parse(&text).ok_or_else(|| {
            let path = path.display();
            io::Error::other(format!("{path}: expected how far a sink has sent"))
        })
    }

    fn parse(text: &str) -> Option<Sent> {
        let mut lines = text.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let place = |line: &str| {
            let mut words = line.split(' ');
            let run = words.next()?.parse().ok()?;
            let core = words.next()?.parse().ok()?;
            let number = words.next()?.parse().ok()?;
            let offset = words.next()?.parse().ok()?;
            (words.next().is_none()).then_some(((run, core), Place { number, offset }))
        };
        lines.map(place).collect::<Option<_>>().map(Sent)
    }

    fn text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for ((run, core), place) in &self.0 {
            text.push_str(&format!("{run} {core} {} {}\n", place.number, place.offset));
        }
        text
    }

    /// Writes a sink's file: after a crash there is the new one or the old one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("sent-new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        rename(&fresh, path)?;
        path.parent().map_or(Ok(()), sync_directory)
    }

    /// Whether a segment has been sent to its end.
    pub fn is_behind(&self, run: RunId, core: u16, number: u32) -> bool {
        let place = self.0.get(&(run, core));
        place.is_some_and(|place| place.number > number)
    }
}

/// The file that whoever sends for a sink has locked: of several processes with one directory, one
/// does.
///
/// # Errors
/// It can't be made.
pub fn lock_file(directory: &Path, sink: &str) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(format!("{sink}.lock")))
}

/// How a sink stands: its own to say, the admin plane's and retention's to read.
#[derive(Debug)]
pub struct SinkState {
    /// What the configuration calls it.
    pub name: String,
    /// Entries and amendments that the server has acknowledged.
    pub sent: AtomicU64,
    /// Times that something went wrong, each try counted.
    pub errors: AtomicU64,
    /// Segments that retention removed before they were sent.
    pub removed_unsent: AtomicU64,
    failing: AtomicBool,
    current_at: AtomicI64,
}

impl SinkState {
    /// Of a sink that has yet to begin, at a time in seconds since 1970.
    pub fn new(name: &str, now: i64) -> SinkState {
        SinkState {
            name: name.to_owned(),
            sent: AtomicU64::default(),
            errors: AtomicU64::default(),
            removed_unsent: AtomicU64::default(),
            failing: AtomicBool::default(),
            current_at: AtomicI64::new(now),
        }
    }

    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Whether the last try failed. Says what it was before.
    pub fn set_failing(&self, failing: bool) -> bool {
        self.failing.swap(failing, Ordering::Relaxed)
    }

    /// Everything that was on disk at this time, in seconds since 1970, has been sent.
    pub fn set_current(&self, at: i64) {
        self.current_at.store(at, Ordering::Relaxed);
    }

    /// Seconds since everything that was on disk had been sent.
    pub fn lag(&self, now: i64) -> u64 {
        let at = self.current_at.load(Ordering::Relaxed);
        now.saturating_sub(at).max(0).unsigned_abs()
    }
}

/// The sinks of the configuration in force.
pub type SinkStates = Arc<ArcSwap<Vec<Arc<SinkState>>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_back_and_what_is_none_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = Sent::path(place.path(), "billing");
        assert_eq!(Sent::load(&path).unwrap(), Sent::default());
        let run = RunId([7; 12]);
        let at = |number, offset| Place { number, offset };
        let sent = Sent([((run, 0), at(3, 640)), ((run, 1), at(0, 64))].into());
        sent.save(&path).unwrap();
        assert_eq!(Sent::load(&path).unwrap(), sent);
        assert!(sent.is_behind(run, 0, 2) && !sent.is_behind(run, 0, 3));
        assert!(!sent.is_behind(run, 2, 0), "nothing is known of that core");
        for text in ["", "srpd sink 2\n", "srpd sink 1\n0707 1 2 3\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Sent::load(&path).is_err(), "{text:?}");
        }
    }
}
