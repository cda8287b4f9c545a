//! May the call go there now, and on what (SRP section 7): on a reservation of its key, on a slot
//! that is idle, or, at a provider without a capacity, as it likes.

use std::cell::Cell;
use std::num::NonZeroU32;

use super::core::Core;
use super::slots::{Counter, Displaced, Slot};
use crate::base::ProviderId;
use crate::market::occupancy::Share;
use crate::market::{Place, Price, Supply};
use crate::openai::ErrorCode;
use crate::policy::residency::Residency;
use crate::tables::Routes;
use crate::tables::routes::{Key, Provider, Right};

/// What a call wants of the market.
pub struct Wish<'c> {
    core: &'c Core,
    routes: &'c Routes,
    rights: &'c [Right],
    supply: Supply,
    /// The call said so: it is firm or nothing.
    asked: bool,
    /// What it pays at most; none: whatever it costs.
    limit: Option<Price>,
    refused: Cell<Refused>,
    /// The slot that it has waited for. Boxed: few have one.
    granted: Cell<Option<Box<Slot<'c>>>>,
    /// It had one.
    brought: bool,
}

/// Why candidates have not taken the call.
#[derive(Clone, Copy, Default)]
struct Refused {
    /// Its reservation is used up.
    exhausted: bool,
    /// No slot is idle.
    full: bool,
    /// It costs more than the call would pay.
    price: bool,
    /// Who would have been the cheapest with a capacity.
    cheapest: Option<(Price, ProviderId)>,
}

/// A walk along the chain. What one finds nobody for, the next may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// On a reservation, where a slot is idle.
    Reserved,
    /// On a reservation, whoever has the slot.
    Displacing,
    /// Firm, where there is no capacity that could run out.
    Unbounded,
    /// On what is idle.
    Floating,
}

impl Walk {
    /// Whether the cheapest comes first whatever the capability says.
    pub fn is_floating(self) -> bool {
        self == Walk::Floating
    }
}

/// Leave to use a provider, as the market has it: an attempt takes one.
#[must_use = "it may hold a slot"]
pub struct Admission<'c> {
    slot: Option<Slot<'c>>,
    provider: ProviderId,
    supply: Supply,
    price: Price,
}

impl<'c> Admission<'c> {
    /// The slot, where they are counted.
    pub fn slot(&self) -> Option<&Slot<'c>> {
        self.slot.as_ref()
    }

    /// Whom it is for.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// What the call is served as.
    pub fn supply(&self) -> Supply {
        self.supply
    }

    /// What a million tokens of it cost.
    pub fn price(&self) -> Price {
        self.price
    }
}

