//! Turns: whoever has much to do gives way now and then, and goes on when the
//! core's driver has had a real turn. Completions have been taken in then, timers have fired, and
//! whatever became ready has run.
//!
//! A task that only wakes itself doesn't give that: the runtime goes on with what is ready several
//! times before it asks epoll again, and io_uring with DEFER_TASKRUN gives no completions to a
//! thread that doesn't wait. So a turn is something to wait for: a byte through a socket.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::unix::net::UnixStream as Bell;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// The length of a turn where there are no descriptors left to see one's end by.
const WITHOUT_SOCKETS: Duration = Duration::from_millis(1);

thread_local! {
    static HERE: RefCell<Weak<Turns>> = const { RefCell::new(Weak::new()) };
    /// Whether no read or write ends before the driver has had a turn.
    static IO_IS_A_TURN: Cell<bool> = const { Cell::new(false) };
}

/// One core's. It lives as long as the task that waits for the bell.
struct Turns {
    bell: Bell,
    seen: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Turns {
    /// This thread's, made when it is first needed.
    fn here() -> io::Result<Rc<Turns>> {
        HERE.with_borrow_mut(|here| {
            if let Some(turns) = here.upgrade() {
                return Ok(turns);
            }
            let (bell, ear) = Bell::pair()?;
            bell.set_nonblocking(true)?;
            ear.set_nonblocking(true)?;
            let turns = Rc::new(Turns {
                bell,
                seen: Cell::new(0),
                waiting: RefCell::default(),
            });
            monoio::spawn(Rc::clone(&turns).listen(UnixStream::from_std(ear)?));
            *here = Rc::downgrade(&turns);
            Ok(turns)
        })
    }

    async fn listen(self: Rc<Turns>, mut ear: UnixStream) {
        let mut heard = vec![0; 16];
        loop {
            let result;
            (result, heard) = ear.read(heard).await;
            self.seen.set(self.seen.get() + 1);
            self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
            if !matches!(result, Ok(count) if count > 0) {
                return;
            }
        }
    }
}

/// Takes the descriptors that turns are seen by, while there are some.
pub fn open() {
    // Who can't be served now may be later.
    drop(Turns::here());
}

/// Goes on after the driver's next turn.
pub async fn pass() {
    let Ok(turns) = Turns::here() else {
        // Boxed: a timer is large, and would be a part of everything that ever gives way.
        return Box::pin(monoio::time::sleep(WITHOUT_SOCKETS)).await;
    };
    let before = turns.seen.get();
    poll_fn(|cx| {
        if turns.seen.get() != before {
            return Poll::Ready(());
        }
        let mut waiting = turns.waiting.borrow_mut();
        // One ring is enough for all that wait.
        if waiting.is_empty() && (&turns.bell).write(&[1]).is_err() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    })
    .await;
}

/// As [`pass`], for whoever has just waited for a read or a write: on io_uring that was a turn. epoll
/// does at once what can be done at once.
pub async fn pass_behind_io() {
    if !IO_IS_A_TURN.get() {
        pass().await;
    }
}

/// Whether this thread's driver is io_uring.
pub(super) fn is_io_a_turn() -> bool {
    IO_IS_A_TURN.get()
}

/// Says what this thread's driver is like.
pub(super) fn io_is_a_turn(is: bool) {
    IO_IS_A_TURN.set(is);
}

/// Goes on when the tasks that are ready now have run; the driver need not have had a turn. Not by
/// waking oneself: the runtime takes a task that does for the next to run, before all others.
pub async fn give_way() {
    monoio::spawn(async {}).await;
}

/// Sees no more turns on this thread: its runtime is about to end, with no operation left in flight.
/// Whoever still passes makes a new one.
pub fn close() {
    let here = HERE.take();
    if let Some(turns) = here.upgrade() {
        // Fails only if the other end is gone already.
        let _ = turns.bell.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{on_each_driver, pair};
    use super::*;
    use crate::net::Deadlines;
    use crate::net::buffer::Buffer;

    #[test]
    fn a_task_that_never_waits_lets_reads_and_timers_through() {
        on_each_driver(|| async {
            let (mut conn, mut peer) = pair(&Deadlines::default()).await;
            let done = Rc::new(Cell::new(0));
            let busy: Vec<_> = (0..3)
                .map(|_| {
                    let done = Rc::clone(&done);
                    monoio::spawn(async move {
                        let mut turns = 0;
                        while done.get() < 2 && turns < 10_000 {
                            pass().await;
                            turns += 1;
                        }
                        turns
                    })
                })
                .collect();
            let reading = monoio::spawn({
                let done = Rc::clone(&done);
                async move {
                    let (result, _) = conn.reader.read(Buffer::small()).await;
                    assert_eq!(result.unwrap(), 1);
                    done.set(done.get() + 1);
                }
            });
            peer.write_all(b"x").unwrap();
            monoio::time::sleep(Duration::from_millis(2)).await;
            done.set(done.get() + 1);
            reading.await;
            for task in busy {
                let turns = task.await;
                assert!((1..10_000).contains(&turns), "{turns} turns");
            }
        });
    }

    #[test]
    fn who_gives_way_runs_after_all_others() {
        on_each_driver(|| async {
            let order = Rc::new(RefCell::new(String::new()));
            let tasks = ['a', 'b', 'c'].map(|name| {
                let order = Rc::clone(&order);
                monoio::spawn(async move {
                    for _ in 0..3 {
                        order.borrow_mut().push(name);
                        give_way().await;
                    }
                })
            });
            for task in tasks {
                task.await;
            }
            assert_eq!(*order.borrow(), "abcabcabc");
        });
    }

    #[test]
    fn whoever_waits_when_it_closes_goes_on() {
        on_each_driver(|| async {
            let waiting = monoio::spawn(pass());
            pass().await;
            waiting.await;
            close();
            pass().await;
        });
    }
}
