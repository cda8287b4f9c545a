//! Slots of providers with a capacity: taken with an attempt and given back with it, whatever
//! becomes of it. A floating call can lose its own to a firm one, on whatever core that is.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::base::{Moment, ProviderId};
use crate::market::occupancy::Share;
use crate::market::{Price, Standing};
use crate::net::Bell;
use crate::tables::demand::Demand;
use crate::tables::{Market, Reserve};

/// The floating calls of one core that occupy slots.
#[derive(Default)]
pub struct Floaters {
    calls: Vec<Option<Floater>>,
    free: Vec<usize>,
    /// By provider, made when first needed.
    order: Vec<Order>,
    /// Calls that came.
    entered: u64,
    /// What they asked for, until it is handed to the office.
    demand: Demand,
}

struct Floater {
    provider: ProviderId,
    exit: Exit,
    bid: Price,
    /// Up to when its time is in `demand`.
    counted: Moment,
    curtailed: bool,
    waker: Option<Waker>,
}

/// When a call's turn to go is: the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Exit {
    rank: u64,
    /// Of those of a rank, the newest first.
    after: Reverse<u64>,
}

/// Floating calls of one provider in that order, and their places in `calls`. Of calls that bid alike the
/// newest is put in front, and who ends is mostly near one of the ends.
#[derive(Default)]
struct Order(VecDeque<(Exit, usize)>);

impl Order {
    #[inline]
    fn insert(&mut self, exit: Exit, index: usize) {
        if self.0.front().is_none_or(|(first, _)| exit < *first) {
            return self.0.push_front((exit, index));
        }
        let at = self.0.partition_point(|(other, _)| *other < exit);
        self.0.insert(at, (exit, index));
    }

    fn remove(&mut self, exit: Exit) {
        if let Ok(at) = self.0.binary_search_by_key(&exit, |(exit, _)| *exit) {
            self.0.remove(at);
        }
    }
}

impl Floaters {
    fn enter(&mut self, provider: ProviderId, bid: Price, now: Moment) -> usize {
        self.entered += 1;
        let exit = Exit {
            rank: Standing { bid, since: now }.rank(),
            after: Reverse(self.entered),
        };
        let floater = Some(Floater {
            provider,
            exit,
            bid,
            counted: now,
            curtailed: false,
            waker: None,
        });
        let index = match self.free.pop() {
            Some(index) => {
                self.calls[index] = floater;
                index
            }
            None => {
                self.calls.push(floater);
                self.calls.len() - 1
            }
        };
        if self.order.len() <= provider.index() {
            self.order.resize_with(provider.index() + 1, Order::default);
        }
        self.order[provider.index()].insert(exit, index);
        index
    }

    fn first(&self, provider: ProviderId) -> Option<(u64, usize)> {
        let (exit, index) = self.order.get(provider.index())?.0.front()?;
        Some((exit.rank, *index))
    }

    /// Takes a call out of the order of those that can be curtailed. False if it had been.
    fn withdraw(&mut self, index: usize, now: Moment) -> bool {
        let Some(Some(floater)) = self.calls.get_mut(index) else {
            return false;
        };
        if floater.curtailed {
            return false;
        }
        let us = now.micros_since(floater.counted);
        floater.counted = now;
        self.demand.served(floater.provider, floater.bid, us, true);
        if let Some(order) = self.order.get_mut(floater.provider.index()) {
            order.remove(floater.exit);
        }
        true
    }

    /// Curtails the first in order. False if there is nobody.
    fn curtail_first(&mut self, provider: ProviderId, now: Moment) -> bool {
        let Some((_, index)) = self.first(provider) else {
            return false;
        };
        self.withdraw(index, now);
        if let Some(Some(floater)) = self.calls.get_mut(index) {
            floater.curtailed = true;
            if let Some(waker) = floater.waker.take() {
                waker.wake();
            }
        }
        true
    }

    /// A call found no slot; `provider` would have been its cheapest.
    pub fn refused(&mut self, provider: ProviderId, bid: Price) {
        self.demand.refused(provider, bid);
    }

    /// What was asked for up to now, those that go on included.
    pub fn demand(&mut self, now: Moment) -> &mut Demand {
        let Floaters { calls, demand, .. } = self;
        for floater in calls.iter_mut().flatten().filter(|it| !it.curtailed) {
            let us = now.micros_since(floater.counted);
            floater.counted = now;
            demand.served(floater.provider, floater.bid, us, false);
        }
        demand
    }
}

/// What the slots of one core need of it.
pub struct Counter<'c> {
    /// The words that all cores share.
    pub market: &'c Market,
    /// This core's number.
    pub core: usize,
    /// Its floating calls.
    pub floaters: &'c RefCell<Floaters>,
    /// A time that was read not long ago.
    pub now: &'c Cell<Moment>,
    /// Every core's bell, by number.
    pub bells: &'c [Bell],
}

impl Clone for Counter<'_> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for Counter<'_> {}

/// One slot of a provider.
#[must_use = "it is given back when it is dropped"]
pub struct Slot<'c> {
    counter: Counter<'c>,
    provider: ProviderId,
    held: Held<'c>,
    /// Whoever waits for it isn't told.
    unusable: bool,
}

enum Held<'c> {
    /// On a reservation; the other calls on it are counted there.
    Firm(Share, &'c Reserve),
    /// Its place among the core's floating calls.
    Floating(usize),
}

/// A firm call took a slot that a floating one has: that core is to give one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The core to be woken.
    pub core: usize,
}