impl<'c> Wish<'c> {
    /// What a call of a key wants: the supply that it has asked for, if it has, at that price at
    /// most.
    pub fn new(
        core: &'c Core,
        routes: &'c Routes,
        key: &Key,
        asked: Option<Supply>,
        limit: Option<Price>,
    ) -> Wish<'c> {
        Wish {
            core,
            routes,
            rights: routes.rights_of(key),
            supply: asked.unwrap_or(key.supply),
            asked: asked.is_some(),
            limit,
            refused: Cell::default(),
            granted: Cell::new(None),
            brought: false,
        }
    }

    /// Brings a slot that was granted while the call waited.
    pub fn bring(&mut self, slot: Option<Slot<'c>>) {
        self.brought = slot.is_some();
        self.granted.set(slot.map(Box::new));
    }

    /// The slot that was brought, if it wasn't used.
    #[inline]
    pub fn left_over(&self) -> Option<Box<Slot<'c>>> {
        self.granted.take()
    }

    /// Whether the call asks for firm supply and its key has none reserved now where the call may
    /// be served: 403 `firm_not_reserved`.
    pub fn is_unfounded(&self, residency: &Residency) -> bool {
        let founded = |right: &Right| self.slots(right) > 0 && self.lies_within(right, residency);
        self.asked && self.supply == Supply::Firm && !self.rights.iter().any(founded)
    }

    fn slots(&self, right: &Right) -> u32 {
        let reserve = self.routes.reserves.get(right.reserve.index());
        reserve.map_or(0, |reserve| reserve.slots())
    }

    fn lies_within(&self, right: &Right, residency: &Residency) -> bool {
        match right.place {
            Place::Zone(jurisdiction) => residency.allows(jurisdiction),
            Place::Provider(id) => {
                let provider = self.routes.providers.iter().find(|it| it.id == id);
                provider.is_some_and(|it| residency.allows(it.jurisdiction))
            }
        }
    }

    /// The walks that the call makes along its chain, one after another.
    pub fn walks(&self) -> &'static [Walk] {
        match (self.supply, self.asked) {
            (Supply::Floating, _) => &[Walk::Floating],
            // Nobody is displaced for who has a slot in hand.
            _ if self.brought => &[Walk::Floating],
            (Supply::Firm, true) => &[Walk::Reserved, Walk::Displacing, Walk::Unbounded],
            (Supply::Firm, false) if self.rights.is_empty() => &[Walk::Floating],
            (Supply::Firm, false) => &[Walk::Reserved, Walk::Displacing, Walk::Floating],
        }
    }

    /// Whether the provider could be used on this walk. Takes nothing; what stands against it is
    /// remembered.
    pub fn may(&self, provider: &Provider, walk: Walk) -> bool {
        if walk == Walk::Floating && provider.capacity.is_none() && self.limit.is_none() {
            return true;
        }
        let bounded = provider.capacity.is_some();
        let suits = match walk {
            Walk::Reserved | Walk::Displacing => bounded && self.has_rights(provider),
            // A reservation that is used up is not made up for elsewhere.
            Walk::Unbounded => !bounded && !self.refused.get().exhausted,
            Walk::Floating => true,
        };
        if !suits {
            return false;
        }
        let pays = self
            .limit
            .is_none_or(|limit| self.price(provider, walk) <= limit);
        if !pays {
            self.note(|refused| refused.price = true);
            self.note_cheapest(provider);
        }
        pays
    }

    fn has_rights(&self, provider: &Provider) -> bool {
        let here = |right: &Right| share(right, provider).is_some();
        self.rights.iter().any(here)
    }

    /// What a million tokens cost there: a firm call pays the offer, a floating one the price of
    /// its location if that is more.
    fn price(&self, provider: &Provider, walk: Walk) -> Price {
        match walk.is_floating() && provider.capacity.is_some() {
            true => self.core.spot_price(provider),
            false => provider.offer,
        }
    }

    /// Takes what the call needs to use the provider. None if it isn't to be had.
    pub fn take(&self, provider: &Provider, walk: Walk) -> Option<Admission<'c>> {
        let supply = match walk {
            Walk::Floating => Supply::Floating,
            _ => Supply::Firm,
        };
        let slot = match provider.capacity {
            None => None,
            Some(capacity) => Some(self.slot(provider, capacity.get(), walk)?),
        };
        Some(Admission {
            slot,
            provider: provider.id,
            supply,
            price: self.price(provider, walk),
        })
    }

    fn slot(&self, provider: &Provider, capacity: u32, walk: Walk) -> Option<Slot<'c>> {
        let counter = self.core.counter();
        let (slot, displaced) = match walk {
            Walk::Floating => {
                if let Some(slot) = self.granted_at(provider.id) {
                    return Some(slot);
                }
                let taken = counter.floating(provider.id, capacity, self.bid());
                if taken.is_none() {
                    self.note_full(provider);
                }
                taken?
            }
            Walk::Unbounded => return None,
            Walk::Reserved if counter.is_full(provider.id, capacity) => return None,
            Walk::Reserved | Walk::Displacing => self.firm(counter, provider, capacity)?,
        };
        if let Some(displaced) = displaced {
            self.core.displace(displaced);
        }
        Some(slot)
    }

    /// The slot that was granted, if it is at this provider.
    fn granted_at(&self, provider: ProviderId) -> Option<Slot<'c>> {
        let slot = self.granted.take()?;
        if slot.provider() == provider {
            return Some(*slot);
        }
        self.granted.set(Some(slot));
        None
    }

    /// What it bids: whoever names no limit pays any price.
    pub fn bid(&self) -> Price {
        self.limit.unwrap_or(Price::MAX)
    }

    fn firm(
        &self,
        counter: Counter<'c>,
        provider: &Provider,
        capacity: u32,
    ) -> Option<(Slot<'c>, Option<Displaced>)> {
        // What is reserved right there, before what may be anywhere.
        for wanted in [Share::Own, Share::Zone] {
            for right in self.rights {
                let Some(share) = share(right, provider).filter(|share| *share == wanted) else {
                    continue;
                };
                let reserve = self.routes.reserves.get(right.reserve.index())?;
                if let Some(taken) = counter.firm(provider.id, capacity, share, reserve) {
                    return Some(taken);
                }
            }
        }
        self.note(|refused| refused.exhausted = true);
        None
    }

    fn note(&self, change: impl FnOnce(&mut Refused)) {
        let mut refused = self.refused.get();
        change(&mut refused);
        self.refused.set(refused);
    }

    fn note_full(&self, provider: &Provider) {
        self.note(|refused| refused.full = true);
        self.note_cheapest(provider);
    }

    /// Remembers, where no endpoint has taken the call, whether that is because every slot is taken:
    /// each endpoint has its part of them.
    #[cold]
    pub fn has_no_room(&self, provider: &Provider, walk: Walk) {
        let is_full = |capacity: NonZeroU32| {
            let counter = self.core.counter();
            counter.is_full(provider.id, capacity.get())
        };
        if walk.is_floating() && provider.capacity.is_some_and(is_full) {
            self.note_full(provider);
        }
    }

    fn note_cheapest(&self, provider: &Provider) {
        if provider.capacity.is_none() {
            return;
        }
        self.note(|refused| {
            let cheaper = |(price, _): (Price, _)| provider.offer < price;
            if refused.cheapest.is_none_or(cheaper) {
                refused.cheapest = Some((provider.offer, provider.id));
            }
        });
    }

    /// Whether the call is floating, and nobody has taken it for want of an idle slot or at its
    /// price: what it could wait for.
    pub fn wants_a_slot(&self) -> bool {
        let refused = self.refused.get();
        let firm_only = self.asked && self.supply == Supply::Firm;
        !firm_only && (refused.full || refused.price)
    }

    /// Whether a call that waits looks again for what nobody tells it of: its key's own slots.
    pub fn has_own(&self) -> bool {
        self.supply == Supply::Firm && !self.rights.is_empty()
    }

    /// Counts the call as one that found no slot.
    pub fn count_refused(&self) {
        if let Some((_, provider)) = self.refused.get().cheapest {
            self.core.refuse_floating(provider, self.bid());
        }
    }

    /// What to say if nobody has taken the call and the market is the reason.
    pub fn refusal(&self) -> Option<(ErrorCode, &'static str)> {
        let refused = self.refused.get();
        if self.asked && self.supply == Supply::Firm && refused.exhausted {
            let message = "every slot that this key has reserved is in use";
            return Some((ErrorCode::FirmExhausted, message));
        }
        if refused.full {
            let message = "no slot is idle where this call may be served";
            return Some((ErrorCode::FloatingUnavailable, message));
        }
        let message = "where this call may be served, it costs more than X-Sovereign-Max-Price";
        refused
            .price
            .then_some((ErrorCode::PriceAboveLimit, message))
    }
}

/// What a right is worth at a provider.
fn share(right: &Right, provider: &Provider) -> Option<Share> {
    match right.place {
        Place::Provider(id) => (id == provider.id).then_some(Share::Own),
        Place::Zone(zone) => (zone == provider.jurisdiction).then_some(Share::Zone),
    }
}
