//! `[market]` and `[[reservation]]`: what slots cost, and whose they are.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::Surroundings;
use super::model::{BookingsFile, Market, Reservation, ReservedAt};
use super::provider::Draft;
use super::reader::{Table, Text, Value};
use super::values::Names;
use crate::market::calendar::RESERVATIONS_MAX;
use crate::market::occupancy::SLOTS_MAX;
use crate::market::{Calendar, Capacity, Overbooked, Place, Price};
use crate::policy::residency::Jurisdiction;

/// Between two clearings.
const INTERVAL: Duration = Duration::from_secs(300);

/// The shortest interval: shorter ones would clear what is chance.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// `market.price_cap`: 100.
const PRICE_CAP: u64 = 100_000_000;

/// What bookings are kept in, in the directory of the instance's state.
const BOOKINGS: &str = "reservations.redb";

/// Where the state lies if the service manager doesn't say.
const STATE_DIRECTORY: &str = "/var/lib/srpd";

/// `market.waiting_max`
const WAITING: u32 = 1000;

/// The most that `market.waiting_max` can be: each keeps its connection and its body.
const WAITING_MAX: u32 = 100_000;

const HOUR: i64 = 3600;

/// Reads `[market]`. Its `adders` name locations of `providers`.
pub(super) fn read(
    table: Table<'_>,
    providers: &[Draft<'_>],
    surroundings: &Surroundings<'_>,
) -> Market {
    let interval = table.duration("interval", INTERVAL);
    if interval < INTERVAL_MIN
        && let Some(value) = table.get("interval")
    {
        value.fail(format!("expected at least {INTERVAL_MIN:?}"));
    }
    let market = Market {
        interval,
        price_cap: table
            .price("price_cap")
            .or(Price::from_micros(PRICE_CAP))
            .unwrap_or(Price::MAX),
        waiting_max: table.whole("waiting_max", WAITING, 0..=WAITING_MAX),
        adders: adders(&table, providers),
        bookings: bookings(&table, surroundings),
    };
    for provider in providers {
        let (Some(offer), Some(at)) = (provider.price, &provider.price_at) else {
            continue;
        };
        let offer = offer + market.adder(provider.location());
        if offer > market.price_cap {
            at.fail(format!(
                "expected at most `market.price_cap` with the adder of its location: {offer} is \
                 above {}",
                market.price_cap
            ));
        }
    }
    table.finish();
    market
}

/// Where bookings are kept: what the file says, else in the directory that systemd has made for the
/// state (`StateDirectory=`, systemd.exec(5)), of several the first.
fn bookings(table: &Table<'_>, surroundings: &Surroundings<'_>) -> BookingsFile {
    const EXPECTED: &str = "the path of a file";
    let written = table.get("bookings");
    let text = written.as_ref().and_then(|value| value.text(EXPECTED));
    if let Some(text) = text {
        if text.text.is_empty() {
            text.at.fail(format!("expected {EXPECTED}, found none"));
        }
        return BookingsFile {
            path: surroundings.directory.join(text.text),
            named: true,
        };
    }
    let state = (surroundings.env)("STATE_DIRECTORY");
    let state = state.as_deref().and_then(|list| list.split(':').next());
    let state = state.filter(|first| !first.is_empty());
    BookingsFile {
        path: Path::new(state.unwrap_or(STATE_DIRECTORY)).join(BOOKINGS),
        named: false,
    }
}

fn adders(table: &Table<'_>, providers: &[Draft<'_>]) -> Vec<(String, Price)> {
    let adders = table.table("adders");
    let read = |(name, value): (Text<'_>, Value<'_>)| {
        if !providers.iter().any(|it| it.location() == name.text) {
            name.at.fail(format!(
                "expected a provider's `location`, or the jurisdiction of one that has none: \
                 nobody is at {:?}",
                name.text
            ));
        }
        Some((name.text.to_owned(), value.price()?))
    };
    adders.named().into_iter().filter_map(read).collect()
}

/// What each `[[reservation]]` is read against.
pub(super) struct Context<'c, 't> {
    pub(super) keys: &'c Names<'t>,
    pub(super) providers: &'c [Draft<'t>],
    pub(super) provider_names: &'c Names<'t>,
}

/// Reads `[[reservation]]`; together they must fit at every instant.
pub(super) fn reservations(
    tables: Vec<Table<'_>>,
    context: &Context<'_, '_>,
) -> Vec<Option<Reservation>> {
    let mut calendar = calendar(context.providers);
    if let Some(first_too_many) = tables.get(RESERVATIONS_MAX) {
        first_too_many.fail(format!(
            "expected at most {RESERVATIONS_MAX} tables [[reservation]]"
        ));
    }
    let tables = tables.into_iter().take(RESERVATIONS_MAX);
    tables
        .map(|table| reservation(table, context, &mut calendar))
        .collect()
}

