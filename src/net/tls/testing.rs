//! For tests: an authority that certifies whoever asks, and stock rustls peers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig,
    ServerConnection, SideData, StreamOwned, SupportedProtocolVersion,
};

use super::{ClientTls, Roots, ServerTls};

/// A certificate and its key, in PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// Signs certificates.
pub struct Authority {
    /// Its own certificate, in PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// An authority with a key of its own.
    pub fn make() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Another authority has another name: it is unknown, and not just wrong.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// An identity for some names and addresses.
    pub fn identity(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity {
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// Trust in this authority and nobody else.
    pub fn roots(&self) -> Roots {
        Roots::from_pem(self.certificate.as_bytes()).unwrap()
    }

    /// What our server needs to be `localhost`.
    pub fn server(&self) -> ServerTls {
        let own = self.identity(&["localhost", "127.0.0.1"]);
        ServerTls::new(own.certificate.as_bytes(), own.key.as_bytes(), None).unwrap()
    }

    /// What our client needs to reach `localhost`.
    pub fn client(&self) -> ClientTls {
        ClientTls::new(&self.roots(), "localhost").unwrap()
    }

    fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store
            .add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap())
            .unwrap();
        Arc::new(store)
    }

    /// A stock client's configuration.
    pub fn stock_client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Identity>,
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(self.store());
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.parsed();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    /// A stock server's configuration, which asks for clients' certificates if it is to.
    pub fn stock_server(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        names: &[&str],
        asks: bool,
    ) -> ServerConfig {
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let (chain, key) = self.identity(names).parsed();
        let builder = match asks {
            false => builder.with_no_client_auth(),
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder(self.store()).build().unwrap(),
            ),
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.ticketer = Ticketer::new().unwrap();
        config
    }
}

impl Identity {
    fn parsed(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (
            vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap(),
        )
    }
}

/// A stock client of `localhost`. The handshake is made when it first reads or writes.
pub fn stock_client<T: Read + Write>(
    config: &Arc<ClientConfig>,
    socket: T,
) -> StreamOwned<ClientConnection, T> {
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(tls, socket)
}

/// A stock server. The handshake is made when it first reads or writes.
pub fn stock_server<T: Read + Write>(
    config: &Arc<ServerConfig>,
    socket: T,
) -> StreamOwned<ServerConnection, T> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket)
}

/// What both kinds of stock streams can do.
pub trait Stock: Read + Write {
    /// Says that it sends no more, at once.
    fn good_bye(&mut self);

    /// Makes new keys, and asks for new ones.
    fn update_keys(&mut self);

    /// Sends back what comes, until its end; then says good-bye.
    fn echo(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 40_000];
        loop {
            match self.read(&mut buffer)? {
                0 => break,
                n => self.write_all(&buffer[..n])?,
            }
        }
        self.good_bye();
        Ok(())
    }
}

impl<C, S, T> Stock for StreamOwned<C, T>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
    T: Read + Write,
{
    fn good_bye(&mut self) {
        self.conn.send_close_notify();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut self.sock).unwrap();
        }
    }

    fn update_keys(&mut self) {
        self.conn.refresh_traffic_keys().unwrap();
    }
}

/// A socket that takes a few bytes at a time.
pub struct Trickle {
    /// The socket.
    pub socket: TcpStream,
    /// Bytes that it takes at once.
    pub bytes: usize,
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(&bytes[..bytes.len().min(self.bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Trickle {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.socket.read(space)
    }
}
