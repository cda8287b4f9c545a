//! Who waits gets a slot in turn, on whatever core, and no slot is lost.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::market::Turn;
use crate::net::{Bell, Ear};
use crate::proxy::testing::{Bench, several};

const PROVIDERS: u16 = 3;
const CORES: usize = 3;

/// Slots of each provider.
const CAPACITY: [u32; PROVIDERS as usize] = [2, 1, 2];

struct Floor {
    benches: Vec<Bench>,
    ears: Vec<Ear>,
}

impl Floor {
    fn new() -> Floor {
        let pairs: Vec<(Bell, Ear)> = (0..CORES).map(|_| Bell::pair().expect("a bell")).collect();
        let (bells, ears): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let benches = several(CORES, bells.into(), |routes| {
            let like = routes.providers.pop().expect("one");
            routes.providers = (0..PROVIDERS)
                .map(|id| Provider {
                    id: ProviderId(id),
                    capacity: NonZeroU32::new(CAPACITY[usize::from(id)]),
                    ..like.clone()
                })
                .collect();
        });
        let market = benches[0].core.market();
        (0..PROVIDERS).for_each(|id| market.set_price(ProviderId(id), Price::ZERO));
        Floor { benches, ears }
    }

    fn core(&self, at: usize) -> &Core {
        &self.benches[at % CORES].core
    }

    fn market(&self) -> &crate::tables::Market {
        self.benches[0].core.market()
    }

    /// What is idle at a provider.
    fn idle(&self, id: ProviderId) -> u32 {
        let taken = self.market().occupancy(id).total();
        CAPACITY[id.index()]
            .checked_sub(taken)
            .expect("never more than there are")
    }

    /// Every core that is rung hears it, until nobody rings.
    fn settle(&self) {
        while (0..CORES).fold(false, |any, core| {
            let rung = self.ears[core].take_rings();
            if rung {
                self.core(core).heard();
            }
            any || rung
        }) {}
    }
}

fn bid(micros: u64) -> Price {
    Price::from_micros(micros).expect("a price")
}

fn places(bits: u8) -> Rc<[ProviderId]> {
    let all = (0..PROVIDERS).filter(|id| bits >> id & 1 == 1);
    all.map(ProviderId).collect()
}

fn ticket(floor: &Floor, micros: u64, at: Rc<[ProviderId]>) -> Ticket {
    Ticket {
        turn: Turn::new(bid(micros), floor.market().lines().number()),
        cheapest: at[0],
        at,
        until: Moment(u64::MAX),
        looks_again: None,
    }
}

fn stirred(waiter: &Waiter<'_>) -> Option<Stirred> {
    let mut queue = waiter.core.queue().borrow_mut();
    match queue.poll(waiter.index, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(why) => Some(why),
        Poll::Pending => None,
    }
}

fn take_all<'f>(floor: &'f Floor, id: ProviderId) -> Vec<Slot<'f>> {
    let counter = floor.core(0).counter();
    let taken = (0..).map_while(|_| counter.floating(id, CAPACITY[id.index()], bid(1)));
    taken.map(|(slot, _)| slot).collect()
}

#[test]
fn a_slot_goes_to_the_highest_bid_on_whatever_core() {
    let floor = Floor::new();
    let mut held = take_all(&floor, ProviderId(1));
    let stand = |core: usize, micros| {
        let ticket = ticket(&floor, micros, places(0b010));
        floor.core(core).stand_in_line(ticket)
    };
    let (poor, rich, late) = (stand(0, 4), stand(1, 9), stand(2, 9));
    held.clear();
    floor.settle();
    let seen = [&poor, &rich, &late].map(stirred);
    assert_eq!(seen, [None, Some(Stirred::Granted(ProviderId(1))), None]);
    // Who leaves with a slot in hand leaves it to the next.
    drop(rich);
    floor.settle();
    assert_eq!(stirred(&late), Some(Stirred::Granted(ProviderId(1))));
    assert_eq!(floor.idle(ProviderId(1)), 0);
    let slot = late.take(&floor.core(0).routes()).expect("granted");
    assert_eq!(stirred(&poor), None);
    drop(slot);
    floor.settle();
    assert_eq!(stirred(&poor), Some(Stirred::Granted(ProviderId(1))));
    drop(poor);
    assert_eq!(floor.idle(ProviderId(1)), 1);
}

