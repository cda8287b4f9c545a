//! The market's words that all cores share: who occupies a provider's slots, what of a key's
//! reservations is in use, what floating work costs now, which core is to give a slot up, and which
//! has the call that is to have the next.
//!
//! Calls at providers without a capacity touch none of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::demand::{Demand, DemandSlot};
use super::lines::{Lines, Shown};
use crate::base::ProviderId;
use crate::base::ids::PROVIDERS_MAX;
use crate::market::occupancy::Share;
use crate::market::{Occupancy, Price, Turn};

/// No floating call of the core occupies a slot there.
const NOBODY: u64 = u64::MAX;

/// What the cores and the office share of the market.
pub struct Market {
    floors: Box<[CachePadded<Floor>]>,
    /// By core, then by provider.
    galleries: Box<[CachePadded<Gallery>]>,
    lines: Lines,
}

/// One provider's trading floor.
#[derive(Default)]
struct Floor {
    occupancy: AtomicU64,
    /// Slots reserved at the provider itself in this hour. Written by the office.
    reserved: AtomicU32,
    /// What floating work costs at its location, in millionths. Written by the office.
    price: AtomicU64,
    /// Cores that have somebody who waits for a slot here.
    waiting: AtomicU32,
}

/// One core's floating calls, as the others see them.
struct Gallery {
    /// By provider: the rank of the call that would be curtailed first.
    first: Box<[AtomicU64]>,
    /// By provider: how many calls are to be curtailed.
    wanted: Box<[AtomicU32]>,
    /// All of `wanted`.
    any_wanted: AtomicU32,
    demand: DemandSlot,
}

impl Gallery {
    fn new() -> Gallery {
        Gallery {
            first: (0..PROVIDERS_MAX).map(|_| AtomicU64::new(NOBODY)).collect(),
            wanted: (0..PROVIDERS_MAX).map(|_| AtomicU32::new(0)).collect(),
            any_wanted: AtomicU32::new(0),
            demand: DemandSlot::default(),
        }
    }
}

impl Market {
    /// Empty floors, for so many cores.
    pub fn new(cores: usize) -> Market {
        Market {
            floors: (0..PROVIDERS_MAX).map(|_| CachePadded::default()).collect(),
            galleries: (0..cores)
                .map(|_| CachePadded::new(Gallery::new()))
                .collect(),
            lines: Lines::new(cores),
        }
    }

    fn floor(&self, provider: ProviderId) -> &Floor {
        &self.floors[provider.index()]
    }

    /// Who occupies the provider's slots.
    #[inline]
    pub fn occupancy(&self, provider: ProviderId) -> Occupancy {
        Occupancy::from_word(self.floor(provider).occupancy.load(Ordering::Acquire))
    }

