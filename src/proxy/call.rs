//! One call: where it may go, which candidates are tried, and how it ends. Whatever happens, it
//! is one unit: one settlement, and at most one response.

use std::cell::{Cell, OnceCell};
use std::pin::pin;

use super::admission::{Admission, Wish};
use super::answer::Manner;
use super::ask::{Ask, read_body};
use super::attempt::{self, Served};
use super::body::Probing;
use super::client::{Client, Stopped};
use super::core::Core;
use super::deferral::{Again, Deferral, Search, Standby};
use super::intake::Intake;
use super::message::{Body, Order};
use super::reject::Rejection;
use super::relay::Passage;
use super::settle::{Attempt, Settlement};
use super::targets::{Permit, Wanted};
use super::trail;
use super::verdict::Verdict;
use crate::base::Moment;
use crate::openai::{ErrorCode, Operation};
use crate::policy::balance::{Balance, Trail};
use crate::policy::chain::{Candidate, Itinerary};
use crate::policy::residency::Residency;
use crate::tables::Routes;
use crate::tables::routes::{Capability, Provider};
use crate::telemetry::{AccessRecord, Outcome};

/// How a call left the client's connection.
pub enum End {
    /// A whole response was sent.
    Complete,
    /// The response was cut short: the connection must close.
    Cut,
    /// The client is gone.
    Gone,
    /// Nothing was sent: this is to be.
    Rejected(Rejection),
    /// Nothing was sent, and its client has said that it may wait.
    Waits(Box<Standby>, Body),
}

impl Ask<'_> {
    /// Notes in the call's record what was asked for.
    fn note(&self, record: &mut AccessRecord, body: &[u8]) {
        record.capability = Some(self.capability.id);
        record.stream = self.stream;
        record.bytes_in = body.len() as u64;
    }
}

/// A call whose border is drawn: what all of its attempts share.
struct Routed<'c, 'r> {
    core: &'c Core,
    routes: &'c Routes,
    ask: &'r Ask<'r>,
    order: Order<'r>,
    residency: Residency,
    wish: Wish<'c>,
    until: Moment,
    /// No attempt has failed but for want of something on our side.
    short: Cell<bool>,
    /// Made for the first provider that is balanced by prefix.
    trail: OnceCell<Box<Trail>>,
    /// Links whose attempts lost their slots to firm calls, as bits.
    curtailed: Cell<u64>,
    /// It has waited before.
    has_waited: bool,
    /// Leave to wait, if the client has given it.
    deferral: Cell<Option<Box<Deferral>>>,
}

/// What the client is sent of a call that was committed to: nothing of it is the request's body.
struct Delivery<'c> {
    core: &'c Core,
    routes: &'c Routes,
    operation: Operation,
    strip_usage: bool,
    manner: Manner,
    until: Moment,
}

/// Makes the call.
pub async fn run<'c>(
    core: &'c Core,
    routes: &'c Routes,
    client: &mut Client,
    (intake, body, probing, again): (&Intake, Body, Option<Box<Probing>>, Option<Box<Again<'c>>>),
    manner: Manner,
    settlement: &mut Settlement<'_>,
) -> End {
    let ask = match read_body(routes, intake, body.bytes(), probing) {
        Ok(ask) => ask,
        Err(rejection) => return End::Rejected(rejection),
    };
    let capability = ask.capability;
    ask.note(settlement.record_mut(), body.bytes());
    let request_id = settlement.record().request_id;
    let residency =
        Residency::effective(intake.residency, intake.key.residency, capability.residency);
    settlement.within(&residency);
    let terms = intake.terms;
    // The field in the head wins.
    let asked = terms.supply.or(ask.tier);
    let mut wish = Wish::new(core, routes, &intake.key, asked, terms.max_price);
    let Some(mut itinerary) = capability.chain.within(&residency, routes.max_attempts) else {
        return End::Rejected(mismatch(capability));
    };
    let has_waited = again.is_some();
    let deferral = match again {
        None => terms.defer.map(Deferral::new),
        Some(again) => Some(again.take_up(&mut wish, &mut itinerary, capability, routes)),
    };
    if wish.is_unfounded(&residency) {
        return End::Rejected(not_reserved());
    }
    let order = Order {
        operation: intake.operation,
        residency: &residency,
        request_id: request_id.as_bytes(),
        forwarded: intake.forwarded.readable(),
        body: &body,
        trace: intake.trace,
    };
    let delivery = Delivery {
        core,
        routes,
        operation: intake.operation,
        strip_usage: ask.strip_usage,
        manner,
        until: settlement.counts_from() + routes.timeouts.call,
    };
    let routed = Routed {
        core,
        routes,
        ask: &ask,
        order,
        residency,
        wish,
        until: delivery.until,
        short: Cell::new(true),
        trail: OnceCell::new(),
        curtailed: Cell::new(0),
        has_waited,
        deferral: Cell::new(deferral),
    };
    let travelled = routed.travel(client, itinerary, settlement).await;
    drop(ask);
    let travelled = match travelled {
        Err(Halt::Waits(standby)) => return End::Waits(standby, body),
        other => other,
    };
    // No attempt follows: the answer may take its time, and the body need not wait for it.
    body.release().await;
    match travelled {
        Ok(committed) => delivery.deliver(client, committed, settlement).await,
        Err(Halt::Ends(end)) => end,
        Err(Halt::Waits(standby)) => End::Rejected(standby.rejection),
    }
}

