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

    /// The connection that was used last, if one is alive. Its reader is armed. `addresses` are
    /// the endpoint's now: a connection to one that is no longer among them is closed, so that
    /// what the endpoint's name may resolve to is also all that it is reached at.
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
        if stack.len() >= IDLE_PER_ENDPOINT_MAX || conn.deadline.fired() {
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
    /// closed, and what leads to none of its endpoint's addresses. `terms` gives both; none for
    /// an endpoint that is gone. Returns how many.
    pub fn sweep<'a>(
        &mut self,
        now: Moment,
        terms: impl Fn(EndpointId) -> Option<(Duration, &'a [SocketAddr])>,
    ) -> usize {
        let before = self.idle;
        for (index, stack) in self.endpoints.iter_mut().enumerate() {
            if stack.is_empty() {
                continue;
            }
            let endpoint = u16::try_from(index).ok().map(EndpointId);
            let (keep_alive, addresses) = endpoint.and_then(&terms).unwrap_or_default();
            stack.retain_mut(|idle| {
                addresses.contains(&idle.conn.peer)
                    && now.since(idle.since) < keep_alive
                    && idle.conn.reader.is_quiet()
            });
        }
        self.idle = self.endpoints.iter().map(Vec::len).sum();
        before - self.idle
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::deadline::{Deadlines, Ends};
    use super::super::ring::Ring;
    use super::*;

    const ENDPOINT: EndpointId = EndpointId(3);
    const SECOND: Duration = Duration::from_secs(1);

    /// Runs a test with a connection to a listener that never answers.
    fn with_conn(test: impl AsyncFnOnce(Pool, Conn, Deadlines, TcpListener)) {
        Ring::epoll().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let deadlines = Deadlines::default();
            let conn = Conn::connect(address, SECOND, &deadlines).await.unwrap();
            test(Pool::new(32), conn, deadlines, listener).await;
        });
    }

    #[test]
    fn a_connection_is_reused_only_for_an_address_of_its_endpoint() {
        with_conn(async |mut pool, conn, _, listener| {
            let address = listener.local_addr().unwrap();
            pool.put(ENDPOINT, conn, Moment(0));
            let conn = pool.take(ENDPOINT, &[address]).unwrap();
            pool.put(ENDPOINT, conn, Moment(0));
            let elsewhere = ([192, 0, 2, 1], address.port()).into();
            assert!(pool.take(ENDPOINT, &[elsewhere]).is_none());
            assert_eq!(pool.idle(), 0, "and closed otherwise");
        });
    }

    #[test]
    fn the_sweep_drops_what_is_too_old_or_leads_elsewhere() {
        with_conn(async |mut pool, conn, deadlines, listener| {
            let addresses = [listener.local_addr().unwrap()];
            pool.put(ENDPOINT, conn, Moment(0));
            assert_eq!(
                pool.sweep(Moment(999_999), |_| Some((SECOND, &addresses[..]))),
                0
            );
            assert_eq!(
                pool.sweep(Moment(1_000_000), |_| Some((SECOND, &addresses[..]))),
                1
            );
            let conn = Conn::connect(addresses[0], SECOND, &deadlines).await;
            pool.put(ENDPOINT, conn.unwrap(), Moment(0));
            assert_eq!(pool.sweep(Moment(0), |_| None), 1);
        });
    }

    #[test]
    fn a_connection_that_was_shut_down_late_is_not_kept() {
        with_conn(async |mut pool, conn, deadlines, _| {
            conn.deadline.set(Moment(1), Ends::All);
            deadlines.sweep(Moment(1));
            pool.put(ENDPOINT, conn, Moment(1));
            assert_eq!(pool.idle(), 0);
        });
    }
}
