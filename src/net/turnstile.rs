//! One heavy step at a time: between two looks of a core at its sockets, one task gets through.
//!
//! A runtime of monoio runs all tasks that are ready before it looks at its sockets again. Thirty
//! TLS handshakes that arrive together, each good for some hundred microseconds of arithmetic,
//! would hold everything else up for all of them. Behind a turnstile it is held up for one: each
//! further one waits until the sockets have been looked at, in the order of arrival.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::turn;

/// How long after a step the next one may be made without more ado: a core that has been doing
/// something else since then has most likely looked at its sockets.
const REST: Duration = Duration::from_micros(250);

/// Who may pass, and who is next. Tickets are numbers in the order of arrival.
struct Queue {
    /// Turns are being watched: somebody waits, or has just been called.
    watched: bool,
    /// When the last step ended.
    rests_since: Option<Instant>,
    /// May pass, and hasn't yet.
    called: Option<u64>,
    waiting: VecDeque<(u64, Option<Waker>)>,
    tickets: u64,
}

/// How somebody who has arrived goes on.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    /// At once.
    Passes,
    /// When the ticket is called.
    Waits(u64),
    /// The same, and is the first: turns are to be watched from now on.
    WaitsFirst(u64),
}

impl Queue {
    const fn new() -> Queue {
        Queue {
            watched: false,
            rests_since: None,
            called: None,
            waiting: VecDeque::new(),
            tickets: 0,
        }
    }

    fn arrive(&mut self, now: Instant) -> Arrival {
        let rested = |since| now.saturating_duration_since(since) >= REST;
        if !self.watched && self.rests_since.is_none_or(rested) {
            // Until the step ends, which is before anybody else arrives.
            self.rests_since = Some(now);
            return Arrival::Passes;
        }
        self.tickets += 1;
        self.waiting.push_back((self.tickets, None));
        match std::mem::replace(&mut self.watched, true) {
            true => Arrival::Waits(self.tickets),
            false => Arrival::WaitsFirst(self.tickets),
        }
    }

    /// Whether a ticket has been called; else whom to wake when it is.
    fn poll(&mut self, ticket: u64, cx: &Context<'_>) -> Poll<()> {
        if self.called == Some(ticket) {
            self.called = None;
            return Poll::Ready(());
        }
        if let Some((_, waker)) = self.place(ticket).and_then(|at| self.waiting.get_mut(at)) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn leave(&mut self, ticket: u64) {
        if self.called == Some(ticket) {
            self.called = None;
        } else if let Some(at) = self.place(ticket) {
            self.waiting.remove(at);
        }
    }

    fn place(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |(number, _)| *number)
            .ok()
    }

