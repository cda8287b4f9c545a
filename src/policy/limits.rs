//! Bounds and time-outs, as configured.

use std::time::Duration;

/// `[limits]`
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of request line and header fields; 431 above.
    pub head_bytes: usize,
    /// Header fields; 431 above.
    pub headers: usize,
    /// Bytes of a request body after de-chunking; 413 above.
    pub body_bytes: usize,
    /// Open client connections of one core; further ones are closed at accept.
    pub connections_per_core: usize,
    /// Requests that are read ahead of the one being answered; what is beyond stays in the kernel.
    pub pipelined_requests: usize,
    /// Calls in flight on one core; 503 `overloaded` above.
    pub calls_per_core: usize,
    /// Bytes that the process may have resident: near them 503 `overloaded`. None: what the machine
    /// and the process's control group allow.
    pub memory_bytes: Option<usize>,
}

/// `[timeouts]`, with a provider's overrides applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request to its last header byte; of a client's TLS handshake.
    pub head: Duration,
    /// Between two reads of a request body.
    pub body: Duration,
    /// Of one connect to an address of an endpoint, the TLS handshake included.
    pub connect: Duration,
    /// Of an attempt: until its first body byte.
    pub first_byte: Duration,
    /// Of an attempt: between two reads after the first byte.
    pub stream_idle: Duration,
    /// Of a whole call, all attempts.
    pub call: Duration,
    /// Of an idle connection, on either side.
    pub keep_alive: Duration,
    /// After SIGTERM.
    pub drain: Duration,
    /// How long a core may be stuck until the process ends itself.
    pub stall: Duration,
}

impl Default for Timeouts {
    /// What a configuration has that says nothing else.
    fn default() -> Timeouts {
        Timeouts {
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(60),
            stream_idle: Duration::from_secs(120),
            call: Duration::from_secs(600),
            keep_alive: Duration::from_secs(75),
            drain: Duration::from_secs(600),
            stall: Duration::from_secs(1),
        }
    }
}
