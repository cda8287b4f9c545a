//! Room for connections. Clients, calls and upstream connections share a core's descriptors: where
//! these run short, and where clients are as many as they may be, what is idle makes way for what
//! is not, the longest idle first.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::memory::Strain;
use crate::net::Conn;
use crate::net::stream::is_descriptor_shortage;
use crate::tables::Routes;

/// An idle upstream connection that no call has needed for this long is one too many.
const SURPLUS_AFTER: Duration = Duration::from_secs(1);

/// How long it takes at most until what makes way has gone.
const MAKING_WAY: Duration = Duration::from_millis(2);

/// Clients that are told at a time that there is no room for them, at most.
const TURNED_AWAY_MAX: usize = 32;

/// Room for a client that has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Free,
    /// There will be, once those that make way have gone.
    Made,
    /// There is none: nobody is idle.
    None,
}

/// A thirty-second part: few enough that most who are idle stay, and enough that those to go are
/// not looked for at every accept.
fn batch(all: usize) -> usize {
    (all / 32).clamp(1, 32)
}

/// Descriptors that clients leave free for upstream connections.
fn kept_for_upstreams(sockets: usize) -> usize {
    (sockets / 16).clamp(2, 64)
}

/// A place among those who are told that there is no room for them.
pub struct Place(Rc<Core>);

impl Place {
    /// None if there are as many as there may be: beyond these, clients are closed without a word.
    pub fn take(core: &Rc<Core>) -> Option<Place> {
        let taken = core.turned_away.get();
        let most = (core.sockets_max() / 64).clamp(1, TURNED_AWAY_MAX);
        (taken < most).then(|| {
            core.turned_away.set(taken + 1);
            Place(Rc::clone(core))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Place(core) = self;
        core.turned_away.set(core.turned_away.get() - 1);
    }
}

impl Core {
    /// Looks for room for a client that has connected. `uncounted` are those whose tasks, which count
    /// them, have yet to run.
    pub fn room_for_client(&self, uncounted: usize) -> Room {
        let clients = self.routes().limits.connections_per_core;
        let sockets = self.sockets_max();
        let made = if self.memory.strain() == Strain::Short {
            self.make_way()
        } else if self.connections.get() + uncounted >= clients {
            let made = self.deadlines.make_way(batch(clients));
            self.metrics.connections_shed(made);
            made > 0
        } else if self.deadlines.watched() + kept_for_upstreams(sockets) > sockets {
            self.make_way()
        } else {
            return Room::Free;
        };
        match made {
            true => Room::Made,
            false => Room::None,
        }
    }

    /// Looks for room for one more upstream connection. False if there is none.
    fn room_for_upstream(&self) -> bool {
        self.deadlines.watched() < self.sockets_max() || self.make_way()
    }

    /// Connects to an address of a provider. If descriptors are short, something idle makes way.
    ///
    /// # Errors
    /// What [`Conn::connect`] says; `EMFILE` if there is no room.
    pub async fn dial(&self, address: SocketAddr, limit: Duration) -> io::Result<Conn> {
        if !self.room_for_upstream() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        match Conn::connect(address, limit, &self.deadlines).await {
            Err(error) if is_descriptor_shortage(&error) && self.make_way() => {
                monoio::time::sleep(MAKING_WAY).await;
                Conn::connect(address, limit, &self.deadlines).await
            }
            outcome => outcome,
        }
    }

    /// How many calls may be in flight. Each needs two descriptors; a quarter of all is left for
    /// clients who are yet to say what they want, or to be told that it can't be had now.
    #[inline]
    pub fn calls_max(&self, routes: &Routes) -> usize {
        let limit = routes.limits.calls_per_core;
        limit.min(self.sockets_max() / 8 * 3)
    }

    /// Ends some idle connections: upstream ones that are surplus, else the clients that have
    /// been idle the longest, else any upstream ones. False if there were none.
    pub fn make_way(&self) -> bool {
        let now = self.recently();
        let drop_idle = |idle_for| {
            let dropped = self.pool.borrow_mut().drop_idle(now, idle_for);
            (0..dropped).for_each(|_| self.metrics.pool_evicted());
            dropped > 0
        };
        if drop_idle(SURPLUS_AFTER) {
            return true;
        }
        let clients = self.deadlines.make_way(batch(self.sockets_max()));
        self.metrics.connections_shed(clients);
        clients > 0 || drop_idle(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn so_many_are_told_at_a_time_that_there_is_no_room() {
        // It may have 64 sockets.
        let core = Rc::new(Bench::new(1, 8).core);
        let place = Place::take(&core);
        assert!(place.is_some() && Place::take(&core).is_none());
        drop(place);
        assert!(Place::take(&core).is_some());
    }

    #[test]
    fn calls_leave_descriptors_for_what_they_need() {
        // It may have 64 sockets, and its routes allow 10 calls.
        let bench = Bench::new(1, 8);
        let mut routes = Routes::clone(&bench.snapshot.routes);
        assert_eq!(bench.core.calls_max(&routes), 10);
        routes.limits.calls_per_core = 10_000;
        assert_eq!(bench.core.calls_max(&routes), 24);
    }

    #[test]
    fn a_core_on_its_own_has_room_and_nobody_to_make_way() {
        let Bench { core, .. } = Bench::new(1, 8);
        assert_eq!(core.room_for_client(0), Room::Free);
        assert!(core.room_for_upstream());
        assert!(!core.make_way());
        core.connections.set(9);
        assert_eq!(core.room_for_client(0), Room::Free);
        assert_eq!(core.room_for_client(1), Room::None);
        core.connections.set(10);
        assert_eq!(core.room_for_client(0), Room::None);
    }
}
