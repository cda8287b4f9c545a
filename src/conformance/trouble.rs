//! Why there was no answer.

use std::io;
use std::time::Duration;

use crate::http::{BadChunk, BadResponse};

/// What went wrong with an exchange. None of it quotes what was sent.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No connection.
    #[error("can't connect: {0}")]
    Connect(io::Error),
    /// No TLS on it, or with the wrong certificate.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    /// Nothing came for so long.
    #[error("nothing came for {:.1} s while waiting for {what}", .after.as_secs_f64())]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The connection ended too soon.
    #[error("the connection was closed before {0}")]
    Closed(&'static str),
    /// The connection broke.
    #[error("the connection broke while waiting for {what}: {error}")]
    Broken {
        /// What was waited for.
        what: &'static str,
        /// How it broke.
        error: io::Error,
    },
    /// The request couldn't be sent.
    #[error("the request couldn't be sent: {0}")]
    Send(io::Error),
    /// A head that no client may believe.
    #[error("the response's head is malformed: {0}")]
    Head(#[from] BadResponse),
    /// A body that no client may believe.
    #[error("the response's chunked coding is malformed: {0}")]
    Chunk(#[from] BadChunk),
    /// Bytes behind the end.
    #[error("{0} bytes came behind the response's end, unasked")]
    Surplus(usize),
    /// A body without a bound.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Trouble {
    /// Whether the response broke the rules of HTTP's framing.
    pub fn is_malformed(&self) -> bool {
        matches!(
            self,
            Trouble::Head(_) | Trouble::Chunk(_) | Trouble::Surplus(_)
        )
    }
}
