//! Whatever is booked, cancelled and reloaded, no instant has more reserved than there is.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Range;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::book::check_hours;
use super::*;
use crate::config::{Provider, Reservation, ReservedAt};
use crate::control::build::build;
use crate::control::discovery::fleet::Fleet;
use crate::control::discovery::known::Known;
use crate::control::registry::Registry;
use crate::control::testing::{config, jurisdiction, provider};
use crate::market::Place;
use crate::telemetry::Names;

const HOUR: Second = 3600;

/// The first hour of the tests.
const START: Second = 1_800_000_000 - 1_800_000_000 % HOUR;

/// Hours that anything is reserved for.
const HOURS: i64 = 30;

#[derive(Clone, Debug)]
struct Wanted {
    key: usize,
    /// A provider's position, or a jurisdiction.
    place: Result<usize, &'static str>,
    slots: u32,
    hours: Range<i64>,
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(Wanted),
    /// One of those that stand.
    Cancel(prop::sample::Index),
    /// Capacities of the three providers, and the file's reservations.
    Reload([u32; 3], Vec<Wanted>),
    /// So many seconds pass.
    Wait(Second),
}

fn wanted(earliest: i64) -> impl Strategy<Value = Wanted> {
    let place = prop_oneof![
        (0..3usize).prop_map(Ok),
        prop::sample::select(vec!["au", "us", "nz"]).prop_map(Err),
    ];
    let hours = (earliest..20, 1..9i64).prop_map(|(from, length)| from..from + length);
    (0..2usize, place, 1..5u32, hours).prop_map(|(key, place, slots, hours)| Wanted {
        key,
        place,
        slots,
        hours,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => wanted(0).prop_map(Step::Reserve),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => (prop::array::uniform3(0..9u32), prop::collection::vec(wanted(-3), 0..3))
            .prop_map(|(capacities, file)| Step::Reload(capacities, file)),
        2 => (1..4 * HOUR).prop_map(Step::Wait),
    ]
}

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_second(START + hours * HOUR).expect("a time")
}

/// `aloomu` and `second` in au, `vendor-us` in us.
fn config_of(capacities: [u32; 3], file: &[Wanted]) -> Config {
    let mut config = config();
    let second: Provider = provider("second", "au", "http://127.0.0.1:9131");
    config.providers.push(second);
    for (provider, capacity) in config.providers.iter_mut().zip(capacities) {
        provider.capacity = NonZeroU32::new(capacity);
    }
    let reservation = |it: &Wanted| Reservation {
        key: it.key,
        place: match it.place {
            Ok(provider) => ReservedAt::Provider(provider),
            Err(code) => ReservedAt::Jurisdiction(jurisdiction(code)),
        },
        slots: it.slots,
        from: hour(it.hours.start),
        until: hour(it.hours.end),
    };
    config.reservations = file.iter().map(reservation).collect();
    config
}

fn order(config: &Config, wanted: &Wanted) -> Order {
    Order {
        key: config.keys[wanted.key].name.clone(),
        provider: wanted
            .place
            .ok()
            .map(|at| config.providers[at].name.clone()),
        jurisdiction: wanted.place.err().map(str::to_owned),
        slots: wanted.slots,
        from: hour(wanted.hours.start),
        until: hour(wanted.hours.end),
    }
}

/// Whether all of them fit, counted without the calendar; past hours count, too.
fn fit(config: &Config, all: &[Wanted]) -> bool {
    let capacity = |at: usize| config.providers[at].capacity.map_or(0, NonZeroU32::get);
    let zone = |at: usize| config.providers[at].jurisdiction;
    let is_in = |it: &Wanted, code: &str| match it.place {
        Ok(at) => zone(at) == jurisdiction(code),
        Err(other) => other == code,
    };
    let bounded = all.iter().all(|it| match it.place {
        Ok(at) => capacity(at) > 0,
        Err(code) => (0..3).any(|at| capacity(at) > 0 && zone(at) == jurisdiction(code)),
    });
    bounded
        && (-3..HOURS).all(|at| {
            let now: Vec<&Wanted> = all.iter().filter(|it| it.hours.contains(&at)).collect();
            let sum = |mine: &dyn Fn(&Wanted) -> bool| -> u32 {
                now.iter().filter(|it| mine(it)).map(|it| it.slots).sum()
            };
            let providers = (0..3).all(|at| sum(&|it| it.place == Ok(at)) <= capacity(at));
            let zones = ["au", "us"].iter().all(|code| {
                let inside = (0..3).filter(|&at| zone(at) == jurisdiction(code));
                sum(&|it| is_in(it, code)) <= inside.map(capacity).sum()
            });
            providers && zones
        })
}

/// A market at work, and what it should come to.
struct Stage {
    config: Config,
    registry: Registry,
    routes: Routes,
    trading: Trading,
    market: Market,
    now: Second,
    file: Vec<Wanted>,
    stand: BTreeMap<u64, Wanted>,
}

fn routes(config: &Config, registry: &mut Registry, booked: &[Booking]) -> Routes {
    let known = Known::default();
    let (fleet, _) = Fleet::assemble(config, &known, None);
    build(config, &fleet, &known, |_, _| false, registry, booked).expect("built")
}

impl Stage {
    fn new() -> Stage {
        let config = config_of([4, 4, 4], &[]);
        let mut registry = Registry::new(std::sync::Arc::new(Names::new()));
        let routes = routes(&config, &mut registry, &[]);
        let trading = Trading::new(&config, &routes, BTreeMap::new(), &[]);
        Stage {
            trading: trading.unwrap_or_else(|(_, error)| panic!("{error}")),
            config,
            registry,
            routes,
            market: Market::new(1),
            now: START,
            file: Vec::new(),
            stand: BTreeMap::new(),
        }
    }

