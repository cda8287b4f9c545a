//! A file as memory: what is stored in it is the kernel's at once, without a call, and outlives the
//! process however it dies.
//!
//! Who makes one has had the file's blocks allocated before (fallocate(2)), so that a full disk is
//! an error there and not a signal here, and holds a lock on it: nobody else cuts or writes it.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::param::page_size;

/// The mapping itself, for as long as somebody has it.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a Region gives nobody access to its bytes; only the one `Mapped` does, to who has it alone.
unsafe impl Send for Region {}
// SAFETY: as above: all that several threads can do at once is to ask the kernel for pages.
unsafe impl Sync for Region {}

impl Region {
    /// Has the kernel map the pages of a range, writable, so that nobody waits for that later.
    /// Whatever lies outside is left out.
    ///
    /// # Errors
    /// What the kernel says: it can't (before Linux 5.14), or has no memory.
    pub fn populate(&self, from: usize, bytes: usize) -> io::Result<()> {
        let page = page_size();
        let from = from.min(self.length) / page * page;
        let until = (from + bytes).next_multiple_of(page).min(self.length);
        if from >= until {
            return Ok(());
        }
        // SAFETY: the range lies within the mapping, which lives as long as `self`. Populating
        // changes no byte.
        unsafe {
            let start = self.start.as_ptr().add(from).cast();
            madvise(start, until - from, Advice::LinuxPopulateWrite)?;
        }
        Ok(())
    }
}

impl Region {
    /// Lets go of the pages that lie wholly before `until`: they stay the kernel's, and no longer
    /// count as this process's memory.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn release(&self, until: usize) -> io::Result<()> {
        let until = until.min(self.length) / page_size() * page_size();
        if until == 0 {
            return Ok(());
        }
        // SAFETY: the range lies within the mapping, which lives as long as `self`. Of a shared
        // mapping of a file no byte changes by it (madvise(2)): the next access maps the page again.
        unsafe { madvise(self.start.as_ptr().cast(), until, Advice::LinuxDontNeed)? };
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this start and length, and nobody has it any more. It
        // can't fail then.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The way to write a mapped file: there is one for each mapping.
#[derive(Debug)]
pub struct Mapped {
    region: Arc<Region>,
}

impl Mapped {
    /// Maps the first `length` bytes of a file that is open for reading and writing, and has them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(file: &File, length: usize) -> io::Result<Mapped> {
        if length == 0 || file.metadata()?.len() < length as u64 {
            return Err(io::Error::other("the file is shorter than its mapping"));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so that no other mapping is replaced.
        let start = unsafe {
            let anywhere = std::ptr::null_mut();
            mmap(anywhere, length, protection, MapFlags::SHARED, file, 0)?
        };
        let start = NonNull::new(start.cast())
            .ok_or_else(|| io::Error::other("the kernel has mapped a file at address 0"))?;
        let region = Arc::new(Region { start, length });
        Ok(Mapped { region })
    }

    /// The mapping, for who looks after its pages.
    pub fn region(&self) -> Arc<Region> {
        Arc::clone(&self.region)
    }

    /// How long it is.
    #[inline]
    pub fn length(&self) -> usize {
        self.region.length
    }

    /// The bytes from `from` on.
    #[inline]
    pub fn bytes(&mut self, from: usize) -> &mut [u8] {
        let from = from.min(self.region.length);
        // SAFETY: the range lies within the mapping, which lives as long as `self`. In this process
        // only `self` leads to its bytes, and it is borrowed; other processes only read the file.
        unsafe {
            let start = self.region.start.as_ptr().add(from);
            std::slice::from_raw_parts_mut(start, self.region.length - from)
        }
    }

    /// Stores a word after everything that was stored before: a reader, or whoever looks after the
    /// process has died, who finds it finds the rest too. False if there is no aligned word there.
    #[inline]
    pub fn publish(&mut self, at: usize, word: u32) -> bool {
        let fits = at
            .checked_add(size_of::<u32>())
            .is_some_and(|end| end <= self.length());
        if !fits || !at.is_multiple_of(align_of::<AtomicU32>()) {
            return false;
        }
        // SAFETY: the word lies within the mapping and is aligned, as the mapping itself is to a
        // page; no slice of these bytes is alive, since `self` is borrowed.
        let place = unsafe { AtomicU32::from_ptr(self.region.start.as_ptr().add(at).cast()) };
        place.store(word, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_stored_is_the_files_at_once() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10_000).unwrap();
        let mut mapped = Mapped::new(&file, 10_000).unwrap();
        mapped.region().populate(0, 1).unwrap();
        mapped.region().populate(9000, 1_000_000).unwrap();
        mapped.bytes(9990)[..4].copy_from_slice(b"tide");
        assert!(mapped.publish(16, 0x0403_0201));
        let mut seen = [0; 4];
        file.read_exact_at(&mut seen, 9990).unwrap();
        assert_eq!(&seen, b"tide");
        file.read_exact_at(&mut seen, 16).unwrap();
        assert_eq!(u32::from_ne_bytes(seen), 0x0403_0201);
        mapped.region().release(10_000).unwrap();
        assert_eq!(&mapped.bytes(9990)[..4], b"tide");
        assert_eq!(mapped.bytes(16)[..4], 0x0403_0201_u32.to_ne_bytes());
    }

    #[test]
    fn nothing_is_stored_outside() {
        let file = tempfile::tempfile().unwrap();
        assert!(Mapped::new(&file, 64).is_err(), "longer than the file");
        file.set_len(64).unwrap();
        assert!(Mapped::new(&file, 0).is_err());
        let mut mapped = Mapped::new(&file, 64).unwrap();
        for at in [61, 62, 64, usize::MAX, 2] {
            assert!(!mapped.publish(at, 1), "{at}");
        }
        assert!(mapped.bytes(64).is_empty() && mapped.bytes(65).is_empty());
        assert_eq!(mapped.bytes(0).len(), 64);
    }
}
