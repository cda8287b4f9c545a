//! TLS for the tests' own ends, by stock rustls, and certificates of every sort.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};

/// The only name of srpd and of the scripted upstreams, beside their address.
pub const NAME: &str = "localhost";

static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Each has a name of its own, or they would be taken for each other with a bad signature.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate for [`NAME`] and 127.0.0.1.
    pub fn server(&self) -> Identity {
        self.identity(&[NAME, "127.0.0.1"], |_| {})
    }

    /// A client's certificate.
    pub fn client(&self) -> Identity {
        self.identity(&["a.client"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A server's certificate that ended long ago.
    pub fn expired(&self) -> Identity {
        self.identity(&[NAME, "127.0.0.1"], |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// A server's certificate for these names, or whatever `change` makes of it.
    pub fn identity(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// A server's certificate that only its own key vouches for.
    pub fn self_signed() -> Identity {
        let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let pem = self.certificate.as_bytes();
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>();
        chain.expect("certificates")
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }

    /// A server that shows this.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_of(&[&TLS13, &TLS12], None)
    }

    /// A server that shows this, speaks these versions, and lets in only clients of an authority.
    pub fn server_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(roots(authority));
                let verifier = WebPkiClientVerifier::builder(roots).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        let config = builder.with_single_cert(self.chain(), self.key());
        Arc::new(config.expect("a server"))
    }
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("an authority");
    roots
}

/// What a client trusts, speaks and shows. It remembers sessions for as long as it lives.
pub fn client_of(
    trusted: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    shown: Option<&Identity>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots(trusted));
    let config = match shown {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key()),
    };
    Arc::new(config.expect("a client"))
}

/// A client of both versions that trusts the authority.
pub fn client(trusted: &Authority) -> Arc<ClientConfig> {
    client_of(trusted, &[&TLS13, &TLS12], None)
}

/// A connection with TLS on it.
pub struct Secured {
    session: Connection,
    tcp: TcpStream,
}

/// How a connection's handshake went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaken {
    /// The name that the client asked for; a server's view only.
    pub name: Option<String>,
    /// Whether a session was taken up again.
    pub resumed: bool,
    /// Which version was agreed on.
    pub version: ProtocolVersion,
    /// Which protocol was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The other side's certificates.
    pub certificates: usize,
}

impl Secured {
    /// A client's end; the handshake is made at once.
    pub fn client(tcp: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<Secured> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name);
        Secured::shaken(tcp, session.map_err(io::Error::other)?.into())
    }

    /// A server's end; the handshake is made at once.
    pub fn server(tcp: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Secured> {
        let session = ServerConnection::new(Arc::clone(config));
        Secured::shaken(tcp, session.map_err(io::Error::other)?.into())
    }

    fn shaken(tcp: TcpStream, session: Connection) -> io::Result<Secured> {
        let mut secured = Secured { session, tcp };
        while secured.session.is_handshaking() {
            secured.flush()?;
            if secured.session.is_handshaking() {
                secured.receive()?;
            }
        }
        secured.flush()?;
        Ok(secured)
    }

    /// What was agreed on.
    pub fn terms(&self) -> Shaken {
        Shaken {
            name: match &self.session {
                Connection::Server(server) => server.server_name().map(str::to_owned),
                Connection::Client(_) => None,
            },
            resumed: self.session.handshake_kind() == Some(HandshakeKind::Resumed),
            version: self.session.protocol_version().expect("a version"),
            alpn: self.session.alpn_protocol().map(<[u8]>::to_vec),
            certificates: self.session.peer_certificates().map_or(0, <[_]>::len),
        }
    }

    /// The first certificate that the other side showed.
    pub fn certificate(&self) -> CertificateDer<'static> {
        let shown = self.session.peer_certificates().expect("certificates");
        shown[0].clone().into_owned()
    }

    /// The socket underneath.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let ended = self.session.read_tls(&mut self.tcp)? == 0;
        let processed = self.session.process_new_packets();
        // An alert says why it was an error.
        self.flush()?;
        processed.map_err(io::Error::other)?;
        if ended && self.session.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub fn close_notify(&mut self) {
        self.session.send_close_notify();
        let _ = self.flush();
    }
}

impl Read for Secured {
    /// Zero after a close_notify, `UnexpectedEof` if the connection ended without one.
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                other => return other,
            }
        }
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Secured::flush(self)
    }
}
