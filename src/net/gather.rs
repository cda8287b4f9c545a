//! A message in pieces, sent with one `writev`: a head that was made here and a body that was
//! received, with one value replaced, and not copied.

use std::ops::Range;
use std::rc::Rc;

use libc::iovec;
use monoio::buf::IoVecBuf;

use super::buffer::{Buffer, TURN};

/// Most bytes of one write: what the socket would take of a large body at once would keep the core
/// for long.
const WRITE_BYTES_MAX: usize = TURN;

/// Where a piece's bytes are.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A range of the buffer that the sender made for this message.
    Own(Range<usize>),
    /// A range of the body that was received.
    Body(Range<usize>),
}

/// Pieces with their memory. Ranges are of the buffers' readable parts.
pub struct Gather {
    iovecs: Box<[iovec]>,
    /// Index of the first piece that isn't sent whole yet.
    next: usize,
    _own: Buffer,
    _body: Rc<Buffer>,
}

impl Gather {
    /// Puts pieces together. Empty pieces are left out.
    ///
    /// # Panics
    /// If a range lies outside its buffer: a bug of the caller, caught before the kernel sees it.
    pub fn new(own: Buffer, body: Rc<Buffer>, pieces: &[Piece]) -> Gather {
        let iovecs = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Own(range) => &own.readable()[range.clone()],
                Piece::Body(range) => &body.readable()[range.clone()],
            })
            .flat_map(|bytes| bytes.chunks(WRITE_BYTES_MAX))
            .map(|bytes| iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            })
            .collect();
        Gather {
            iovecs,
            next: 0,
            _own: own,
            _body: body,
        }
    }

    /// Bytes that are still to be sent.
    pub fn remaining(&self) -> usize {
        self.iovecs[self.next..]
            .iter()
            .map(|piece| piece.iov_len)
            .sum()
    }

    /// The bytes of the first piece that isn't sent whole.
    pub(super) fn front(&self) -> &[u8] {
        match self.iovecs.get(self.next) {
            // SAFETY: the piece is a part of the memory that `_own` or `_body` keeps alive and
            // unchanged for as long as `self` lives.
            Some(piece) => unsafe {
                std::slice::from_raw_parts(piece.iov_base.cast::<u8>(), piece.iov_len)
            },
            None => &[],
        }
    }

    /// Takes note that `sent` bytes are gone.
    pub(super) fn advance(&mut self, mut sent: usize) {
        while let Some(piece) = self.iovecs.get_mut(self.next) {
            if sent < piece.iov_len {
                piece.iov_base = piece.iov_base.cast::<u8>().wrapping_add(sent).cast();
                piece.iov_len -= sent;
                return;
            }
            sent -= piece.iov_len;
            self.next += 1;
        }
    }
}

// SAFETY: the iovecs are boxed, so they stay where they are, and each points into the heap
// memory of `_own` or `_body`, which the value keeps alive and which nobody changes: `_own` is
// private, and an `Rc` gives shared access only.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const iovec {
        self.iovecs[self.next..].as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        let mut bytes = 0;
        let fit = self.iovecs[self.next..].iter().take_while(|piece| {
            let fits = bytes < WRITE_BYTES_MAX;
            bytes += piece.iov_len;
            fits
        });
        fit.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Gather {
        let mut own = Buffer::small();
        own.extend(b"HEADnew");
        let mut body = Buffer::small();
        body.extend(b"{old}");
        let pieces = [
            Piece::Own(0..4),
            Piece::Body(0..1),
            Piece::Own(4..7),
            Piece::Body(2..2),
            Piece::Body(4..5),
        ];
        Gather::new(own, Rc::new(body), &pieces)
    }

    #[test]
    fn advancing_by_any_amount_leaves_the_rest() {
        for sent in 0..=9 {
            let mut gather = example();
            assert_eq!(gather.remaining(), 9);
            gather.advance(sent);
            assert_eq!(gather.remaining(), 9 - sent);
        }
    }

    #[test]
    fn a_write_has_a_bound() {
        let mut body = Buffer::with_capacity(3 * WRITE_BYTES_MAX);
        body.extend(&vec![b'x'; 3 * WRITE_BYTES_MAX]);
        let mut own = Buffer::small();
        own.extend(b"HEAD");
        let pieces = [Piece::Own(0..4), Piece::Body(0..3 * WRITE_BYTES_MAX)];
        let mut gather = Gather::new(own, Rc::new(body), &pieces);
        let mut sent = 0;
        while gather.remaining() > 0 {
            let offered = &gather.iovecs[gather.next..][..gather.read_iovec_len()];
            let offered: usize = offered.iter().map(|piece| piece.iov_len).sum();
            // The last piece of a write may begin below the bound.
            assert!((1..2 * WRITE_BYTES_MAX).contains(&offered), "{offered}");
            sent += offered;
            gather.advance(offered);
        }
        assert_eq!(sent, 4 + 3 * WRITE_BYTES_MAX);
    }

    #[test]
    fn empty_pieces_are_left_out() {
        assert_eq!(example().read_iovec_len(), 4);
    }
}
