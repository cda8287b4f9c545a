//! Hours, prices and histories.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::Timestamp;

use super::super::super::registry::Registry;
use super::super::super::testing::{config, jurisdiction, routes_of};
use super::super::past::{HISTORY_MAX, HISTORY_SECONDS};
use super::*;
use crate::config;
use crate::telemetry::Names;

const START: Second = 1_800_000_000 - 1_800_000_000 % HOUR;

fn price(text: &str) -> Price {
    text.parse().expect("a price")
}

/// `aloomu` in au with 8 slots at 2.40, and `vendor-us` without a capacity.
fn market_config() -> Config {
    let mut config = config();
    config.providers[0].capacity = NonZeroU32::new(8);
    config.providers[0].price = price("2.40");
    config.market.price_cap = price("50");
    config
}

fn exchange(config: &Config, booked: &[Booking]) -> Exchange {
    let mut registry = Registry::new(std::sync::Arc::new(Names::new()));
    let routes = routes_of(config, &mut registry).expect("built");
    let keys: Vec<KeyId> = (0..config.keys.len() as u16).map(KeyId).collect();
    match Exchange::new(config, &routes, &keys, booked) {
        Ok(exchange) => exchange,
        Err((_, error)) => panic!("{error}"),
    }
}

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_second(START + hours * HOUR).expect("a time")
}

fn reservation(key: usize, slots: u32, hours: std::ops::Range<i64>) -> config::Reservation {
    config::Reservation {
        key,
        place: ReservedAt::Provider(0),
        slots,
        from: hour(hours.start),
        until: hour(hours.end),
    }
}

#[test]
fn each_hour_has_its_reservations() {
    let mut config = market_config();
    config.reservations = vec![
        reservation(0, 3, 0..2),
        reservation(0, 2, 1..2),
        reservation(1, 1, 1..3),
    ];
    let mut exchange = exchange(&config, &[]);
    let market = Market::new(1);
    let here = Place::Provider(ProviderId(0));
    let mut at = |hours: i64| {
        let mut granted = BTreeMap::new();
        exchange.enforce(START + hours * HOUR + 5, &market, |key, place, slots| {
            assert_eq!(place, here);
            granted.insert(key.0, slots);
        });
        (granted, market.reserved(ProviderId(0)))
    };
    assert_eq!(at(0), (BTreeMap::from([(0, 3), (1, 0)]), 3));
    assert_eq!(at(0), (BTreeMap::new(), 3), "once is enough");
    assert_eq!(at(1), (BTreeMap::from([(0, 5), (1, 1)]), 6));
    assert_eq!(at(2), (BTreeMap::from([(0, 0), (1, 1)]), 1));
}

#[test]
fn what_is_cancelled_is_nobodys() {
    let booking = Booking {
        origin: Origin::Booked(9),
        key: KeyId(1),
        reservation: Reservation {
            place: Place::Zone(jurisdiction("au")),
            slots: 4,
            from: START,
            until: START + HOUR,
        },
    };
    let mut exchange = exchange(&market_config(), &[booking]);
    let market = Market::new(1);
    let mut granted = Vec::new();
    exchange.enforce(START, &market, |_, _, slots| granted.push(slots));
    assert_eq!(exchange.book_mut().cancel(9), Some(booking));
    exchange.enforce(START, &market, |_, _, slots| granted.push(slots));
    assert_eq!(granted, [4, 0]);
}

#[test]
fn what_does_not_fit_any_more_is_named() {
    let mut config = market_config();
    config.reservations = vec![reservation(0, 8, 0..2)];
    let booking = Booking {
        origin: Origin::Booked(9),
        key: KeyId(1),
        reservation: Reservation {
            place: Place::Provider(ProviderId(0)),
            slots: 1,
            from: START,
            until: START + HOUR,
        },
    };
    let mut registry = Registry::new(std::sync::Arc::new(Names::new()));
    let routes = routes_of(&config, &mut registry).expect("built");
    let keys = [KeyId(0), KeyId(1)];
    let refused = Exchange::new(&config, &routes, &keys, &[booking]);
    let (which, error) = refused.err().expect("refused");
    assert_eq!(which, booking);
    assert!(error.to_string().contains("at most 0 slots"), "{error}");
}

