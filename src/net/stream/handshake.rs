//! From a TCP connection to a TLS one.

use std::io;

use super::Conn;
use super::sealed::seal;
use crate::net::buffer::{Buffer, TINY};
use crate::net::socket::shut_down;
use crate::net::tls::{Broken, ClientTls, Opening, ServerTls, Session};
use crate::net::turnstile;

/// Bytes that are taken in from a client whose handshake has failed, so that the alert that says
/// why isn't lost to a reset.
const LINGER_BYTES_MAX: usize = 64 * 1024;

impl Conn {
    /// Opens TLS as the server. Its duration is bounded by the connection's deadline, which the
    /// caller sets.
    ///
    /// # Errors
    /// `TimedOut` if the deadline has passed; else what the kernel says, or a
    /// [`Broken`]: [`cause`](crate::net::tls::cause) tells the kind.
    pub async fn accept_tls(mut self, tls: &ServerTls) -> io::Result<Conn> {
        let session = Session::server(tls).map_err(io::Error::from)?;
        match self.shake(session).await {
            Ok(session) => Ok(seal(self, session)),
            Err(error) => {
                self.linger().await;
                Err(error)
            }
        }
    }

    /// Opens TLS as the client, and makes sure that the other side is who it should be.
    ///
    /// # Errors
    /// As [`Conn::accept_tls`].
    pub async fn connect_tls(mut self, tls: &ClientTls) -> io::Result<Conn> {
        let session = Session::client(tls).map_err(io::Error::from)?;
        let session = self.shake(session).await?;
        Ok(seal(self, session))
    }

    /// How TLS was opened; none on a plain connection.
    pub fn tls(&self) -> Option<Opening> {
        self.writer.sealed.as_ref()?.opening()
    }

    async fn shake(&mut self, mut session: Session) -> io::Result<Session> {
        loop {
            turnstile::pass().await;
            if self.deadline.fired() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let shaken = session.shake();
            if let Some(words) = session.take_outgoing() {
                let (sent, _) = self.writer.send(words).await;
                if let (Ok(_), Err(error)) = (&shaken, sent) {
                    return Err(self.blame(error));
                }
            }
            let mut lacking = match shaken? {
                Some(lacking) => lacking,
                None => return Ok(session),
            };
            // A step is not worth a turn before there is a record to take it with.
            while !session.has_record() {
                let buffer = session.lend(lacking, false);
                let (result, buffer) = self.reader.read(buffer).await;
                session.give_back(buffer);
                match result {
                    Ok(0) => return Err(self.blame(Broken::Truncated.into())),
                    Ok(_) => {}
                    Err(error) => return Err(self.blame(error)),
                }
                lacking = 1;
            }
        }
    }

    /// What is to blame for an error of the socket: the deadline, if it has passed.
    fn blame(&self, error: io::Error) -> io::Error {
        match self.deadline.fired() {
            true => io::ErrorKind::TimedOut.into(),
            false => error,
        }
    }

    /// Closes after an alert, and takes in what is still on its way.
    async fn linger(&mut self) {
        shut_down(self.writer.fd, libc::SHUT_WR);
        let mut taken = 0;
        while taken < LINGER_BYTES_MAX {
            match self.reader.read(Buffer::with_capacity(TINY)).await {
                (Ok(n), _) if n > 0 => taken += n,
                _ => break,
            }
        }
    }
}