type Book = Calendar<usize, Jurisdiction>;

/// The capacities that reservations are booked against; a provider is its position.
fn calendar(providers: &[Draft<'_>]) -> Book {
    let supply = |(provider, draft): (usize, &Draft<'_>)| {
        Some(Capacity {
            provider,
            zone: draft.jurisdiction?,
            slots: draft.capacity?.get(),
        })
    };
    let supplies = providers.iter().enumerate().filter_map(supply);
    Calendar::new(supplies.collect())
}

fn reservation(
    table: Table<'_>,
    context: &Context<'_, '_>,
    calendar: &mut Book,
) -> Option<Reservation> {
    let key = table.required("key", "the name of a [[key]]");
    let key = key.and_then(|value| context.keys.find(&value.text("the name of a [[key]]")?));
    let place = place(&table, context);
    let slots = table
        .required("slots", "a number of slots")
        .map(|_| table.whole("slots", 1, 1..=SLOTS_MAX));
    let (from, until) = (hour(&table, "from"), hour(&table, "until"));
    let read = key.zip(place).zip(slots).zip(from.zip(until));
    let reserved = read.map(|(((key, place), slots), (from, until))| Reservation {
        key,
        place,
        slots,
        from,
        until,
    });
    if let Some(reserved) = &reserved
        && let Err(error) = calendar.book(reserved.booking())
    {
        table.fail(overbooked(&error));
    }
    table.finish();
    reserved
}

fn place(table: &Table<'_>, context: &Context<'_, '_>) -> Option<ReservedAt> {
    const EXPECTED: &str = "either `provider` or `jurisdiction`";
    match (table.get("provider"), table.get("jurisdiction")) {
        (Some(provider), None) => {
            let name = provider.text("a provider's name")?;
            let position = context.provider_names.find(&name)?;
            if context.providers[position].capacity.is_none() {
                provider.fail(format!(
                    "expected a provider with a `capacity`: {:?} has none to reserve of",
                    name.text
                ));
                return None;
            }
            Some(ReservedAt::Provider(position))
        }
        (None, Some(value)) => {
            let jurisdiction = super::instance::code(&value.text("an ISO 3166-1 alpha-2 code")?)?;
            let inside = |it: &&Draft<'_>| it.jurisdiction == Some(jurisdiction);
            let mut inside = context.providers.iter().filter(inside);
            if !inside.any(|it| it.capacity.is_some()) {
                value.fail("expected a jurisdiction where a provider has a `capacity`");
                return None;
            }
            Some(ReservedAt::Jurisdiction(jurisdiction))
        }
        (Some(_), Some(value)) => {
            value.fail(format!("expected {EXPECTED}, not both"));
            None
        }
        (None, None) => {
            table.fail(format!("expected {EXPECTED}"));
            None
        }
    }
}

/// The start of an hour.
fn hour(table: &Table<'_>, key: &'static str) -> Option<Timestamp> {
    const EXPECTED: &str = "a whole hour, such as \"2026-01-01T00:00:00Z\"";
    let value = table.required(key, EXPECTED)?;
    let text = value.text(EXPECTED)?.text;
    let parsed = text.parse::<Timestamp>().ok();
    let whole = |it: &Timestamp| it.as_second() % HOUR == 0 && it.subsec_nanosecond() == 0;
    let hour = parsed.filter(whole);
    if hour.is_none() {
        value.fail(format!("expected {EXPECTED}, found {text:?}"));
    }
    hour
}

/// Why a reservation can't be had, with the hour in words.
pub fn overbooked(error: &Overbooked) -> String {
    match error {
        Overbooked::Full { at, left, asked } => {
            let hour = Timestamp::from_second(*at).map(|it| it.to_string());
            let hour = hour.unwrap_or_else(|_| format!("second {at}"));
            format!("expected at most {left} slots: no more are left at {hour}, found {asked}")
        }
        other => format!("expected a reservation that can be booked: {other}"),
    }
}

impl Reservation {
    /// As the book has it; a provider is its position in the file.
    pub fn booking(&self) -> crate::market::Reservation<usize, Jurisdiction> {
        crate::market::Reservation {
            place: match self.place {
                ReservedAt::Provider(position) => Place::Provider(position),
                ReservedAt::Jurisdiction(zone) => Place::Zone(zone),
            },
            slots: self.slots,
            from: self.from.as_second(),
            until: self.until.as_second(),
        }
    }
}
