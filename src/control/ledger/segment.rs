//! One segment's file, from its making to its sealing.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use super::files::{NEW, sync_directory};
use crate::ledger::Header;
use crate::ledger::segment::{HEADER_BYTES, LIVE, SEALED};
use crate::net::mapped::{Mapped, Region};
use crate::tables::ledger::{Progress, Sheet};

/// Who may read a segment: its owner.
const FILE_MODE: u32 = 0o600;

/// Bytes that are written at a time where blocks can't be allocated at once.
const ZEROS: usize = 256 * 1024;

/// Pages that are made ready ahead of a core at least.
const AHEAD_MIN: u64 = 32 * 1024;

/// Pages that are made ready ahead of a core at most.
const AHEAD_MAX: u64 = 4 * 1024 * 1024;

/// A segment that a core writes, or is about to.
#[derive(Debug)]
pub struct Segment {
    directory: PathBuf,
    live: PathBuf,
    /// Locked for as long as it is open: whoever finds it so leaves it alone.
    file: File,
    region: Arc<Region>,
    progress: Arc<Progress>,
    synced: u64,
}

impl Segment {
    /// Makes a blank one, with all its blocks.
    ///
    /// # Errors
    /// What the kernel says; nothing of it is left then.
    pub fn make(directory: &Path, header: &Header, bytes: usize) -> io::Result<(Segment, Sheet)> {
        let blank = directory.join(header.stem()).with_extension(NEW);
        Segment::make_ready(directory, &blank, header, bytes).inspect_err(|_| {
            let _ = std::fs::remove_file(&blank);
        })
    }

    fn make_ready(
        directory: &Path,
        blank: &Path,
        header: &Header,
        bytes: usize,
    ) -> io::Result<(Segment, Sheet)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(blank)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        allocate(&mut file, bytes)?;
        file.write_all_at(&header.encode(), 0)?;
        let page = Mapped::new(&file, bytes)?;
        let region = page.region();
        // An old kernel can't: then each page costs the core a fault.
        let _ = region.populate(0, AHEAD_MIN as usize);
        let live = blank.with_extension(LIVE);
        // Only now does it look like a segment: whoever finds one finds a whole and locked one.
        rename(blank, &live)?;
        sync_directory(directory)?;
        let progress = Arc::new(Progress::default());
        progress.set_written(HEADER_BYTES as u64);
        let segment = Segment {
            directory: directory.to_owned(),
            live,
            file,
            region,
            progress: Arc::clone(&progress),
            synced: 0,
        };
        Ok((segment, Sheet { page, progress }))
    }

    /// Whether the core writes it no more.
    pub fn is_full(&self) -> bool {
        self.progress.is_full()
    }

    /// Makes durable what is written, if there is anything new. True if there was.
    ///
    /// # Errors
    /// What the kernel says: nobody knows then what of it has reached the disk.
    pub fn sync(&mut self) -> io::Result<bool> {
        let written = self.progress.written();
        if written <= HEADER_BYTES as u64 || written == self.synced {
            return Ok(false);
        }
        self.file.sync_data()?;
        let fresh = written - self.synced;
        self.synced = written;
        // Pages that have been written out are write-protected: the core would find out by a fault.
        let ahead = fresh.clamp(AHEAD_MIN, AHEAD_MAX) as usize;
        let _ = self.region.populate(written as usize, ahead);
        // Else limits.memory_bytes would count what is the disk's already.
        let _ = self.region.release(written as usize);
        Ok(true)
    }

    /// Closes it for good: cut to what is written, durable, and under its final name. One that
    /// nothing was written to is removed. The core must not have it any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn seal(self) -> io::Result<()> {
        let written = self.progress.written();
        if written <= HEADER_BYTES as u64 {
            return std::fs::remove_file(&self.live);
        }
        seal(&self.file, &self.live, written)?;
        sync_directory(&self.directory)
    }
}

/// Cuts a file to its frames and gives it the name of a sealed one.
///
/// # Errors
/// What the kernel says.
pub fn seal(file: &File, live: &Path, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_all()?;
    rename(live, live.with_extension(SEALED))
}

/// Has every block of the file there, so that no store to it can find the disk full.
fn allocate(file: &mut File, bytes: usize) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, bytes as u64) {
        Err(Errno::OPNOTSUPP) => {}
        done => return Ok(done?),
    }
    let zeros = vec![0; ZEROS.min(bytes)];
    file.seek(SeekFrom::Start(0))?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(zeros.len());
        file.write_all(&zeros[..now])?;
        left -= now;
    }
    file.sync_all()
}
