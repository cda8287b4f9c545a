//! The floating calls of one core that wait for a slot (SRP section 7), in order at each provider: a
//! call stands in the lines of all that its border allows, and in no other.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::{Moment, ProviderId};
use crate::market::{Price, Turn};
use crate::tables::lines::Waiting;
use crate::tables::{Board, Routes};

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stirred {
    /// A slot of the provider is the call's.
    Granted(ProviderId),
    /// Something has changed: it may be worth another try.
    Look,
    /// It has waited as long as it would.
    Over,
    /// The instance goes down.
    Closing,
}

/// What a call waits for.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Its place in every line.
    pub turn: Turn,
    /// Where it may be served: each provider with a capacity that the border allows.
    pub at: Rc<[ProviderId]>,
    /// The cheapest of them, where it counts as demand.
    pub cheapest: ProviderId,
    /// How long it waits.
    pub until: Moment,
    /// When it looks again, whatever happens.
    pub looks_again: Option<Duration>,
}

/// The calls of one core that wait.
#[derive(Default)]
pub struct Queue {
    calls: Vec<Option<Waits>>,
    free: Vec<usize>,
    /// By provider.
    lines: Vec<BTreeMap<Turn, usize>>,
    /// When somebody is to be stirred.
    due: BTreeSet<(Moment, usize)>,
    /// By provider: nobody is sent there before.
    paused: Vec<Moment>,
    /// The tables that whoever waits has seen.
    pub(super) seen: Option<Rc<Routes>>,
    /// Something is shown to the office.
    pub(super) shown: bool,
}

struct Waits {
    ticket: Ticket,
    due: Moment,
    stirred: Option<Stirred>,
    waker: Option<Waker>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.len() == self.free.len()
    }

    fn line(&mut self, provider: ProviderId) -> &mut BTreeMap<Turn, usize> {
        if self.lines.len() <= provider.index() {
            self.lines.resize_with(provider.index() + 1, BTreeMap::new);
        }
        &mut self.lines[provider.index()]
    }

    pub(super) fn enter(&mut self, ticket: Ticket, now: Moment) -> usize {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.calls.push(None);
                self.calls.len() - 1
            }
        };
        for &provider in &*ticket.at {
            self.line(provider).insert(ticket.turn, index);
        }
        let due = match ticket.looks_again {
            Some(after) => ticket.until.min(now + after),
            None => ticket.until,
        };
        self.due.insert((due, index));
        self.calls[index] = Some(Waits {
            ticket,
            due,
            stirred: None,
            waker: None,
        });
        index
    }

    /// Ends a wait, if it hasn't ended, and takes the call out of its lines. Returns which those
    /// were.
    pub(super) fn stir(&mut self, index: usize, why: Stirred) -> Option<Rc<[ProviderId]>> {
        let waits = self.calls.get_mut(index)?.as_mut()?;
        if waits.stirred.is_some() {
            return None;
        }
        waits.stirred = Some(why);
        if let Some(waker) = waits.waker.take() {
            waker.wake();
        }
        let (turn, due, at) = (waits.ticket.turn, waits.due, Rc::clone(&waits.ticket.at));
        self.due.remove(&(due, index));
        for provider in &*at {
            self.line(*provider).remove(&turn);
        }
        Some(at)
    }

    /// Forgets a call. Returns why its wait had ended, and the lines that it was in until now.
    pub(super) fn leave(&mut self, index: usize) -> (Option<Stirred>, Option<Rc<[ProviderId]>>) {
        let at = self.stir(index, Stirred::Over);
        let left = self.calls.get_mut(index).and_then(Option::take);
        self.free.push(index);
        match at {
            Some(at) => (None, Some(at)),
            None => (left.and_then(|it| it.stirred), None),
        }
    }

    /// Ready when the wait of a call has ended.
    pub(super) fn poll(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<Stirred> {
        let Some(Some(waits)) = self.calls.get_mut(index) else {
            return Poll::Ready(Stirred::Look);
        };
        if let Some(why) = waits.stirred {
            return Poll::Ready(why);
        }
        let same = |waker: &Waker| waker.will_wake(cx.waker());
        if !waits.waker.as_ref().is_some_and(same) {
            waits.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Where a call has been granted a slot, and what it bids.
    pub(super) fn granted(&self, index: usize) -> Option<(ProviderId, Price)> {
        let waits = self.calls.get(index)?.as_ref()?;
        match waits.stirred {
            Some(Stirred::Granted(id)) => Some((id, waits.ticket.turn.bid())),
            _ => None,
        }
    }

    /// The slot that a call was granted is in its own hands.
    pub(super) fn handed_over(&mut self, index: usize) {
        if let Some(Some(waits)) = self.calls.get_mut(index) {
            waits.stirred = Some(Stirred::Look);
        }
    }

    /// The first in line at a provider.
    pub(super) fn first(&self, provider: ProviderId) -> Option<(Turn, usize)> {
        let line = self.lines.get(provider.index())?;
        line.first_key_value().map(|(&turn, &index)| (turn, index))
    }

    /// Who has waited long enough by then.
    pub(super) fn first_due(&self, now: Moment) -> Option<(usize, Stirred)> {
        let &(due, index) = self.due.first()?;
        let waits = self.calls.get(index)?.as_ref()?;
        let why = match waits.ticket.until <= now {
            true => Stirred::Over,
            false => Stirred::Look,
        };
        (due <= now).then_some((index, why))
    }

    pub(super) fn everybody(&self) -> Vec<usize> {
        self.due.iter().map(|&(_, index)| index).collect()
    }

    pub(super) fn pause(&mut self, provider: ProviderId, until: Moment) {
        if self.paused.len() <= provider.index() {
            self.paused.resize(provider.index() + 1, Moment(0));
        }
        self.paused[provider.index()] = until;
    }

    pub(super) fn is_paused(&self, provider: ProviderId, now: Moment) -> bool {
        let until = self.paused.get(provider.index());
        until.is_some_and(|until| now < *until)
    }

    pub(super) fn bids(&self) -> Vec<Waiting> {
        let calls = self.calls.iter().flatten();
        let calls = calls.filter(|waits| waits.stirred.is_none());
        calls
            .map(|waits| (waits.ticket.cheapest, waits.ticket.turn.bid()))
            .collect()
    }
}

/// That a call counts as waiting at a location.
#[must_use = "it counts for as long as it is held"]
pub struct Joined {
    board: Arc<Board>,
    location: ProviderId,
}

impl Joined {
    /// Counts a call, if no more than so many wait there. A location is named by one of its
    /// providers.
    pub fn join(board: &Arc<Board>, location: ProviderId, most: u32) -> Option<Joined> {
        let joined = board.market().lines().join(location, most);
        joined.then(|| Joined {
            board: Arc::clone(board),
            location,
        })
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.board.market().lines().part(self.location);
    }
}
