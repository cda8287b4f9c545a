//! One core of a market with a provider of 64 slots.

use std::cell::{Cell, RefCell};

use srpd::base::{Moment, ProviderId};
use srpd::market::Price;
use srpd::proxy::slots::{Counter, Floaters};
use srpd::tables::{Market, Reserve};

/// The provider.
pub const PROVIDER: ProviderId = ProviderId(3);
/// Its slots.
pub const CAPACITY: u32 = 64;
/// Cores that share them.
const CORES: usize = 8;

/// What admits calls on a core.
pub struct Slots {
    market: Market,
    floaters: RefCell<Floaters>,
    now: Cell<Moment>,
    /// What a key has reserved.
    pub reserve: Reserve,
}

impl Slots {
    /// With so many floating calls under way, each of which bids another price.
    pub fn with(floating: u32) -> Slots {
        let slots = Slots {
            market: Market::new(CORES),
            floaters: RefCell::default(),
            now: Cell::new(Moment(1_000_000)),
            reserve: Reserve::default(),
        };
        slots.reserve.set(CAPACITY / 2);
        for number in 0..=floating {
            let bid = Price::from_micros(u64::from(number) * 1000).expect("a price");
            let taken = slots.counter().floating(PROVIDER, CAPACITY, bid);
            let (slot, _) = taken.expect("an idle slot");
            // The last one ends: with it goes what a core only pays for once.
            match number == floating {
                true => drop(slot),
                false => std::mem::forget(slot),
            }
        }
        slots
    }

    /// What takes and gives back.
    pub fn counter(&self) -> Counter<'_> {
        Counter {
            market: &self.market,
            core: 0,
            floaters: &self.floaters,
            now: &self.now,
            bells: &[],
        }
    }
}
