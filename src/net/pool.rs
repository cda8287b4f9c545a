//! Idle upstream connections of one core, per endpoint, the one used last first: few and warm.
//!
//! Each has a read in flight while it is idle. It is the read of its next response, and until
//! then it tells for free whether the provider has closed the connection or sent something that
//! nobody asked for: such a connection is never used again.

use std::net::SocketAddr;
use std::time::Duration;

use super::buffer::{Buffer, SMALL};
use super::stream::Conn;
use crate::base::ids::ENDPOINTS_MAX;
use crate::base::{EndpointId, Moment};

/// Most idle connections that a core keeps per endpoint.
pub const IDLE_PER_ENDPOINT_MAX: usize = 256;

struct Idle {
    conn: Conn,
    since: Moment,
}

/// The pool of one core.
pub struct Pool {
    endpoints: Vec<Vec<Idle>>,
    idle: usize,
    headroom: usize,
}

impl Pool {
    /// An empty pool. The buffers of idle connections keep `headroom` bytes free in front.
    pub fn new(headroom: usize) -> Pool {
        Pool {
            endpoints: (0..ENDPOINTS_MAX).map(|_| Vec::new()).collect(),
            idle: 0,
            headroom,
        }
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// The connection that was used last, if one is alive and leads to one of `addresses`: an
    /// address that the endpoint may not have any more is not used again. Its reader is armed.
    pub fn take(&mut self, endpoint: EndpointId, addresses: &[SocketAddr]) -> Option<Conn> {
        let stack = &mut self.endpoints[endpoint.index()];
        while let Some(mut idle) = stack.pop() {
            self.idle -= 1;
            if addresses.contains(&idle.conn.peer) && idle.conn.reader.is_quiet() {
                return Some(idle.conn);
            }
        }
        None
    }

    /// Takes a connection whose last response ended exactly where it should have.
    pub fn put(&mut self, endpoint: EndpointId, mut conn: Conn, now: Moment) {
        let stack = &mut self.endpoints[endpoint.index()];
        if stack.len() >= IDLE_PER_ENDPOINT_MAX {
            return;
        }
        conn.deadline.clear();
        conn.reader.arm(Buffer::with_headroom(SMALL, self.headroom));
        // Starts the read: what comes before the next request condemns the connection.
        if conn.reader.is_quiet() {
            stack.push(Idle { conn, since: now });
            self.idle += 1;
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.endpoints.iter_mut().for_each(Vec::clear);
        self.idle = 0;
    }

    /// Drops what has been idle for longer than its endpoint's keep-alive, what the provider has
    /// closed, and what belongs to endpoints that are gone (`keep_alive` says none). Returns how
    /// many.
    pub fn sweep(
        &mut self,
        now: Moment,
        keep_alive: impl Fn(EndpointId) -> Option<Duration>,
    ) -> usize {
        let before = self.idle;
        for (index, stack) in self.endpoints.iter_mut().enumerate() {
            if stack.is_empty() {
                continue;
            }
            let endpoint = u16::try_from(index).ok().map(EndpointId);
            let limit = endpoint.and_then(&keep_alive).unwrap_or_default();
            stack.retain_mut(|idle| now.since(idle.since) < limit && idle.conn.reader.is_quiet());
        }
        self.idle = self.endpoints.iter().map(Vec::len).sum();
        before - self.idle
    }
}
