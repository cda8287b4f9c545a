//! Time-outs without timers: each connection has one deadline, a number; one sweeper per core
//! looks at them all every [`TICK`] and shuts down the sockets that are late. Whatever waits on
//! such a socket then ends by itself, so that no operation is ever dropped half done. Only the
//! wait of an idle connection is ended without touching the socket: what its client sends at
//! that very moment must not be lost.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::socket::{has_left, shut_down};
use crate::base::Moment;

/// How often the sweeper looks: a time-out fires at most this much late.
pub const TICK: Duration = Duration::from_millis(25);

const NEVER: Moment = Moment(u64::MAX);

/// What a deadline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Reading, so that an answer can still be sent.
    Reading,
    /// The wait for the next message ([`Deadline::poll_over`]), and nothing of the socket. A
    /// drain ends it early.
    Idleness,
    /// Nothing: the sweeper looks whether the other side has left ([`Deadline::poll_left`]).
    Leaving,
    /// Everything.
    All,
}

struct Entry {
    at: Moment,
    ends: Ends,
    /// What is waited for has come, and nothing has been set since.
    over: bool,
    /// The socket; -1 once it has been shut down, and for a free entry.
    fd: RawFd,
    /// Whoever waits in [`Deadline::poll_over`] or [`Deadline::poll_left`].
    waiting: Option<Waker>,
}

impl Entry {
    const FREE: Entry = Entry {
        at: NEVER,
        ends: Ends::All,
        over: false,
        fd: -1,
        waiting: None,
    };

    fn fire(&mut self) {
        let how = match self.ends {
            Ends::All => libc::SHUT_RDWR,
            Ends::Reading => libc::SHUT_RD,
            Ends::Idleness | Ends::Leaving => return self.tell(),
        };
        shut_down(self.fd, how);
        *self = Entry::FREE;
    }

    fn tell(&mut self) {
        self.at = NEVER;
        self.over = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    free: Vec<usize>,
}

/// The deadlines of one core.
#[derive(Clone, Default)]
pub struct Deadlines(Rc<RefCell<Table>>);

impl Deadlines {
    /// Takes a socket under watch, with no deadline yet. The guard must be dropped before the
    /// socket is closed.
    pub(super) fn watch(&self, fd: RawFd) -> Deadline {
        let mut table = self.0.borrow_mut();
        let entry = Entry { fd, ..Entry::FREE };
        let index = match table.free.pop() {
            Some(index) => {
                table.entries[index] = entry;
                index
            }
            None => {
                table.entries.push(entry);
                table.entries.len() - 1
            }
        };
        Deadline {
            table: self.clone(),
            index,
        }
    }

    /// Ends what every deadline that has passed is to end; returns how many.
    pub fn sweep(&self, now: Moment) -> usize {
        let mut fired = 0;
        for entry in &mut self.0.borrow_mut().entries {
            if entry.at <= now {
                entry.fire();
                fired += 1;
            } else if entry.ends == Ends::Leaving && !entry.over && has_left(entry.fd) {
                entry.tell();
            }
        }
        fired
    }

    /// Shuts down every socket under watch.
    pub fn end_all(&self) {
        for entry in &mut self.0.borrow_mut().entries {
            entry.ends = Ends::All;
            entry.fire();
        }
    }

    /// Ends the wait of every connection that is idle.
    pub fn end_idle(&self) {
        for entry in &mut self.0.borrow_mut().entries {
            if entry.ends == Ends::Idleness {
                entry.fire();
            }
        }
    }
}

/// The deadline of one socket; forgotten when dropped.
pub struct Deadline {
    table: Deadlines,
    index: usize,
}

impl Deadline {
    /// Sets or moves it. A deadline that has shut its socket down stays fired.
    #[inline]
    pub fn set(&self, at: Moment, ends: Ends) {
        let entry = &mut self.table.0.borrow_mut().entries[self.index];
        if entry.fd >= 0 {
            entry.at = at;
            entry.ends = ends;
            entry.over = false;
        }
    }

