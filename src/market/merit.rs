//! Orders: who is asked first, and who has to go first (SRP sections 7 and 8).

use std::cmp::{Ordering, Reverse};

use super::price::Price;
use crate::base::Moment;

/// A candidate of one call. Only the residency filter makes candidates, so no order can put one
/// beyond the border first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Its place in the chain.
    pub place: usize,
    /// Its offer with the congestion adder of where it is.
    pub price: Price,
}

impl Quote {
    /// Puts candidates in merit order: the cheapest first, equal prices in the chain's order.
    pub fn by_merit(quotes: &mut [Quote]) {
        quotes.sort_unstable_by_key(|quote| (quote.price, quote.place));
    }
}

/// A floating call that occupies a slot. The first in this order is the first to be curtailed: the
/// lowest bid, then the youngest, which has the least to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it would pay at most; the price cap if it didn't say.
    pub bid: Price,
    /// When it took the slot.
    pub since: Moment,
}

/// Bits of a rank that tell how old a call is, and the time that one step of them is.
const AGE_BITS: u32 = 24;
const AGE_STEP_US: u64 = 250_000;

impl Standing {
    /// The order as one number, so that cores can compare through a word: the smaller is the first
    /// to be curtailed. Ages are told apart by a quarter of a second, for 48 days.
    pub fn rank(&self) -> u64 {
        let newest = (1 << AGE_BITS) - 1;
        let step = (self.since.0 / AGE_STEP_US).min(newest);
        self.bid.micros() << AGE_BITS | (newest - step)
    }
}

impl Ord for Standing {
    fn cmp(&self, other: &Standing) -> Ordering {
        let key = |it: &Standing| (it.bid, Reverse(it.since));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Standing {
    fn partial_cmp(&self, other: &Standing) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A call's place among those that wait for a slot. The first in this order is the first to be
/// dispatched: the highest bid, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// What it would pay at most; the highest price if it didn't say.
    bid: Reverse<Price>,
    /// In which order they came, counted across all cores.
    number: u64,
}

impl Turn {
    /// The place of a call that pays `bid` at most, and was the `number`th to come.
    pub fn new(bid: Price, number: u64) -> Turn {
        Turn {
            bid: Reverse(bid),
            number,
        }
    }

    /// What it would pay at most.
    pub fn bid(&self) -> Price {
        self.bid.0
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(micros: u64) -> Price {
        Price::from_micros(micros).expect("a price")
    }

    #[test]
    fn the_cheapest_is_asked_first_and_equals_in_chain_order() {
        let quote = |(place, micros)| Quote {
            place,
            price: price(micros),
        };
        let mut quotes = [(0, 300), (1, 60), (2, 240), (3, 60)].map(quote);
        Quote::by_merit(&mut quotes);
        assert_eq!(quotes.map(|quote| quote.place), [1, 3, 2, 0]);
    }

    proptest! {
        #[test]
        fn a_rank_has_the_same_order(
            a in (0..=Price::MAX.micros(), 0..1u64 << 41),
            b in (0..=Price::MAX.micros(), 0..1u64 << 41),
        ) {
            let standing = |(micros, since)| Standing { bid: price(micros), since: Moment(since) };
            let (a, b) = (standing(a), standing(b));
            prop_assert!(a.rank() < u64::MAX);
            if a.rank() < b.rank() {
                prop_assert!(a < b);
            }
        }
    }

    #[test]
    fn the_highest_bid_is_served_first_and_then_who_came_first() {
        let mut all = [(5, 1), (9, 3), (2, 2), (9, 2)].map(|(bid, at)| Turn::new(price(bid), at));
        all.sort();
        let order = all.map(|it| (it.bid().micros(), it.number()));
        assert_eq!(order, [(9, 2), (9, 3), (5, 1), (2, 2)]);
    }

    #[test]
    fn the_lowest_bid_goes_first_and_then_the_youngest() {
        let standing = |(micros, since)| Standing {
            bid: price(micros),
            since: Moment(since),
        };
        let mut all = [(5, 1), (2, 1), (2, 9), (9, 9)].map(standing);
        all.sort();
        let order = all.map(|it| (it.bid.micros(), it.since.0));
        assert_eq!(order, [(2, 9), (2, 1), (5, 1), (9, 9)]);
    }
}
