//! Heap buffers that the kernel may read and write while a task waits, recycled per thread.
//!
//! A [`Buffer`] is a `Vec` that never moves its bytes while an operation holds it, and that
//! remembers where its readable part begins. Reads append to it, so that the bytes of one
//! message pile up in one place; writes send its readable part.

use std::cell::RefCell;

use monoio::buf::{IoBuf, IoBufMut};

/// For field lines.
pub const BRIEF: usize = 1024;
/// For what may not come for a long time: the next request of an idle connection.
pub const TINY: usize = 4 * 1024;
/// For heads and small messages.
pub const SMALL: usize = 16 * 1024;
/// For bodies in transit.
pub const LARGE: usize = 64 * 1024;
/// For bodies in transit that have shown to be long.
pub const HUGE: usize = 256 * 1024;

/// After so many bytes read, looked at or sent, others have their turn ([`super::turn`]).
pub const TURN: usize = HUGE;

/// Kept free behind what a read may fill: a chunk's closing CRLF and the last chunk fit there.
pub const TAILROOM: usize = 16;

/// Most idle buffers that a thread keeps of each size; further ones are freed.
const KEPT: [usize; 5] = [256, 1024, 256, 64, 16];
const SIZES: [usize; 5] = [BRIEF, TINY, SMALL, LARGE, HUGE];

thread_local! {
    static IDLE: RefCell<[Vec<Vec<u8>>; SIZES.len()]> = const { RefCell::new([const { Vec::new() }; SIZES.len()]) };
}

/// Bytes on their way. Dropping it gives its memory back to the thread's free list.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// An empty buffer of at least `capacity` bytes; the sizes above are recycled.
    pub fn with_capacity(capacity: usize) -> Buffer {
        // A brief one is for those who ask for it: a read would soon fill it.
        match SIZES[1..].iter().position(|&size| capacity <= size) {
            Some(class) => Buffer::of_class(class + 1),
            None => Buffer {
                bytes: Vec::with_capacity(capacity),
                start: 0,
            },
        }
    }

    fn of_class(class: usize) -> Buffer {
        let recycled = IDLE.with_borrow_mut(|idle| idle[class].pop());
        let bytes = recycled.unwrap_or_else(|| Vec::with_capacity(SIZES[class]));
        Buffer { bytes, start: 0 }
    }

    /// An empty buffer of [`BRIEF`] bytes.
    pub fn brief() -> Buffer {
        Buffer::of_class(0)
    }

    /// An empty buffer of [`TINY`] bytes.
    pub fn tiny() -> Buffer {
        Buffer::with_capacity(TINY)
    }

    /// An empty buffer of [`SMALL`] bytes.
    pub fn small() -> Buffer {
        Buffer::with_capacity(SMALL)
    }

    /// An empty buffer whose readable part begins behind `headroom` bytes that can be written to
    /// later ([`Buffer::prepend`]).
    pub fn with_headroom(capacity: usize, headroom: usize) -> Buffer {
        let mut buffer = Buffer::with_capacity(capacity);
        buffer.bytes.resize(headroom, 0);
        buffer.start = headroom;
        buffer
    }

    /// The readable part.
    #[inline]
    pub fn readable(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The readable part, to be changed in place.
    #[inline]
    pub fn readable_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Bytes in the readable part.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing is readable.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that a read may still append.
    #[inline]
    pub fn room(&self) -> usize {
        (self.bytes.capacity() - self.bytes.len()).saturating_sub(TAILROOM)
    }

    /// Forgets the first `n` readable bytes (all, if there are fewer).
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
    }

    /// Keeps the first `n` readable bytes.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.start.saturating_add(n));
    }

    /// Removes a range of the readable part; what follows moves down.
    pub fn remove(&mut self, range: std::ops::Range<usize>) {
        let (from, to) = (self.start + range.start, self.start + range.end);
        self.bytes.drain(from..to);
    }

    /// Joins two parts of the readable part: the first `kept` bytes, and the `length` bytes that
    /// begin `start` bytes behind them; the `excess` bytes at the very end follow. The smaller of
    /// the two parts moves.
    pub fn close_gap(&mut self, kept: usize, start: usize, length: usize, excess: usize) {
        let (begin, end) = (self.start, self.bytes.len());
        let payload = begin + kept + start;
        let joined = if kept <= length {
            self.bytes.copy_within(begin..begin + kept, begin + start);
            self.start = begin + start;
            payload
        } else {
            self.bytes
                .copy_within(payload..payload + length, begin + kept);
            begin + kept
        };
        self.bytes.copy_within(end - excess..end, joined + length);
        self.bytes.truncate(joined + length + excess);
    }

    /// Empties it, with `headroom` bytes in front.
    pub fn reset(&mut self, headroom: usize) {
        self.bytes.clear();
        self.bytes.resize(headroom, 0);
        self.start = headroom;
    }

    /// Appends bytes, growing if it must.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for `n` more bytes and the tail room, growing by no more than it must.
    pub fn reserve(&mut self, n: usize) {
        self.bytes.reserve_exact(n + TAILROOM);
    }

    /// Gives the last `bytes` of its memory back, with whatever stands there. False, and nothing
    /// done, if that is most of it. To free tens of MiB at once takes milliseconds.
    pub fn shrink(&mut self, bytes: usize) -> bool {
        let kept = self.bytes.capacity().saturating_sub(bytes);
        if kept < bytes {
            return false;
        }
        self.bytes.truncate(kept);
        self.bytes.shrink_to(kept);
        self.start = self.start.min(self.bytes.len());
        true
    }

    /// Writes bytes right in front of the readable part. False, and nothing done, if the room in
    /// front of it is too small.
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else {
            return false;
        };
        self.bytes[start..self.start].copy_from_slice(bytes);
        self.start = start;
        true
    }

    /// The `Vec` behind it, for encoders that append. The readable part must not be shortened.
    #[inline]
    pub fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        // What has been taken out of is dropped more often than what has not.
        if self.bytes.capacity() > 0 {
            recycle(std::mem::take(&mut self.bytes));
        }
    }
}

