//! What is configured of TLS: certificates, keys and trust. Made once, shared by all cores.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// The only protocol on top of TLS, by its name in ALPN (RFC 7301 section 6).
const HTTP11: &[u8] = b"http/1.1";

/// Sessions that are remembered per host of a provider, for resumption.
const SESSIONS: usize = 8;

/// What is wrong with the material that TLS was to be set up with. The messages fit behind the
/// configuration key that named it, and quote nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// The certificate chain.
    #[error("expected X.509 certificates in PEM, found {0}")]
    Certificate(String),
    /// The private key.
    #[error("expected an unencrypted private key in PEM (PKCS #8, PKCS #1 or SEC 1), found {0}")]
    Key(String),
    /// The private key is not the certificate's.
    #[error("expected the private key of the certificate, found another")]
    Mismatch,
    /// The certificates that clients' certificates are verified with.
    #[error("expected certificates of authorities in PEM, found {0}")]
    ClientAuthorities(String),
    /// The certificates that providers' certificates are verified with.
    #[error("expected certificates of authorities in PEM, found {0}")]
    Authorities(String),
    /// The system trusts nobody.
    #[error("expected trusted certificates of the system, found {0}")]
    System(String),
    /// A provider's host.
    #[error("expected a host name or an IP address, found {0:?}")]
    Host(String),
    /// The cryptographic library denies its service.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// The cryptography, made once.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

fn setup(error: impl fmt::Display) -> BadTls {
    BadTls::Setup(error.to_string())
}

/// All certificates of a PEM file, of which there must be one, or what was found instead.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(none) if none.is_empty() => Err("none".into()),
        Ok(some) => Ok(some),
        // Its message may quote the file.
        Err(_) => Err("PEM that is damaged".into()),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, BadTls> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
        let found = match error {
            pem::Error::NoItemsFound if memchr::memmem::find(pem, encrypted).is_some() => {
                "an encrypted one"
            }
            pem::Error::NoItemsFound => "none",
            _ => "PEM that is damaged",
        };
        BadTls::Key(found.into())
    })
}

/// A chain with its key. Of the key only the cryptographic library's own copy is left, which it
/// wipes itself.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    mut key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, BadTls> {
    let loaded = aws_lc_rs::sign::any_supported_type(&key);
    key.zeroize();
    let loaded =
        loaded.map_err(|_unsupported| BadTls::Key("one of a kind that is not supported".into()))?;
    let certified = CertifiedKey::new(chain, loaded);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(BadTls::Mismatch),
        Err(error) => Err(BadTls::Certificate(error.to_string())),
    }
}

/// The authorities of a PEM file, or what was found instead.
fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(pem)?.into_iter().enumerate() {
        store
            .add(certificate)
            .map_err(|error| format!("an unusable one at place {}: {error}", index + 1))?;
    }
    Ok(store)
}

