//! What a location came to in the last 24 h.

use std::collections::VecDeque;

use crate::base::ProviderId;
use crate::market::calendar::Second;
use crate::market::{Bid, Cleared, Offer, Price};

/// Clearings of each location that are kept: 24 h at the default interval and a few times as many
/// at shorter ones.
pub const HISTORY_MAX: usize = 1440;

/// How long the clearings are kept: seconds.
pub const HISTORY_SECONDS: Second = 24 * 3600;

/// Steps of the last interval's demand that are kept to be shown; what is beyond them bid less, and
/// is shown as one more step at the lowest of these bids.
pub const DEMAND_STEPS_MAX: usize = 64;

/// One clearing of one location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: Second,
    /// What it came to.
    pub cleared: Cleared,
    /// Floating calls that have lost their slots to firm ones since the clearing before.
    pub curtailed: u64,
}

/// A supply stack, the cheapest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Since when.
    pub at: Second,
    /// Who offers what.
    pub offers: Vec<(ProviderId, Offer)>,
}

/// A location's last 24 h.
#[derive(Debug, Default)]
pub struct Past {
    points: VecDeque<Point>,
    stacks: VecDeque<Stack>,
    demand: Vec<Bid>,
}

impl Past {
    /// Takes a clearing in, with what it was made of.
    pub fn push(&mut self, point: Point, offers: Vec<(ProviderId, Offer)>, bids: Vec<Bid>) {
        self.points.push_back(point);
        let too_old = |first: &Point| first.at <= point.at - HISTORY_SECONDS;
        while self.points.len() > HISTORY_MAX || self.points.front().is_some_and(too_old) {
            self.points.pop_front();
        }
        let last = self.stacks.back();
        if last.is_none_or(|last| last.offers != offers) {
            let at = point.at;
            self.stacks.push_back(Stack { at, offers });
        }
        // The one that was in force at the first clearing stays.
        let first = self.points.front().map_or(point.at, |first| first.at);
        while self.stacks.get(1).is_some_and(|next| next.at <= first) {
            self.stacks.pop_front();
        }
        self.demand = steps(bids);
    }

    /// The clearings, the newest last.
    pub fn points(&self) -> &VecDeque<Point> {
        &self.points
    }

    /// The price in force.
    pub fn price(&self) -> Option<Price> {
        Some(self.points.back()?.cleared.price)
    }

    /// The supply of these clearings, one stack for as long as it stayed the same.
    pub fn stacks(&self) -> &VecDeque<Stack> {
        &self.stacks
    }

    /// The demand of the last interval, the highest limit first.
    pub fn demand(&self) -> &[Bid] {
        &self.demand
    }
}

/// Bids of one limit together, the highest first.
fn steps(mut bids: Vec<Bid>) -> Vec<Bid> {
    bids.retain(|bid| bid.quantity > 0);
    bids.sort_by_key(|bid| std::cmp::Reverse(bid.limit));
    let mut steps: Vec<Bid> = Vec::new();
    for bid in bids {
        let full = steps.len() > DEMAND_STEPS_MAX;
        match steps.last_mut() {
            Some(last) if last.limit == bid.limit || full => {
                last.quantity = last.quantity.saturating_add(bid.quantity);
                last.limit = bid.limit;
            }
            _ => steps.push(bid),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(micros: u64) -> Price {
        Price::from_micros(micros).expect("a price")
    }

    fn bid(micros: u64, quantity: u64) -> Bid {
        Bid {
            limit: price(micros),
            quantity,
        }
    }

    fn point(at: Second) -> Point {
        let cleared = Cleared {
            price: Price::ZERO,
            sold: 0,
            offered: 0,
            asked: 0,
        };
        Point {
            at,
            cleared,
            curtailed: 0,
        }
    }

    #[test]
    fn a_stack_is_kept_once_and_for_as_long_as_it_counts() {
        let mut past = Past::default();
        let offers = |quantity| {
            let price = price(5);
            vec![(ProviderId(0), Offer { price, quantity })]
        };
        let hour = 3600;
        for at in 0..40 {
            let quantity = if at < 12 { 1 } else { 2 };
            past.push(point(at * hour), offers(quantity), Vec::new());
        }
        assert_eq!(past.points().len(), 24);
        let stacks: Vec<_> = past.stacks().iter().map(|stack| stack.at).collect();
        assert_eq!(stacks, [12 * hour], "the first of them is over");
        past.push(point(40 * hour), offers(3), Vec::new());
        assert_eq!(past.stacks().len(), 2);
        for at in 0..2 * HISTORY_MAX as i64 {
            past.push(point(41 * hour + at), offers(at as u64), Vec::new());
        }
        assert_eq!(
            (past.points().len(), past.stacks().len()),
            (HISTORY_MAX, HISTORY_MAX)
        );
    }

    #[test]
    fn demand_is_shown_in_so_many_steps_and_none_of_it_is_lost() {
        assert_eq!(
            steps(vec![bid(3, 10), bid(9, 5), bid(3, 1), bid(4, 0)]),
            [bid(9, 5), bid(3, 11)]
        );
        let many: Vec<Bid> = (1..=1000).map(|micros| bid(micros, 2)).collect();
        let shown = steps(many);
        assert_eq!(shown.len(), DEMAND_STEPS_MAX + 1);
        let total: u64 = shown.iter().map(|bid| bid.quantity).sum();
        assert_eq!((total, shown[DEMAND_STEPS_MAX].limit), (2000, price(1)));
    }
}
