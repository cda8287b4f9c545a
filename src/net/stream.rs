//! TCP connections as the corridor sees them: a reader that can be asked without being borrowed,
//! a writer, and a deadline.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;

use super::buffer::Buffer;
use super::deadline::{Deadline, Deadlines};
use super::gather::Gather;
use super::socket::{keep_alive, reset, shut_down};
use super::tls::Trust;
use super::turn;

mod handshake;
mod sealed;

pub use handshake::Unopened;
use sealed::Sealed;

/// One connection, either side.
pub struct Conn {
    /// Dropped before the halves: see [`Deadlines::watch`].
    pub deadline: Deadline,
    /// The other side's address.
    pub peer: SocketAddr,
    /// Receives.
    pub reader: Reader,
    /// Sends.
    pub writer: Writer,
    /// Whom the other side was verified by; none in plaintext, and for clients.
    pub(super) trust: Option<Trust>,
}

impl Conn {
    /// Takes an open stream over.
    pub fn new(stream: TcpStream, peer: SocketAddr, deadlines: &Deadlines) -> io::Result<Conn> {
        // Small messages must not wait for the peer's delayed ACK.
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd();
        let deadline = deadlines.watch(fd);
        let (read, write) = stream.into_split();
        Ok(Conn {
            deadline,
            peer,
            reader: Reader::new(read),
            writer: Writer {
                sealed: None,
                half: write,
                fd,
            },
            trust: None,
        })
    }

