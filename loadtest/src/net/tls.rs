//! TLS by stock rustls, its buffered interface.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::inbox::Inbox;

/// Bytes that are decrypted at once.
const PLAIN_BYTES: usize = 16 * 1024;

/// Whom an `https://` target is verified by.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The authorities in a PEM file, or the system's.
    ///
    /// # Errors
    /// A file that can't be read, or in which there is no certificate.
    pub fn new(file: Option<&Path>) -> Result<Trust, String> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(file) => {
                let wrong = |error: &dyn std::fmt::Display| {
                    format!(
                        "--ca {}: expected a PEM file with certificates: {error}",
                        file.display()
                    )
                };
                for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))? {
                    let certificate = certificate.map_err(|e| wrong(&e))?;
                    roots.add(certificate).map_err(|e| wrong(&e))?;
                }
                if roots.is_empty() {
                    return Err(wrong(&"there is none in it"));
                }
            }
            None => {
                let known = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(known.certs);
                if roots.is_empty() {
                    return Err(
                        "this system has no certificate authorities: name a PEM file with --ca"
                            .to_owned(),
                    );
                }
            }
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }

    /// A new session with that host.
    pub(super) fn session(&self, name: &ServerName<'static>) -> io::Result<Session> {
        let client = ClientConnection::new(Arc::clone(&self.0), name.clone()).map_err(invalid)?;
        Ok(Session(Box::new(client)))
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One connection's TLS.
pub(super) struct Session(Box<ClientConnection>);

impl Session {
    pub(super) fn is_shaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// What TLS has to say on its own account; empty if nothing.
    pub(super) fn outgoing(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(out)?;
        }
        Ok(())
    }

    /// Encrypts all of `plain`, behind what TLS has to say.
    pub(super) fn encrypt(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !plain.is_empty() {
            let taken = self.0.writer().write(plain)?;
            plain = &plain[taken..];
            self.outgoing(out)?;
        }
        Ok(())
    }

    /// Takes in all that was received and appends what it says.
    pub(super) fn decrypt(&mut self, received: &mut Inbox, plain: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = received.bytes();
        loop {
            let length = plain.len();
            plain.resize(length + PLAIN_BYTES, 0);
            let read = self.0.reader().read(&mut plain[length..]);
            plain.truncate(length + read.as_ref().map_or(0, |n| *n));
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && rest.is_empty() => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.0.read_tls(&mut rest)?;
                    self.0.process_new_packets().map_err(invalid)?;
                }
                Err(error) => return Err(error),
            }
        }
        received.clear();
        Ok(())
    }
}
