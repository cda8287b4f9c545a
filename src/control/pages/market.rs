//! The market, as operators and their tools see it.

use serde::Serialize;

use crate::base::ProviderId;
use crate::control::desk::{Desk, Outcome};
use crate::control::market::{Booking, Origin, Point, Stack};
use crate::market::occupancy::Share;
use crate::market::{Bid, Occupancy, Offer, Place};
use crate::tables::routes::Provider;
use crate::telemetry::exposition::{Exposition, Kind};
use crate::telemetry::{AttemptResult, WaitEnd};

#[derive(Serialize)]
struct MarketPage<'a> {
    /// When this was written.
    at: String,
    currency: Option<&'a str>,
    interval_seconds: u64,
    price_cap: String,
    locations: Vec<LocationState<'a>>,
    reservations: Vec<ReservationState<'a>>,
}

#[derive(Serialize)]
struct LocationState<'a> {
    location: &'a str,
    /// What floating work costs now.
    price: String,
    /// The spot supply of this hour, the cheapest first.
    supply: Vec<OfferState<'a>>,
    /// What was asked for in the interval before the last clearing, the highest limit first.
    demand: Vec<BidState>,
    /// Floating calls that have lost their slots since the last clearing.
    curtailed: u64,
    providers: Vec<SlotState<'a>>,
    /// Calls that wait for a slot here.
    waiting: u32,
    /// Clearings of the last 24 h, the oldest first.
    history: Vec<Clearing>,
    /// The supply that they were made with: each stack until the next.
    stacks: Vec<StackState<'a>>,
}

#[derive(Serialize)]
struct StackState<'a> {
    at: String,
    supply: Vec<OfferState<'a>>,
}

#[derive(Serialize)]
struct BidState {
    limit: String,
    slots: f64,
}

#[derive(Serialize)]
struct OfferState<'a> {
    provider: &'a str,
    price: String,
    slots: u64,
}

#[derive(Serialize)]
struct SlotState<'a> {
    provider: &'a str,
    capacity: u32,
    reserved: u32,
    firm: u32,
    floating: u32,
    curtailed: u64,
}

#[derive(Serialize)]
struct Clearing {
    at: String,
    price: String,
    /// In slots.
    offered: f64,
    asked: f64,
    sold: f64,
    curtailed: u64,
}

#[derive(Serialize)]
struct ReservationState<'a> {
    /// By which it is cancelled; none: it stands in the configuration.
    id: Option<String>,
    origin: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jurisdiction: Option<&'static str>,
    slots: u32,
    from: String,
    until: String,
}

fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn slots(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

fn firm(occupancy: Occupancy) -> u32 {
    occupancy.count(Share::Own) + occupancy.count(Share::Zone)
}

/// Providers with a capacity.
fn bounded(desk: &Desk) -> impl Iterator<Item = (&Provider, u32)> {
    let providers = desk.routes.providers.iter();
    providers.filter_map(|provider| Some((provider, provider.capacity?.get())))
}

/// `/srp/v1/market`
pub fn market(desk: &Desk) -> String {
    let now = jiff::Timestamp::now().as_second();
    let market = &desk.config.market;
    let exchange = desk.trading.exchange();
    let names = desk.names().read();
    let offers = |offers: &[(ProviderId, Offer)]| -> Vec<OfferState> {
        let state = |(provider, offer): &(ProviderId, Offer)| OfferState {
            provider: names.provider(*provider),
            price: offer.price.to_string(),
            slots: offer.quantity / 1000,
        };
        offers.iter().map(state).collect()
    };
    let stack = |stack: &Stack| StackState {
        at: time(stack.at),
        supply: offers(&stack.offers),
    };
    let bid = |bid: &Bid| BidState {
        limit: bid.limit.to_string(),
        slots: slots(bid.quantity),
    };
    let locations = exchange
        .history()
        .iter()
        .map(|(location, past)| LocationState {
            location,
            price: past.price().unwrap_or(exchange.cap()).to_string(),
            supply: offers(&exchange.stack(location, now)),
            demand: past.demand().iter().map(bid).collect(),
            curtailed: exchange.curtailed_lately(location),
            providers: slot_states(desk, location),
            waiting: waiting(desk, location),
            history: past.points().iter().map(clearing).collect(),
            stacks: past.stacks().iter().map(stack).collect(),
        });
    let page = MarketPage {
        at: time(now),
        currency: desk.config.instance.currency.as_deref(),
        interval_seconds: market.interval.as_secs(),
        price_cap: market.price_cap.to_string(),
        locations: locations.collect(),
        reservations: reservations(desk),
    };
    // Strings, numbers and lists: nothing that JSON can't hold.
    serde_json::to_string(&page).unwrap_or_default()
}

fn name(desk: &Desk, id: ProviderId) -> &str {
    let mut providers = desk.routes.providers.iter();
    let provider = providers.find(|provider| provider.id == id);
    provider.map_or("?", |provider| &provider.name)
}

fn clearing(point: &Point) -> Clearing {
    let cleared = &point.cleared;
    Clearing {
        at: time(point.at),
        price: cleared.price.to_string(),
        offered: slots(cleared.offered),
        asked: slots(cleared.asked),
        sold: slots(cleared.sold),
        curtailed: point.curtailed,
    }
}

/// How many wait at a location.
fn waiting(desk: &Desk, location: &str) -> u32 {
    let mut stalls = desk.trading.exchange().stalls().iter();
    let first = stalls.find(|stall| stall.location == location);
    first.map_or(0, |stall| desk.board.market().lines().count(stall.provider))
}

fn slot_states<'d>(desk: &'d Desk, location: &str) -> Vec<SlotState<'d>> {
    let market = desk.board.market();
    let stalls = desk.trading.exchange().stalls().iter();
    let here = stalls.filter(|stall| stall.location == location);
    here.map(|stall| {
        let occupancy = market.occupancy(stall.provider);
        SlotState {
            provider: name(desk, stall.provider),
            capacity: stall.capacity,
            reserved: market.reserved(stall.provider),
            firm: firm(occupancy),
            floating: occupancy.count(Share::Floating),
            curtailed: desk.sum(|core| core.attempts(stall.provider, AttemptResult::Curtailed)),
        }
    })
    .collect()
}

fn reservations(desk: &Desk) -> Vec<ReservationState<'_>> {
    let bookings = desk.trading.exchange().book().bookings().iter();
    bookings.map(|booking| state(desk, booking)).collect()
}

fn state<'d>(desk: &'d Desk, booking: &Booking) -> ReservationState<'d> {
    let (provider, jurisdiction) = match booking.reservation.place {
        Place::Provider(id) => (Some(name(desk, id)), None),
        Place::Zone(zone) => (None, Some(zone.code())),
    };
    let (id, origin) = match booking.origin {
        Origin::File => (None, "file"),
        Origin::Booked(_) => (Some(booking.origin.to_string()), "booked"),
    };
    ReservationState {
        id,
        origin,
        key: owner(desk, booking),
        provider,
        jurisdiction,
        slots: booking.reservation.slots,
        from: time(booking.reservation.from),
        until: time(booking.reservation.until),
    }
}

#[derive(Serialize)]
struct ReservationsPage<'a> {
    reservations: Vec<ReservationState<'a>>,
}

/// `/srp/v1/reservations`: those of the file, then what was booked.
pub fn all_reservations(desk: &Desk) -> String {
    let page = ReservationsPage {
        reservations: reservations(desk),
    };
    // As above.
    serde_json::to_string(&page).unwrap_or_default()
}

/// One booking; none if there is none of that number.
pub fn reservation(desk: &Desk, number: u64) -> Option<String> {
    let mut bookings = desk.trading.exchange().book().bookings().iter();
    let booking = bookings.find(|it| it.origin == Origin::Booked(number))?;
    // As above.
    Some(serde_json::to_string(&state(desk, booking)).unwrap_or_default())
}

fn owner<'d>(desk: &'d Desk, booking: &Booking) -> &'d str {
    let of = |key: &&crate::config::Key| {
        let known = desk.routes.keys.get(&key.sha256);
        known.is_some_and(|known| known.id == booking.key)
    };
    let owner = desk.config.keys.iter().find(of);
    owner.map_or("?", |key| &key.name)
}

