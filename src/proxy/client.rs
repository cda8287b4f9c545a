//! The client's side of a connection: what it has sent, and whether it is still there.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::ahead::Ahead;
use super::slots::Slot;
use crate::base::Moment;
use crate::net::{Buffer, Conn, Ends};
use crate::policy::limits::Limits;

/// How long a connection that is to be closed still takes in what the client sends, so that the
/// last response isn't lost to a reset (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How long the client has for what is being sent when the call has lost its slot.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes that are taken in meanwhile: the rest of a body that was refused for its length, too.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What ends a call's wait before what it waits for has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The client left.
    ClientGone,
    /// A firm call needs the slot.
    Curtailed,
}

/// A client's connection.
pub struct Client {
    /// The socket.
    pub conn: Conn,
    /// Received, and not yet part of a request.
    pub input: Buffer,
    ahead: Ahead,
    limits: Limits,
    /// The last response is not whole, and an orderly end of the connection would say that it is.
    pub misled_by_close: bool,
    /// The head of the last response that was relayed has said that another request may follow.
    pub may_ask_again: bool,
}

impl Client {
    /// A connection that nothing has been read from.
    pub fn new(conn: Conn, limits: &Limits) -> Client {
        Client {
            conn,
            input: Buffer::default(),
            ahead: Ahead::default(),
            limits: *limits,
            misled_by_close: false,
            may_ask_again: false,
        }
    }

    /// Takes a request's head off the input. Its turn has come: `limits` are those in force.
    pub fn begin(&mut self, head_bytes: usize, limits: &Limits) {
        self.limits = *limits;
        self.ahead.advance();
        self.input.consume(head_bytes);
    }

    /// Waits for more input. Zero is the client's end, or a deadline's.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn fill(&mut self) -> io::Result<usize> {
        if self.conn.reader.is_armed() {
            let (result, buffer) = self.conn.reader.next().await;
            self.absorb(buffer);
            return result;
        }
        let mut buffer = std::mem::take(&mut self.input);
        if buffer.room() == 0 {
            let mut larger = Buffer::with_capacity(buffer.len() * 2);
            larger.extend(buffer.readable());
            buffer = larger;
        }
        let (result, buffer) = self.conn.reader.read(buffer).await;
        self.input = buffer;
        result
    }

    /// Waits for the first bytes of the next request, with no input in hand. None if the deadline
    /// ended the wait first: nothing that the client had sent until then is lost.
    pub async fn first(&mut self) -> Option<io::Result<usize>> {
        if !self.conn.reader.is_armed() {
            self.conn.reader.arm(Buffer::tiny());
        }
        let (result, buffer) = poll_fn(|cx| match self.conn.reader.poll(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => self.conn.deadline.poll_over(cx).map(|()| None),
        })
        .await?;
        self.absorb(buffer);
        Some(result)
    }

    fn absorb(&mut self, buffer: Buffer) {
        if self.input.is_empty() {
            self.input = buffer;
        } else {
            self.input.extend(buffer.readable());
        }
    }

    /// Keeps a read in flight while a call is under way: it is the detector of the client's
    /// leaving and the read of its next requests. With enough of those in hand the sweeper looks
    /// after the connection instead. Ready when the client is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.conn.reader.is_armed() {
                let input = self.input.readable();
                if !input.is_empty() && !self.ahead.wants_more(input, &self.limits) {
                    return self.conn.deadline.poll_left(cx);
                }
                self.conn.reader.arm(Buffer::tiny());
            }
            match self.conn.reader.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready((Ok(n), buffer)) if n > 0 => self.absorb(buffer),
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }

    /// Runs a future for as long as the client is there and the call has its slot. If that ends
    /// first, the future is to be dropped, and with it whatever it holds. Pinned by the caller, since a future that
    /// is passed by value lies in the caller's twice.
    ///
    /// # Errors
    /// What has ended it.
    pub async fn unless_stopped<F: Future>(
        &mut self,
        slot: Option<&Slot<'_>>,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Stopped> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Stopped::ClientGone));
            }
            match slot {
                None => Poll::Pending,
                Some(slot) => slot.poll_curtailed(cx).map(|()| Err(Stopped::Curtailed)),
            }
        })
        .await
    }

    /// Sends bytes; a client that doesn't take them by `until` is cut off. False if it is gone.
    pub async fn send(&mut self, buffer: &mut Buffer, until: Moment) -> bool {
        self.conn.deadline.set(until, Ends::All);
        let sent = self.conn.writer.send_from(buffer).await;
        self.conn.deadline.clear();
        sent.is_ok()
    }

    /// As [`send`](Client::send), for a call that may lose its slot meanwhile: then the client has
    /// little time left for what is being sent.
    pub async fn send_while(
        &mut self,
        slot: &Slot<'_>,
        buffer: &mut Buffer,
        until: Moment,
    ) -> bool {
        let Conn {
            writer, deadline, ..
        } = &mut self.conn;
        deadline.set(until, Ends::All);
        let mut sending = pin!(writer.send_from(buffer));
        let mut held = true;
        let sent = poll_fn(|cx| {
            if held && slot.poll_curtailed(cx).is_ready() {
                held = false;
                deadline.set(until.min(slot.now() + LAST_WORDS), Ends::All);
            }
            sending.as_mut().poll(cx)
        })
        .await;
        deadline.clear();
        sent.is_ok()
    }

    /// Closes after the last response: says so, and takes in what is still on its way.
    pub async fn close(mut self, now: Moment) {
        if self.misled_by_close {
            return self.conn.reset();
        }
        self.conn.deadline.set(now + LINGER, Ends::All);
        self.conn.writer.finish().await;
        self.input = Buffer::default();
        let mut taken = 0;
        while taken < LINGER_BYTES_MAX {
            match self.fill().await {
                Ok(n) if n > 0 => taken += n,
                _ => break,
            }
            self.input = Buffer::default();
        }
    }
}