    /// Connects to an address, within a time limit.
    ///
    /// # Errors
    /// `TimedOut`, or what the kernel says.
    pub async fn connect(
        address: SocketAddr,
        limit: Duration,
        deadlines: &Deadlines,
    ) -> io::Result<Conn> {
        // Dropping a connect in flight closes its socket: nothing can be lost with it.
        match monoio::time::timeout(limit, TcpStream::connect_addr(address)).await {
            Ok(stream) => {
                let conn = Conn::new(stream?, address, deadlines)?;
                conn.deadline.introduce();
                Ok(conn)
            }
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends the connection now, whatever is in flight.
    pub fn shut_down(&self) {
        shut_down(self.writer.fd, libc::SHUT_RDWR);
    }

    /// Has the kernel find out whether a peer that sends nothing is still there.
    pub fn keep_alive(&self) {
        keep_alive(self.writer.fd);
    }

    /// Ends the connection with a reset: for a message whose only end is the connection's, and
    /// that is not whole.
    pub fn reset(self) {
        reset(self.writer.fd);
    }
}

/// Whether a connect failed for want of something on this machine: descriptors, memory, ports.
/// That says nothing about the other side.
pub fn is_own_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// Whether something failed for want of descriptors, the process's or the system's.
pub fn is_descriptor_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A message on its way out. One whose sending is dropped half way resets the connection: a peer
/// that reads slowly, or not at all, would otherwise learn of it only behind everything that the
/// kernel still holds for it.
struct Unsent(RawFd);

impl Unsent {
    /// The sending has come to its own end. What the peer has answered may still be read.
    fn over(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        reset(self.0);
    }
}

/// The sending half.
pub struct Writer {
    /// Of a TLS connection. Dropped before the half: it says good-bye.
    sealed: Option<Sealed>,
    half: OwnedWriteHalf<TcpStream>,
    fd: RawFd,
}

impl Writer {
    /// Sends the whole readable part, and gives the buffer back.
    pub async fn send(&mut self, mut buffer: Buffer) -> (io::Result<()>, Buffer) {
        let outcome = self.send_from(&mut buffer).await;
        (outcome, buffer)
    }

    /// Sends the whole readable part. The buffer is not where it was borrowed from while the kernel
    /// has it: whoever drops the sending half way finds an empty one.
    pub async fn send_from(&mut self, buffer: &mut Buffer) -> io::Result<()> {
        match self.sealed {
            Some(_) => self.send_sealed(buffer).await,
            None => self.send_as_it_is(buffer).await,
        }
    }

    async fn send_as_it_is(&mut self, buffer: &mut Buffer) -> io::Result<()> {
        let unsent = Unsent(self.fd);
        let mut outcome = Ok(());
        while outcome.is_ok() && !buffer.is_empty() {
            let result;
            (result, *buffer) = self.half.write(std::mem::take(buffer)).await;
            outcome = progress(result).map(|sent| buffer.consume(sent));
        }
        unsent.over();
        outcome
    }

    /// Sends a message in pieces.
    pub async fn send_pieces(&mut self, mut pieces: Gather) -> io::Result<()> {
        if self.sealed.is_some() {
            return self.send_sealed(&mut pieces).await;
        }
        let unsent = Unsent(self.fd);
        let mut outcome = Ok(());
        while outcome.is_ok() && pieces.remaining() > 0 {
            let result;
            (result, pieces) = self.half.writev(pieces).await;
            outcome = progress(result).map(|sent| pieces.advance(sent));
            if pieces.remaining() > 0 {
                turn::pass_behind_io().await;
            }
        }
        unsent.over();
        outcome
    }

    /// Says that nothing more will be sent (close_notify where there is TLS, and FIN), while
    /// reading goes on.
    pub async fn finish(&mut self) {
        if self.sealed.is_some() {
            self.send_good_bye().await;
        }
        shut_down(self.fd, libc::SHUT_WR);
    }
}

/// How many bytes a write has sent: none if it was interrupted.
fn progress(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

/// Where the read of a [`Reader`] stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Idle,
    /// The buffer is there, and nothing has been asked of the kernel yet.
    Armed,
    /// The kernel has the buffer.
    Reading,
    /// The result is there, and the buffer.
    Done,
}

/// What a reader and its coroutine pass to each other. In cells of their own: a poll looks at the
/// stage alone, which is most often all that there is to see.
struct Handover {
    stage: Cell<Stage>,
    buffer: Cell<Buffer>,
    result: Cell<io::Result<usize>>,
}

/// The receiving half: a coroutine that lives as long as the connection. A read in flight is
/// part of it, so whoever holds the reader can wait for it, look at it in passing, or hand the
/// connection on, and no received byte is lost; one allocation serves every read.
pub struct Reader {
    handover: Rc<Handover>,
    coroutine: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// Where a reader's bytes come from.
trait Source {
    /// Appends what comes next to the buffer: how many bytes, 0 for the other side's end.
    fn read(&mut self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)>;
}

impl Source for OwnedReadHalf<TcpStream> {
    fn read(&mut self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        AsyncReadRent::read(self, buffer)
    }
}

impl Reader {
    fn new(mut source: impl Source + 'static) -> Reader {
        let handover = Rc::new(Handover {
            stage: Cell::new(Stage::Idle),
            buffer: Cell::default(),
            result: Cell::new(Ok(0)),
        });
        let shared = Rc::clone(&handover);
        let coroutine = Box::pin(async move {
            loop {
                // No waker is kept: `arm` is always followed by a poll.
                poll_fn(|_| match shared.stage.get() {
                    Stage::Armed => Poll::Ready(()),
                    _ => Poll::Pending,
                })
                .await;
                shared.stage.set(Stage::Reading);
                let (result, buffer) = source.read(shared.buffer.take()).await;
                shared.buffer.set(buffer);
                shared.result.set(result);
                shared.stage.set(Stage::Done);
            }
        });
        Reader {
            handover,
            coroutine,
        }
    }

    /// Hands over the buffer that the next bytes are appended to. The read begins at the next
    /// poll. Does nothing but drop the buffer if a read is already under way.
    pub fn arm(&mut self, buffer: Buffer) {
        if !self.is_armed() {
            self.handover.buffer.set(buffer);
            self.handover.stage.set(Stage::Armed);
        }
    }

    /// Whether a buffer has been handed over and not come back.
    pub fn is_armed(&self) -> bool {
        self.handover.stage.get() != Stage::Idle
    }

    /// The result of the read that was armed, with its buffer: how many bytes came, 0 for the
    /// peer's end. Pending for ever if none is armed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        if !self.is_armed() {
            return Poll::Pending;
        }
        let Poll::Pending = self.coroutine.as_mut().poll(cx);
        let handover = &*self.handover;
        if handover.stage.get() != Stage::Done {
            return Poll::Pending;
        }
        handover.stage.set(Stage::Idle);
        Poll::Ready((handover.result.replace(Ok(0)), handover.buffer.take()))
    }

    /// Waits for the armed read.
    pub async fn next(&mut self) -> (io::Result<usize>, Buffer) {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Reads into `buffer` behind what it holds. The reader must not be armed.
    pub async fn read(&mut self, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        self.arm(buffer);
        self.next().await
    }

    /// Begins a read into `buffer`, unless one is under way, and looks at it as [`is_quiet`] does.
    ///
    /// [`is_quiet`]: Reader::is_quiet
    pub fn starts_quiet(&mut self, buffer: Buffer) -> bool {
        self.arm(buffer);
        self.is_quiet()
    }

    /// Looks at the armed read without waiting for it: true while nothing has come, which for an
    /// idle connection is as it should be.
    pub fn is_quiet(&mut self) -> bool {
        self.poll(&mut Context::from_waker(std::task::Waker::noop()))
            .is_pending()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