#[test]
fn whoever_bids_less_than_the_price_is_served_once_it_falls() {
    let floor = Floor::new();
    let id = ProviderId(1);
    floor.market().set_price(id, bid(5));
    let waiter = floor
        .core(2)
        .stand_in_line(ticket(&floor, 4, places(0b010)));
    floor.core(2).serve_waiting();
    assert_eq!((stirred(&waiter), floor.idle(id)), (None, 1));
    floor.market().set_price(id, bid(4));
    floor.core(2).sweep();
    assert_eq!(stirred(&waiter), Some(Stirred::Granted(id)));
}

#[test]
fn a_slot_that_was_of_no_use_is_not_handed_down_the_line_at_once() {
    let floor = Floor::new();
    let id = ProviderId(1);
    let held = take_all(&floor, id);
    let core = floor.core(0);
    let [first, second] =
        [9, 8].map(|micros| core.stand_in_line(ticket(&floor, micros, places(0b010))));
    drop(held);
    floor.settle();
    let slot = first.take(&core.routes()).expect("granted");
    core.return_unusable(slot);
    floor.settle();
    core.serve_waiting();
    assert_eq!((stirred(&second), floor.idle(id)), (None, 1));
    core.queue().borrow_mut().pause(id, Moment(0));
    core.serve_waiting();
    assert_eq!(stirred(&second), Some(Stirred::Granted(id)));
}

#[test]
fn waits_end_in_time_and_look_again_in_between() {
    let floor = Floor::new();
    let core = floor.core(0);
    let _held = take_all(&floor, ProviderId(1));
    let now = core.now();
    let wait = |until, looks_again| {
        core.stand_in_line(Ticket {
            until,
            looks_again,
            ..ticket(&floor, 1, places(0b010))
        })
    };
    let later = now + Duration::from_secs(60);
    let over = wait(now, None);
    let looks = wait(later, Some(Duration::ZERO));
    let stays = wait(later, Some(Duration::from_secs(30)));
    core.sweep();
    assert_eq!(stirred(&over), Some(Stirred::Over));
    assert_eq!(stirred(&looks), Some(Stirred::Look));
    assert_eq!(stirred(&stays), None);
    assert_eq!(core.queue().borrow().bids(), [(ProviderId(1), bid(1))]);
}

#[test]
fn other_tables_and_the_end_stir_everybody() {
    let mut floor = Floor::new();
    let _ = floor.market().enter(ProviderId(1), Share::Floating, 1);
    let waits = |floor: &Floor| {
        let waiter = floor.core(0).stand_in_line(ticket(floor, 1, places(0b010)));
        floor.core(0).sweep();
        let why = stirred(&waiter);
        drop(waiter);
        why
    };
    assert_eq!(waits(&floor), None);
    let waiter = floor.benches[0]
        .core
        .stand_in_line(ticket(&floor, 1, places(0b010)));
    let mut next = floor.benches[0].snapshot.clone();
    next.routes = Arc::new(Routes::clone(&next.routes));
    floor.benches[0].board.publish(next.clone());
    floor.core(0).sweep();
    assert_eq!(stirred(&waiter), Some(Stirred::Look));
    drop(waiter);
    next.stage = crate::tables::Stage::Ending;
    floor.benches[0].snapshot = next.clone();
    floor.benches[0].board.publish(next);
    assert_eq!(waits(&floor), Some(Stirred::Closing));
}

#[derive(Clone, Debug)]
enum Step {
    Arrives { core: usize, bid: u64, at: u8 },
    Leaves(usize),
    GivesBack(usize),
    Price { at: u16, price: u64 },
    Newcomer { core: usize, bid: u64, at: u16 },
    Sweep(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..CORES, 0..6u64, 1..8u8)
            .prop_map(|(core, bid, at)| Step::Arrives { core, bid, at }),
        1 => (0..64usize).prop_map(Step::Leaves),
        3 => (0..64usize).prop_map(Step::GivesBack),
        1 => (0..PROVIDERS, 0..6u64).prop_map(|(at, price)| Step::Price { at, price }),
        2 => (0..CORES, 0..6u64, 0..PROVIDERS)
            .prop_map(|(core, bid, at)| Step::Newcomer { core, bid, at }),
        1 => (0..CORES).prop_map(Step::Sweep),
    ]
}

