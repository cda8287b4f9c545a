//! The worked example of `docs/MARKET.md`: what stands there is what comes out here.

use super::calendar::{Calendar, Capacity, Place, Reservation};
use super::clearing::{Bid, Offer, clear};
use super::occupancy::{Occupancy, Share};
use super::price::Price;

const DOCUMENT: &str = include_str!("../../docs/MARKET.md");

const HOUR: i64 = 3600;
const SLOT: u64 = 1000;

fn price(text: &str) -> Price {
    text.parse().expect("a price")
}

fn says(text: &str) {
    assert!(
        DOCUMENT.contains(text),
        "docs/MARKET.md doesn't say: {text}"
    );
}

/// `fleet-syd` and `aloomu`, with the hour's reservations.
fn book() -> Calendar<&'static str, &'static str> {
    let capacity = |(provider, slots)| Capacity {
        provider,
        zone: "au",
        slots,
    };
    let supplies = [("fleet-syd", 8), ("aloomu", 10)].map(capacity);
    let mut book = Calendar::new(supplies.to_vec());
    let from = 10 * HOUR;
    for (place, slots) in [(Place::Provider("aloomu"), 6), (Place::Zone("au"), 4)] {
        let reservation = Reservation {
            place,
            slots,
            from,
            until: from + HOUR,
        };
        book.book(reservation).expect("there is room");
    }
    book
}

fn stack() -> Vec<Offer> {
    let spot = book().spot(&["fleet-syd", "aloomu"], 10 * HOUR);
    let offers = [price("0.80"), price("2.30")].map(|offer| offer + price("0.10"));
    let offer = |(price, slots)| Offer {
        price,
        quantity: u64::from(slots) * SLOT,
    };
    offers.into_iter().zip(spot).map(offer).collect()
}

/// So many calls of 100 s in 300 s.
fn bid(limit: &str, calls: u64) -> Bid {
    Bid {
        limit: price(limit),
        quantity: calls * 100 * SLOT / 300,
    }
}

#[test]
fn what_is_left_of_the_hour() {
    let book = book();
    let left = |place| book.left(place, 10 * HOUR);
    assert_eq!(left(Place::Zone("au")), 8);
    assert_eq!(left(Place::Provider("fleet-syd")), 8);
    assert_eq!(left(Place::Provider("aloomu")), 4);
    says("so 8 can still be reserved: 8 at `fleet-syd`, but only 4 at `aloomu`");
    let stack = stack();
    assert_eq!(stack[0].price.to_string(), "0.90");
    assert_eq!(stack[1].price.to_string(), "2.40");
    assert_eq!([stack[0].quantity, stack[1].quantity], [4 * SLOT, 4 * SLOT]);
    says("| `fleet-syd`, 8 − 4 | 4 | 0.90 |");
    says("| `aloomu`, 10 − 6 | 4 | 2.40 |");
}

#[test]
fn the_price_is_the_marginal_offer() {
    let demand = [bid("20", 9), bid("3", 6), bid("2", 6)];
    let cleared = clear(&stack(), &demand, price("20"));
    assert_eq!(cleared.price.to_string(), "2.40");
    assert_eq!((cleared.sold, cleared.asked), (5 * SLOT, 7 * SLOT));
    says("5 slots are sold, the marginal one at 2.40, so **the price is 2.40**");
}

#[test]
fn what_goes_unserved_sets_it_when_demand_exceeds_supply() {
    let demand = [bid("20", 24), bid("3", 6), bid("2", 6)];
    let cleared = clear(&stack(), &demand, price("20"));
    assert_eq!(
        (cleared.price.to_string().as_str(), cleared.sold),
        ("3.00", 8 * SLOT)
    );
    says("so **the price is 3.00**");
    assert_eq!(clear(&[], &demand, price("20")).price.to_string(), "20.00");
    assert_eq!(clear(&stack(), &[], price("20")).price.to_string(), "0.90");
    says("the price would be the cap, 20.00; with no demand it would be 0.90");
}

#[test]
fn the_banks_call_is_the_eleventh_and_one_has_to_go() {
    let mut aloomu = Occupancy::default();
    for _ in 0..10 {
        aloomu = aloomu.enter(Share::Floating, 10, 6).expect("idle");
    }
    let with = aloomu.enter(Share::Own, 10, 6).expect("reserved");
    assert_eq!((with.total(), with.excess(10)), (11, 1));
    says("It is sent at once, as the 11th, and one floating call has to go");
}