    /// The turn is over: calls the next. False if there is nobody, and nothing to watch.
    fn turn(&mut self) -> bool {
        if self.called.is_none() {
            match self.waiting.pop_front() {
                Some((ticket, waker)) => {
                    self.called = Some(ticket);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                None => self.watched = false,
            }
        }
        self.watched
    }
}

thread_local! {
    static QUEUE: RefCell<Queue> = const { RefCell::new(Queue::new()) };
}

/// Waits for its turn. What its caller does until it drops what it gets is the step; it must not
/// wait meanwhile.
pub async fn pass() -> Step {
    let ticket = match QUEUE.with_borrow_mut(|queue| queue.arrive(Instant::now())) {
        Arrival::Passes => return Step,
        Arrival::Waits(ticket) => Ticket(ticket),
        Arrival::WaitsFirst(ticket) => {
            monoio::spawn(watch());
            Ticket(ticket)
        }
    };
    poll_fn(|cx| QUEUE.with_borrow_mut(|queue| queue.poll(ticket.0, cx))).await;
    Step
}

/// A step that is being made.
#[must_use]
pub struct Step;

impl Drop for Step {
    fn drop(&mut self) {
        // Fails only while the thread is going down.
        let _ = QUEUE.try_with(|queue| queue.borrow_mut().rests_since = Some(Instant::now()));
    }
}

/// A place in the queue, given up when dropped.
struct Ticket(u64);

impl Drop for Ticket {
    fn drop(&mut self) {
        // Fails only while the thread is going down.
        let _ = QUEUE.try_with(|queue| queue.borrow_mut().leave(self.0));
    }
}

/// Sees turn after turn to its end, until nobody waits.
async fn watch() {
    let _watching = Watching;
    loop {
        turn::pass().await;
        if !QUEUE.with_borrow_mut(Queue::turn) {
            return;
        }
    }
}

/// Sees that turns are watched again when they must be, even if a runtime ended under way.
struct Watching;

impl Drop for Watching {
    fn drop(&mut self) {
        // Fails only while the thread is going down.
        let _ = QUEUE.try_with(|queue| queue.borrow_mut().watched = false);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::rc::Rc;

    use super::*;
    use crate::net::testing::{on_each_driver, pair};
    use crate::net::{Buffer, Deadlines};

    fn called(queue: &mut Queue, ticket: u64) -> bool {
        queue
            .poll(ticket, &Context::from_waker(Waker::noop()))
            .is_ready()
    }

    /// A queue where somebody has just passed, and the tickets of those who came after.
    fn queue<const N: usize>() -> (Queue, [u64; N]) {
        let (mut queue, now) = (Queue::new(), Instant::now());
        assert_eq!(queue.arrive(now), Arrival::Passes);
        let mut first = true;
        let tickets = [(); N].map(|()| match queue.arrive(now) {
            Arrival::WaitsFirst(ticket) if std::mem::take(&mut first) => ticket,
            Arrival::Waits(ticket) if !first => ticket,
            other => panic!("{other:?}"),
        });
        (queue, tickets)
    }

    #[test]
    fn one_passes_in_a_turn_and_the_others_follow_as_they_came() {
        let (mut queue, tickets) = queue::<4>();
        for next in tickets {
            assert!(!called(&mut queue, next));
            assert!(queue.turn());
            for other in tickets.into_iter().rev() {
                assert_eq!(called(&mut queue, other), other == next);
            }
        }
        assert!(!queue.turn(), "nobody is left");
    }

    #[test]
    fn after_a_rest_the_way_is_free_unless_somebody_waits() {
        let (mut queue, [_waiting]) = queue::<1>();
        let later = Instant::now() + REST * 2;
        assert!(matches!(queue.arrive(later), Arrival::Waits(_)));
        assert!(queue.turn());
        assert!(matches!(queue.arrive(later), Arrival::Waits(_)));

        let mut queue = Queue::new();
        assert_eq!(queue.arrive(later), Arrival::Passes);
        let almost = later + REST - Duration::from_nanos(1);
        assert!(matches!(queue.arrive(almost), Arrival::WaitsFirst(_)));
        queue = Queue::new();
        assert_eq!(queue.arrive(later), Arrival::Passes);
        assert_eq!(queue.arrive(later + REST), Arrival::Passes);
        queue.rests_since = Some(later + REST * 5);
        assert!(matches!(
            queue.arrive(later + REST * 5),
            Arrival::WaitsFirst(_)
        ));
    }

    #[test]
    fn who_was_called_and_has_not_come_yet_is_waited_for() {
        let (mut queue, [first, second]) = queue();
        assert!(queue.turn() && queue.turn() && queue.turn());
        assert!(!called(&mut queue, second) && called(&mut queue, first));
        assert!(queue.turn());
        assert!(called(&mut queue, second));
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let (mut queue, [first, second, third]) = queue();
        queue.leave(second);
        assert!(queue.turn());
        queue.leave(first);
        assert!(queue.turn());
        assert!(called(&mut queue, third));
        assert!(!queue.turn());
        assert!(queue.waiting.is_empty());
    }

    #[test]
    fn between_two_steps_the_sockets_are_looked_at() {
        on_each_driver(|| async {
            const STEPS: usize = 20;
            let (mut conn, peer) = pair(&Deadlines::default()).await;
            let peer = Rc::new(peer);
            let seen = Rc::new(Cell::new(0));
            let tasks: Vec<_> = (0..STEPS)
                .map(|number| {
                    let (seen, peer) = (Rc::clone(&seen), Rc::clone(&peer));
                    monoio::spawn(async move {
                        let _step = pass().await;
                        // What was sent in earlier steps has been read meanwhile, but the last.
                        assert!(seen.get() + 1 >= number, "{} at {number}", seen.get());
                        (&*peer).write_all(b"!").unwrap();
                    })
                })
                .collect();
            while seen.get() < STEPS {
                let (result, _) = conn.reader.read(Buffer::small()).await;
                seen.set(seen.get() + result.unwrap());
            }
            for task in tasks {
                task.await;
            }
        });
    }
}
