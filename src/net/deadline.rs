//! Time-outs without timers: each connection has one deadline, a number; one sweeper per core
//! looks at them all when the earliest of them is due, and shuts down the sockets that are late.
//! Whatever waits on such a socket then ends by itself, so that no operation is ever dropped half
//! done. Only the wait of an idle connection is ended without touching the socket: what its client
//! sends at that very moment must not be lost.

use std::cell::RefCell;
use std::collections::BinaryHeap;
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
    /// Reading a head. As [`Ends::Reading`], but where room is short a stranger ends early
    /// ([`Deadlines::make_way`]).
    Head,
    /// The wait for the next message ([`Deadline::poll_over`]), and nothing of the socket. A
    /// drain ends it early, and so does a shortage of room.
    Idleness,
    /// Nothing: the sweeper looks whether the other side has left ([`Deadline::poll_left`]).
    Leaving,
    /// Everything of a handshake. Where room is short a stranger's ends early.
    Handshake,
    /// Everything.
    All,
}

struct Entry {
    at: Moment,
    ends: Ends,
    /// What is waited for has come, and nothing has been set since.
    over: bool,
    /// Nobody has said who the peer is ([`Deadline::introduce`]).
    stranger: bool,
    /// In which order sockets came.
    number: u32,
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
        stranger: false,
        number: 0,
        fd: -1,
        waiting: None,
    };

    fn fire(&mut self) {
        let how = match self.ends {
            Ends::All | Ends::Handshake => libc::SHUT_RDWR,
            Ends::Reading | Ends::Head => libc::SHUT_RD,
            Ends::Idleness | Ends::Leaving => return self.tell(),
        };
        shut_down(self.fd, how);
        *self = Entry {
            stranger: self.stranger,
            ..Entry::FREE
        };
    }

    /// Whether nobody would miss it: its peer is waited for, and not in the middle of anything
    /// that it has been let in for.
    fn is_dispensable(&self) -> bool {
        match self.ends {
            Ends::Idleness => self.at < NEVER,
            Ends::Head | Ends::Handshake => self.stranger,
            Ends::Reading | Ends::Leaving | Ends::All => false,
        }
    }

    fn tell(&mut self) {
        self.at = NEVER;
        self.over = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

struct Table {
    entries: Vec<Entry>,
    free: Vec<usize>,
    /// No deadline is earlier.
    earliest: Moment,
    /// Somebody may wait in [`Deadline::poll_left`].
    leaving: bool,
    /// Sockets so far.
    numbered: u32,
}

/// The first few in some order.
struct First<K> {
    few: usize,
    found: BinaryHeap<(K, usize)>,
}

impl<K: Ord> First<K> {
    fn new(few: usize) -> First<K> {
        let found = BinaryHeap::with_capacity(few + 1);
        First { few, found }
    }

    fn offer(&mut self, key: K, index: usize) {
        self.found.push((key, index));
        if self.found.len() > self.few {
            self.found.pop();
        }
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        let sorted = self.found.into_sorted_vec();
        sorted.into_iter().map(|(_, index)| index)
    }
}

/// The deadlines of one core.
#[derive(Clone)]
pub struct Deadlines(Rc<RefCell<Table>>);

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines(Rc::new(RefCell::new(Table {
            entries: Vec::new(),
            free: Vec::new(),
            earliest: NEVER,
            leaving: false,
            numbered: 0,
        })))
    }
}

impl Deadlines {
    /// Takes a socket under watch, with no deadline yet. The guard must be dropped before the
    /// socket is closed.
    pub(super) fn watch(&self, fd: RawFd) -> Deadline {
        let mut table = self.0.borrow_mut();
        table.numbered = table.numbered.wrapping_add(1);
        let number = table.numbered;
        let entry = Entry {
            fd,
            number,
            stranger: true,
            ..Entry::FREE
        };
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

    /// Sockets under watch: all that the core has open, but for its listeners.
    pub fn watched(&self) -> usize {
        let table = self.0.borrow();
        table.entries.len() - table.free.len()
    }

    /// Ends what every deadline that has passed is to end; returns how many.
    pub fn sweep(&self, now: Moment) -> usize {
        let table = &mut *self.0.borrow_mut();
        if now < table.earliest && !table.leaving {
            return 0;
        }
        let mut fired = 0;
        let (mut earliest, mut leaving) = (NEVER, false);
        for entry in &mut table.entries {
            if entry.at <= now {
                entry.fire();
                fired += 1;
            } else if entry.ends == Ends::Leaving && !entry.over {
                match has_left(entry.fd) {
                    true => entry.tell(),
                    false => leaving = true,
                }
            }
            earliest = earliest.min(entry.at);
        }
        table.earliest = earliest;
        table.leaving = leaving;
        fired
    }

    /// Ends up to `count` connections that nobody would miss, for the sake of others: those that
    /// have been idle the longest, then strangers, the first come first. Where strangers are more
    /// than half of all it is their turn first, so that however many come, they don't drive out
    /// those who are known. Returns how many.
    pub fn make_way(&self, count: usize) -> usize {
        let table = &mut *self.0.borrow_mut();
        let (mut known, mut strangers) = (First::new(count), First::new(count));
        let mut strange = 0;
        for (index, entry) in table.entries.iter().enumerate() {
            // Those that have ended and not gone yet are counted too.
            strange += usize::from(entry.stranger);
            match (entry.is_dispensable(), entry.stranger) {
                (false, _) => {}
                (true, false) => known.offer(entry.at, index),
                // Younger ones have higher numbers, until these wrap around.
                (true, true) => {
                    let age = table.numbered.wrapping_sub(entry.number);
                    strangers.offer(u32::MAX - age, index);
                }
            }
        }
        let mut going: Vec<usize> = known.indices().collect();
        let at = match strange * 2 > table.entries.len() - table.free.len() {
            true => 0,
            false => going.len(),
        };
        going.splice(at..at, strangers.indices());
        going.truncate(count);
        for &index in &going {
            let entry = &mut table.entries[index];
            if entry.ends == Ends::Head {
                // There is no time for an answer.
                entry.ends = Ends::All;
            }
            entry.fire();
        }
        going.len()
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
        let table = &mut *self.table.0.borrow_mut();
        let entry = &mut table.entries[self.index];
        if entry.fd >= 0 {
            entry.at = at;
            entry.ends = ends;
            entry.over = false;
            table.earliest = table.earliest.min(at);
        }
    }

    /// Ready when the other side has ended the connection, although nothing is read from it: the
    /// sweeper looks. Takes the place of a deadline until one is set.
    pub fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        let ends = self.table.0.borrow().entries[self.index].ends;
        if ends != Ends::Leaving {
            self.set(NEVER, Ends::Leaving);
            self.table.0.borrow_mut().leaving = true;
        }
        self.poll_over(cx)
    }

