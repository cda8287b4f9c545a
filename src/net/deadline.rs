//! Time-outs without timers: each connection has one deadline, a number; one sweeper per core
//! looks at them all every [`TICK`] and shuts down the sockets that are late. Whatever waits on
//! such a socket then ends by itself, so that no operation is ever dropped half done.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use crate::base::Moment;

/// How often the sweeper looks: a time-out fires at most this much late.
pub const TICK: Duration = Duration::from_millis(25);

const NEVER: Moment = Moment(u64::MAX);

/// What a deadline does to its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Reading ends, so that an answer can still be sent.
    Reading,
    /// Reading ends; what is waited for is the next message, if any. A drain ends it early.
    Idleness,
    /// Everything.
    All,
}

#[derive(Clone, Copy)]
struct Entry {
    at: Moment,
    ends: Ends,
    /// The socket; -1 once the deadline has fired, and for a free entry.
    fd: RawFd,
}

impl Entry {
    const FREE: Entry = Entry {
        at: NEVER,
        ends: Ends::All,
        fd: -1,
    };

    fn fire(&mut self) {
        let how = if self.ends == Ends::All {
            libc::SHUT_RDWR
        } else {
            libc::SHUT_RD
        };
        shut_down(self.fd, how);
        *self = Entry::FREE;
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

    /// Shuts down every socket whose deadline has passed; returns how many.
    pub fn sweep(&self, now: Moment) -> usize {
        let mut fired = 0;
        for entry in &mut self.0.borrow_mut().entries {
            if entry.at <= now {
                entry.fire();
                fired += 1;
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

    /// Ends the wait of every connection that is idle. A request that has already arrived is
    /// still read and answered.
    pub fn end_idle(&self) {
        for entry in &mut self.0.borrow_mut().entries {
            if entry.ends == Ends::Idleness && entry.fd >= 0 {
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
    /// Sets or moves it. A deadline that has fired stays fired.
    #[inline]
    pub fn set(&self, at: Moment, ends: Ends) {
        let entry = &mut self.table.0.borrow_mut().entries[self.index];
        if entry.fd >= 0 {
            entry.at = at;
            entry.ends = ends;
        }
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

/// `shutdown(2)`: pending operations complete, and with `SHUT_RDWR` or `SHUT_WR` the peer sees
/// the end. `fd` must name a socket that is open.
pub(super) fn shut_down(fd: RawFd, how: libc::c_int) {
    if fd >= 0 {
        // SAFETY: shutdown takes no pointer. Its callers own the socket, or are told of its end
        // by the guard that is dropped before it, so the number still names that socket.
        unsafe { libc::shutdown(fd, how) };
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
        deadline.set(Moment(u64::MAX - 1), Ends::Idleness);
        deadlines.end_idle();
        assert!(deadline.fired());
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        std::io::Write::write_all(&mut near, b"408").unwrap();
        let mut answer = [0; 3];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"408");
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
