//! Many calls through the rooms that decide: border, order, slots, attempts,
//! books. Faults, clients that leave, reloads and curtailments come at random; what must hold does
//! after each step.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::admission::{Admission, Wish};
use super::core::Core;
use super::settle::{Attempt, Settlement};
use super::targets::Wanted;
use super::testing::{Bench, several};
use super::verdict::Verdict;
use crate::base::{CapabilityId, EndpointId, KeyId, Moment, Prng, ProviderId};
use crate::market::{Place, Price, Supply};
use crate::net::{Bell, Ear};
use crate::openai::ErrorCode;
use crate::policy::chain::{Chain, Itinerary, Link};
use crate::policy::residency::{Jurisdiction, JurisdictionSet, Residency};
use crate::tables::routes::{Capability, CapabilitySet, Key, Model, Provider, Right};
use crate::tables::{Reserve, ReserveId, Routes, Snapshot, Stage, States};
use crate::telemetry::metrics::STATUSES;
use crate::telemetry::{InlineText, Outcome};

const CORES: usize = 3;
/// Where the providers are, the backstop last; all but that have slots.
const WHERE: [&str; 4] = ["us", "nz", "au", "au"];
const SLOTS: [u32; 4] = [6, 4, 5, 0];
/// What the firm key has reserved: at the second provider, and anywhere in the third's country.
const RESERVED: [u32; 2] = [2, 3];
const CALLS_MAX: usize = 40;

/// Calls of each of ten worlds, if not 20 000: with 100 000 it is a million.
const EACH: &str = "SRPD_SOAK_CALLS";

fn jurisdiction(code: &str) -> Jurisdiction {
    Jurisdiction::parse(code).expect("an ISO code")
}

fn id(position: usize) -> ProviderId {
    ProviderId(u16::try_from(position).expect("few"))
}

/// The tables; every capacity is `less` than it might be.
fn routes(routes: &mut Routes, reserves: &[Arc<Reserve>], less: u32) {
    let like = routes.providers.pop().expect("one");
    routes.providers.clear();
    for (position, code) in WHERE.into_iter().enumerate() {
        let mut provider = Provider {
            id: id(position),
            jurisdiction: jurisdiction(code),
            capacity: NonZeroU32::new(SLOTS[position].saturating_sub(less)),
            offer: Price::from_micros(1_000_000 * position as u64).expect("a price"),
            location: id(position),
            ..like.clone()
        };
        provider.breaker.consecutive_failures = u32::MAX;
        provider.breaker.ratio_min_calls = u32::MAX;
        for endpoint in &mut provider.endpoints {
            endpoint.id = EndpointId(id(position).0);
        }
        routes.providers.push(provider);
    }
    let link = |(position, code)| Link {
        provider: id(position).0,
        jurisdiction: jurisdiction(code),
        backstop: position + 1 == WHERE.len(),
    };
    let links = WHERE.into_iter().enumerate().map(link).collect();
    let mut chain = Chain::new(links).expect("short");
    // The dearest come first in the file.
    chain.set_costs(|link| u64::from(link.provider));
    let model = Model {
        plain: b"m".as_slice().into(),
        json: b"\"m\"".as_slice().into(),
    };
    routes.capabilities = vec![Capability {
        id: CapabilityId(0),
        name: "smart".into(),
        residency: JurisdictionSet::ALL,
        by_merit: false,
        tells_priority: false,
        chain,
        models: vec![model; WHERE.len()],
    }];
    routes.reserves = reserves.to_vec();
    let places = [Place::Provider(id(1)), Place::Zone(jurisdiction("au"))];
    let right = |(number, place)| Right {
        place,
        reserve: ReserveId(number),
    };
    routes.rights = (0..).zip(places).map(right).collect();
    routes.access_log = true;
}

/// A call that looks for somebody.
struct Seeking {
    core: &'static Core,
    routes: &'static Routes,
    residency: Residency,
    limit: Option<Price>,
    wish: Wish<'static>,
    itinerary: Itinerary<'static>,
    settlement: Settlement<'static>,
}

/// A call that is being served.
struct Call {
    call: Seeking,
    attempt: Attempt<'static>,
    admission: Admission<'static>,
}

/// What became of calls so far.
#[derive(Default)]
struct Tally {
    begun: u64,
    curtailed: u64,
    firm: u64,
    floating: u64,
    refused: u64,
}

