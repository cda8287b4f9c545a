//! What writers that died have left: each of their segments is looked through once, cut behind its
//! last whole frame, and sealed.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::files::{segments, sync_directory, unfinished};
use super::segment::seal;
use crate::ledger::segment::{HEADER_BYTES, NotASegment};
use crate::ledger::{Found, Header, Scan};
use crate::tables::ledger::Standing;

/// A file that is still being made ready after so long isn't.
const MADE_WITHIN: Duration = Duration::from_secs(60);

/// Puts in order what nobody writes any more. Segments of processes that are alive, this one
/// included, are locked, and left alone.
///
/// # Errors
/// The directory can't be read. A segment that can't be is a word in the log.
pub fn recover(directory: &Path, standing: &Standing) -> io::Result<()> {
    let mut changed = false;
    for segment in segments(directory)?.iter().filter(|it| it.live) {
        match recover_one(&segment.path, standing) {
            Ok(done) => changed |= done,
            // Its writer has sealed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let path = segment.path.display();
                tracing::error!(%path, %error, "ledger: a segment can't be put in order");
            }
        }
    }
    for path in unfinished(directory)? {
        changed |= discard(&path).unwrap_or(false);
    }
    if changed {
        sync_directory(directory)?;
    }
    Ok(())
}

fn recover_one(path: &Path, standing: &Standing) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if !is_abandoned(&file)? {
        return Ok(false);
    }
    let bytes = std::fs::read(path)?;
    let shown = path.display();
    match Header::decode(&bytes) {
        Ok(_) => {}
        Err(error @ NotASegment::Version(_)) => {
            tracing::warn!(path = %shown, %error, "ledger: a segment is left to another version");
            return Ok(false);
        }
        Err(error) => {
            standing.damaged.fetch_add(1, Relaxed);
            tracing::error!(path = %shown, %error, "ledger: left as it is");
            return Ok(false);
        }
    }
    let mut scan = Scan::new(&bytes, HEADER_BYTES);
    let (mut frames, mut damage) = (0, 0);
    for found in scan.by_ref() {
        match found {
            Found::Frame(..) => frames += 1,
            Found::Damage(bytes) => damage += bytes,
        }
    }
    let (end, torn) = (scan.end(), scan.torn());
    if damage > 0 {
        standing.damaged.fetch_add(1, Relaxed);
        tracing::error!(path = %shown, bytes = damage, frames, "ledger: a segment is damaged before its end");
    }
    if torn > 0 {
        standing.torn.fetch_add(1, Relaxed);
        standing.torn_bytes.fetch_add(torn as u64, Relaxed);
        tracing::warn!(path = %shown, bytes = torn, frames, "ledger: a torn tail was cut off");
    }
    if frames == 0 && damage == 0 {
        std::fs::remove_file(path)?;
    } else {
        seal(&file, path, end as u64)?;
        tracing::info!(path = %shown, frames, "ledger: sealed what a process that died has left");
    }
    Ok(true)
}

/// Whether nobody has it; if so, this process has it from now on, for as long as the file is open.
fn is_abandoned(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes what a process that died had begun to make ready.
fn discard(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let age = SystemTime::now().duration_since(file.metadata()?.modified()?);
    if age.is_ok_and(|age| age >= MADE_WITHIN) && is_abandoned(&file)? {
        std::fs::remove_file(path)?;
        return Ok(true);
    }
    Ok(false)
}
