//! A client's TLS by stock rustls, its buffered interface: independent of srpd's own stream.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::wire::Receive;

/// Bytes of room for one read of ciphertext.
const READ_BYTES: usize = 32 * 1024;

/// How long tickets are waited for.
const TICKETS_WITHIN: Duration = Duration::from_millis(200);

/// Whom to trust, and whether to resume sessions.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The certificates of a PEM file, or no TLS where there is none.
    pub fn read(file: &Path, resumes: bool) -> io::Result<Trust> {
        let wrong = |error: &dyn std::error::Error| {
            let what = format!("--ca {}: {error}", file.display());
            io::Error::new(io::ErrorKind::InvalidInput, what)
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Trust(Arc::new(config)))
    }
}

/// A connection, with TLS or without.
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    ciphertext: Vec<u8>,
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Stream {
    /// Connects; with TLS if there is whom to trust, the handshake included.
    pub async fn connect(address: SocketAddr, trust: Option<&Trust>) -> io::Result<Stream> {
        let socket = TcpStream::connect_addr(address).await?;
        socket.set_nodelay(true)?;
        let tls = trust.map(|Trust(config)| {
            let name = ServerName::from(address.ip());
            ClientConnection::new(Arc::clone(config), name).map_err(invalid)
        });
        let mut stream = Stream {
            socket,
            tls: tls.transpose()?.map(Box::new),
            ciphertext: Vec::new(),
        };
        while stream.is_shaking() {
            stream.flush().await?;
            if stream.is_shaking() {
                stream.receive().await?;
                // A server of HTTP doesn't speak first: there is no data yet.
                stream.decrypt(&mut Vec::new())?;
            }
        }
        stream.flush().await?;
        Ok(stream)
    }

    fn is_shaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether the session is an earlier one's continuation.
    pub fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        kind == Some(rustls::HandshakeKind::Resumed)
    }

    /// Takes in what the server sends by itself once the handshake is over: the tickets that later
    /// connections resume by. There is none to wait for if it sends none in time.
    pub async fn take_tickets(&mut self) {
        let come = async {
            self.receive().await?;
            self.decrypt(&mut Vec::new())
        };
        let _ = monoio::time::timeout(TICKETS_WITHIN, come).await;
    }

    /// Sends all of it.
    pub async fn send(&mut self, bytes: &std::rc::Rc<Vec<u8>>) -> io::Result<()> {
        match &mut self.tls {
            None => self
                .socket
                .write_all(std::rc::Rc::clone(bytes))
                .await
                .0
                .map(drop),
            Some(_) => {
                let mut rest = &bytes[..];
                while let Some(tls) = &mut self.tls
                    && !rest.is_empty()
                {
                    let taken = tls.writer().write(rest)?;
                    rest = &rest[taken..];
                    self.flush().await?;
                }
                Ok(())
            }
        }
    }

    /// Sends what TLS has to say.
    async fn flush(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut out)?;
            }
        }
        if out.is_empty() {
            return Ok(());
        }
        self.socket.write_all(out).await.0.map(drop)
    }

    /// Reads ciphertext once.
    async fn receive(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.ciphertext);
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let (read, buffer) = AsyncReadRent::read(&mut self.socket, buffer).await;
        self.ciphertext = buffer;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Decrypts what has come, and appends it.
    fn decrypt(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return Ok(0);
        };
        let before = into.len();
        let mut rest = &self.ciphertext[..];
        loop {
            let room = into.len();
            into.resize(room + READ_BYTES, 0);
            let read = tls.reader().read(&mut into[room..]);
            into.truncate(room + read.as_ref().map_or(0, |n| *n));
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if rest.is_empty() {
                        break;
                    }
                    tls.read_tls(&mut rest)?;
                    tls.process_new_packets().map_err(invalid)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.ciphertext.clear();
        Ok(into.len() - before)
    }
}

impl Receive for Stream {
    async fn receive(&mut self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if self.tls.is_none() {
            return Receive::receive(&mut self.socket, buffer).await;
        }
        loop {
            match self.decrypt(&mut buffer) {
                Ok(0) => {}
                other => return (other, buffer),
            }
            if let Err(error) = Stream::receive(self).await {
                return (Err(error), buffer);
            }
        }
    }
}
