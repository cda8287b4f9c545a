//! Slots are taken, lost and given back, on one core and on several.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::base::Prng;

const HERE: ProviderId = ProviderId(2);

struct Bench {
    market: Market,
    floaters: Vec<RefCell<Floaters>>,
    now: Cell<Moment>,
}

impl Bench {
    fn new(cores: usize) -> Bench {
        Bench {
            market: Market::new(cores),
            floaters: (0..cores).map(|_| RefCell::default()).collect(),
            now: Cell::new(Moment(1)),
        }
    }

    fn counter(&self, core: usize) -> Counter<'_> {
        Counter {
            market: &self.market,
            core,
            floaters: &self.floaters[core],
            now: &self.now,
            bells: &[],
        }
    }

    fn total(&self) -> u32 {
        self.market.occupancy(HERE).total()
    }
}

fn bid(micros: u64) -> Price {
    Price::from_micros(micros).expect("a price")
}

fn reserve(slots: u32) -> Reserve {
    let reserve = Reserve::default();
    reserve.set(slots);
    reserve
}

#[test]
fn a_firm_call_displaces_the_lowest_bid_on_whatever_core() {
    let bench = Bench::new(2);
    let reserve = reserve(1);
    let float = |core: usize, micros| {
        let (slot, displaced) = bench
            .counter(core)
            .floating(HERE, 3, bid(micros))
            .expect("idle");
        assert_eq!(displaced, None);
        slot
    };
    let rich = float(0, 9);
    let poor = float(1, 4);
    bench.now.set(Moment(900_000));
    let young = float(1, 4);
    assert!(
        bench.counter(0).floating(HERE, 3, bid(99)).is_none(),
        "full"
    );
    let (firm, displaced) = bench
        .counter(0)
        .firm(HERE, 3, Share::Own, &reserve)
        .expect("reserved");
    assert_eq!(displaced, Some(Displaced { core: 1 }));
    assert_eq!(bench.total(), 4, "it didn't wait");
    assert_eq!(bench.counter(1).curtail_wanted(HERE, 3), (1, None));
    assert_eq!(bench.total(), 3);
    let lost = [&rich, &poor, &young, &firm].map(Slot::is_curtailed);
    assert_eq!(lost, [false, false, true, false]);
    assert!(firm.is_firm() && !rich.is_firm());
    drop((rich, poor, young, firm));
    assert_eq!((bench.total(), reserve.used()), (0, 0));
}

#[test]
fn what_is_not_needed_any_more_is_not_curtailed() {
    let bench = Bench::new(1);
    let reserve = reserve(1);
    let counter = bench.counter(0);
    let (stays, _) = counter.floating(HERE, 2, bid(4)).expect("idle");
    let (goes, _) = counter.floating(HERE, 2, bid(9)).expect("idle");
    let (_firm, displaced) = counter
        .firm(HERE, 2, Share::Own, &reserve)
        .expect("reserved");
    assert_eq!(displaced, Some(Displaced { core: 0 }));
    drop(goes);
    assert_eq!(counter.curtail_wanted(HERE, 2), (0, None));
    assert!(!stays.is_curtailed());
}

#[test]
fn whoever_bids_no_more_than_one_who_waits_takes_nothing() {
    let bench = Bench::new(1);
    let turn = crate::market::Turn::new(bid(5), 1);
    bench.market.show_turn(0, HERE, Some(turn));
    assert!(bench.counter(0).floating(HERE, 2, bid(5)).is_none());
    assert!(bench.counter(0).floating(HERE, 2, bid(6)).is_some());
}

#[test]
fn a_reservation_that_is_used_up_takes_nothing() {
    let bench = Bench::new(1);
    let reserve = reserve(1);
    let first = bench.counter(0).firm(HERE, 5, Share::Zone, &reserve);
    assert!(
        bench
            .counter(0)
            .firm(HERE, 5, Share::Zone, &reserve)
            .is_none()
    );
    drop(first);
    bench.market.set_reserved(HERE, 5);
    assert!(
        bench
            .counter(0)
            .firm(HERE, 5, Share::Zone, &reserve)
            .is_none()
    );
    assert_eq!(
        reserve.used(),
        0,
        "it is given back if there is no room at the provider"
    );
}