struct Waits<'f> {
    waiter: Waiter<'f>,
    turn: Turn,
    at: Rc<[ProviderId]>,
}

fn waits_at<'w, 'f>(all: &'w [Waits<'f>], id: ProviderId) -> impl Iterator<Item = &'w Waits<'f>> {
    let here = all.iter().filter(move |it| it.at.contains(&id));
    here.filter(|it| stirred(&it.waiter).is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, in whatever order: nobody is granted a slot where its border has not put
    /// it in line, or below the price, or before its turn; there are never more slots than there
    /// are, none is lost, and none is idle while somebody waits who would pay for it.
    #[test]
    fn slots_go_in_turn_within_borders_and_none_is_lost(
        steps in prop::collection::vec((any_step(), any::<bool>()), 0..60),
    ) {
        let floor = Floor::new();
        let market = floor.market();
        let mut waiting: Vec<Waits<'_>> = Vec::new();
        let mut held: Vec<Slot<'_>> = Vec::new();
        for (step, heard) in steps {
            match step {
                Step::Arrives { core, bid, at } => {
                    let ticket = ticket(&floor, bid, places(at));
                    let (turn, at) = (ticket.turn, Rc::clone(&ticket.at));
                    let waiter = floor.core(core).stand_in_line(ticket);
                    waiting.push(Waits { waiter, turn, at });
                }
                Step::Leaves(which) if !waiting.is_empty() => {
                    drop(waiting.swap_remove(which % waiting.len()));
                }
                Step::GivesBack(which) if !held.is_empty() => {
                    drop(held.swap_remove(which % held.len()));
                }
                Step::Price { at, price } => {
                    market.set_price(ProviderId(at), bid(price));
                    (0..CORES).for_each(|core| floor.core(core).serve_waiting());
                }
                Step::Newcomer { core, bid: most, at } => {
                    let id = ProviderId(at);
                    let counter = floor.core(core).counter();
                    let first = waits_at(&waiting, id).map(|it| it.turn.bid()).max();
                    if let Some((slot, _)) = counter.floating(id, CAPACITY[id.index()], bid(most)) {
                        prop_assert!(first.is_none_or(|first| first < bid(most)));
                        held.push(slot);
                    }
                }
                Step::Sweep(core) => floor.core(core).sweep(),
                Step::Leaves(_) | Step::GivesBack(_) => {}
            }
            // Between a ring and its being heard, anything may happen.
            if heard {
                floor.settle();
            }
            let (granted, still): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|it| stirred(&it.waiter).is_some());
            waiting = still;
            for Waits { waiter, turn, at } in granted {
                let Some(Stirred::Granted(id)) = stirred(&waiter) else {
                    return Err(TestCaseError::fail("stirred for no reason"));
                };
                prop_assert!(at.contains(&id), "across its border");
                prop_assert!(turn.bid() >= market.price(id), "above its limit");
                prop_assert!(waits_at(&waiting, id).all(|it| turn < it.turn), "out of turn");
                let routes = floor.core(0).routes();
                held.extend(waiter.take(&routes));
            }
            for id in (0..PROVIDERS).map(ProviderId) {
                let ours = held.iter().filter(|slot| slot.provider() == id).count();
                prop_assert_eq!(CAPACITY[id.index()] - floor.idle(id), ours as u32);
                let price = market.price(id);
                let unserved = waits_at(&waiting, id).any(|it| it.turn.bid() >= price);
                let served = floor.idle(id) == 0 || !unserved;
                prop_assert!(!heard || served, "idle, and somebody waits");
            }
        }
        drop((waiting, held));
        floor.settle();
        for id in (0..PROVIDERS).map(ProviderId) {
            prop_assert_eq!(floor.idle(id), CAPACITY[id.index()]);
            prop_assert!(!market.is_awaited(id));
        }
    }
}
