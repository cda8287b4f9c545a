//! What follows from facts, with explicit times.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::bookings;
use super::super::desk::Desk;
use super::super::discovery::Source;
use super::super::discovery::resolver::Answer;
use super::super::discovery::survey::{Finding, Found};
use super::super::market::Order;
use super::super::market::store::{Store, StoreError};
use super::super::pages;
use super::super::testing::{config, provider};
use crate::base::{Clock, EndpointId, Moment, ProviderId};
use crate::config::Config;
use crate::policy::meter::Rate;
use crate::tables::{BreakerView, Fact, Limit, ProbeOutcome, Stage, Target};
use crate::telemetry::exposition::tests::Page;
use crate::telemetry::{AttemptResult, CoreMetrics, HistogramSlot};

const ALOOMU: ProviderId = ProviderId(0);
const VENDOR: ProviderId = ProviderId(1);
const VENDOR_ENDPOINT: EndpointId = EndpointId(1);

fn desk() -> Desk {
    desk_of(config())
}

/// A desk with two cores that listen.
pub(super) fn desk_of(config: Config) -> Desk {
    let core = || Arc::new(CoreMetrics::new());
    let slot = || Arc::new(HistogramSlot::new());
    let (cores, slots) = (vec![core(), core()], vec![slot(), slot()]);
    let desk =
        Desk::new(config, Default::default(), Clock::new(), cores, slots, 1).expect("a desk");
    desk.cores.iter().for_each(|core| core.listener_opened());
    desk
}

/// What a lookup of a host has found.
pub(super) fn addresses_of(host: &str, addresses: &[&str]) -> Vec<Finding> {
    let records = addresses.iter().map(|it| it.parse().expect("an address"));
    let answer = Answer {
        records: records.collect(),
        ttl: Duration::ZERO,
    };
    vec![Finding {
        source: Source::Name(host.to_owned()),
        result: Ok(Found::Addresses(answer)),
    }]
}

fn failed(at: Moment) -> Fact {
    Fact::Failed {
        provider: VENDOR,
        endpoint: VENDOR_ENDPOINT,
        at,
    }
}

fn shown(desk: &Desk, provider: ProviderId) -> BreakerView {
    desk.board.snapshot().states.provider(provider).breaker
}

#[test]
fn a_batch_of_facts_is_published_once() {
    let mut desk = desk();
    let epoch = desk.board.epoch();
    let now = desk.clock.now();
    desk.take_in(&[failed(now); 4], now);
    assert_eq!(desk.board.epoch(), epoch, "nothing to tell yet");
    desk.take_in(&[failed(now); 9], now);
    assert_eq!(desk.board.epoch(), epoch + 1);
    assert!(matches!(shown(&desk, VENDOR), BreakerView::Open { .. }));
    let snapshot = desk.board.snapshot();
    let endpoint = snapshot.states.endpoint(VENDOR_ENDPOINT);
    assert!(matches!(endpoint.breaker, BreakerView::Open { .. }));
    assert_eq!(shown(&desk, ALOOMU), BreakerView::Closed);
}

#[test]
fn a_success_on_any_core_breaks_a_row_of_failures() {
    let mut desk = desk();
    let now = desk.clock.now();
    desk.take_in(&[failed(now); 4], now);
    desk.cores[1].attempt(VENDOR, VENDOR_ENDPOINT, AttemptResult::Succeeded);
    desk.take_in(&[failed(now); 4], now);
    assert_eq!(shown(&desk, VENDOR), BreakerView::Closed);
    desk.take_in(&[failed(now)], now);
    assert!(matches!(shown(&desk, VENDOR), BreakerView::Open { .. }));
}

#[test]
fn half_of_twenty_outcomes_open_it_though_no_five_are_in_a_row() {
    let mut desk = desk();
    let now = desk.clock.now();
    for round in 0..10 {
        assert_eq!(shown(&desk, VENDOR), BreakerView::Closed, "round {round}");
        desk.cores[round % 2].attempt(VENDOR, VENDOR_ENDPOINT, AttemptResult::Succeeded);
        desk.tick(now);
        desk.take_in(&[failed(now)], now);
    }
    assert!(matches!(shown(&desk, VENDOR), BreakerView::Open { .. }));
}