    /// Ready when the other side has ended the connection, although nothing is read from it: the
    /// sweeper looks. Takes the place of a deadline until one is set.
    pub fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        let ends = self.table.0.borrow().entries[self.index].ends;
        if ends != Ends::Leaving {
            self.set(NEVER, Ends::Leaving);
        }
        self.poll_over(cx)
    }

    /// Ready when an idle wait has ended, and until another deadline is set.
    pub fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        let entry = &mut self.table.0.borrow_mut().entries[self.index];
        if entry.over {
            return Poll::Ready(());
        }
        match &mut entry.waiting {
            Some(waiting) => waiting.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes it away.
    #[inline]
    pub fn clear(&self) {
        self.set(NEVER, Ends::All);
    }

    /// Whether the sweeper has shut the socket down.
    pub fn fired(&self) -> bool {
        self.table.0.borrow().entries[self.index].fd < 0
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut table = self.table.0.borrow_mut();
        table.entries[self.index] = Entry::FREE;
        table.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_late_socket_is_shut_down_and_others_are_not() {
        let deadlines = Deadlines::default();
        let (late, mut late_peer) = pair();
        let (good, good_peer) = pair();
        let first = deadlines.watch(late.as_raw_fd());
        let second = deadlines.watch(good.as_raw_fd());
        first.set(Moment(10), Ends::All);
        second.set(Moment(11), Ends::All);
        assert_eq!(deadlines.sweep(Moment(9)), 0);
        assert_eq!(deadlines.sweep(Moment(10)), 1);
        assert_eq!(deadlines.sweep(Moment(10)), 0);
        assert!(first.fired() && !second.fired());
        assert_eq!(late_peer.read(&mut [0; 1]).unwrap(), 0);
        good_peer.set_nonblocking(true).unwrap();
        assert!((&good_peer).read(&mut [0; 1]).is_err());
    }

    #[test]
    fn the_end_of_reading_leaves_room_for_an_answer() {
        let deadlines = Deadlines::default();
        let (mut near, mut peer) = pair();
        let deadline = deadlines.watch(near.as_raw_fd());
        deadline.set(Moment(1), Ends::Reading);
        deadlines.sweep(Moment(1));
        assert!(deadline.fired());
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        std::io::Write::write_all(&mut near, b"408").unwrap();
        let mut answer = [0; 3];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"408");
    }

    #[test]
    fn the_end_of_an_idle_wait_leaves_the_socket_as_it_is() {
        let deadlines = Deadlines::default();
        let (mut near, mut peer) = pair();
        let deadline = deadlines.watch(near.as_raw_fd());
        let cx = Context::from_waker(Waker::noop());
        for early in [false, true] {
            deadline.set(Moment(10), Ends::Idleness);
            assert!(deadline.poll_over(&cx).is_pending());
            match early {
                true => deadlines.end_idle(),
                false => assert_eq!(deadlines.sweep(Moment(10)), 1),
            }
            assert!(deadline.poll_over(&cx).is_ready());
            assert!(!deadline.fired());
        }
        std::io::Write::write_all(&mut peer, b"GET").unwrap();
        near.read_exact(&mut [0; 3]).unwrap();
        deadline.set(Moment(20), Ends::Reading);
        assert!(deadline.poll_over(&cx).is_pending());
        deadlines.end_idle();
        assert!(deadline.poll_over(&cx).is_pending(), "no longer idle");
    }

    #[test]
    fn a_dropped_deadline_never_fires_on_its_successor() {
        let deadlines = Deadlines::default();
        let (one, _peer) = pair();
        deadlines.watch(one.as_raw_fd()).set(Moment(1), Ends::All);
        let next = deadlines.watch(one.as_raw_fd());
        assert_eq!(deadlines.sweep(Moment(5)), 0);
        assert!(!next.fired());
    }
}
