//! Spot clearing: one price for what is idle at one location (SRP section 8).
//!
//! Offers stand from the cheapest up, bids from the highest down; they are matched for as long as a
//! bid pays its offer. The price is the offer of the marginal slot, or the highest bid that went
//! unserved if that is higher: at a lower price two would want the slot. It lies where both sides
//! agree that it is fair: no served bid is below it, no accepted offer above it, and nobody who was
//! left out would have paid more. Where nothing can be matched it is the cheapest offer, which is
//! what the next call would pay; where nothing is offered at all, the cap.

use super::price::Price;

/// Slots that a provider has idle and not reserved, at its price with the location's congestion
/// adder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Per million tokens.
    pub price: Price,
    /// How many thousandths of a slot.
    pub quantity: u64,
}

/// Floating demand with the same limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// `X-Sovereign-Max-Price`; without one the price cap.
    pub limit: Price,
    /// How many thousandths of a slot: the time of the calls over the time of the interval.
    pub quantity: u64,
}

/// What a location's market came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The price in force until the next clearing.
    pub price: Price,
    /// Thousandths of slots that were matched.
    pub sold: u64,
    /// Thousandths of slots offered at the cap or less.
    pub offered: u64,
    /// Thousandths of slots asked for.
    pub asked: u64,
}

/// Clears one location. The order of offers and bids doesn't matter, offers above the cap count
/// for nothing, and bids above it for the cap.
pub fn clear(offers: &[Offer], bids: &[Bid], cap: Price) -> Cleared {
    let mut supply: Vec<Offer> = offers.to_vec();
    supply.retain(|offer| offer.price <= cap && offer.quantity > 0);
    supply.sort_by_key(|offer| offer.price);
    let mut demand: Vec<Bid> = bids.to_vec();
    demand.retain(|bid| bid.quantity > 0);
    demand.sort_by_key(|bid| std::cmp::Reverse(bid.limit.min(cap)));

    let (mut offer, mut bid) = (0, 0);
    let (mut left, mut wanted) = (amount(&supply, 0), demand.first().map_or(0, |b| b.quantity));
    let (mut sold, mut marginal) = (0u64, None);
    while let (Some(seller), Some(buyer)) = (supply.get(offer), demand.get(bid)) {
        if buyer.limit.min(cap) < seller.price {
            break;
        }
        let matched = left.min(wanted);
        sold = sold.saturating_add(matched);
        marginal = Some(seller.price);
        left -= matched;
        wanted -= matched;
        if left == 0 {
            offer += 1;
            left = amount(&supply, offer);
        }
        if wanted == 0 {
            bid += 1;
            wanted = demand.get(bid).map_or(0, |b| b.quantity);
        }
    }
    let unserved = demand.get(bid).map(|bid| bid.limit.min(cap));
    let price = match marginal {
        Some(marginal) => marginal.max(unserved.unwrap_or(Price::ZERO)),
        None => supply.first().map_or(cap, |cheapest| cheapest.price),
    };
    Cleared {
        price,
        sold,
        offered: total(supply.iter().map(|offer| offer.quantity)),
        asked: total(demand.iter().map(|bid| bid.quantity)),
    }
}

fn amount(supply: &[Offer], at: usize) -> u64 {
    supply.get(at).map_or(0, |offer| offer.quantity)
}