    /// Takes a slot. What is returned is the occupancy with it; None if there is no room.
    #[inline]
    pub fn enter(&self, provider: ProviderId, share: Share, capacity: u32) -> Option<Occupancy> {
        let floor = self.floor(provider);
        let reserved = floor.reserved.load(Ordering::Relaxed);
        let mut word = floor.occupancy.load(Ordering::Acquire);
        loop {
            let next = Occupancy::from_word(word).enter(share, capacity, reserved)?;
            match floor.occupancy.compare_exchange_weak(
                word,
                next.word(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(next),
                Err(seen) => word = seen,
            }
        }
    }

    /// Gives a slot back.
    #[inline]
    pub fn leave(&self, provider: ProviderId, share: Share) {
        let one = Occupancy::default().enter(share, 1, 0);
        let one = one.map_or(0, Occupancy::word);
        // In one order with those who look for a slot, see `has_idle`.
        self.floor(provider)
            .occupancy
            .fetch_sub(one, Ordering::SeqCst);
    }

    /// Counts what another process's calls occupy `now` in place of what they did `before`. Office
    /// only.
    pub fn recount(&self, provider: ProviderId, before: Occupancy, now: Occupancy) {
        let change = now.word().wrapping_sub(before.word());
        self.floor(provider)
            .occupancy
            .fetch_add(change, Ordering::SeqCst);
    }

    /// Slots reserved at the provider itself in this hour.
    pub fn reserved(&self, provider: ProviderId) -> u32 {
        self.floor(provider).reserved.load(Ordering::Relaxed)
    }

    /// Says how many slots are reserved at the provider itself. Office only.
    pub fn set_reserved(&self, provider: ProviderId, slots: u32) {
        self.floor(provider)
            .reserved
            .store(slots, Ordering::Release);
    }

    /// What floating work costs at the provider's location.
    #[inline]
    pub fn price(&self, provider: ProviderId) -> Price {
        let micros = self.floor(provider).price.load(Ordering::Relaxed);
        Price::from_micros(micros).unwrap_or(Price::MAX)
    }

    /// Publishes a price. Office only.
    pub fn set_price(&self, provider: ProviderId, price: Price) {
        self.floor(provider)
            .price
            .store(price.micros(), Ordering::Release);
    }

    /// Whether a slot is idle that a floating call could take. Whoever has shown itself in line and
    /// then asks here misses no slot: who gives one back asks [`is_awaited`](Market::is_awaited)
    /// behind that.
    pub fn has_idle(&self, provider: ProviderId, capacity: u32) -> bool {
        let word = self.floor(provider).occupancy.load(Ordering::SeqCst);
        Occupancy::from_word(word).total() < capacity
    }

    /// Whether anybody waits for a slot of the provider.
    #[inline]
    pub fn is_awaited(&self, provider: ProviderId) -> bool {
        self.floor(provider).waiting.load(Ordering::SeqCst) > 0
    }

    /// Shows which of the core's waiting calls is the first in line at a provider.
    pub fn show_turn(&self, core: usize, provider: ProviderId, first: Option<Turn>) {
        let floor = self.floor(provider);
        match self.lines.show(core, provider, first) {
            Shown::Came => {
                floor.waiting.fetch_add(1, Ordering::SeqCst);
            }
            Shown::Left => {
                floor.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            Shown::Same => {}
        }
    }

    /// The first in line for a slot of the provider, and on which core it waits: a newcomer who
    /// doesn't bid more has to wait behind it.
    pub fn first_in_line(&self, provider: ProviderId) -> Option<(usize, Turn)> {
        match self.is_awaited(provider) {
            true => self.lines.first(provider),
            false => None,
        }
    }

    /// Who waits where.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Hands over what a core has seen of floating demand.
    pub fn offer_demand(&self, core: usize, demand: &mut Demand) {
        if let Some(gallery) = self.galleries.get(core) {
            gallery.demand.offer(demand);
        }
    }

    /// Adds what the cores have handed over to `all`. Office only.
    pub fn collect_demand(&self, all: &mut Demand) {
        let galleries = self.galleries.iter();
        galleries.for_each(|gallery| gallery.demand.collect(all));
    }

    /// Shows the rank of the core's floating call that would be curtailed first at a provider.
    pub fn show_first(&self, core: usize, provider: ProviderId, rank: Option<u64>) {
        if let Some(gallery) = self.galleries.get(core) {
            let rank = rank.unwrap_or(NOBODY);
            gallery.first[provider.index()].store(rank, Ordering::Release);
        }
    }

    /// Asks for one floating call at the provider to be curtailed: the first in order, on whatever
    /// core it is. None if there is none; else the core that is to be woken.
    pub fn curtail(&self, provider: ProviderId) -> Option<usize> {
        let rank = |gallery: &Gallery| gallery.first[provider.index()].load(Ordering::Acquire);
        let galleries = self.galleries.iter().enumerate();
        let (core, gallery) = galleries
            .filter(|(_, gallery)| rank(gallery) != NOBODY)
            .min_by_key(|(_, gallery)| rank(gallery))?;
        gallery.wanted[provider.index()].fetch_add(1, Ordering::AcqRel);
        gallery.any_wanted.fetch_add(1, Ordering::AcqRel);
        Some(core)
    }

    /// Whether the core is asked to curtail anything.
    #[inline]
    pub fn is_wanted(&self, core: usize) -> bool {
        let gallery = self.galleries.get(core);
        gallery.is_some_and(|gallery| gallery.any_wanted.load(Ordering::Acquire) > 0)
    }

    /// Takes what the core is asked to curtail at a provider.
    pub fn take_wanted(&self, core: usize, provider: ProviderId) -> u32 {
        let Some(gallery) = self.galleries.get(core) else {
            return 0;
        };
        let wanted = gallery.wanted[provider.index()].swap(0, Ordering::AcqRel);
        gallery.any_wanted.fetch_sub(wanted, Ordering::AcqRel);
        wanted
    }
}

/// Position of a [`Reserve`] in [`Routes::reserves`](super::Routes::reserves).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReserveId(pub u32);

impl ReserveId {
    /// The id as an index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is in use of one key's reservations at one place. It stays the key's for the life of the
/// process, whatever is booked and cancelled.
#[derive(Debug, Default)]
pub struct Reserve(CachePadded<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Slots in this hour. Written by the office.
    slots: AtomicU32,
    used: AtomicU32,
}

impl Reserve {
    /// Takes one of the slots; false if all are in use.
    #[inline]
    pub fn take(&self) -> bool {
        let slots = self.0.slots.load(Ordering::Acquire);
        let one_more = |used: u32| (used < slots).then(|| used + 1);
        self.0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Gives one back.
    #[inline]
    pub fn give_back(&self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts what another process's calls use `now` in place of what they did `before`. Office only.
    pub fn recount(&self, before: u32, now: u32) {
        self.0
            .used
            .fetch_add(now.wrapping_sub(before), Ordering::AcqRel);
    }

    /// Slots in this hour.
    #[inline]
    pub fn slots(&self) -> u32 {
        self.0.slots.load(Ordering::Acquire)
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.0.used.load(Ordering::Acquire)
    }

    /// Says how many slots there are. Office only.
    pub fn set(&self, slots: u32) {
        self.0.slots.store(slots, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ProviderId = ProviderId(3);

    #[test]
    fn threads_together_take_no_more_slots_than_there_are() {
        let market = Market::new(1);
        market.set_reserved(HERE, 10);
        let rounds = 20_000;
        std::thread::scope(|scope| {
            for share in [Share::Floating, Share::Floating, Share::Zone, Share::Zone] {
                let market = &market;
                scope.spawn(move || {
                    for _ in 0..rounds {
                        if let Some(with) = market.enter(HERE, share, 30) {
                            assert!(with.count(Share::Zone) <= 20);
                            assert!(with.total() <= 30 + with.count(Share::Zone));
                            market.leave(HERE, share);
                        }
                    }
                });
            }
        });
        assert_eq!(market.occupancy(HERE), Occupancy::default());
    }

    #[test]
    fn what_another_process_occupies_counts_until_it_says_otherwise() {
        let market = Market::new(1);
        let (none, some) = (Occupancy::default(), Occupancy::of([1, 0, 2]));
        assert!(market.enter(HERE, Share::Floating, 4).is_some());
        market.recount(HERE, none, some);
        assert_eq!(market.occupancy(HERE), Occupancy::of([1, 0, 3]));
        assert!(market.enter(HERE, Share::Floating, 4).is_none());
        market.recount(HERE, some, Occupancy::of([2, 0, 0]));
        assert!(market.enter(HERE, Share::Floating, 4).is_some());
        market.recount(HERE, Occupancy::of([2, 0, 0]), none);
        assert_eq!(market.occupancy(HERE), Occupancy::of([0, 0, 2]));

        let reserve = Reserve::default();
        reserve.set(2);
        reserve.recount(0, 1);
        assert!(reserve.take() && !reserve.take());
        reserve.recount(1, 0);
        assert_eq!(reserve.used(), 1);
    }

    #[test]
    fn the_core_with_the_first_to_go_is_asked() {
        let market = Market::new(3);
        assert_eq!(market.curtail(HERE), None);
        market.show_first(0, HERE, Some(9));
        market.show_first(2, HERE, Some(4));
        assert_eq!(market.curtail(HERE), Some(2));
        assert_eq!(market.curtail(ProviderId(4)), None);
        assert!(market.is_wanted(2) && !market.is_wanted(0));
        assert_eq!(market.take_wanted(2, HERE), 1);
        assert!(!market.is_wanted(2));
        market.show_first(2, HERE, None);
        assert_eq!(market.curtail(HERE), Some(0));
    }

    #[test]
    fn a_reservation_is_used_up_and_given_back() {
        let reserve = Reserve::default();
        assert!(!reserve.take(), "nothing is reserved at first");
        reserve.set(2);
        assert!(reserve.take() && reserve.take() && !reserve.take());
        reserve.set(1);
        reserve.give_back();
        assert!(
            !reserve.take(),
            "what is in use counts against the new number"
        );
        reserve.give_back();
        assert!(reserve.take());
    }

    #[test]
    fn prices_are_shown() {
        let market = Market::new(1);
        for micros in [0, 7] {
            let price = Price::from_micros(micros).expect("a price");
            market.set_price(HERE, price);
            assert_eq!(market.price(HERE), price);
        }
    }

    #[test]
    fn the_first_in_line_of_all_cores_is_known() {
        let market = Market::new(3);
        let turn = |bid, number| Turn::new(Price::from_micros(bid).expect("a price"), number);
        assert!(!market.is_awaited(HERE) && market.first_in_line(HERE).is_none());
        market.show_turn(0, HERE, Some(turn(0, 1)));
        assert_eq!(market.first_in_line(HERE), Some((0, turn(0, 1))));
        market.show_turn(2, HERE, Some(turn(5, 9)));
        market.show_turn(1, HERE, Some(turn(5, 4)));
        assert_eq!(market.first_in_line(HERE), Some((1, turn(5, 4))));
        assert!(!market.is_awaited(ProviderId(4)));
        market.show_turn(1, HERE, Some(turn(4, 2)));
        assert_eq!(market.first_in_line(HERE), Some((2, turn(5, 9))));
        (0..3).for_each(|core| market.show_turn(core, HERE, None));
        assert!(!market.is_awaited(HERE));
    }
}