    fn reserve(&mut self, number: u64, wanted: Wanted) {
        let order = order(&self.config, &wanted);
        let all: Vec<Wanted> = self.all().chain([wanted.clone()]).collect();
        let ahead = hour(wanted.hours.start).as_second() > self.now - HOUR;
        let result = check_hours(&order, self.now)
            .and_then(|()| order.booking(number, &self.config, &mut self.registry))
            .and_then(|booking| self.trading.book(number, order, booking));
        assert_eq!(
            result.is_ok(),
            ahead && fit(&self.config, &all),
            "{result:?}"
        );
        if result.is_ok() {
            self.stand.insert(number, wanted);
            self.routes = routes(&self.config, &mut self.registry, &self.trading.booked());
        }
    }

    fn reload(&mut self, capacities: [u32; 3], file: Vec<Wanted>) {
        let config = config_of(capacities, &file);
        if !fit(&config, &file) {
            // Such a file is no valid configuration.
            return;
        }
        let orders = self.trading.orders().iter();
        let booked =
            orders.map(|(&number, order)| order.booking(number, &config, &mut self.registry));
        let booked: Result<Vec<Booking>, BookingError> = booked.collect();
        let prepared = booked.ok().and_then(|booked| {
            let routes = routes(&config, &mut self.registry, &booked);
            let exchange = self.trading.prepare(&config, &routes, &booked).ok()?;
            Some((routes, exchange))
        });
        let all: Vec<Wanted> = file.iter().chain(self.stand.values()).cloned().collect();
        assert_eq!(prepared.is_some(), fit(&config, &all));
        if let Some((routes, exchange)) = prepared {
            self.trading.succeed(exchange);
            (self.routes, self.config, self.file) = (routes, config, file);
        }
    }

    fn all(&self) -> impl Iterator<Item = Wanted> {
        self.file.iter().chain(self.stand.values()).cloned()
    }

    fn step(&mut self, number: u64, step: Step) {
        match step {
            Step::Reserve(wanted) => self.reserve(number, wanted),
            Step::Cancel(index) => {
                let numbers: Vec<u64> = self.stand.keys().copied().collect();
                if !numbers.is_empty() {
                    let number = *index.get(&numbers);
                    self.trading.cancel(number);
                    self.stand.remove(&number);
                }
            }
            Step::Reload(capacities, file) => self.reload(capacities, file),
            Step::Wait(seconds) => self.now += seconds,
        }
        self.trading.tick(self.now, &self.routes, &self.market);
        let over = self.now;
        self.stand
            .retain(|_, it| hour(it.hours.end).as_second() > over);
    }

    /// What holds after every step.
    fn check(&self) {
        let all: Vec<Wanted> = self.all().collect();
        assert!(fit(&self.config, &all));
        let numbers = |of: &mut dyn Iterator<Item = u64>| of.collect::<BTreeSet<u64>>();
        let stand = numbers(&mut self.stand.keys().copied());
        assert_eq!(numbers(&mut self.trading.orders().keys().copied()), stand);
        let booked = self.trading.booked();
        let mut booked = booked.iter().filter_map(|it| match it.origin {
            Origin::Booked(number) => Some(number),
            Origin::File => None,
        });
        assert_eq!(numbers(&mut booked), stand);
        // What the cores go by in this hour is just what is reserved.
        let at = (self.now - START).div_euclid(HOUR);
        let now = || all.iter().filter(|it| it.hours.contains(&at));
        for (position, provider) in self.routes.providers.iter().enumerate() {
            let here: u32 = now()
                .filter(|it| it.place == Ok(position))
                .map(|it| it.slots)
                .sum();
            if provider.capacity.is_some() {
                assert_eq!(self.market.reserved(provider.id), here);
            }
        }
        for (position, key) in self.config.keys.iter().enumerate() {
            let key = &self.routes.keys[&key.sha256];
            for right in self.routes.rights_of(key) {
                let is_here = |it: &&Wanted| match (it.place, right.place) {
                    (Ok(at), Place::Provider(id)) => self.routes.providers[at].id == id,
                    (Err(code), Place::Zone(zone)) => jurisdiction(code) == zone,
                    _ => false,
                };
                let mine = now().filter(|it| it.key == position).filter(is_here);
                let slots: u32 = mine.map(|it| it.slots).sum();
                let reserve = &self.routes.reserves[right.reserve.index()];
                assert_eq!(reserve.slots(), slots, "at {:?}", right.place);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_changes_reserves_more_than_there_is(
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut stage = Stage::new();
        for (number, step) in (0..).zip(steps) {
            stage.step(number, step);
            stage.check();
        }
    }
}

#[test]
fn a_booking_ends_with_its_last_hour() {
    let mut stage = Stage::new();
    let wanted = Wanted {
        key: 0,
        place: Ok(0),
        slots: 4,
        hours: 0..2,
    };
    stage.step(1, Step::Reserve(wanted.clone()));
    let key = stage.config.keys[0].sha256;
    let slots = |stage: &Stage| {
        let right = stage.routes.rights_of(&stage.routes.keys[&key])[0];
        stage.routes.reserves[right.reserve.index()].slots()
    };
    assert_eq!(slots(&stage), 4);
    stage.step(2, Step::Wait(2 * HOUR - 1));
    assert_eq!((slots(&stage), stage.trading.orders().len()), (4, 1));
    stage.step(3, Step::Wait(1));
    assert_eq!((slots(&stage), stage.trading.orders().len()), (0, 0));
    // Its slots can be booked again, and its number is nobody's.
    let again = Wanted {
        hours: 2..3,
        ..wanted
    };
    stage.step(4, Step::Reserve(again));
    assert_eq!(slots(&stage), 4);
}