#[test]
fn every_trip_is_answered_also_one_that_finds_the_breaker_open() {
    let mut desk = desk();
    let now = desk.clock.now();
    let target = Target::Provider(VENDOR);
    let generation = |desk: &Desk| desk.board.snapshot().states.provider(VENDOR).generation;
    desk.take_in(&[Fact::Tripped { target, at: now }], now);
    assert_eq!(generation(&desk), 1);
    let open = shown(&desk, VENDOR);
    // Calls that were in flight when it opened have failed since, and tripped that core again.
    desk.take_in(&[Fact::Tripped { target, at: now }], now);
    assert_eq!(generation(&desk), 2);
    assert_eq!(shown(&desk, VENDOR), open, "nothing else has changed");
}

#[test]
fn a_probes_slot_is_free_when_its_result_is_shown() {
    let mut desk = desk();
    let now = desk.clock.now();
    let target = Target::Provider(VENDOR);
    desk.take_in(&[Fact::Tripped { target, at: now }], now);
    let BreakerView::Open { until } = shown(&desk, VENDOR) else {
        panic!("closed");
    };
    for (outcome, closed) in [
        (ProbeOutcome::Neutral, false),
        (ProbeOutcome::Succeeded, false),
        (ProbeOutcome::Succeeded, true),
    ] {
        assert!(desk.board.take_probe(target));
        assert!(!desk.board.take_probe(target), "one at a time");
        let fact = Fact::Probe {
            target,
            outcome,
            at: until,
        };
        desk.take_in(&[fact], until);
        assert_eq!(shown(&desk, VENDOR) == BreakerView::Closed, closed);
    }
    assert!(desk.board.take_probe(target));
}

#[test]
fn a_probe_whose_result_is_lost_does_not_keep_the_target_out() {
    let mut desk = desk();
    let target = Target::Endpoint(VENDOR_ENDPOINT);
    assert!(desk.board.take_probe(target));
    let start = desk.clock.now();
    let after = |seconds: u64| Moment(start.0 + seconds * 1_000_000);
    desk.tick(start);
    desk.tick(after(600));
    assert!(!desk.board.take_probe(target), "a call may last 600 s");
    desk.tick(after(606));
    assert!(desk.board.take_probe(target));
}

#[test]
fn an_extended_gate_waits_for_the_tick() {
    let mut desk = desk();
    let now = desk.clock.now();
    let target = Target::Provider(VENDOR);
    let gate = |seconds: u64| Fact::Gated {
        target,
        until: Moment(now.0 + seconds * 1_000_000),
    };
    let gated = |desk: &Desk| desk.board.snapshot().states.provider(VENDOR).gated_until;
    desk.take_in(&[gate(5)], now);
    assert_eq!(gated(&desk).micros_since(now), 5_000_000);
    let epoch = desk.board.epoch();
    desk.take_in(&[gate(6)], now);
    assert_eq!(desk.board.epoch(), epoch);
    desk.tick(now);
    assert_eq!(gated(&desk).micros_since(now), 6_000_000);
    desk.tick(now);
    assert_eq!(desk.board.epoch(), epoch + 1);
}

#[test]
fn repeats_stay_within_a_fifth_of_the_calls() {
    let mut desk = desk();
    let now = desk.clock.now();
    let take_all = |desk: &Desk| (0..1000).filter(|_| desk.board.take_repeat(VENDOR)).count();
    assert_eq!(take_all(&desk), 3, "the minimum, before any call");
    for call in 0..100 {
        desk.cores[call % 2].attempt_started(VENDOR, false);
    }
    desk.tick(now);
    assert_eq!(take_all(&desk), 17);
    desk.tick(now);
    assert_eq!(take_all(&desk), 0);
    let later = Moment(now.0 + 11_000_000);
    desk.tick(later);
    assert_eq!(take_all(&desk), 3);
}

#[test]
fn ready_means_that_every_capability_can_be_served() {
    let mut desk = desk();
    let now = desk.clock.now();
    assert_eq!(pages::unready(&desk, now), [""; 0]);
    let trip = |target| Fact::Tripped { target, at: now };
    desk.take_in(&[trip(Target::Provider(ALOOMU))], now);
    let reasons = pages::unready(&desk, now);
    assert_eq!(reasons, ["capability sovereign has no eligible provider"]);
    desk.take_in(&[trip(Target::Endpoint(VENDOR_ENDPOINT))], now);
    assert_eq!(
        pages::unready(&desk, now).len(),
        2,
        "smart has none left either"
    );
    let half_open = Moment(now.0 + 2_000_000);
    assert_eq!(pages::unready(&desk, half_open), [""; 0]);
    desk.cores[1].listener_closed();
    assert_eq!(
        pages::unready(&desk, half_open),
        ["1 of 2 cores don't listen"]
    );
    desk.begin_drain(Stage::Ending);
    assert_eq!(pages::unready(&desk, half_open), ["draining"]);
}