impl<'c> Counter<'c> {
    /// Takes a slot on a reservation, if it isn't used up. It need not be idle: then a floating
    /// call has to go.
    pub fn firm(
        self,
        provider: ProviderId,
        capacity: u32,
        share: Share,
        reserve: &'c Reserve,
    ) -> Option<(Slot<'c>, Option<Displaced>)> {
        if !reserve.take() {
            return None;
        }
        if self.market.enter(provider, share, capacity).is_none() {
            reserve.give_back();
            return None;
        }
        let slot = Slot {
            counter: self,
            provider,
            held: Held::Firm(share, reserve),
            unusable: false,
        };
        Some((slot, self.displace(provider, capacity)))
    }

    /// Whether no slot is idle.
    pub fn is_full(self, provider: ProviderId, capacity: u32) -> bool {
        self.market.occupancy(provider).total() >= capacity
    }

    /// Takes an idle slot, if nobody waits for it who bids as much.
    pub fn floating(
        self,
        provider: ProviderId,
        capacity: u32,
        bid: Price,
    ) -> Option<(Slot<'c>, Option<Displaced>)> {
        let first = self.market.first_in_line(provider);
        if first.is_some_and(|(_, turn)| turn.bid() >= bid) {
            return None;
        }
        self.market.enter(provider, Share::Floating, capacity)?;
        Some(self.granted(provider, capacity, bid))
    }

    /// A slot that was taken for the call already.
    pub fn granted(
        self,
        provider: ProviderId,
        capacity: u32,
        bid: Price,
    ) -> (Slot<'c>, Option<Displaced>) {
        let now = self.now.get();
        let index = self.floaters.borrow_mut().enter(provider, bid, now);
        self.show_first(provider);
        let slot = Slot {
            counter: self,
            provider,
            held: Held::Floating(index),
            unusable: false,
        };
        // A firm call that came between the two steps has seen nobody whose slot it could take.
        (slot, self.displace(provider, capacity))
    }

    /// Has a floating call curtailed, if there are more calls than slots.
    fn displace(self, provider: ProviderId, capacity: u32) -> Option<Displaced> {
        if self.market.occupancy(provider).excess(capacity) == 0 {
            return None;
        }
        let core = self.market.curtail(provider)?;
        Some(Displaced { core })
    }

    /// A slot has become idle: wakes the core whose call is the first in line for it, if anybody
    /// is. What becomes of it is decided there.
    fn call_first(self, provider: ProviderId) {
        if let Some((core, _)) = self.market.first_in_line(provider)
            && let Some(bell) = self.bells.get(core)
        {
            bell.ring();
        }
    }

    /// Gives back a slot that was taken for a call which had no place in `floaters` yet.
    pub fn decline(self, provider: ProviderId) {
        self.market.leave(provider, Share::Floating);
        self.call_first(provider);
    }

    fn show_first(self, provider: ProviderId) {
        let first = self.floaters.borrow().first(provider);
        self.market
            .show_first(self.core, provider, first.map(|(rank, _)| rank));
    }

    /// Curtails what this core is asked to at a provider, if it is still needed. Returns how many
    /// calls lost their slots, and who else is to give one up.
    pub fn curtail_wanted(self, provider: ProviderId, capacity: u32) -> (u32, Option<Displaced>) {
        let wanted = self.market.take_wanted(self.core, provider);
        let mut curtailed = 0;
        while curtailed < wanted && self.market.occupancy(provider).excess(capacity) > 0 {
            let lost = self
                .floaters
                .borrow_mut()
                .curtail_first(provider, self.now.get());
            if !lost {
                break;
            }
            self.market.leave(provider, Share::Floating);
            curtailed += 1;
        }
        if wanted == 0 {
            return (0, None);
        }
        self.show_first(provider);
        // Whoever it would have been here went by itself: then it is somebody else's turn.
        let left = (curtailed < wanted).then(|| self.displace(provider, capacity));
        (curtailed, left.flatten())
    }
}

impl Slot<'_> {
    /// Whether the slot was taken on a reservation.
    pub fn is_firm(&self) -> bool {
        matches!(self.held, Held::Firm(..))
    }

    /// Whose slot it is.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Gives back a slot that its call couldn't use, since the provider takes none now: so
    /// couldn't the next in line.
    pub fn give_back_unusable(mut self) {
        self.unusable = true;
    }

    /// Ready when the slot is lost. A firm one never is.
    pub fn poll_curtailed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Held::Floating(index) = self.held else {
            return Poll::Pending;
        };
        let mut floaters = self.counter.floaters.borrow_mut();
        match floaters.calls.get_mut(index) {
            Some(Some(floater)) if !floater.curtailed => {
                let same = |waker: &Waker| waker.will_wake(cx.waker());
                if !floater.waker.as_ref().is_some_and(same) {
                    floater.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    #[inline]
    fn call_next(&self) {
        if self.counter.market.is_awaited(self.provider) && !self.unusable {
            self.counter.call_first(self.provider);
        }
    }

    /// A time that was read not long ago.
    pub fn now(&self) -> Moment {
        self.counter.now.get()
    }

    /// Whether the slot is lost.
    pub fn is_curtailed(&self) -> bool {
        let Held::Floating(index) = self.held else {
            return false;
        };
        let floaters = self.counter.floaters.borrow();
        !matches!(floaters.calls.get(index), Some(Some(floater)) if !floater.curtailed)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Counter { market, .. } = self.counter;
        match self.held {
            Held::Firm(share, reserve) => {
                market.leave(self.provider, share);
                reserve.give_back();
                self.call_next();
            }
            Held::Floating(index) => {
                let mut floaters = self.counter.floaters.borrow_mut();
                let held = floaters.withdraw(index, self.counter.now.get());
                if let Some(place) = floaters.calls.get_mut(index) {
                    *place = None;
                }
                floaters.free.push(index);
                drop(floaters);
                if held {
                    market.leave(self.provider, Share::Floating);
                    self.counter.show_first(self.provider);
                    self.call_next();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