fn recycle(mut bytes: Vec<u8>) {
    let Some(class) = SIZES.iter().position(|&size| size == bytes.capacity()) else {
        return;
    };
    bytes.clear();
    // Fails only while the thread is going down: then the memory is simply freed.
    let _ = IDLE.try_with(|idle| {
        if let Ok(mut idle) = idle.try_borrow_mut()
            && idle[class].len() < KEPT[class]
        {
            idle[class].push(bytes);
        }
    });
}

// SAFETY: the bytes are on the heap and stay there while an operation owns the buffer, since
// only methods that need the buffer itself can make the `Vec` grow; they are initialised up to
// the `Vec`'s length.
unsafe impl IoBuf for Buffer {
    #[inline]
    fn read_ptr(&self) -> *const u8 {
        self.readable().as_ptr()
    }

    #[inline]
    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: the spare capacity behind the `Vec`'s length belongs to the buffer, is at least
// `room()` bytes, and doesn't move while an operation owns the buffer.
unsafe impl IoBufMut for Buffer {
    #[inline]
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    #[inline]
    fn bytes_total(&mut self) -> usize {
        // A read that fills all of a large body's room would take the core for long.
        self.room().min(TURN)
    }

    #[inline]
    unsafe fn set_init(&mut self, n: usize) {
        let length = self.bytes.len() + n;
        // SAFETY: the caller vouches that `n` bytes behind the old length are initialised, and
        // `n` is at most `room()`, hence within the capacity.
        unsafe { self.bytes.set_len(length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumes_from_the_front_and_prepends_into_the_room_it_left() {
        let mut buffer = Buffer::with_headroom(SMALL, 4);
        buffer.extend(b"hello world");
        assert_eq!(buffer.readable(), b"hello world");
        buffer.consume(6);
        assert!(buffer.prepend(b"my "));
        assert_eq!(buffer.readable(), b"my world");
        assert!(!buffer.prepend(&[b'x'; 64]));
        assert_eq!(buffer.readable(), b"my world");
        buffer.remove(0..3);
        buffer.truncate(4);
        assert_eq!(buffer.readable(), b"worl");
    }

    #[test]
    fn recycled_memory_comes_back_empty() {
        let mut first = Buffer::small();
        first.extend(b"secret of another call");
        drop(first);
        let second = Buffer::small();
        assert!(second.is_empty());
        assert_eq!(second.room(), SMALL - TAILROOM);
    }

    #[test]
    fn so_many_of_each_size_are_kept_for_the_next() {
        for (class, kept) in [256, 1024, 256, 64, 16].into_iter().enumerate() {
            let several = (0..=kept).map(|_| Buffer::of_class(class));
            let several: Vec<Buffer> = several.collect();
            drop(several);
            assert_eq!(IDLE.with_borrow(|idle| idle[class].len()), kept);
        }
    }

    #[test]
    fn memory_is_given_back_part_by_part() {
        let mut buffer = Buffer::small();
        buffer.reserve(10 * TURN);
        buffer.extend(&vec![b'x'; 10 * TURN]);
        buffer.consume(10);
        let (mut parts, mut before) = (0, buffer.bytes.capacity());
        while buffer.shrink(TURN) {
            assert!(buffer.bytes.capacity() < before && buffer.len() + 10 <= before);
            (parts, before) = (parts + 1, buffer.bytes.capacity());
        }
        assert!(
            parts >= 9 && before < 2 * TURN,
            "{parts} parts, {before} left"
        );
    }

    #[test]
    fn odd_sizes_are_served_exactly_or_larger() {
        assert!(Buffer::with_capacity(HUGE + 1).room() + TAILROOM > HUGE);
        assert_eq!(Buffer::with_capacity(SMALL + 1).room() + TAILROOM, LARGE);
    }
}
