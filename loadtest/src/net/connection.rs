//! A client's connection to a target.

use std::io;
use std::net::SocketAddr;

use monoio::io::{AsyncWriteRentExt, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use rustls::pki_types::ServerName;

use super::inbox::{Inbox, Incoming};
use super::tls::{Session, Trust};

/// A connection, with TLS or without. Its halves are apart, so that a read may be under way while
/// a request is sent.
pub struct Connection {
    /// What is received.
    pub incoming: Incoming,
    /// What is sent.
    pub outgoing: Outgoing,
    plain: Inbox,
}

/// The sending half, and TLS if it is spoken.
pub struct Outgoing {
    half: OwnedWriteHalf<TcpStream>,
    tls: Option<Session>,
    /// Ciphertext on its way out.
    sealed: Vec<u8>,
}

impl Connection {
    /// Connects, the TLS handshake included. `inbox` is empty or was a connection's before.
    ///
    /// # Errors
    /// What the kernel says, or what is wrong with the peer's certificate.
    pub async fn open(
        address: SocketAddr,
        tls: Option<&(Trust, ServerName<'static>)>,
        inbox: Inbox,
    ) -> io::Result<Connection> {
        let socket = TcpStream::connect_addr(address).await?;
        socket.set_nodelay(true)?;
        let (read, write) = socket.into_split();
        let tls = tls.map(|(trust, name)| trust.session(name)).transpose()?;
        let mut connection = Connection {
            incoming: Incoming::new(read, inbox),
            outgoing: Outgoing {
                half: write,
                tls,
                sealed: Vec::new(),
            },
            plain: Inbox::default(),
        };
        while connection.outgoing.is_shaking() {
            connection.outgoing.flush().await?;
            if connection.outgoing.is_shaking() {
                connection.incoming.fill().await?;
                connection.open_received()?;
            }
        }
        connection.outgoing.flush().await?;
        Ok(connection)
    }

    /// Decrypts what was received. Without TLS there is nothing to do.
    ///
    /// # Errors
    /// Bytes that are no TLS.
    pub fn open_received(&mut self) -> io::Result<()> {
        match &mut self.outgoing.tls {
            Some(tls) => tls.decrypt(&mut self.incoming.inbox, self.plain.buffer()),
            None => Ok(()),
        }
    }

    /// What the peer has said and was not dealt with.
    pub fn inbox(&mut self) -> &mut Inbox {
        match self.outgoing.tls {
            Some(_) => &mut self.plain,
            None => &mut self.incoming.inbox,
        }
    }

    /// The buffer, for the next connection.
    pub fn into_inbox(self) -> Inbox {
        self.incoming.inbox
    }
}

impl Outgoing {
    fn is_shaking(&self) -> bool {
        self.tls.as_ref().is_some_and(Session::is_shaking)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut sealed = std::mem::take(&mut self.sealed);
        sealed.clear();
        if let Some(tls) = &mut self.tls {
            tls.outgoing(&mut sealed)?;
        }
        if sealed.is_empty() {
            return Ok(());
        }
        let (written, sealed) = self.half.write_all(sealed).await;
        self.sealed = sealed;
        written.map(drop)
    }

    /// Sends all of it, and returns the buffer.
    pub async fn send(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let Some(tls) = &mut self.tls else {
            let (written, bytes) = self.half.write_all(bytes).await;
            return (written.map(drop), bytes);
        };
        let mut sealed = std::mem::take(&mut self.sealed);
        sealed.clear();
        if let Err(error) = tls.encrypt(&bytes, &mut sealed) {
            return (Err(error), bytes);
        }
        let (written, sealed) = self.half.write_all(sealed).await;
        self.sealed = sealed;
        (written.map(drop), bytes)
    }
}
