//! From a TCP connection to a TLS one.

use std::{fmt, io};

use super::Conn;
use super::sealed::seal;
use crate::net::tls::{Broken, ClientTls, Opening, ServerTls, Session};
use crate::net::turnstile;

/// A client with which TLS could not be opened.
pub struct Unopened {
    /// `TimedOut` if the deadline has passed; else what the kernel says, or a
    /// [`Broken`]: [`cause`](crate::net::tls::cause) tells the kind.
    pub error: io::Error,
    /// The connection as it is now: an alert may just have been sent, and must not be lost to a
    /// reset. What was read of the client's bytes is gone.
    pub conn: Conn,
}

impl fmt::Debug for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl From<Unopened> for io::Error {
    fn from(unopened: Unopened) -> io::Error {
        unopened.error
    }
}

impl Conn {
    /// Opens TLS as the server. Its duration is bounded by the connection's deadline, which the
    /// caller sets.
    ///
    /// # Errors
    /// See [`Unopened`].
    pub async fn accept_tls(mut self, tls: &ServerTls) -> Result<Conn, Unopened> {
        let shaken = match Session::server(tls) {
            Ok(session) => self.shake(session).await,
            Err(broken) => Err(broken.into()),
        };
        match shaken {
            Ok(session) => Ok(seal(self, session)),
            Err(error) => Err(Unopened { error, conn: self }),
        }
    }

    /// Opens TLS as the client, and makes sure that the other side is who it should be.
    ///
    /// # Errors
    /// `TimedOut` if the deadline has passed; else what the kernel says, or a
    /// [`Broken`]: [`cause`](crate::net::tls::cause) tells the kind.
    pub async fn connect_tls(mut self, tls: &ClientTls) -> io::Result<Conn> {
        let session = Session::client(tls).map_err(io::Error::from)?;
        let session = self.shake(session).await?;
        self.trust = Some(tls.trust());
        Ok(seal(self, session))
    }

    /// How TLS was opened; none on a plain connection.
    pub fn tls(&self) -> Option<Opening> {
        self.writer.sealed.as_ref()?.opening()
    }

    async fn shake(&mut self, mut session: Session) -> io::Result<Session> {
        loop {
            let step = turnstile::pass().await;
            if self.deadline.fired() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let shaken = session.shake();
            drop(step);
            if matches!(shaken, Err(Broken::Plaintext)) {
                // An alert would tell nothing to whoever sent it.
                return Err(Broken::Plaintext.into());
            }
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
}
