//! One heavy step at a time: between two looks of a core at its sockets, one task gets through.
//!
//! A runtime of monoio runs all tasks that are ready before it looks at its sockets again. Thirty
//! TLS handshakes that arrive together, each good for some hundred microseconds of arithmetic,
//! would hold everything else up for all of them. Behind a turnstile they are held up for one:
//! each further one waits until the sockets have been looked at, in the order of arrival.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::unix::net::UnixStream as Pipe;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// The length of a turn where there are no descriptors left to see one's end by.
const TURN_WITHOUT_SOCKETS: Duration = Duration::from_millis(1);

/// Who may pass, and who is next. Tickets are numbers in the order of arrival.
struct Queue {
    /// Somebody has passed in this turn.
    passed: bool,
    /// May pass, and hasn't yet.
    called: Option<u64>,
    waiting: VecDeque<(u64, Option<Waker>)>,
    tickets: u64,
}

impl Queue {
    const fn new() -> Queue {
        Queue {
            passed: false,
            called: None,
            waiting: VecDeque::new(),
            tickets: 0,
        }
    }

    /// Lets through at once, or gives a ticket.
    fn arrive(&mut self) -> Option<u64> {
        if !self.passed {
            self.passed = true;
            return None;
        }
        self.tickets += 1;
        self.waiting.push_back((self.tickets, None));
        Some(self.tickets)
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

    /// The turn is over: calls the next. False if there is nobody, and the way is free.
    fn turn(&mut self) -> bool {
        if self.called.is_some() {
            return true;
        }
        match self.waiting.pop_front() {
            Some((ticket, waker)) => {
                self.called = Some(ticket);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            None => self.passed = false,
        }
        self.passed
    }
}

thread_local! {
    static QUEUE: RefCell<Queue> = const { RefCell::new(Queue::new()) };
}

/// Waits for its turn. What its caller does until it next waits is the step.
pub async fn pass() {
    let Some(ticket) = QUEUE.with_borrow_mut(Queue::arrive) else {
        // There are turns to see the end of for as long as somebody passes.
        monoio::spawn(watch());
        return;
    };
    let ticket = Ticket(ticket);
    poll_fn(|cx| QUEUE.with_borrow_mut(|queue| queue.poll(ticket.0, cx))).await;
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
    let mut bell = Bell::new().ok();
    loop {
        let rung = match &mut bell {
            Some(bell) => bell.ring().await,
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if rung.is_err() {
            monoio::time::sleep(TURN_WITHOUT_SOCKETS).await;
        }
        if !QUEUE.with_borrow_mut(Queue::turn) {
            return;
        }
    }
}

/// Frees the way when nobody watches any more, not even at a runtime's end.
struct Watching;

impl Drop for Watching {
    fn drop(&mut self) {
        // Fails only while the thread is going down.
        let _ = QUEUE.try_with(|queue| queue.borrow_mut().passed = false);
    }
}

/// A socket that is heard when the core next looks at its sockets.
struct Bell {
    near: UnixStream,
    far: Pipe,
    byte: Vec<u8>,
}

impl Bell {
    fn new() -> io::Result<Bell> {
        let (near, far) = Pipe::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Bell {
            near: UnixStream::from_std(near)?,
            far,
            byte: Vec::with_capacity(1),
        })
    }

    async fn ring(&mut self) -> io::Result<()> {
        self.byte.clear();
        let mut far = &self.far;
        let mut hearing = pin!(self.near.read(std::mem::take(&mut self.byte)));
        let mut begun = false;
        // The wait begins before there is something to hear: else epoll's driver would find it
        // at once, without a look at any other socket.
        let (heard, byte) = poll_fn(|cx| {
            let poll = hearing.as_mut().poll(cx);
            if !begun {
                begun = true;
                if let Err(error) = far.write_all(&[0]) {
                    return Poll::Ready((Err(error), Vec::with_capacity(1)));
                }
            }
            poll
        })
        .await;
        self.byte = byte;
        heard.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::net::testing::{on_each_driver, pair};
    use crate::net::{Buffer, Deadlines};

    fn called(queue: &mut Queue, ticket: u64) -> bool {
        queue
            .poll(ticket, &Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn one_passes_in_a_turn_and_the_others_follow_as_they_came() {
        let mut queue = Queue::new();
        assert_eq!(queue.arrive(), None);
        let tickets: Vec<u64> = (0..4).map(|_| queue.arrive().unwrap()).collect();
        for &next in &tickets {
            assert!(!called(&mut queue, next));
            assert!(queue.turn());
            for &other in tickets.iter().rev() {
                assert_eq!(called(&mut queue, other), other == next);
            }
        }
        assert!(!queue.turn());
        assert_eq!(queue.arrive(), None, "the way is free");
        assert!(queue.arrive().is_some(), "for one");
    }

    #[test]
    fn who_was_called_and_has_not_come_yet_is_waited_for() {
        let mut queue = Queue::new();
        assert_eq!(queue.arrive(), None);
        let [first, second] = [(); 2].map(|()| queue.arrive().unwrap());
        assert!(queue.turn() && queue.turn() && queue.turn());
        assert!(!called(&mut queue, second) && called(&mut queue, first));
        assert!(queue.turn());
        assert!(called(&mut queue, second));
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let mut queue = Queue::new();
        assert_eq!(queue.arrive(), None);
        let [first, second, third] = [(); 3].map(|()| queue.arrive().unwrap());
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
                        pass().await;
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