#[test]
fn a_reload_keeps_what_is_known_of_a_target() {
    let mut desk = desk();
    let now = desk.clock.now();
    let target = Target::Provider(VENDOR);
    desk.take_in(&[Fact::Tripped { target, at: now }], now);
    let mut without = config();
    without.providers.pop();
    without.capabilities.remove(0);
    without.capabilities[0].chain = vec![0];
    without.keys.clear();
    desk.put_in_force(without, Vec::new()).expect("valid");
    assert_eq!(desk.board.snapshot().routes.providers.len(), 1);
    let mut back = config();
    back.providers
        .push(provider("vendor-nz", "nz", "http://127.0.0.1:9131"));
    desk.put_in_force(back, Vec::new()).expect("valid");
    let snapshot = desk.board.snapshot();
    assert_eq!(snapshot.routes.providers[1].id, VENDOR);
    assert_eq!(snapshot.routes.providers[2].id, ProviderId(2));
    assert!(matches!(shown(&desk, VENDOR), BreakerView::Open { .. }));
}

#[test]
fn what_is_new_or_has_returned_begins_with_a_small_share() {
    let mut desk = desk();
    let share = |desk: &Desk, endpoint| {
        let load = desk.board.loads().of(EndpointId(endpoint));
        load.burden(desk.clock.now()).share
    };
    let mut grown = config();
    let more = provider("x", "us", "http://127.0.0.1:9199").endpoints;
    grown.providers[1].endpoints.extend(more);
    desk.put_in_force(grown, Vec::new()).expect("valid");
    assert_eq!([share(&desk, 0), share(&desk, 1)], [1.0, 1.0]);
    assert!(share(&desk, 2) < 0.5, "new in the list");
    let now = desk.clock.now();
    desk.take_in(&[failed(now); 5], now);
    let probed = Fact::Probe {
        target: Target::Endpoint(VENDOR_ENDPOINT),
        outcome: ProbeOutcome::Succeeded,
        at: Moment(u64::MAX / 2),
    };
    desk.take_in(&[probed; 2], now);
    let states = &desk.board.snapshot().states;
    let breaker = states.endpoint(VENDOR_ENDPOINT).breaker;
    assert_eq!(breaker, BreakerView::Closed);
    assert!(share(&desk, 1) < 0.5, "its breaker has closed");
}

#[test]
fn a_limit_changes_with_a_reload_and_what_is_used_stays_used() {
    let mut desk = desk();
    let now = desk.clock.now();
    let meter = |desk: &Desk| Arc::clone(&desk.board.snapshot().routes.meters[0]);
    let assert_left = |desk: &Desk, limit: u64, left: u64| {
        let standing = meter(desk).requests().standing(0, 0, now);
        let standing = standing.expect("a limit");
        assert_eq!(standing.limit, limit);
        // One comes each second, and one may have come meanwhile.
        assert!((left..=left + 1).contains(&standing.left), "{standing:?}");
    };
    assert_left(&desk, 60, 60);
    assert_eq!(meter(&desk).requests().take(45, now), 45);
    let limited = |requests: u64, tokens: u64| {
        let mut config = config();
        config.keys[1].requests = Rate::new(requests);
        config.keys[1].tokens = Rate::new(tokens);
        config
    };
    desk.put_in_force(limited(50, 7), Vec::new())
        .expect("valid");
    assert_left(&desk, 50, 5);
    let tokens = meter(&desk).tokens().rate();
    assert_eq!(tokens, Rate::new(7));
    // Without the key, without its limits, and back again.
    let mut without = config();
    without.keys.truncate(1);
    desk.put_in_force(without, Vec::new()).expect("valid");
    assert!(desk.board.snapshot().routes.meters.len() == 1);
    desk.put_in_force(limited(0, 0), Vec::new()).expect("valid");
    let key = &desk.config.keys[1];
    assert!(desk.meter(key).is_none());
    desk.put_in_force(limited(56, 0), Vec::new())
        .expect("valid");
    assert_left(&desk, 56, 11);
    assert_eq!(meter(&desk).tokens().rate(), None);
    // A limit of another key is its own.
    let mut other = limited(56, 0);
    other.keys[0].requests = Rate::new(3);
    desk.put_in_force(other, Vec::new()).expect("valid");
    let routes = &desk.board.snapshot().routes;
    assert_eq!(routes.meters[1].requests().rate(), Rate::new(3));
    assert_left(&desk, 56, 11);
}

