//! What is to be tested, and how patiently.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::base::Secret;
use crate::config::endpoint::EndpointUrl;
use crate::net::ClientTls;

/// A backstop, and what it claims.
pub struct Plan {
    /// Its name in configurations, and in the accreditation.
    pub provider: String,
    /// Where it is.
    pub endpoint: EndpointUrl,
    /// How it is verified; none for `http://`.
    pub tls: Option<ClientTls>,
    /// What opens it.
    pub key: Option<Secret>,
    /// The model that is asked for.
    pub model: String,
    /// The model that is asked for embeddings.
    pub embedding_model: String,
    /// Calls that it claims to serve at a time.
    pub capacity: usize,
    /// Tokens of the model's context, if the test is to overflow it.
    pub context: Option<usize>,
    /// Bytes of a request that it claims to take.
    pub body_bytes: usize,
    /// How long an answer may take as a whole.
    pub timeout: Duration,
    /// How long a stream may be silent.
    pub stall: Duration,
    /// Names of checks, or of groups of them, if not all are to be made.
    pub only: Vec<String>,
}

/// Why there is nothing to be tested.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Its name has no address.
    #[error("{host} has no address: {error}")]
    Name {
        /// The host.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// Nobody listens.
    #[error("nobody answers at {address}: {error}; is the server running, and is that its port?")]
    Connect {
        /// Where it was tried.
        address: SocketAddr,
        /// What the kernel says.
        error: io::Error,
    },
    /// Somebody listens who doesn't speak the expected protocol.
    #[error("{address} doesn't answer as an OpenAI server would: {why}")]
    Protocol {
        /// Where it was tried.
        address: SocketAddr,
        /// What happened.
        why: String,
    },
}

impl Plan {
    /// The first of its addresses that takes a connection.
    ///
    /// # Errors
    /// It has no address, or none that does.
    pub fn locate(&self) -> Result<SocketAddr, Unreachable> {
        let EndpointUrl { host, port, .. } = &self.endpoint;
        let name = |error| Unreachable::Name {
            host: host.clone(),
            error,
        };
        let found = (host.as_str(), *port).to_socket_addrs().map_err(name)?;
        let mut refused = None;
        for address in found {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(_) => return Ok(address),
                Err(error) => refused = Some(Unreachable::Connect { address, error }),
            }
        }
        Err(refused.unwrap_or_else(|| name(io::ErrorKind::NotFound.into())))
    }
}