#[test]
fn a_location_clears_at_the_end_of_each_interval() {
    let mut config = market_config();
    config.reservations = vec![reservation(0, 6, 0..1)];
    let mut exchange = exchange(&config, &[]);
    let market = Market::new(1);
    let here = ProviderId(0);
    let mut demand = Demand::default();
    assert!(exchange.clear_if_due(START, &mut demand, &[], &market));
    assert_eq!(
        market.price(here),
        price("2.40"),
        "what the next call would pay"
    );
    // Two slots are not reserved. Three are asked for, one by calls that found none.
    let interval = 300_000_000;
    demand.served(here, price("9"), 2 * interval, true);
    demand.served(here, price("9"), 0, true);
    demand.refused(here, price("5"));
    demand.refused(here, price("3"));
    assert!(!exchange.clear_if_due(START + 299, &mut demand, &[], &market));
    assert!(exchange.clear_if_due(START + 300, &mut demand, &[], &market));
    assert_eq!(
        market.price(here),
        price("5"),
        "the highest that went unserved"
    );
    assert_eq!(demand.rows().count(), 0, "it is used up");
    let points: Vec<_> = exchange.history()["au"].points().iter().collect();
    let cleared = points[1].cleared;
    assert_eq!(
        (cleared.sold, cleared.offered, cleared.asked),
        (2000, 2000, 4000)
    );
    // Who waits bids too; the other location doesn't count.
    let waiting = [
        ("au", price("70")),
        ("au", price("60")),
        ("au", price("4")),
        ("nz", price("9")),
    ];
    assert!(exchange.clear_if_due(START + 600, &mut demand, &waiting, &market));
    assert_eq!(market.price(here), price("4"));
    // The next hour has nothing reserved.
    assert!(exchange.clear_if_due(START + HOUR, &mut demand, &waiting, &market));
    assert_eq!(market.price(here), price("2.40"));
}

#[test]
fn a_reload_keeps_the_history_of_locations_that_stay() {
    let config = market_config();
    let mut before = exchange(&config, &[]);
    let market = Market::new(1);
    before.clear_if_due(START, &mut Demand::default(), &[], &market);
    let mut after = exchange(&config, &[]);
    after.succeed(before);
    assert_eq!(after.history()["au"].points().len(), 1);
    assert!(!after.clear_if_due(START + 1, &mut Demand::default(), &[], &market));
    let mut moved = config.clone();
    moved.providers[0].location = "au-syd".into();
    let mut elsewhere = exchange(&moved, &[]);
    elsewhere.succeed(after);
    assert!(elsewhere.history().is_empty());
}

#[test]
fn so_much_history_is_kept() {
    let mut config = market_config();
    config.market.interval = std::time::Duration::from_secs(1);
    let mut exchange = exchange(&config, &[]);
    let market = Market::new(1);
    for second in 0..HISTORY_MAX as Second + 10 {
        exchange.clear_if_due(START + second, &mut Demand::default(), &[], &market);
    }
    let points = exchange.history()["au"].points();
    assert_eq!((points.len(), points[0].at), (HISTORY_MAX, START + 10));
    exchange.clear_if_due(
        START + 2 * HISTORY_SECONDS,
        &mut Demand::default(),
        &[],
        &market,
    );
    assert_eq!(exchange.history()["au"].points().len(), 1);
}

#[test]
fn who_waits_is_counted_where_the_cheapest_is_that_it_waits_for() {
    let config = market_config();
    let exchange = exchange(&config, &[]);
    let gone = ProviderId(9);
    let waiting = [(ProviderId(0), price("3")), (gone, price("4"))];
    let located = exchange.by_location(&waiting);
    assert_eq!(located, [("au".to_owned(), price("3"))]);
    assert!(exchange.is_due(START));
}