fn mismatch(capability: &Capability) -> Rejection {
    let message = format!(
        "no provider of {} lies in the jurisdictions that this call may be served in",
        capability.name
    );
    Rejection::new(ErrorCode::DataResidencyMismatch, message).about("X-Sovereign-Residency")
}

/// What one attempt came to.
enum Tried<'r> {
    Served(Attempt<'r>, Served),
    Gone,
    Failed(Verdict, Option<Candidate>),
}

/// Why a call's way has ended without a response in hand.
enum Halt {
    Ends(End),
    Waits(Box<Standby>),
}

/// A response in hand, and the attempt that it came from.
struct Committed<'r> {
    attempt: Attempt<'r>,
    served: Served,
    admission: Admission<'r>,
}

impl<'c> Routed<'c, '_> {
    /// Goes along the chain until a response is in hand.
    async fn travel(
        &self,
        client: &mut Client,
        mut itinerary: Itinerary<'_>,
        settlement: &mut Settlement<'_>,
    ) -> Result<Committed<'c>, Halt> {
        let core = self.core;
        let mut now = core.recently();
        while now < self.until {
            let Some((candidate, leave)) = self.next(&mut itinerary, now) else {
                return Err(self.unserved(&itinerary, now));
            };
            if self.has_waited {
                self.leave_line();
            }
            let visit = self.visit(client, &mut itinerary, candidate, leave, settlement);
            if let Some(outcome) = visit.await {
                return outcome;
            }
            now = core.now();
        }
        Err(Halt::Ends(End::Rejected(deadline_exceeded())))
    }

    /// The next candidate whose breakers and gates let the call pass, and the market.
    fn next(
        &self,
        itinerary: &mut Itinerary<'_>,
        now: Moment,
    ) -> Option<(Candidate, (Permit, Admission<'c>))> {
        let core = self.core;
        self.wish.walks().iter().find_map(|&walk| {
            let wanted = Wanted {
                firm: !walk.is_floating(),
                ..Wanted::default()
            };
            itinerary.order_by_merit(walk.is_floating() || self.ask.capability.by_merit);
            itinerary.next(|candidate| {
                let provider = self.provider(candidate.provider())?;
                if !self.wish.may(provider, walk) {
                    return None;
                }
                let trail = self.trail(provider);
                let permit = core.with_view(|view| {
                    let mut targets = core.targets.borrow_mut();
                    targets.take(view, provider, trail, wanted, now)
                });
                let Some(permit) = permit else {
                    self.wish.has_no_room(provider, walk);
                    return None;
                };
                match self.wish.take(provider, walk) {
                    Some(admission) => Some((permit, admission)),
                    None => {
                        core.give_back(provider, permit);
                        None
                    }
                }
            })
        })
    }

    /// Tries one provider, and perhaps once more. None if the call is to go on to the next.
    async fn visit(
        &self,
        client: &mut Client,
        itinerary: &mut Itinerary<'_>,
        mut candidate: Candidate,
        (mut permit, admission): (Permit, Admission<'c>),
        settlement: &mut Settlement<'_>,
    ) -> Option<Result<Committed<'c>, Halt>> {
        let core = self.core;
        loop {
            let attempt =
                Attempt::open(core, self.routes, candidate, permit, &admission, settlement)?;
            let tried = attempt.tried();
            let (verdict, again) = match self.attempt(client, attempt, &admission, settlement).await
            {
                Tried::Served(attempt, served) => {
                    return Some(Ok(Committed {
                        attempt,
                        served,
                        admission,
                    }));
                }
                Tried::Gone => return Some(Err(Halt::Ends(End::Gone))),
                Tried::Failed(Verdict::Deadline, _) => {
                    return Some(Err(Halt::Ends(End::Rejected(deadline_exceeded()))));
                }
                Tried::Failed(Verdict::Curtailed, candidate) => {
                    let link = candidate.map_or(0, |candidate| 1 << candidate.link());
                    self.curtailed.set(self.curtailed.get() | link);
                    return None;
                }
                Tried::Failed(verdict, again) => {
                    let short = self.short.get() && verdict == Verdict::OwnShortage;
                    self.short.set(short);
                    (verdict, again?)
                }
            };
            if !itinerary.may_repeat(&again) {
                return None;
            }
            let trail = self.trail(tried.provider);
            permit = core.permit_repeat(tried, trail, verdict, core.recently())?;
            candidate = itinerary.repeat(again).ok()?;
        }
    }

    /// What tells where the call's prompt may be known, if the provider is balanced by that and
    /// there is a choice.
    fn trail(&self, provider: &Provider) -> Option<&Trail> {
        let asked = provider.balance == Balance::Prefix && provider.endpoints.len() > 1;
        asked.then(|| {
            let Order {
                forwarded, body, ..
            } = self.order;
            let made = || {
                trail::of(
                    forwarded,
                    self.ask.capability,
                    self.ask.sites.form,
                    body.bytes(),
                )
            };
            &**self.trail.get_or_init(|| Box::new(made()))
        })
    }

    fn provider(&self, position: u16) -> Option<&'c Provider> {
        self.routes.providers.get(usize::from(position))
    }

    /// One attempt, up to its commit point.
    async fn attempt(
        &self,
        client: &mut Client,
        attempt: Attempt<'c>,
        admission: &Admission<'c>,
        settlement: &mut Settlement<'_>,
    ) -> Tried<'c> {
        let mut fail = |attempt: Attempt<'_>, verdict| {
            let again = attempt.end(verdict, settlement);
            Tried::Failed(verdict, again)
        };
        let Some(model) = self.ask.capability.models.get(attempt.link()) else {
            return fail(attempt, Verdict::UnknownModel);
        };
        let (provider, supply) = (attempt.provider(), admission.supply());
        let edits = self.ask.sites.edits(model, provider, supply);
        let edits = edits.as_slice();
        let made = {
            let making = attempt::make(self.core, &attempt, &self.order, edits, self.until);
            client.unless_stopped(admission.slot(), pin!(making)).await
        };
        match made {
            Ok(Ok(served)) => Tried::Served(attempt, served),
            Ok(Err(verdict)) => fail(attempt, verdict),
            Err(Stopped::Curtailed) => fail(attempt, Verdict::Curtailed),
            Err(Stopped::ClientGone) => {
                attempt.end(Verdict::Cancelled, settlement);
                Tried::Gone
            }
        }
    }

    /// The call has found somebody: it counts as waiting no more. If that isn't whose slot it waited
    /// for, the next in line has that.
    #[cold]
    fn leave_line(&self) {
        drop(self.wish.left_over());
        if let Some(mut deferral) = self.deferral.take() {
            deferral.leave_line();
            self.deferral.set(Some(deferral));
        }
    }

    /// Nobody has taken the call: it waits, if it may and there is something to wait for.
    #[cold]
    fn unserved(&self, itinerary: &Itinerary<'_>, now: Moment) -> Halt {
        let attempts = itinerary.attempts();
        let rejection = self.nobody(attempts, now);
        let curtailed = self.curtailed.get();
        let Some(deferral) = self.deferral.take() else {
            return self.refused(rejection, attempts);
        };
        if curtailed != 0 || self.wish.wants_a_slot() || deferral.waits_on(attempts) {
            let search = Search {
                core: self.core,
                routes: self.routes,
                capability: self.ask.capability,
                residency: &self.residency,
                wish: &self.wish,
                spent: itinerary.spent(&self.residency) & !curtailed,
                attempts: attempts - curtailed.count_ones(),
            };
            return match search.stand_by(deferral, rejection) {
                Ok(standby) => Halt::Waits(standby),
                Err(rejection) => self.refused(rejection, attempts),
            };
        }
        self.refused(rejection, attempts)
    }

    fn refused(&self, rejection: Rejection, attempts: u32) -> Halt {
        if self.curtailed.get() == 0 && attempts == 0 {
            self.wish.count_refused();
        }
        Halt::Ends(End::Rejected(rejection))
    }

    /// Why nobody took the call.
    fn nobody(&self, attempts: u32, now: Moment) -> Rejection {
        if self.curtailed.get() != 0 {
            let message = "a reservation's owner needed the slot, and no other is idle";
            return Rejection::new(ErrorCode::Curtailed, message).retry_after(1);
        }
        if attempts == 0
            && let Some((code, message)) = self.wish.refusal()
        {
            return Rejection::new(code, message).retry_after(1);
        }
        if attempts > 0 && self.short.get() {
            let message = "this instance has no connection left for the call, or is behind";
            return Rejection::new(ErrorCode::Overloaded, message).retry_after(1);
        }
        if attempts > 0 {
            let message = "every provider that was tried failed";
            return Rejection::new(ErrorCode::AllAttemptsFailed, message);
        }
        let core = self.core;
        let chain = &self.ask.capability.chain;
        let inside = chain
            .links()
            .iter()
            .filter(|link| self.residency.allows(link.jurisdiction));
        let soonest = inside
            .filter_map(|link| self.provider(link.provider))
            .map(|provider| {
                core.with_view(|view| core.targets.borrow_mut().usable_from(view, provider, now))
            })
            .min();
        let wait = soonest.map_or(1, |at| at.since(now).as_secs() + 1);
        let (code, message) = match self.residency.is_restricted() {
            true => (
                ErrorCode::ResidencyUnavailable,
                "providers exist in the jurisdictions that this call may be served in, but none can take it now",
            ),
            false => (
                ErrorCode::NoProviderAvailable,
                "no provider can take the call now",
            ),
        };
        Rejection::new(code, message).retry_after(wait)
    }
}

