//! Where a connection's task sits: it waits there for work, for bytes, and for being told to stop.
//! A read in flight must not be dropped but with its connection, and a timer for each read would
//! cost more than the read. So nothing here owns a timer: somebody looks at all seats' deadlines
//! now and then, and calls whoever is late.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// One task's place.
pub struct Seat<W> {
    work: Cell<Option<W>>,
    deadline: Cell<u64>,
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What a task that waited for work gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<W, R> {
    /// Something to do.
    Work(W),
    /// The other thing that it waited for.
    Other(R),
    /// It was called away.
    Called,
}

impl<W> Seat<W> {
    /// A free place, perhaps with work to begin with.
    pub fn new(work: Option<W>) -> Seat<W> {
        Seat {
            work: Cell::new(work),
            deadline: Cell::new(u64::MAX),
            called: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Gives work to the task, which must be waiting for it.
    pub fn give(&self, work: W) {
        self.work.set(Some(work));
        self.wake();
    }

    /// What was given and not yet taken.
    pub fn take(&self) -> Option<W> {
        self.work.take()
    }

    /// Whatever the task waits for ends at once.
    pub fn call(&self) {
        self.called.set(true);
        self.wake();
    }

    /// Calls the task if it is late.
    pub fn call_if_late(&self, now: u64) {
        if now >= self.deadline.get() {
            self.deadline.set(u64::MAX);
            self.call();
        }
    }

    /// When the task is to be called, on the clock; `u64::MAX`: not.
    pub fn set_deadline(&self, deadline: u64) {
        self.deadline.set(deadline);
        self.called.set(false);
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn remember(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
    }

    /// The future's output, or `None` if the task was called: then the future may be dropped only
    /// together with what it works on.
    pub async fn guard<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if self.called.get() {
                return Poll::Ready(None);
            }
            self.remember(context);
            Poll::Pending
        })
        .await
    }

    /// Work, or the future's output if that is sooner; the future isn't touched when work is
    /// already there.
    pub async fn work_or<F: Future>(&self, mut future: Pin<&mut F>) -> Turn<W, F::Output> {
        poll_fn(|context| {
            if let Some(work) = self.work.take() {
                return Poll::Ready(Turn::Work(work));
            }
            if self.called.get() {
                return Poll::Ready(Turn::Called);
            }
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Turn::Other(output));
            }
            self.remember(context);
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::rc::Rc;

    fn run<F: Future>(future: F) -> F::Output {
        crate::runtime::block_on(None, future).unwrap()
    }

    #[test]
    fn work_comes_before_bytes_and_being_called_ends_all_waiting() {
        run(async {
            let seat = Seat::new(Some(1));
            assert_eq!(seat.work_or(pin!(ready(()))).await, Turn::Work(1));
            assert_eq!(seat.work_or(pin!(ready(2))).await, Turn::Other(2));
            assert_eq!(seat.guard(pin!(ready(3))).await, Some(3));
            seat.call();
            assert_eq!(seat.work_or(pin!(ready(4))).await, Turn::Called);
            assert_eq!(seat.guard(pin!(pending::<()>())).await, None);
            seat.set_deadline(5);
            assert_eq!(seat.guard(pin!(ready(6))).await, Some(6));
        });
    }

    #[test]
    fn a_task_that_waits_is_woken() {
        run(async {
            let seat = Rc::new(Seat::new(None));
            let waits = monoio::spawn({
                let seat = Rc::clone(&seat);
                async move {
                    let first = seat.work_or(pin!(pending::<()>())).await;
                    (first, seat.guard(pin!(pending::<()>())).await)
                }
            });
            monoio::time::sleep(std::time::Duration::from_millis(1)).await;
            seat.give(7);
            seat.set_deadline(100);
            seat.call_if_late(99);
            monoio::time::sleep(std::time::Duration::from_millis(1)).await;
            seat.call_if_late(100);
            assert_eq!(waits.await, (Turn::Work(7), None));
        });
    }
}