#[test]
fn what_is_had_and_what_is_refused_is_demand() {
    let bench = Bench::new(1);
    let counter = bench.counter(0);
    let (long, _) = counter.floating(HERE, 2, bid(4)).expect("idle");
    bench.now.set(Moment(101));
    let (short, _) = counter.floating(HERE, 2, bid(9)).expect("idle");
    bench.now.set(Moment(131));
    drop(short);
    bench.floaters[0].borrow_mut().refused(HERE, bid(4));
    let demand = |at| {
        let mut floaters = bench.floaters[0].borrow_mut();
        let mut rows: Vec<_> = floaters.demand(Moment(at)).rows().collect();
        rows.sort_by_key(|row| row.1);
        rows.into_iter()
            .map(|(_, bid, asked)| (bid.micros(), asked.served_us, asked.ended, asked.refused))
            .collect::<Vec<_>>()
    };
    assert_eq!(demand(201), [(4, 200, 0, 1), (9, 30, 1, 0)]);
    bench.now.set(Moment(301));
    drop(long);
    assert_eq!(demand(301), [(4, 300, 1, 1), (9, 30, 1, 0)]);
}

#[test]
fn cores_that_race_leave_every_counter_at_zero() {
    const CORES: usize = 3;
    let market = Market::new(CORES);
    let reserve = reserve(4);
    let curtailed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for core in 0..CORES {
            let (market, reserve, curtailed) = (&market, &reserve, &curtailed);
            scope.spawn(move || {
                let floaters = RefCell::new(Floaters::default());
                let now = Cell::new(Moment(0));
                let counter = Counter {
                    market,
                    core,
                    floaters: &floaters,
                    now: &now,
                    bells: &[],
                };
                let mut prng = Prng::new(core as u64);
                let mut held = Vec::new();
                for step in 0..30_000u64 {
                    now.set(Moment(step * 1000));
                    match prng.next_u64() % 5 {
                        0 => held.extend(counter.firm(HERE, 8, Share::Own, reserve).map(|it| it.0)),
                        1 | 2 => {
                            let bid = bid(prng.next_u64() % 100);
                            held.extend(counter.floating(HERE, 8, bid).map(|it| it.0));
                        }
                        _ if !held.is_empty() => {
                            let at = prng.next_u64() as usize % held.len();
                            drop(held.swap_remove(at));
                        }
                        _ => {}
                    }
                    let (lost, _) = counter.curtail_wanted(HERE, 8);
                    curtailed.fetch_add(lost, Ordering::Relaxed);
                    held.retain(|slot| !slot.is_curtailed());
                    let seen = market.occupancy(HERE);
                    assert!(seen.count(Share::Own) <= 4 && seen.total() <= 8 + 4);
                }
            });
        }
    });
    assert_eq!((market.occupancy(HERE).total(), reserve.used()), (0, 0));
    assert!(
        curtailed.into_inner() > 100,
        "firm calls have displaced others"
    );
}

proptest! {
    #[test]
    fn on_one_core_nobody_loses_a_slot_without_need(
        steps in prop::collection::vec((0..4u8, 0..9u64), 0..80),
    ) {
        let bench = Bench::new(1);
        let reserve = reserve(2);
        let counter = bench.counter(0);
        let mut held: Vec<(u64, Slot<'_>)> = Vec::new();
        for (step, (what, number)) in steps.into_iter().enumerate() {
            bench.now.set(Moment(step as u64 * 1_000_000));
            match what {
                0 => held.extend(counter.floating(HERE, 4, bid(number)).map(|it| (number, it.0))),
                1 => held.extend(counter.firm(HERE, 4, Share::Own, &reserve).map(|it| (u64::MAX, it.0))),
                _ if !held.is_empty() => {
                    let at = number as usize % held.len();
                    drop(held.remove(at));
                }
                _ => {}
            }
            let over = bench.total().saturating_sub(4);
            let mut bids: Vec<u64> = held.iter().map(|it| it.0).collect();
            bids.sort_unstable();
            prop_assert_eq!(counter.curtail_wanted(HERE, 4), (over, None));
            prop_assert_eq!(bench.total().min(4), bench.total());
            for (bid, slot) in &held {
                if slot.is_curtailed() {
                    prop_assert!(bids[..over as usize].contains(bid), "the lowest go");
                }
            }
            held.retain(|(_, slot)| !slot.is_curtailed());
            prop_assert_eq!(bench.total() as usize, held.len());
        }
    }
}
