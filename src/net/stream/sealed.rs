//! Both halves of a TLS connection. They share its session, each between two waits; what one
//! protects while the other's bytes are on their way is sent behind them.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use super::{Conn, Reader, Source, Writer};
use crate::net::buffer::{Buffer, LARGE, TAILROOM};
use crate::net::gather::Gather;
use crate::net::socket::send_now;
use crate::net::tls::{Broken, Opening, PAYLOAD_MAX, Received, Session};

/// Bytes of data that are protected for one write.
const WINDOW: usize = LARGE - WINDOW_OVERHEAD;

/// Room for the records' own bytes around them.
const WINDOW_OVERHEAD: usize = 1024;

/// What both halves share.
struct Shared {
    session: Session,
    /// The writer's bytes are on their way: nobody else may send.
    writing: bool,
}

impl Shared {
    /// Sends what the reader has to say (an alert), if nothing is in its way; else whoever sends
    /// next does.
    fn speak(&mut self, fd: RawFd) {
        if !self.writing
            && let Some(mut words) = self.session.take_outgoing()
        {
            let sent = send_now(fd, words.readable());
            words.consume(sent);
            self.session.untake_outgoing(words);
        }
    }
}

/// What the reader of a TLS connection reads from: the socket's reader, through the session.
struct Opened {
    shared: Rc<RefCell<Shared>>,
    socket: Reader,
    fd: RawFd,
    /// The last read filled its buffer: there may be much more.
    eager: bool,
}

impl Opened {
    /// What is there already, or a buffer to get more with.
    fn receive(&mut self, plain: &mut Buffer) -> Result<io::Result<usize>, Buffer> {
        let mut shared = self.shared.borrow_mut();
        let received = shared.session.receive(plain);
        shared.speak(self.fd);
        match received {
            Ok(Received::Data(n)) => Ok(Ok(n)),
            Ok(Received::End) => Ok(Ok(0)),
            Ok(Received::Lacking(lacking)) => {
                let many = self.eager || plain.room() >= LARGE / 2;
                Err(shared.session.lend(lacking, many))
            }
            Err(broken) => Ok(Err(broken.into())),
        }
    }
}

impl Source for Opened {
    async fn read(&mut self, mut plain: Buffer) -> (io::Result<usize>, Buffer) {
        loop {
            let buffer = match self.receive(&mut plain) {
                Ok(received) => return (received, plain),
                Err(buffer) => buffer,
            };
            let (result, buffer) = self.socket.read(buffer).await;
            self.eager = buffer.room() == 0;
            self.shared.borrow_mut().session.give_back(buffer);
            match result {
                Ok(0) => return (Err(Broken::Truncated.into()), plain),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), plain),
            }
        }
    }
}

/// The same connection, spoken to through its session.
pub fn seal(conn: Conn, session: Session) -> Conn {
    let shared = Rc::new(RefCell::new(Shared {
        session,
        writing: false,
    }));
    let fd = conn.writer.fd;
    let sealed = Sealed {
        shared: Rc::clone(&shared),
        fd,
    };
    Conn {
        reader: Reader::new(Opened {
            shared,
            socket: conn.reader,
            fd,
            eager: false,
        }),
        writer: Writer {
            sealed: Some(sealed),
            ..conn.writer
        },
        ..conn
    }
}

/// A message on its way out, from which data is taken in records.
pub trait Message {
    /// Protects at most `limit` bytes of what is left, and forgets them; returns how many.
    fn protect(
        &mut self,
        session: &mut Session,
        limit: usize,
        out: &mut Buffer,
    ) -> Result<usize, Broken>;

    /// Bytes that are left.
    fn left(&self) -> usize;
}

impl Message for Buffer {
    fn protect(
        &mut self,
        session: &mut Session,
        limit: usize,
        out: &mut Buffer,
    ) -> Result<usize, Broken> {
        let n = self.len().min(limit);
        session.protect(&self.readable()[..n], out)?;
        self.consume(n);
        Ok(n)
    }

    fn left(&self) -> usize {
        self.len()
    }
}

impl Message for Gather {
    fn protect(
        &mut self,
        session: &mut Session,
        limit: usize,
        out: &mut Buffer,
    ) -> Result<usize, Broken> {
        let front = self.front();
        let n = front.len().min(limit);
        if n >= PAYLOAD_MAX || n == self.left() {
            // Whole records from where they lie.
            let n = if n >= PAYLOAD_MAX {
                n - n % PAYLOAD_MAX
            } else {
                n
            };
            session.protect(&front[..n], out)?;
            self.advance(n);
            return Ok(n);
        }
        // Small pieces share a record.
        let limit = limit.min(PAYLOAD_MAX);
        let mut record = Buffer::with_capacity(limit);
        while record.len() < limit && !self.front().is_empty() {
            let front = self.front();
            let n = front.len().min(limit - record.len());
            record.extend(&front[..n]);
            self.advance(n);
        }
        session.protect(record.readable(), out)?;
        Ok(record.len())
    }

    fn left(&self) -> usize {
        self.remaining()
    }
}

/// What the writer of a TLS connection writes through.
pub struct Sealed {
    shared: Rc<RefCell<Shared>>,
    fd: RawFd,
}

impl Sealed {
    pub fn opening(&self) -> Option<Opening> {
        self.shared.borrow().session.opening()
    }

    /// The next bytes to be written: what the session has to say, and a window of the message.
    fn window(&self, message: &mut impl Message) -> Result<Option<Buffer>, Broken> {
        let mut shared = self.shared.borrow_mut();
        shared.writing = false;
        let mut out = None;
        if message.left() == 0 || shared.session.is_broken() {
            out = shared.session.take_outgoing();
        }
        if out.is_none() && message.left() > 0 {
            let size = message.left().min(WINDOW) + WINDOW_OVERHEAD;
            let mut window = Buffer::with_capacity(size - TAILROOM);
            let mut taken = 0;
            while message.left() > 0 && taken < WINDOW {
                taken += message.protect(&mut shared.session, WINDOW - taken, &mut window)?;
            }
            out = Some(window);
        }
        shared.writing = out.is_some();
        Ok(out)
    }

    /// The last words, which nobody may speak after.
    fn good_bye(&self) -> Option<Buffer> {
        let mut shared = self.shared.borrow_mut();
        if shared.writing {
            return None;
        }
        shared.writing = true;
        let mut words = Buffer::default();
        shared.session.close(&mut words).is_ok().then_some(words)
    }
}

impl Drop for Sealed {
    /// Says good-bye, if it can be said at once. A message that was given up half way has reset
    /// the connection by now.
    fn drop(&mut self) {
        if let Some(words) = self.good_bye() {
            send_now(self.fd, words.readable());
        }
    }
}

impl Writer {
    pub(super) async fn send_sealed(&mut self, message: &mut impl Message) -> io::Result<()> {
        while let Some(sealed) = &self.sealed
            && let Some(mut out) = sealed.window(message)?
        {
            self.send_as_it_is(&mut out).await?;
        }
        Ok(())
    }

    pub(super) async fn send_good_bye(&mut self) {
        let Some(mut words) = self.sealed.as_ref().and_then(Sealed::good_bye) else {
            return;
        };
        // Who doesn't hear it, hears the end of the connection.
        let _ = self.send_as_it_is(&mut words).await;
    }
}