/// What a listener needs to speak TLS. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Presents the certificate chain in `certificate_pem` (its own certificate first). With
    /// `client_ca_pem`, only clients with a certificate of one of these authorities are let in.
    ///
    /// Clients resume sessions by tickets, whose keys are this value's own and change every few
    /// hours: whoever is made anew forgets all sessions, and with them whom their clients'
    /// certificates were verified by.
    ///
    /// # Errors
    /// [`BadTls`] says which of the three is not as it should be.
    pub fn new(
        certificate_pem: &[u8],
        key_pem: &[u8],
        client_ca_pem: Option<&[u8]>,
    ) -> Result<ServerTls, BadTls> {
        let chain = certificates(certificate_pem).map_err(BadTls::Certificate)?;
        let key = private_key(key_pem)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(setup)?;
        let builder = match client_ca_pem {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = authorities(pem).map_err(BadTls::ClientAuthorities)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                        .build()
                        .map_err(|error| BadTls::ClientAuthorities(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let shown = SingleCertAndKey::from(certified(chain, key)?);
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![HTTP11.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(setup)?;
        Ok(ServerTls(Arc::new(config)))
    }

    pub(super) fn connection(&self) -> Result<UnbufferedServerConnection, Error> {
        UnbufferedServerConnection::new(Arc::clone(&self.0))
    }
}

/// Whom providers' certificates are verified by. Cheap to clone.
#[derive(Clone)]
pub struct Roots {
    store: Arc<RootCertStore>,
    digest: [u8; 32],
}

/// Whom a connection was verified by, and as whom: tells apart what must not be mistaken for each
/// other. The same authorities are the same trust, wherever and in whatever order they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust(u64);

impl Roots {
    /// The authorities that this machine trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR`, or where
    /// distributions keep them. Whom a machine trusts is its operator's matter, so none are
    /// built in.
    ///
    /// # Errors
    /// There are none.
    pub fn system() -> Result<Roots, BadTls> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Single ones that are too old or too odd are passed over, as everybody does.
        store.add_parsable_certificates(found.certs);
        match (store.is_empty(), found.errors.first()) {
            (false, _) => Ok(Roots::of(store)),
            (true, None) => Err(BadTls::System("none".into())),
            (true, Some(error)) => Err(BadTls::System(format!("none: {error}"))),
        }
    }

    /// The authorities of a PEM file.
    ///
    /// # Errors
    /// There are none, or one can't be used.
    pub fn from_pem(pem: &[u8]) -> Result<Roots, BadTls> {
        let store = authorities(pem).map_err(BadTls::Authorities)?;
        Ok(Roots::of(store))
    }

    fn of(store: RootCertStore) -> Roots {
        let mut digests: Vec<[u8; 32]> = store.roots.iter().map(digest).collect();
        digests.sort_unstable();
        digests.dedup();
        Roots {
            store: Arc::new(store),
            digest: Sha256::digest(digests.as_flattened()).into(),
        }
    }
}

fn digest(anchor: &TrustAnchor<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let parts = [&anchor.subject, &anchor.subject_public_key_info];
    for part in parts.into_iter().chain(&anchor.name_constraints) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl Trust {
    fn new(roots: &Roots, name: &ServerName<'_>) -> Trust {
        let mut hasher = Sha256::new();
        hasher.update(roots.digest);
        hasher.update(name.to_str().as_bytes());
        let digest = hasher.finalize();
        Trust(digest.first_chunk().copied().map_or(0, u64::from_be_bytes))
    }
}

/// What is needed to open TLS connections to one host, with the sessions that it lets us resume.
/// Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    trust: Trust,
}

impl ClientTls {
    /// Connections to `host`, a DNS name or an IP address (IPv6 with or without brackets), whose
    /// certificate must be of `roots` and bear this name.
    ///
    /// # Errors
    /// `host` is neither.
    pub fn new(roots: &Roots, host: &str) -> Result<ClientTls, BadTls> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_invalid| BadTls::Host(host.to_owned()))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(setup)?
            .with_root_certificates(Arc::clone(&roots.store))
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP11.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(ClientTls {
            config: Arc::new(config),
            trust: Trust::new(roots, &name),
            name,
        })
    }

    /// What connections that are opened with this are verified by.
    #[inline]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// For who opens connections in another way than a core does: they are verified by the same
    /// authorities and as the same host, and leave the cores' sessions alone.
    pub fn apart(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::disabled();
        (Arc::new(config), self.name.clone())
    }

    pub(super) fn connection(&self) -> Result<UnbufferedClientConnection, Error> {
        UnbufferedClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Authority;

    /// What comes before the handshake is over can be sent again by whoever has recorded it.
    #[test]
    fn early_data_is_neither_accepted_nor_sent() {
        let authority = Authority::make();
        assert_eq!(authority.server().0.max_early_data_size, 0);
        assert!(!authority.client().config.enable_early_data);
    }
}