fn total(quantities: impl Iterator<Item = u64>) -> u64 {
    quantities.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: Price = Price::MAX;

    fn price(micros: u64) -> Price {
        Price::from_micros(micros).expect("a price")
    }

    fn offers(of: &[(u64, u64)]) -> Vec<Offer> {
        let offer = |&(micros, quantity)| Offer {
            price: price(micros),
            quantity,
        };
        of.iter().map(offer).collect()
    }

    fn bids(of: &[(u64, u64)]) -> Vec<Bid> {
        let bid = |&(micros, quantity)| Bid {
            limit: price(micros),
            quantity,
        };
        of.iter().map(bid).collect()
    }

    #[test]
    fn the_marginal_offer_sets_the_price_for_all() {
        let supply = offers(&[(60, 10), (240, 5), (300, 20)]);
        let sold = |demand: &[(u64, u64)]| {
            let cleared = clear(&supply, &bids(demand), CAP);
            (cleared.price.micros(), cleared.sold)
        };
        assert_eq!(sold(&[]), (60, 0));
        assert_eq!(sold(&[(1000, 10)]), (60, 10));
        assert_eq!(sold(&[(1000, 11)]), (240, 11));
        assert_eq!(sold(&[(1000, 35)]), (300, 35));
        assert_eq!(sold(&[(50, 10)]), (60, 0));
    }

    #[test]
    fn what_goes_unserved_sets_the_price_when_demand_exceeds_supply() {
        let supply = offers(&[(60, 10)]);
        let at = |demand: &[(u64, u64)]| clear(&supply, &bids(demand), price(500)).price.micros();
        assert_eq!(at(&[(100, 10), (90, 1)]), 90);
        assert_eq!(
            at(&[(100, 10), (50, 1)]),
            60,
            "it would not have paid the offer"
        );
        assert_eq!(at(&[(100, 11)]), 100);
        assert_eq!(at(&[(900, 11)]), 500, "the cap");
        let two = offers(&[(60, 10), (95, 10)]);
        assert_eq!(
            clear(&two, &bids(&[(100, 10), (90, 1)]), CAP)
                .price
                .micros(),
            90
        );
    }

    #[test]
    fn where_nothing_is_offered_the_cap_is_the_price() {
        let cleared = clear(&[], &bids(&[(70, 1)]), price(100));
        assert_eq!((cleared.price.micros(), cleared.sold), (100, 0));
        let beyond = clear(&offers(&[(101, 5)]), &[], price(100));
        assert_eq!((beyond.price.micros(), beyond.offered), (100, 0));
    }

    fn any_side() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..200u64, 0..5u64), 0..12)
    }

    proptest! {
        #[test]
        fn the_price_lies_between_the_marginal_offer_and_the_cap(
            supply in any_side(), demand in any_side(), cap in 0..220u64,
        ) {
            let (supply, demand, cap) = (offers(&supply), bids(&demand), price(cap));
            let cleared = clear(&supply, &demand, cap);
            prop_assert!(cleared.price <= cap);
            // Slot by slot: the n-th cheapest slot goes to the n-th highest bid.
            let mut slots: Vec<Price> = supply.iter()
                .flat_map(|offer| (0..offer.quantity).map(|_| offer.price))
                .filter(|&offer| offer <= cap).collect();
            slots.sort();
            let mut wants: Vec<Price> = demand.iter()
                .flat_map(|bid| (0..bid.quantity).map(|_| bid.limit.min(cap))).collect();
            wants.sort_by(|a, b| b.cmp(a));
            let sold = slots.iter().zip(&wants).take_while(|(offer, bid)| offer <= bid).count();
            prop_assert_eq!(cleared.sold, sold as u64);
            prop_assert_eq!(cleared.offered, slots.len() as u64);
            prop_assert_eq!(cleared.asked, wants.len() as u64);
            for (offer, bid) in slots.iter().zip(&wants).take(sold) {
                prop_assert!(*offer <= cleared.price && cleared.price <= *bid);
            }
            if sold > 0 {
                prop_assert!(slots.get(sold).is_none_or(|&next| cleared.price <= next));
                prop_assert!(wants.get(sold).is_none_or(|&next| next <= cleared.price));
            }
        }

        #[test]
        fn more_demand_never_lowers_the_price(
            supply in any_side(), demand in any_side(), more in (0..200u64, 1..5u64), cap in 0..220u64,
        ) {
            let (supply, cap) = (offers(&supply), price(cap));
            let before = clear(&supply, &bids(&demand), cap);
            let demand = [demand, vec![more]].concat();
            prop_assert!(clear(&supply, &bids(&demand), cap).price >= before.price);
        }

        #[test]
        fn more_supply_never_raises_the_price(
            supply in any_side(), demand in any_side(), more in (0..200u64, 1..5u64), cap in 0..220u64,
        ) {
            let (demand, cap) = (bids(&demand), price(cap));
            let before = clear(&offers(&supply), &demand, cap);
            let supply = [supply, vec![more]].concat();
            prop_assert!(clear(&offers(&supply), &demand, cap).price <= before.price);
        }

        #[test]
        fn the_order_of_the_book_does_not_matter(
            supply in any_side(), demand in any_side(), cap in 0..220u64,
        ) {
            let (mut supply, mut demand, cap) = (offers(&supply), bids(&demand), price(cap));
            let before = clear(&supply, &demand, cap);
            supply.reverse();
            demand.reverse();
            prop_assert_eq!(clear(&supply, &demand, cap), before);
        }
    }
}