#[test]
fn a_name_outside_its_pins_is_refused_and_a_failed_lookup_changes_nothing() {
    let mut desk = desk();
    let mut pinned = config();
    pinned.providers[0].endpoints[0].host = "inference.example".into();
    pinned.providers[0].addresses = vec!["10.0.0.0/8".parse().expect("a range")];
    let addresses = |desk: &Desk| {
        let snapshot = desk.board.snapshot();
        snapshot.routes.providers[0].endpoints[0].addresses.clone()
    };
    let answer = |text: &str| addresses_of("inference.example", &[text]);
    desk.put_in_force(pinned, answer("10.0.0.1"))
        .expect("valid");
    let good = vec!["10.0.0.1:9101".parse().expect("an address")];
    assert_eq!(addresses(&desk), good);
    desk.found(vec![Finding {
        source: Source::Name("inference.example".into()),
        result: Err("no such host".into()),
    }]);
    assert_eq!(addresses(&desk), good);
    desk.found(answer("192.0.2.1"));
    assert!(
        addresses(&desk).is_empty(),
        "moved abroad: never connected to"
    );
    let now = desk.clock.now();
    assert_eq!(pages::unready(&desk, now).len(), 1);
    let page = Page::parse(&pages::metrics(&desk));
    let refused = page.get("srpd_address_refused_total", &[("provider", "aloomu")]);
    assert_eq!(refused, Some(1.0));
    assert_eq!(page.get("srpd_lookup_failures_total", &[]), Some(1.0));
    desk.found(answer("192.0.2.1"));
    let page = Page::parse(&pages::metrics(&desk));
    let refused = page.get("srpd_address_refused_total", &[("provider", "aloomu")]);
    assert_eq!(refused, Some(2.0), "each time that a lookup gives it");
    let now_refused = page.get("srpd_endpoints_refused", &[("provider", "aloomu")]);
    assert_eq!(now_refused, Some(1.0));
    desk.found(answer("10.0.0.2"));
    assert_eq!(
        addresses(&desk),
        ["10.0.0.2:9101".parse().expect("an address")]
    );
}

#[test]
fn the_metrics_page_reads_back() {
    let mut desk = desk();
    let now = desk.clock.now();
    desk.cores[0].attempt(VENDOR, VENDOR_ENDPOINT, AttemptResult::Reset);
    desk.take_in(&[failed(now); 5], now);
    let routes = Arc::clone(&desk.board.snapshot().routes);
    routes.meters[0].add_refused(Limit::Requests, 7);
    let page = Page::parse(&pages::metrics(&desk));
    let vendor = [("provider", "vendor-us"), ("endpoint", "")];
    assert_eq!(page.get("srpd_breaker_state", &vendor), Some(2.0));
    assert_eq!(
        page.sum("srpd_breaker_state"),
        4.0,
        "its endpoint's too, no other"
    );
    let opened = [vendor[0], vendor[1], ("to", "open")];
    assert_eq!(
        page.get("srpd_breaker_transitions_total", &opened),
        Some(1.0)
    );
    assert_eq!(page.get("srpd_epoch", &[]), Some(desk.board.epoch() as f64));
    assert_eq!(
        page.get("srpd_config_last_reload_successful", &[]),
        Some(1.0)
    );
    let expires = page.get(
        "srpd_accreditation_expires_seconds",
        &[("provider", "aloomu")],
    );
    let days = expires.expect("a backstop") / 86_400.0;
    assert!((89.9..=90.0).contains(&days), "{days}");
    let reset = [("provider", "vendor-us"), ("result", "reset")];
    assert_eq!(page.get("srpd_attempts_total", &reset), Some(1.0));
    let limited = [("key", "all"), ("limit", "requests")];
    assert_eq!(page.get("srpd_rate_limited_total", &limited), Some(7.0));
    assert_eq!(page.sum("srpd_rate_limited_total"), 7.0, "no other limit");
}

