//! A call's leave to wait (`X-Sovereign-Defer`, SRP section 7), and what it waits for.

use std::rc::Rc;
use std::time::Duration;

use super::admission::Wish;
use super::core::Core;
use super::queue::{Joined, Ticket};
use super::reject::Rejection;
use super::slots::Slot;
use crate::base::{Moment, ProviderId};
use crate::market::Turn;
use crate::policy::chain::Itinerary;
use crate::policy::residency::Residency;
use crate::tables::Routes;
use crate::tables::routes::{Capability, Provider};
use crate::telemetry::WaitEnd;

/// How often a call looks again for what nobody tells it of: a slot of its key's own reservation,
/// a provider without a capacity.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A call's leave to wait, for as long as the call lasts.
pub struct Deferral {
    /// How long, all its waits together.
    most: Duration,
    /// Its number in line: it keeps it if it comes back.
    number: Option<u64>,
    /// That it counts where it waits.
    joined: Option<Joined>,
    /// Providers that have had the call and failed. None of them gets it again.
    spent: Vec<ProviderId>,
    /// Attempts that failed.
    failed: u32,
}

impl Deferral {
    /// Leave to wait so long at most.
    pub fn new(most: Duration) -> Box<Deferral> {
        Box::new(Deferral {
            most,
            number: None,
            joined: None,
            spent: Vec::new(),
            failed: 0,
        })
    }

    /// Whether a call that has waited waits on: nobody was tried for it since.
    pub fn waits_on(&self, attempts: u32) -> bool {
        self.number.is_some() && attempts == self.failed
    }

    /// It counts as waiting no more.
    pub fn leave_line(&mut self) {
        self.joined = None;
    }

    /// Goes past those who have had the call before it waited.
    fn pass_over_spent(
        &self,
        itinerary: &mut Itinerary<'_>,
        capability: &Capability,
        routes: &Routes,
    ) {
        for (position, link) in capability.chain.links().iter().enumerate() {
            let provider = routes.providers.get(usize::from(link.provider));
            if provider.is_some_and(|it| self.spent.contains(&it.id)) {
                itinerary.pass_over(position);
            }
        }
        itinerary.count_earlier(self.failed);
    }
}

/// What a call that has waited brings along.
pub struct Again<'c> {
    /// Its leave to wait on.
    pub deferral: Box<Deferral>,
    /// The slot that was granted.
    pub slot: Option<Slot<'c>>,
}

impl<'c> Again<'c> {
    /// Takes the call up where it was.
    pub fn take_up(
        self,
        wish: &mut Wish<'c>,
        itinerary: &mut Itinerary<'_>,
        capability: &Capability,
        routes: &Routes,
    ) -> Box<Deferral> {
        wish.bring(self.slot);
        self.deferral.pass_over_spent(itinerary, capability, routes);
        self.deferral
    }
}

/// A call that waits, apart from its body.
pub struct Standby {
    /// Its leave to wait on.
    pub deferral: Box<Deferral>,
    turn: Turn,
    at: Rc<[ProviderId]>,
    cheapest: ProviderId,
    looks_again: bool,
    /// It was made by tables that aren't in force any more.
    stale: bool,
    /// What is said when it has waited long enough.
    pub rejection: Rejection,
}

impl Standby {
    /// What it waits for, from now on; `waited` is how long it has waited before.
    pub fn ticket(&self, waited: Duration, now: Moment) -> Ticket {
        Ticket {
            turn: self.turn,
            at: Rc::clone(&self.at),
            cheapest: self.cheapest,
            until: now + self.deferral.most.saturating_sub(waited),
            looks_again: match (self.stale, self.looks_again) {
                (true, _) => Some(Duration::ZERO),
                (false, true) => Some(LOOK_AGAIN),
                (false, false) => None,
            },
        }
    }
}

/// What a call that nobody has taken looks for.
pub struct Search<'s, 'c> {
    /// Where it is.
    pub core: &'s Core,
    /// The tables that it was made by.
    pub routes: &'s Routes,
    /// What it asks for.
    pub capability: &'s Capability,
    /// Where it may be served.
    pub residency: &'s Residency,
    /// What it wants of the market.
    pub wish: &'s Wish<'c>,
    /// Links that have had the call and failed, as bits.
    pub spent: u64,
    /// Attempts that failed.
    pub attempts: u32,
}

impl Search<'_, '_> {
    /// Has the call wait, where there are slots inside its border to wait for.
    ///
    /// # Errors
    /// There are none, or as many wait there as may: what is said at once.
    pub fn stand_by(
        &self,
        mut deferral: Box<Deferral>,
        rejection: Rejection,
    ) -> Result<Box<Standby>, Rejection> {
        if let Some(slot) = self.wish.left_over() {
            self.core.return_unusable(*slot);
        }
        let links = self.capability.chain.links().iter().enumerate();
        for (position, link) in links {
            if self.spent & (1 << position) != 0
                && let Some(provider) = self.provider(link.provider)
                && !deferral.spent.contains(&provider.id)
            {
                deferral.spent.push(provider.id);
            }
        }
        deferral.failed = self.attempts;
        let stale = !std::ptr::eq(self.routes, &*self.core.routes());
        let open: Vec<&Provider> = self.open(&deferral.spent).collect();
        let bounded = open.iter().filter(|it| it.capacity.is_some());
        let Some(cheapest) = bounded.clone().min_by_key(|it| it.offer) else {
            return Err(rejection);
        };
        if deferral.failed >= self.routes.max_attempts {
            return Err(rejection);
        }
        if deferral.joined.is_none() {
            let most = self.routes.waiting_max;
            deferral.joined = Joined::join(self.core.board(), cheapest.location, most);
            if deferral.joined.is_none() {
                self.core.metrics.waits.ended(WaitEnd::Full, 0);
                return Err(rejection);
            }
        }
        let lines = self.core.market().lines();
        let number = *deferral.number.get_or_insert_with(|| lines.number());
        Ok(Box::new(Standby {
            turn: Turn::new(self.wish.bid(), number),
            at: bounded.map(|it| it.id).collect(),
            cheapest: cheapest.id,
            stale,
            looks_again: self.wish.has_own() || open.iter().any(|it| it.capacity.is_none()),
            deferral,
            rejection,
        }))
    }

    fn provider(&self, position: u16) -> Option<&Provider> {
        self.routes.providers.get(usize::from(position))
    }

    /// Who could still serve the call, inside its border.
    fn open(&self, spent: &[ProviderId]) -> impl Iterator<Item = &Provider> {
        let links = self.capability.chain.links().iter();
        let inside = links.filter(|link| self.residency.allows(link.jurisdiction));
        let providers = inside.filter_map(|link| self.provider(link.provider));
        providers.filter(|provider| !spent.contains(&provider.id))
    }
}
