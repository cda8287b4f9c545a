//! Waiting in line (SRP section 7). Each core keeps the calls that wait on it in order, and shows the
//! others the first of them at each provider, so that all agree on who is next; whoever gives a slot
//! back rings the bell of that core, and the slot is taken there.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::queue::{Stirred, Ticket};
use super::slots::Slot;
use crate::base::{Moment, ProviderId};
use crate::market::Price;
use crate::market::occupancy::Share;
use crate::tables::Routes;
use crate::tables::routes::Provider;

/// How long nobody is sent to a provider that couldn't serve the last who was: one attempt after
/// the other would fail as that one did.
const PAUSE: Duration = Duration::from_millis(250);

/// A call in line. Whoever drops it leaves; a slot that was granted meanwhile goes to the next.
#[must_use = "it leaves the line when it is dropped"]
pub struct Waiter<'c> {
    core: &'c Core,
    index: usize,
}

impl<'c> Waiter<'c> {
    /// Waits.
    pub async fn stirred(&self) -> Stirred {
        poll_fn(|cx| self.core.queue().borrow_mut().poll(self.index, cx)).await
    }

    /// Takes the slot that was granted, at a provider of these tables. None if there is none.
    pub fn take(self, routes: &Routes) -> Option<Slot<'c>> {
        let core = self.core;
        let (id, bid) = core.queue().borrow().granted(self.index)?;
        // One that has gone, or counts no slots any more, is declined when the guard is dropped.
        let provider = routes.providers.iter().find(|it| it.id == id)?;
        let capacity = provider.capacity?;
        core.queue().borrow_mut().handed_over(self.index);
        let (slot, displaced) = core.counter().granted(id, capacity.get(), bid);
        if let Some(displaced) = displaced {
            core.displace(displaced);
        }
        Some(slot)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let (stirred, at) = self.core.queue().borrow_mut().leave(self.index);
        if let Some(at) = at {
            self.core.show_turns(&at);
        }
        if let Some(Stirred::Granted(provider)) = stirred {
            self.core.counter().decline(provider);
        }
    }
}

impl Core {
    /// Puts a call in line. If a slot is idle that it is the next to have, it is granted at once.
    pub fn stand_in_line(&self, ticket: Ticket) -> Waiter<'_> {
        let at = Rc::clone(&ticket.at);
        let routes = self.routes();
        let mut queue = self.queue().borrow_mut();
        queue.seen.get_or_insert_with(|| Rc::clone(&routes));
        let index = queue.enter(ticket, self.recently());
        drop(queue);
        let waiter = Waiter { core: self, index };
        self.show_turns(&at);
        // Shown first: what is given back from now on is given to who waits.
        for provider in routes.providers.iter().filter(|it| at.contains(&it.id)) {
            self.serve(provider);
        }
        waiter
    }

    /// Says that the slot of a call that waited was of no use to it: nobody is sent there for a
    /// while.
    pub fn return_unusable(&self, slot: Slot<'_>) {
        let until = self.recently() + PAUSE;
        self.queue().borrow_mut().pause(slot.provider(), until);
        slot.give_back_unusable();
    }

    fn show_turns(&self, at: &[ProviderId]) {
        for &provider in at {
            let first = self.queue().borrow().first(provider);
            let turn = first.map(|(turn, _)| turn);
            self.market().show_turn(self.index(), provider, turn);
        }
    }

    /// Grants what is idle to those who wait on this core, as far as it is their turn; else it is for
    /// the core whose turn it is.
    pub fn serve_waiting(&self) {
        let routes = self.routes();
        for provider in &routes.providers {
            self.serve(provider);
        }
    }

    fn serve(&self, provider: &Provider) {
        let Some(capacity) = provider.capacity else {
            return;
        };
        let (id, capacity, now) = (provider.id, capacity.get(), self.recently());
        loop {
            let Some((core, turn)) = self.market().first_in_line(id) else {
                return;
            };
            if !self.market().has_idle(id, capacity) || turn.bid() < self.spot_price(provider) {
                return;
            }
            // Whoever was rung for may have gone: then the ring goes on to whose turn it is now.
            if core != self.index() {
                return self.ring(core);
            }
            let own = self.queue().borrow().first(id);
            let Some((_, index)) = own else { return };
            let paused = self.queue().borrow().is_paused(id, now);
            let usable_from = |view: &_| self.targets.borrow_mut().usable_from(view, provider, now);
            if paused || self.with_view(usable_from) > now {
                return;
            }
            if self.market().enter(id, Share::Floating, capacity).is_none() {
                return;
            }
            let at = self.queue().borrow_mut().stir(index, Stirred::Granted(id));
            match at {
                Some(at) => self.show_turns(&at),
                None => return self.market().leave(id, Share::Floating),
            }
        }
    }

    /// What floating work costs at a provider with a capacity: its location's price, or its offer
    /// if that is more.
    pub fn spot_price(&self, provider: &Provider) -> Price {
        provider.offer.max(self.market().price(provider.id))
    }

    /// The sweeper's look at who waits: some have waited long enough, and what nobody has told them
    /// of may have changed.
    pub fn sweep_queue(&self, now: Moment, routes: &Rc<Routes>) {
        let mut queue = self.queue().borrow_mut();
        if queue.is_empty() {
            queue.seen = None;
            return;
        }
        let current = queue.seen.as_ref();
        let stale = current.is_some_and(|seen| !Rc::ptr_eq(seen, routes));
        if stale {
            queue.seen = Some(Rc::clone(routes));
        }
        drop(queue);
        let all = match (self.draining(), stale) {
            (true, _) => Some(Stirred::Closing),
            (false, true) => Some(Stirred::Look),
            (false, false) => None,
        };
        if let Some(why) = all {
            let everybody = self.queue().borrow().everybody();
            everybody.into_iter().for_each(|it| self.stir(it, why));
        }
        loop {
            let due = self.queue().borrow().first_due(now);
            match due {
                Some((index, why)) => self.stir(index, why),
                None => break,
            }
        }
        self.serve_waiting();
    }

    fn stir(&self, index: usize, why: Stirred) {
        let at = self.queue().borrow_mut().stir(index, why);
        if let Some(at) = at {
            self.show_turns(&at);
        }
    }

    /// Shows the office who waits.
    pub fn show_waiting(&self) {
        let mut queue = self.queue().borrow_mut();
        if queue.is_empty() && !queue.shown {
            return;
        }
        let mut bids = queue.bids();
        queue.shown = !bids.is_empty();
        drop(queue);
        self.market().lines().offer(self.index(), &mut bids);
    }
}

#[cfg(test)]
mod tests;