    /// Says that it is known who the peer is: [`Deadlines::make_way`] asks.
    #[inline]
    pub fn introduce(&self) {
        self.table.0.borrow_mut().entries[self.index].stranger = false;
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

    #[test]
    fn deadlines_that_move_are_found_where_they_are() {
        let deadlines = Deadlines::default();
        let (near, _peer) = pair();
        let deadline = deadlines.watch(near.as_raw_fd());
        deadline.set(Moment(10), Ends::All);
        deadline.set(Moment(30), Ends::All);
        assert_eq!(deadlines.sweep(Moment(20)), 0, "moved away");
        deadline.set(Moment(25), Ends::All);
        assert_eq!(deadlines.sweep(Moment(24)), 0);
        assert_eq!(deadlines.sweep(Moment(25)), 1, "moved nearer");
        assert_eq!(deadlines.watched(), 1);
        drop(deadline);
        assert_eq!(deadlines.watched(), 0);
    }

    /// Sockets with their deadlines, and their other ends.
    fn watched(deadlines: &Deadlines, count: usize) -> Vec<(Deadline, TcpStream, TcpStream)> {
        let watch =
            |(near, peer): (TcpStream, TcpStream)| (deadlines.watch(near.as_raw_fd()), near, peer);
        (0..count).map(|_| watch(pair())).collect()
    }

    /// Which of them have been ended.
    fn ended(watched: &[(Deadline, TcpStream, TcpStream)]) -> Vec<usize> {
        let cx = Context::from_waker(Waker::noop());
        let ended = |deadline: &Deadline| deadline.fired() || deadline.poll_over(&cx).is_ready();
        (0..watched.len())
            .filter(|&index| ended(&watched[index].0))
            .collect()
    }

    #[test]
    fn the_longest_idle_make_way_and_then_strangers_as_they_came() {
        let deadlines = Deadlines::default();
        let all = watched(&deadlines, 7);
        let states = [
            (true, 20, Ends::Idleness),
            (true, 10, Ends::Idleness),
            (false, 8, Ends::Idleness),
            (false, 9, Ends::Head),
            (true, 1, Ends::Head),
            (true, 1, Ends::All),
            (false, 1, Ends::Reading),
        ];
        for ((deadline, ..), (known, at, ends)) in all.iter().zip(states) {
            if known {
                deadline.introduce();
            }
            deadline.set(Moment(at), ends);
        }
        assert_eq!(deadlines.make_way(1), 1);
        assert_eq!(ended(&all), [1]);
        assert_eq!(deadlines.make_way(2), 2);
        assert_eq!(ended(&all), [0, 1, 2]);
        assert_eq!(deadlines.make_way(9), 1);
        assert_eq!(ended(&all), [0, 1, 2, 3]);
        assert_eq!(deadlines.make_way(9), 0, "all others are at work");
        assert_eq!((&all[3].2).read(&mut [0]).unwrap(), 0, "no answer waits");
    }

    #[test]
    fn strangers_who_are_many_go_before_anybody_who_is_known() {
        let deadlines = Deadlines::default();
        let mut all = watched(&deadlines, 5);
        for (index, (deadline, ..)) in all.iter().enumerate() {
            if index < 2 {
                deadline.introduce();
            }
            deadline.set(Moment(10 + index as u64), Ends::Idleness);
        }
        assert_eq!(deadlines.make_way(2), 2);
        assert_eq!(ended(&all), [2, 3]);
        drop(all.drain(2..4));
        assert_eq!(deadlines.make_way(1), 1);
        assert_eq!(ended(&all), [0], "they are few now");
    }
}
