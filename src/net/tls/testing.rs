//! For tests: an authority that certifies whoever asks, and stock rustls peers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
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

/// A stock client's stream.
pub type StockClient = StreamOwned<ClientConnection, TcpStream>;
/// A stock server's stream.
pub type StockServer = StreamOwned<ServerConnection, TcpStream>;

/// A stock client of `localhost`. The handshake is made when it first reads or writes.
pub fn stock_client(config: &Arc<ClientConfig>, socket: TcpStream) -> StockClient {
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(tls, socket)
}

/// A stock server. The handshake is made when it first reads or writes.
pub fn stock_server(config: &Arc<ServerConfig>, socket: TcpStream) -> StockServer {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket)
}

/// Sends back what comes, until its end; then says good-bye.
pub fn echo<C, S>(stream: &mut StreamOwned<C, TcpStream>) -> io::Result<()>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    let mut buffer = vec![0; 40_000];
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => stream.write_all(&buffer[..n])?,
        }
    }
    stream.conn.send_close_notify();
    stream.conn.write_tls(&mut stream.sock).map(drop)
}
