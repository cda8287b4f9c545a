//! What is too old, or too much.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::files::{Listed, segments};
use super::sent::{Sent, SinkState};
use crate::config;
use crate::ledger::RunId;
use crate::tables::ledger::Standing;

/// Which segments are in the tree of `[audit]`: others must not be removed.
#[derive(Debug, Default)]
pub struct Noted(Mutex<BTreeMap<String, u32>>);

impl Noted {
    /// For each core of each run, the number of the first segment that isn't.
    pub fn set(&self, parts: impl Iterator<Item = (RunId, u16, u32)>) {
        let named = parts.map(|(run, core, next)| (format!("{run}-{core:03}"), next));
        let named = named.collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = named;
    }

    /// Whether all of a segment is.
    fn has(&self, path: &Path) -> bool {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let parts = stem.and_then(|stem| stem.rsplit_once('-'));
        let Some((part, Ok(number))) = parts.map(|(part, number)| (part, number.parse::<u32>()))
        else {
            return false;
        };
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get(part).is_some_and(|next| number < *next)
    }
}

/// A segment as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// How long nothing has been written to it.
    pub age: Duration,
    /// It can't be removed: somebody writes it, or its entries aren't in the tree yet.
    pub kept: bool,
    /// A sink has not sent all of it.
    pub unsent: bool,
}

const DAY: Duration = Duration::from_hours(24);

/// Which segments have to go: those older than so many days that every sink has sent, then the
/// oldest until the rest takes no more than so many bytes. That bound holds whether they were sent
/// or not: a database that is away must not fill the disk, as then no call is served.
pub fn doomed(mut all: Vec<Kept>, keep_days: Option<u32>, bytes_max: Option<u64>) -> Vec<PathBuf> {
    all.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.path.cmp(&b.path)));
    let mut left: u64 = all.iter().map(|kept| kept.bytes).sum();
    let mut gone = Vec::new();
    for kept in all.into_iter().filter(|kept| !kept.kept) {
        let old = keep_days.is_some_and(|days| !kept.unsent && kept.age >= DAY * days);
        let much = bytes_max.is_some_and(|most| left > most);
        if old || much {
            left -= kept.bytes;
            gone.push(kept.path);
        }
    }
    gone
}

/// How far each sink has sent. One whose file can't be read has sent nothing.
struct Senders<'s>(Vec<(&'s SinkState, Sent)>);

impl<'s> Senders<'s> {
    fn load(directory: &Path, sinks: &'s [Arc<SinkState>]) -> Senders<'s> {
        let sent = |state: &'s Arc<SinkState>| {
            let path = Sent::path(directory, &state.name);
            (state.as_ref(), Sent::load(&path).unwrap_or_default())
        };
        Senders(sinks.iter().map(sent).collect())
    }

    /// Those that have not sent all of a segment.
    fn behind(&self, segment: &Listed) -> impl Iterator<Item = &'s SinkState> {
        let place = segment.place();
        self.0.iter().filter_map(move |(state, sent)| {
            let sent = place.is_none_or(|(run, core, number)| sent.is_behind(run, core, number));
            (!sent).then_some(*state)
        })
    }

    /// A segment is gone that some sinks have not sent all of.
    fn lament(&self, segment: &Listed) {
        for state in self.behind(segment) {
            state.removed_unsent.fetch_add(1, Relaxed);
            let (sink, path) = (&state.name, segment.path.display());
            tracing::error!(%sink, %path, "ledger: removed before the sink had sent it, as ledger.bytes_max says");
        }
    }
}

/// Removes what has to go, and counts what is left.
///
/// # Errors
/// The directory can't be read. A segment that can't be removed is a word in the log.
pub fn retain(
    directory: &Path,
    config: &config::Ledger,
    noted: Option<&Noted>,
    sinks: &[Arc<SinkState>],
    standing: &Standing,
) -> io::Result<()> {
    let now = SystemTime::now();
    let senders = Senders::load(directory, sinks);
    let listed = segments(directory)?;
    let mut all = Vec::new();
    for segment in &listed {
        // Sealed meanwhile: it is looked at the next time.
        let Ok(metadata) = segment.path.metadata() else {
            continue;
        };
        let age = now.duration_since(metadata.modified()?).unwrap_or_default();
        let awaited = noted.is_some_and(|noted| !noted.has(&segment.path));
        all.push(Kept {
            path: segment.path.clone(),
            bytes: metadata.len(),
            age,
            kept: segment.live || awaited,
            unsent: senders.behind(segment).next().is_some(),
        });
    }
    let total: u64 = all.iter().map(|kept| kept.bytes).sum();
    let mut left = total;
    for path in doomed(all.clone(), config.keep_days, config.bytes_max) {
        let bytes = all.iter().find(|kept| kept.path == path);
        match std::fs::remove_file(&path) {
            Ok(()) => {
                left -= bytes.map_or(0, |kept| kept.bytes);
                standing.removed.fetch_add(1, Relaxed);
                listed
                    .iter()
                    .filter(|it| it.path == path)
                    .for_each(|it| senders.lament(it));
                tracing::info!(path = %path.display(), "ledger: removed, as ledger.keep_days or ledger.bytes_max says");
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "ledger: can't be removed");
            }
        }
    }
    standing.bytes.store(left, Relaxed);
    Ok(())
}