impl<'c> Delivery<'c> {
    /// From the commit point on: the response goes to the client, and the attempt ends with it.
    async fn deliver(
        &self,
        client: &mut Client,
        committed: Committed<'c>,
        settlement: &mut Settlement<'_>,
    ) -> End {
        let Committed {
            attempt,
            served,
            admission,
        } = committed;
        let provider = attempt.provider();
        settlement.committed(&attempt, served.inbound.status, self.core.now());
        let passage = Passage {
            core: self.core,
            attempt: &attempt,
            slot: admission.slot(),
            operation: self.operation,
            strip_usage: self.strip_usage,
            manner: self.manner,
            call_until: self.until,
            provider: self.routes.expose_providers.then_some(&*provider.name),
        };
        let ending = passage.relay(client, served, settlement).await;
        if ending.verdict == Verdict::Succeeded || ending.usage.is_some() {
            settlement.used(provider, ending.usage);
        }
        attempt.end(ending.verdict, settlement);
        match ending.outcome {
            Outcome::Completed => End::Complete,
            Outcome::ClientGone => End::Gone,
            Outcome::Cut | Outcome::Failed => End::Cut,
        }
    }
}

fn not_reserved() -> Rejection {
    let message = "the key has no slots reserved now where this call may be served";
    Rejection::new(ErrorCode::FirmNotReserved, message).about("X-Sovereign-Supply")
}

fn deadline_exceeded() -> Rejection {
    Rejection::new(
        ErrorCode::DeadlineExceeded,
        "the call's total deadline passed",
    )
}