struct World {
    benches: &'static [Bench],
    ears: Vec<Ear>,
    reserves: Vec<Arc<Reserve>>,
    routes: Vec<&'static Routes>,
    calls: Vec<Call>,
    chance: Prng,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> World {
        let pairs: Vec<(Bell, Ear)> = (0..CORES).map(|_| Bell::pair().expect("a bell")).collect();
        let (bells, ears): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let reserves: Vec<Arc<Reserve>> = RESERVED.map(|_| Arc::default()).into();
        for (reserve, slots) in reserves.iter().zip(RESERVED) {
            reserve.set(slots);
        }
        let benches = several(CORES, bells.into(), |first| routes(first, &reserves, 0));
        let market = benches[0].core.market();
        market.set_reserved(id(1), RESERVED[0]);
        market.set_reserved(id(2), RESERVED[1]);
        for position in 0..WHERE.len() {
            market.set_price(id(position), Price::ZERO);
        }
        let benches: &'static [Bench] = Vec::leak(benches);
        let routes = benches.iter().map(|it| leaked(&it.core)).collect();
        World {
            benches,
            ears,
            reserves,
            routes,
            calls: Vec::new(),
            chance: Prng::new(seed),
            tally: Tally::default(),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        (self.chance.unit() * count as f64) as usize
    }

    /// New tables, with more or fewer slots.
    fn reload(&mut self) {
        let mut next = Routes::clone(self.routes[0]);
        let less = self.below(2) as u32;
        routes(&mut next, &self.reserves, less);
        self.benches[0].board.publish(Snapshot {
            routes: Arc::new(next),
            states: States::new(),
            stage: Stage::Serving,
        });
        self.routes = self.benches.iter().map(|it| leaked(&it.core)).collect();
    }

    fn begin(&mut self) {
        let core = self.below(CORES);
        let (core, routes) = (&self.benches[core].core, self.routes[core]);
        self.tally.begun += 1;
        let mut settlement = Settlement::open(core, InlineText::EMPTY, true);
        settlement.record_mut().capability = Some(CapabilityId(0));
        let field = match self.below(4) {
            0 => None,
            1 => Some(vec!["au"]),
            2 => Some(vec!["nz", "au"]),
            _ => Some(vec!["us"]),
        };
        let set = |codes: Vec<&str>| codes.into_iter().map(jurisdiction).collect();
        let all = JurisdictionSet::ALL;
        let residency = Residency::effective(field.map(set), all, all);
        let asked = match self.below(4) {
            0 => Some(Supply::Firm),
            1 => None,
            _ => Some(Supply::Floating),
        };
        let limit = (self.below(2) == 0).then(|| {
            let micros = self.below(4_000_000) as u64;
            Price::from_micros(micros).expect("a price")
        });
        let key = Key {
            id: KeyId(0),
            capabilities: CapabilitySet::ALL,
            residency: all,
            meter: None,
            supply: Supply::Firm,
            rights: (0, RESERVED.len() as u32),
        };
        let wish = Wish::new(core, routes, &key, asked, limit);
        let chain = &routes.capabilities[0].chain;
        let itinerary = chain.within(&residency, routes.max_attempts);
        let itinerary = itinerary.expect("each country has somebody");
        self.go_on(Seeking {
            core,
            routes,
            residency,
            limit,
            wish,
            itinerary,
            settlement,
        });
    }

    /// Looks for the next who takes the call; without one, it ends.
    fn go_on(&mut self, mut call: Seeking) {
        let Seeking {
            core,
            routes,
            residency,
            limit,
            wish,
            itinerary,
            settlement,
        } = &mut call;
        let (core, routes): (&'static Core, &'static Routes) = (core, routes);
        let found = wish.walks().iter().find_map(|&walk| {
            itinerary.order_by_merit(walk.is_floating());
            let wanted = Wanted {
                firm: !walk.is_floating(),
                ..Wanted::default()
            };
            itinerary.next(|candidate| {
                let provider = &routes.providers[usize::from(candidate.provider())];
                if !wish.may(provider, walk) {
                    return None;
                }
                let permit = core.with_view(|view| {
                    let mut targets = core.targets.borrow_mut();
                    targets.take(view, provider, None, wanted, Moment(1))
                })?;
                match wish.take(provider, walk) {
                    Some(admission) => Some((permit, admission)),
                    None => {
                        core.give_back(provider, permit);
                        None
                    }
                }
            })
        });
        let Some((candidate, (permit, admission))) = found else {
            self.tally.refused += 1;
            settlement.rejected(ErrorCode::FloatingUnavailable, 0);
            return call.settlement.settle(Outcome::Failed);
        };
        let provider = &routes.providers[usize::from(candidate.provider())];
        assert!(residency.allows(provider.jurisdiction), "across a border");
        match admission.supply() {
            Supply::Firm => self.tally.firm += 1,
            Supply::Floating => self.tally.floating += 1,
        }
        assert!(
            limit.is_none_or(|limit| admission.price() <= limit),
            "above its limit"
        );
        let attempt = Attempt::open(core, routes, candidate, permit, &admission, settlement);
        self.calls.push(Call {
            call,
            attempt: attempt.expect("known"),
            admission,
        });
    }

    /// Something happens to a call.
    fn end(&mut self, index: usize, verdict: Verdict) {
        let Call {
            mut call,
            attempt,
            admission,
        } = self.calls.swap_remove(index);
        match verdict {
            Verdict::Succeeded => {
                let now = call.core.recently();
                call.settlement.committed(&attempt, 200, now);
                attempt.end(verdict, &mut call.settlement);
                call.settlement.settle(Outcome::Completed);
            }
            // The client left: everything settles itself.
            Verdict::Cancelled => {}
            failure => {
                attempt.end(failure, &mut call.settlement);
                drop(admission);
                self.go_on(call);
            }
        }
    }

    /// Every ring is heard, and every call that lost its slot goes on.
    fn settle(&mut self) {
        loop {
            let rung = self.ears.iter().map(Ear::take_rings).collect::<Vec<_>>();
            for (bench, _) in self.benches.iter().zip(&rung).filter(|(_, rung)| **rung) {
                bench.core.heard();
            }
            let lost = |call: &Call| {
                let slot = call.admission.slot();
                slot.is_some_and(super::slots::Slot::is_curtailed)
            };
            let Some(lost) = self.calls.iter().position(lost) else {
                if rung.contains(&true) {
                    continue;
                }
                return;
            };
            self.tally.curtailed += 1;
            self.end(lost, Verdict::Curtailed);
        }
    }

    fn step(&mut self) {
        match self.below(100) {
            0 if self.below(20) == 0 => self.reload(),
            0..45 if self.calls.len() < CALLS_MAX => self.begin(),
            dice if !self.calls.is_empty() => {
                let index = self.below(self.calls.len());
                let verdict = match dice {
                    45..60 => Verdict::ServerError,
                    60..70 => Verdict::Cancelled,
                    _ => Verdict::Succeeded,
                };
                self.end(index, verdict);
            }
            _ => {}
        }
        // Rings are heard soon, and not at once.
        if self.below(3) > 0 {
            self.settle();
            self.check();
        }
    }

    /// No more slots are in use than there are: those that firm calls needed have been given up.
    /// Where a reload took some away, they go with their calls.
    fn check(&self) {
        let market = self.benches[0].core.market();
        for (position, most) in SLOTS.into_iter().enumerate() {
            let taken = market.occupancy(id(position)).total();
            assert!(taken <= most, "{taken} of {most} at {position}");
        }
        for (reserve, most) in self.reserves.iter().zip(RESERVED) {
            assert!(reserve.used() <= most);
        }
    }

    fn over(mut self) -> Tally {
        while !self.calls.is_empty() {
            self.end(0, Verdict::Succeeded);
            self.settle();
        }
        let market = self.benches[0].core.market();
        for position in 0..WHERE.len() {
            assert_eq!(market.occupancy(id(position)).total(), 0, "a slot is lost");
        }
        assert!(self.reserves.iter().all(|reserve| reserve.used() == 0));
        let metrics = self.benches.iter().map(|it| &it.core.metrics);
        assert_eq!(metrics.clone().map(|it| it.in_flight()).sum::<u64>(), 0);
        let settled = metrics.flat_map(|it| {
            (0..STATUSES.len()).map(|status| it.calls_by_status(Some(CapabilityId(0)), status))
        });
        assert_eq!(
            settled.sum::<u64>(),
            self.tally.begun,
            "each call is one unit"
        );
        self.tally
    }
}

/// The tables that a core uses now, kept for good: calls outlive a reload.
fn leaked(core: &Core) -> &'static Routes {
    Box::leak(Box::new(core.routes()))
}

#[test]
fn calls_leave_no_slot_taken_cross_no_border_and_are_one_unit_each() {
    let given = std::env::var(EACH).ok();
    let each = given.map_or(20_000, |text| text.parse().expect("a number"));
    let mut all = Tally::default();
    for seed in 0..10 {
        let mut world = World::new(seed);
        while world.tally.begun < each {
            world.step();
        }
        let tally = world.over();
        all.begun += tally.begun;
        all.curtailed += tally.curtailed;
        all.firm += tally.firm;
        all.floating += tally.floating;
        all.refused += tally.refused;
    }
    // Each of them has had its part in it.
    let parts = [all.curtailed, all.firm, all.floating, all.refused];
    assert!(
        parts.iter().all(|part| *part > all.begun / 1000),
        "{parts:?}"
    );
}