#[test]
fn the_providers_page_shows_each_target() {
    let mut desk = desk();
    let now = desk.clock.now();
    desk.cores[1].attempt(ALOOMU, EndpointId(0), AttemptResult::Succeeded);
    desk.take_in(&[failed(now); 5], now);
    let page: serde_json::Value = serde_json::from_str(&pages::providers(&desk)).expect("JSON");
    let [aloomu, vendor] = page["providers"].as_array().expect("a list").as_slice() else {
        panic!("{page}");
    };
    assert_eq!(aloomu["backstop"], true);
    assert_eq!(aloomu["endpoints"][0]["successes"], 1);
    assert_eq!(aloomu["breaker"], "closed");
    assert_eq!(vendor["breaker"], "open");
    let open_ms = vendor["open_ms"].as_u64().expect("open");
    assert!((400..=1500).contains(&open_ms), "{open_ms}");
    assert_eq!(vendor["jurisdiction"], "us");
    assert_eq!(vendor["endpoints"][0]["addresses"][0], "127.0.0.1:9121");
    assert!(vendor["gated_ms"].is_null());
    let config = pages::config(&desk);
    assert!(!config.contains("sk-1"), "a secret");
}

/// An order of slots at `aloomu` for this hour and the next.
fn order(key: &str, slots: u32, now: Timestamp) -> Order {
    let hour = |ahead: i64| {
        let second = (now.as_second().div_euclid(3600) + ahead) * 3600;
        Timestamp::from_second(second).expect("a time")
    };
    Order {
        key: key.to_owned(),
        provider: Some("aloomu".into()),
        jurisdiction: None,
        slots,
        from: hour(0),
        until: hour(2),
    }
}

#[test]
fn what_may_be_on_disk_keeps_its_slots_and_what_is_not_has_none() {
    let mut config = config();
    config.providers[0].capacity = NonZeroU32::new(8);
    let mut desk = desk_of(config);
    let now = Timestamp::now();
    let store = Store::new(desk.config.market.bookings.clone());
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let failed = StoreError {
        path: "/nowhere".into(),
        what: full().into(),
    };
    let order = order("acme", 5, now);
    for (number, error, stands) in [(7, failed, 0), (8, store.unsure(full()), 1)] {
        let booked = desk.book(number, order.clone(), now.as_second());
        booked.expect("room");
        let refused = bookings::finish(&mut desk, number, &order, Err(error));
        let said = refused.expect_err("not kept").to_string();
        assert_eq!(said.contains("is not known"), stands == 1, "{said}");
        assert_eq!(desk.trading.orders().len(), stands);
    }
    assert!(desk.book(9, order, now.as_second()).is_err());
}

#[test]
fn a_booking_is_in_force_with_the_tables_that_show_it() {
    let mut config = config();
    config.providers[0].capacity = NonZeroU32::new(8);
    let key = config.keys[0].clone();
    let mut desk = desk_of(config);
    let now = Timestamp::now();
    let order = order(&key.name, 3, now);
    desk.book(7, order, now.as_second()).expect("room");
    // The office ticks while the booking is written to disk.
    desk.trade();
    let epoch = desk.board.epoch();
    desk.show_bookings();
    assert_eq!(desk.board.epoch(), epoch + 1);
    let reserved = |desk: &Desk| {
        let routes = Arc::clone(&desk.board.snapshot().routes);
        let rights = routes.rights_of(&routes.keys[&key.sha256]).to_vec();
        let slots = rights
            .iter()
            .map(|it| routes.reserves[it.reserve.index()].slots());
        slots.collect::<Vec<u32>>()
    };
    assert_eq!(reserved(&desk), [3]);
    assert_eq!(desk.board.market().reserved(ALOOMU), 3);
    let before = Arc::clone(&desk.board.snapshot().routes);
    desk.trading.cancel(7);
    desk.show_bookings();
    assert_eq!(reserved(&desk), [0; 0]);
    // A call that began with the tables of before has no more slots than others.
    let rights = before.rights_of(&before.keys[&key.sha256]);
    assert_eq!(before.reserves[rights[0].reserve.index()].slots(), 0);
    assert_eq!(desk.board.market().reserved(ALOOMU), 0);
}