/// The market's part of `/metrics`.
pub fn metrics(desk: &Desk, page: &mut Exposition) {
    let market = desk.board.market();
    page.family(
        "srpd_slots",
        Kind::Gauge,
        "Slots of a provider with a capacity that calls occupy.",
    );
    for (provider, _) in bounded(desk) {
        let occupancy = market.occupancy(provider.id);
        let floating = occupancy.count(Share::Floating);
        for (supply, count) in [("firm", firm(occupancy)), ("floating", floating)] {
            let labels = [("provider", &*provider.name), ("supply", supply)];
            page.sample(&labels, count.into());
        }
    }
    page.family("srpd_slots_capacity", Kind::Gauge, "Slots of a provider.");
    for (provider, capacity) in bounded(desk) {
        page.sample(&[("provider", &provider.name)], capacity.into());
    }
    reserve_metrics(desk, page);
    booking_metrics(desk, page);
    wait_metrics(desk, page);
    page.family(
        "srpd_market_price",
        Kind::Gauge,
        "What floating work costs at a location, per million tokens.",
    );
    for (location, past) in desk.trading.exchange().history() {
        if let Some(price) = past.price() {
            let price = price.micros() as f64 / 1e6;
            page.sample_float(&[("location", location)], price);
        }
    }
}

fn booking_metrics(desk: &Desk, page: &mut Exposition) {
    page.family(
        "srpd_bookings",
        Kind::Gauge,
        "Reservations that were booked and are not over.",
    );
    page.sample(&[], desk.trading.orders().len() as u64);
    page.family(
        "srpd_booking_changes_total",
        Kind::Counter,
        "Reservations that were to be booked or cancelled, and what became of it.",
    );
    let counter = &desk.counter;
    for (change, tally) in [("reserve", counter.reserved), ("cancel", counter.cancelled)] {
        for (outcome, name) in Outcome::ALL {
            page.sample(&[("change", change), ("outcome", name)], tally.of(outcome));
        }
    }
}

fn wait_metrics(desk: &Desk, page: &mut Exposition) {
    page.family(
        "srpd_waiting_calls",
        Kind::Gauge,
        "Calls that wait for a slot, by the location of the cheapest that they wait for.",
    );
    for location in desk.trading.exchange().locations() {
        let count = waiting(desk, &location);
        page.sample(&[("location", &location)], count.into());
    }
    page.family(
        "srpd_waits_total",
        Kind::Counter,
        "Waits for a slot that have ended, or were not begun.",
    );
    for end in WaitEnd::ALL {
        let count = desk.sum(|core| core.waits.count(end));
        page.sample(&[("end", end.label())], count);
    }
    page.family(
        "srpd_waited_seconds_total",
        Kind::Counter,
        "How long those calls waited, all together.",
    );
    let waited = desk.sum(|core| core.waits.waited_us());
    page.sample_float(&[], waited as f64 / 1e6);
}

fn reserve_metrics(desk: &Desk, page: &mut Exposition) {
    type Labels<'d> = [(&'static str, &'d str); 3];
    let mut rows: Vec<(Labels<'_>, [u32; 2])> = Vec::new();
    for key in &desk.config.keys {
        let Some(known) = desk.routes.keys.get(&key.sha256) else {
            continue;
        };
        for right in desk.routes.rights_of(known) {
            let Some(reserve) = desk.routes.reserves.get(right.reserve.index()) else {
                continue;
            };
            let (provider, jurisdiction) = match right.place {
                Place::Provider(id) => (name(desk, id), ""),
                Place::Zone(zone) => ("", zone.code()),
            };
            let labels = [
                ("key", key.name.as_str()),
                ("provider", provider),
                ("jurisdiction", jurisdiction),
            ];
            rows.push((labels, [reserve.slots(), reserve.used()]));
        }
    }
    let families = [
        (
            "srpd_reserved_slots",
            "Slots that a key has reserved in this hour.",
        ),
        (
            "srpd_reserved_slots_in_use",
            "Slots of them that calls occupy.",
        ),
    ];
    for (at, (name, help)) in families.into_iter().enumerate() {
        page.family(name, Kind::Gauge, help);
        for (labels, counts) in &rows {
            page.sample(labels, counts[at].into());
        }
    }
}
