//! Received bytes that are not dealt with yet.

use std::io;

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, OwnedReadHalf};
use monoio::net::TcpStream;

/// Bytes of room for one read.
const READ_BYTES: usize = 16 * 1024;

/// A buffer that is filled at its end and emptied from its beginning.
#[derive(Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    begin: usize,
}

impl Inbox {
    /// What has come in and is not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..]
    }

    /// Marks the first `n` bytes as dealt with.
    pub fn consume(&mut self, n: usize) {
        self.begin += n;
        if self.begin >= self.buffer.len() {
            self.clear();
        }
    }

    /// Drops all that has come in.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.begin = 0;
    }

    /// Takes the buffer out, with room for a read behind what is not consumed.
    fn take(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() - buffer.len() < READ_BYTES {
            buffer.drain(..self.begin);
            self.begin = 0;
            buffer.reserve(READ_BYTES);
        }
        buffer
    }

    /// The buffer itself, to append to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

/// The receiving half of a connection.
pub struct Incoming {
    half: OwnedReadHalf<TcpStream>,
    /// As received: ciphertext under TLS.
    pub inbox: Inbox,
}

impl Incoming {
    /// Of that half; `inbox` may have room left from an earlier connection.
    pub fn new(half: OwnedReadHalf<TcpStream>, mut inbox: Inbox) -> Incoming {
        inbox.clear();
        Incoming { half, inbox }
    }

    /// Reads once. Dropped before it has ended, what came in is lost: only together with the
    /// connection.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer has closed; whatever else the kernel says.
    pub async fn fill(&mut self) -> io::Result<()> {
        let buffer = self.inbox.take();
        let (from, to) = (buffer.len(), buffer.capacity());
        let (read, slice) = self.half.read(buffer.slice_mut(from..to)).await;
        self.inbox.buffer = slice.into_inner();
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_makes_room() {
        let mut inbox = Inbox::default();
        inbox.buffer().extend_from_slice(b"headrest");
        inbox.consume(4);
        assert_eq!(inbox.bytes(), b"rest");
        let taken = inbox.take();
        assert_eq!(taken, b"rest");
        assert!(taken.capacity() >= READ_BYTES);
        inbox.buffer = taken;
        inbox.consume(4);
        assert!(inbox.bytes().is_empty());
    }
}
