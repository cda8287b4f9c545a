//! Idle upstream connections of one core, per endpoint, the one used last first: few and warm.
//!
//! Each has a read in flight while it is idle. It is the read of its next response, and until
//! then it tells for free whether the provider has closed the connection or sent something that
//! nobody asked for: such a connection is never used again.

use std::net::SocketAddr;
use std::time::Duration;

use super::buffer::{Buffer, SMALL};
use super::stream::Conn;
use super::tls::Trust;
use crate::base::ids::ENDPOINTS_MAX;
use crate::base::{EndpointId, Moment};

/// Most idle connections that a core keeps per endpoint.
pub const IDLE_PER_ENDPOINT_MAX: usize = 256;

struct Idle {
    conn: Conn,
    since: Moment,
}

/// What a connection must be like to stay in the pool, as its endpoint is configured now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// It leads to one of these.
    pub addresses: &'a [SocketAddr],
    /// It was verified so; none: it is in plaintext.
    pub trust: Option<Trust>,
    /// It has been idle for less than that.
    pub keep_alive: Duration,
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
    /// what the endpoint's name may resolve to is also all that it is reached at. So is one whose
    /// other side was not verified as `trust` says, or at all: a connection is only ever used for
    /// what it was opened for.
    pub fn take(
        &mut self,
        endpoint: EndpointId,
        addresses: &[SocketAddr],
        trust: Option<Trust>,
    ) -> Option<Conn> {
        let stack = &mut self.endpoints[endpoint.index()];
        while let Some(mut idle) = stack.pop() {
            self.idle -= 1;
            let fits = addresses.contains(&idle.conn.peer) && idle.conn.trust == trust;
            if fits && idle.conn.reader.is_quiet() {
                return Some(idle.conn);
            }
        }
        None
    }

    /// Takes a connection whose last response ended exactly where it should have. If its reader is
    /// armed already, what has come since condemns it.
    pub fn put(&mut self, endpoint: EndpointId, mut conn: Conn, now: Moment) {
        let stack = &mut self.endpoints[endpoint.index()];
        if stack.len() >= IDLE_PER_ENDPOINT_MAX || conn.deadline.fired() {
            return;
        }
        conn.deadline.clear();
        // What comes before the next request condemns the connection.
        let quiet = match conn.reader.is_armed() {
            true => conn.reader.is_quiet(),
            false => {
                let buffer = Buffer::with_headroom(SMALL, self.headroom);
                conn.reader.starts_quiet(buffer)
            }
        };
        if quiet {
            stack.push(Idle { conn, since: now });
            self.idle += 1;
        }
    }

    /// Drops what has been idle for that long, whatever its endpoint. Returns how many.
    pub fn drop_idle(&mut self, now: Moment, idle_for: Duration) -> usize {
        let before = self.idle;
        for stack in &mut self.endpoints {
            stack.retain(|idle| now.since(idle.since) < idle_for);
        }
        self.idle = self.endpoints.iter().map(Vec::len).sum();
        before - self.idle
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.endpoints.iter_mut().for_each(Vec::clear);
        self.idle = 0;
    }

    /// Drops what has been idle for longer than its endpoint's keep-alive, what the provider has
    /// closed, and what leads to none of its endpoint's addresses or was verified in another way.
    /// `terms` gives all of that; none for an endpoint that is gone. Returns how many.
    pub fn sweep<'a>(
        &mut self,
        now: Moment,
        terms: impl Fn(EndpointId) -> Option<Terms<'a>>,
    ) -> usize {
        let before = self.idle;
        for (index, stack) in self.endpoints.iter_mut().enumerate() {
            if stack.is_empty() {
                continue;
            }
            let endpoint = u16::try_from(index).ok().map(EndpointId);
            let terms = endpoint.and_then(&terms).unwrap_or_default();
            stack.retain_mut(|idle| {
                terms.addresses.contains(&idle.conn.peer)
                    && idle.conn.trust == terms.trust
                    && now.since(idle.since) < terms.keep_alive
                    && idle.conn.reader.is_quiet()
            });
        }
        self.idle = self.endpoints.iter().map(Vec::len).sum();
        before - self.idle
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use super::super::deadline::{Deadlines, Ends};
    use super::super::testing::{on_each_driver, pair, settle};
    use super::super::tls::ClientTls;
    use super::super::tls::testing::Authority;
    use super::*;

    const HERE: EndpointId = EndpointId(7);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A pool of `count` connections, put in one after the other, with their other ends.
    async fn filled(count: usize) -> (Pool, Vec<(SocketAddr, TcpStream)>) {
        let mut pool = Pool::new(32);
        let deadlines = Deadlines::default();
        let mut peers = Vec::new();
        for second in 0..count as u64 {
            let (conn, peer) = pair(&deadlines).await;
            peers.push((conn.peer, peer));
            pool.put(HERE, conn, Moment(second * 1_000_000));
        }
        assert_eq!(pool.idle(), count);
        (pool, peers)
    }

    fn addresses(peers: &[(SocketAddr, TcpStream)]) -> Vec<SocketAddr> {
        peers.iter().map(|(address, _)| *address).collect()
    }

    fn terms(keep_alive: Duration, addresses: &[SocketAddr]) -> Terms<'_> {
        Terms {
            addresses,
            trust: None,
            keep_alive,
        }
    }

    #[test]
    fn the_connection_used_last_comes_first_with_its_read_in_flight() {
        on_each_driver(|| async {
            let (mut pool, mut peers) = filled(3).await;
            let known = addresses(&peers);
            assert!(pool.take(EndpointId(8), &known, None).is_none());
            for expected in known.iter().rev() {
                let mut conn = pool.take(HERE, &known, None).unwrap();
                assert_eq!(conn.peer, *expected);
                assert!(conn.reader.is_armed());
                peers.pop().unwrap().1.write_all(b"answer").unwrap();
                let (result, mut buffer) = conn.reader.next().await;
                assert_eq!((result.unwrap(), buffer.readable()), (6, &b"answer"[..]));
                assert!(buffer.prepend(&[b' '; 32]), "the headroom is there");
            }
            assert_eq!(pool.idle(), 0);
            assert!(pool.take(HERE, &known, None).is_none());
        });
    }

    #[test]
    fn what_was_closed_or_spoke_unasked_is_never_used() {
        on_each_driver(|| async {
            let (mut pool, mut peers) = filled(3).await;
            let known = addresses(&peers);
            drop(peers.pop());
            peers[1]
                .1
                .write_all(b"HTTP/1.1 408 Too late\r\n\r\n")
                .unwrap();
            settle().await;
            let conn = pool.take(HERE, &known, None).unwrap();
            assert_eq!(conn.peer, known[0]);
            assert_eq!(pool.idle(), 0);
        });
    }

    #[test]
    fn a_connection_that_was_shut_down_late_is_not_kept() {
        on_each_driver(|| async {
            let deadlines = Deadlines::default();
            let (conn, _peer) = pair(&deadlines).await;
            conn.deadline.set(Moment(1), Ends::All);
            assert_eq!(deadlines.sweep(Moment(1)), 1);
            let mut pool = Pool::new(32);
            pool.put(HERE, conn, Moment(1));
            assert_eq!(pool.idle(), 0);
        });
    }

    #[test]
    fn an_address_that_the_endpoint_no_longer_has_is_not_used() {
        on_each_driver(|| async {
            let (mut pool, peers) = filled(2).await;
            let known = addresses(&peers);
            assert_eq!(pool.take(HERE, &known[..1], None).unwrap().peer, known[0]);
            assert_eq!(pool.idle(), 0);
        });
    }

    #[test]
    fn what_was_verified_otherwise_or_not_at_all_is_not_used() {
        on_each_driver(|| async {
            let here = |authority: &Authority| {
                let tls = ClientTls::new(&authority.roots(), "127.0.0.1").unwrap();
                Some(tls.trust())
            };
            let (one, other) = (Authority::make(), Authority::make());
            let elsewhere = Some(one.client().trust());
            assert_eq!(here(&one), here(&one));
            let trusts = [None, here(&one), here(&other), elsewhere];
            for (made, asked) in trusts
                .iter()
                .flat_map(|it| trusts.map(|asked| (*it, asked)))
            {
                let deadlines = Deadlines::default();
                let (mut conn, _peer) = pair(&deadlines).await;
                let known = [conn.peer];
                conn.trust = made;
                let mut pool = Pool::new(0);
                pool.put(HERE, conn, Moment(0));
                let kept = Terms {
                    trust: made,
                    ..terms(MINUTE, &known)
                };
                assert_eq!(pool.sweep(Moment(0), |_| Some(kept)), 0);
                let asked_of = Terms {
                    trust: asked,
                    ..kept
                };
                if made == asked {
                    assert!(pool.take(HERE, &known, asked).is_some());
                    continue;
                }
                assert_eq!(pool.sweep(Moment(0), |_| Some(asked_of)), 1);
                let (mut conn, _peer) = pair(&deadlines).await;
                let known = [conn.peer];
                conn.trust = made;
                pool.put(HERE, conn, Moment(0));
                assert!(pool.take(HERE, &known, asked).is_none());
                assert_eq!(pool.idle(), 0);
            }
        });
    }

    #[test]
    fn a_sweep_drops_the_old_the_closed_the_moved_and_the_unknown() {
        on_each_driver(|| async {
            // Put in at seconds 0 to 4.
            let (mut pool, mut peers) = filled(5).await;
            let known = addresses(&peers);
            let now = Moment(0) + Duration::from_secs(5);
            assert_eq!(pool.sweep(now, |_| Some(terms(MINUTE, &known))), 0);
            let young = Duration::from_secs(5);
            assert_eq!(pool.sweep(now, |_| Some(terms(young, &known))), 1);
            drop(peers.pop());
            settle().await;
            assert_eq!(pool.sweep(now, |_| Some(terms(MINUTE, &known))), 1);
            assert_eq!(pool.sweep(now, |_| Some(terms(MINUTE, &known[2..]))), 1);
            assert_eq!(pool.idle(), 2);
            let gone = |endpoint| (endpoint != HERE).then_some(terms(MINUTE, &known));
            assert_eq!(pool.sweep(now, gone), 2);
            assert_eq!(pool.idle(), 0);
        });
    }

    #[test]
    fn surplus_is_what_was_put_in_long_ago() {
        on_each_driver(|| async {
            // Put in at seconds 0 to 4.
            let (mut pool, peers) = filled(5).await;
            let known = addresses(&peers);
            let now = Moment(0) + Duration::from_secs(5);
            assert_eq!(pool.drop_idle(now, Duration::from_secs(3)), 3);
            assert_eq!(pool.take(HERE, &known, None).unwrap().peer, known[4]);
            assert_eq!(pool.drop_idle(now, Duration::ZERO), 1);
            assert_eq!(pool.idle(), 0);
        });
    }

    #[test]
    fn an_idle_connection_has_no_deadline_and_the_pool_has_a_bound() {
        on_each_driver(|| async {
            let deadlines = Deadlines::default();
            let mut pool = Pool::new(0);
            let mut peers = Vec::new();
            for _ in 0..=IDLE_PER_ENDPOINT_MAX {
                let (conn, peer) = pair(&deadlines).await;
                conn.deadline.set(Moment(1), Ends::All);
                pool.put(HERE, conn, Moment(0));
                peers.push(peer);
            }
            assert_eq!(deadlines.sweep(Moment(2)), 0);
            assert_eq!(pool.idle(), IDLE_PER_ENDPOINT_MAX);
            pool.clear();
            assert_eq!(pool.idle(), 0);
        });
    }
}
