//! Firm and floating calls (SRP sections 7 and 8), seen from clients and from providers.

use std::time::{Duration, Instant};

use crate::balance::{begin, endless};
use crate::support::{Ask, Client, Instance, Reply, Setup, Upstream, delta, eventually, ms};

pub const FIRM: &str = "firm-key";
pub const FLOATER: &str = "floater-key";

/// Reservations that hold now, whenever that is.
fn reserved(key: &str, place: &str, slots: u32) -> String {
    format!(
        "[[reservation]]\nkey = \"{key}\"\n{place}\nslots = {slots}\n\
         from = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\n"
    )
}

const AT_FLEET: &str = "provider = \"fleet\"";

/// The provider `fleet` in au with two slots, of which `firm` has reserved one, and the backstop
/// with as many as come; both serve `smart`.
fn setup(fleet: &Upstream, backstop: &Upstream) -> Setup {
    keys(
        Setup::bare(&backstop.url())
            .provider("fleet", "au", &[&fleet.url()], "capacity = 2\nprice = 0.6")
            .more("aloomu", "price = 2.4")
            .capability("smart", &["fleet"], ""),
    )
    .raw(&reserved("firm", AT_FLEET, 1))
}

fn keys(setup: Setup) -> Setup {
    setup
        .key("firm", FIRM, "capabilities = [\"*\"]\nsupply = \"firm\"")
        .key("floater", FLOATER, "capabilities = [\"*\"]")
}

/// `fleet` is all there is: the backstop has no slot that a call of `smart` could use.
pub fn fleet_only(fleet: &Upstream, backstop: &Upstream) -> Setup {
    keys(
        Setup::bare(&backstop.url())
            .provider("fleet", "nz", &[&fleet.url()], "capacity = 2\nprice = 0.6")
            .capability("smart", &["fleet"], "residency = \"nz-only\""),
    )
    .raw(&reserved("firm", AT_FLEET, 1))
}

fn upstreams(fleet: Reply) -> (Upstream, Upstream) {
    (
        Upstream::always(fleet),
        Upstream::always(Reply::chat("home")),
    )
}

pub fn in_use(srpd: &Instance, supply: &str) -> f64 {
    srpd.metric("srpd_slots", &["fleet", supply])
}

#[test]
fn a_response_says_what_it_was_served_as_and_at_which_price() {
    let (fleet, backstop) = upstreams(Reply::chat("fleet"));
    let srpd = setup(&fleet, &backstop).start();
    for (key, supply) in [(FIRM, "firm"), (FLOATER, "floating")] {
        let response = srpd.ask(&Ask::chat("smart").key(key));
        assert_eq!(response.said(), "fleet");
        assert_eq!(response.field("x-sovereign-supply"), Some(supply));
        assert_eq!(response.field("x-sovereign-price"), Some("0.60"));
    }
    eventually("no slot is in use", || {
        in_use(&srpd, "firm") + in_use(&srpd, "floating") == 0.0
    });
}

#[test]
fn what_a_call_asks_for_wins_over_its_keys_default() {
    let (fleet, backstop) = upstreams(Reply::chat("fleet"));
    let srpd = setup(&fleet, &backstop).start();
    let tier = |tier: &str| {
        let body = format!(r#"{{"model":"smart","messages":[],"service_tier":"{tier}"}}"#);
        Ask::post("/v1/chat/completions", body).key(FIRM)
    };
    let served = |ask: &Ask| {
        let response = srpd.ask(ask);
        assert_eq!(response.status, 200, "{}", response.text());
        response.field("x-sovereign-supply").map(str::to_owned)
    };
    assert_eq!(served(&tier("flex")).as_deref(), Some("floating"));
    assert_eq!(served(&tier("auto")).as_deref(), Some("firm"));
    let header = tier("flex").field("X-Sovereign-Supply", "firm");
    assert_eq!(served(&header).as_deref(), Some("firm"));
    // OpenAI's own field goes on as it is.
    assert_eq!(fleet.last().json()["service_tier"], "flex");
    let unknown = srpd.ask(&tier("gold"));
    unknown.assert_error(
        400,
        "invalid_request_error",
        Some("invalid_service_tier"),
        Some("service_tier"),
    );
}

#[test]
fn firm_needs_a_reservation_and_has_no_more_than_that() {
    let (fleet, backstop) = upstreams(endless());
    let srpd = setup(&fleet, &backstop).start();
    let firm = |key: &str| {
        Ask::stream("smart")
            .key(key)
            .field("X-Sovereign-Supply", "firm")
    };
    let without = srpd.ask(&firm(FLOATER));
    without.assert_error(
        403,
        "permission_error",
        Some("firm_not_reserved"),
        Some("X-Sovereign-Supply"),
    );
    // What it has reserved lies outside of where this call may go.
    let abroad = srpd.ask(&firm(FIRM).field("X-Sovereign-Residency", "us-only"));
    assert_eq!(abroad.status, 403);
    let first = begin(&srpd, &firm(FIRM));
    let second = srpd.ask(&firm(FIRM));
    second.assert_error(429, "capacity_error", Some("firm_exhausted"), None);
    assert!(second.field("retry-after").is_some());
    // Not asked for, it floats, and says so.
    fleet.set_always(Reply::chat("fleet"));
    let floats = srpd.ask(&Ask::chat("smart").key(FIRM));
    assert_eq!(floats.field("x-sovereign-supply"), Some("floating"));
    drop(first);
    eventually("the slot is given back", || in_use(&srpd, "firm") == 0.0);
    assert_eq!(srpd.ask(&firm(FIRM)).status, 200);
}

#[test]
fn floating_work_uses_what_is_idle_and_then_goes_on_or_is_refused() {
    let (fleet, backstop) = upstreams(endless());
    let srpd = setup(&fleet, &backstop).start();
    // Both slots, the reserved one too: its owner is not using it.
    let both = [(); 2].map(|()| begin(&srpd, &Ask::stream("smart").key(FLOATER)));
    assert_eq!(in_use(&srpd, "floating"), 2.0);
    let next = srpd.ask(&Ask::chat("smart").key(FLOATER));
    assert_eq!(next.said(), "home", "the next cheapest inside the border");
    assert_eq!(next.field("x-sovereign-price"), Some("2.40"));
    drop(both);

    let (fleet, backstop) = upstreams(endless());
    let srpd = fleet_only(&fleet, &backstop).start();
    let _both = [(); 2].map(|()| begin(&srpd, &Ask::stream("smart").key(FLOATER)));
    let refused = srpd.ask(&Ask::chat("smart").key(FLOATER));
    refused.assert_error(429, "capacity_error", Some("floating_unavailable"), None);
    assert!(refused.field("retry-after").is_some());
    assert_eq!(backstop.count(), 0, "never across a border");
}

#[test]
fn a_fleet_whose_replicas_are_all_full_is_full() {
    let [a, b] = [(); 2].map(|()| Upstream::always(endless()));
    let backstop = Upstream::always(Reply::chat("home"));
    let setup = Setup::bare(&backstop.url())
        .provider("fleet", "nz", &[&a.url(), &b.url()], "capacity = 2")
        .capability("smart", &["fleet"], "residency = \"nz-only\"");
    let srpd = keys(setup).start();
    let mut both = [(); 2].map(|()| begin(&srpd, &Ask::stream("smart").key(FLOATER)));
    assert_eq!((a.count(), b.count()), (1, 1), "each has its part");
    let ask = Ask::chat("smart").key(FLOATER);
    let refused = srpd.ask(&ask);
    refused.assert_error(429, "capacity_error", Some("floating_unavailable"), None);
    // Who may wait does, until there is a part again.
    let mut waiting = srpd.connect();
    waiting.send(ask.field("x-sovereign-defer", "30").bytes());
    eventually("somebody who waits", || {
        srpd.metric("srpd_waiting_calls", &["nz"]) == 1.0
    });
    for upstream in [&a, &b] {
        upstream.set_always(Reply::chat("hi"));
    }
    let [first, _second] = &mut both;
    *first = srpd.connect();
    assert_eq!(waiting.response().said(), "hi");
}

#[test]
fn nobody_pays_more_than_it_said() {
    let (fleet, backstop) = upstreams(endless());
    let srpd = setup(&fleet, &backstop).start();
    let at_most = |price: &str| {
        Ask::chat("smart")
            .key(FLOATER)
            .field("X-Sovereign-Max-Price", price)
    };
    let cheap = srpd.ask(&at_most("0.59"));
    cheap.assert_error(429, "capacity_error", Some("price_above_limit"), None);
    assert_eq!((fleet.count(), backstop.count()), (0, 0));
    let _both = [(); 2].map(|()| begin(&srpd, &Ask::stream("smart").key(FLOATER)));
    // What it would pay for is full: to say that it costs too much would be half the truth.
    let full = srpd.ask(&at_most("2.39"));
    full.assert_error(429, "capacity_error", Some("floating_unavailable"), None);
    assert_eq!(srpd.ask(&at_most("2.40")).said(), "home");
    let odd = srpd.ask(&at_most("2,40"));
    let about = Some("X-Sovereign-Max-Price");
    odd.assert_error(
        400,
        "invalid_request_error",
        Some("invalid_max_price"),
        about,
    );
}

#[test]
fn the_cheapest_comes_first_but_never_one_beyond_the_border() {
    let [far, near, dear] = ["far", "near", "dear"].map(|name| Upstream::always(Reply::chat(name)));
    let backstop = Upstream::always(Reply::chat("home"));
    let setup = Setup::bare(&backstop.url())
        .provider("dear", "au", &[&dear.url()], "price = 3")
        .provider("far", "us", &[&far.url()], "price = 0.1")
        .provider(
            "near",
            "au",
            &[&near.url()],
            "price = 0.6\nlocation = \"au-per\"",
        )
        .more("aloomu", "price = 2.4");
    let market = |order: &str, adder: &str| {
        keys(setup.clone())
            .capability("smart", &["dear", "far", "near"], order)
            .section("market", &format!("adders = {{ \"au-per\" = {adder} }}"))
            .start()
    };
    let srpd = market("", "0.0");
    let from_au = Ask::chat("smart")
        .key(FLOATER)
        .field("X-Sovereign-Residency", "au-only");
    assert_eq!(srpd.ask(&Ask::chat("smart").key(FLOATER)).said(), "far");
    assert_eq!(srpd.ask(&from_au).said(), "near");
    // Firm work without a reservation floats; with the price of where its work lands.
    let congested = market("", "2.0");
    let response = congested.ask(&from_au);
    assert_eq!(response.said(), "home");
    near.set_always(Reply::failure(500));
    backstop.set_always(Reply::failure(500));
    let response = srpd.ask(&from_au);
    assert_eq!((response.said().as_str(), far.count()), ("dear", 1));
}

#[test]
fn firm_work_goes_where_it_is_reserved_and_then_along_the_chain() {
    let [first, second] = ["first", "second"].map(|name| Upstream::always(Reply::chat(name)));
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = keys(
        Setup::bare(&backstop.url())
            .provider("first", "au", &[&first.url()], "price = 3")
            .provider("fleet", "au", &[&second.url()], "price = 9\ncapacity = 4"),
    )
    .capability("smart", &["first", "fleet"], "")
    .raw(&reserved("firm", AT_FLEET, 2))
    .patient_breakers()
    .start();
    let firm = Ask::chat("smart")
        .key(FIRM)
        .field("X-Sovereign-Supply", "firm");
    let response = srpd.ask(&firm);
    assert_eq!(
        (
            response.said().as_str(),
            response.field("x-sovereign-supply")
        ),
        ("second", Some("firm"))
    );
    second.set_always(Reply::failure(500));
    let response = srpd.ask(&firm);
    assert_eq!(
        (
            response.said().as_str(),
            response.field("x-sovereign-supply")
        ),
        ("first", Some("firm"))
    );
    assert_eq!(in_use(&srpd, "firm"), 0.0);
}

fn curtailed(client: &mut Client) -> (String, Instant) {
    let rest = String::from_utf8_lossy(&client.rest().0).into_owned();
    (rest, Instant::now())
}

#[test]
fn a_firm_call_displaces_the_lowest_bid_and_then_the_youngest() {
    let (fleet, backstop) = upstreams(endless());
    let srpd = fleet_only(&fleet, &backstop).start();
    let bids = |price: &str| {
        Ask::stream("smart")
            .key(FLOATER)
            .field("X-Sovereign-Max-Price", price)
    };
    let rich = begin(&srpd, &bids("9"));
    let mut poor = begin(&srpd, &bids("4"));
    let asked = Instant::now();
    let firm = begin(&srpd, &Ask::stream("smart").key(FIRM));
    let (rest, told) = curtailed(&mut poor);
    assert!(told - asked < ms(500), "{:?}", told - asked);
    assert!(
        rest.contains(r#""code":"curtailed""#) && !rest.contains("[DONE]"),
        "{rest}"
    );
    eventually("its provider is left alone", || fleet.closed() == 1);
    assert_eq!(
        (in_use(&srpd, "firm"), in_use(&srpd, "floating")),
        (1.0, 1.0)
    );
    assert_eq!(srpd.metric("srpd_attempts_total", &["curtailed"]), 1.0);
    // The other has not been touched.
    drop(firm);
    eventually("its slot is given back", || in_use(&srpd, "firm") == 0.0);
    assert_eq!(in_use(&srpd, "floating"), 1.0);
    drop(rich);
    eventually("all slots are given back", || in_use(&srpd, "") == 0.0);
    assert_eq!(
        srpd.metric("srpd_breaker_transitions_total", &["to=\"open\""]),
        0.0
    );
}

#[test]
fn who_has_to_go_is_told_within_ten_milliseconds() {
    let (fleet, backstop) = upstreams(endless());
    let srpd = fleet_only(&fleet, &backstop).start();
    let took = || {
        let mut both = ["9", "4"].map(|price| {
            let ask = Ask::stream("smart").key(FLOATER);
            begin(&srpd, &ask.field("X-Sovereign-Max-Price", price))
        });
        let asked = Instant::now();
        let firm = begin(&srpd, &Ask::stream("smart").key(FIRM));
        let [_, poor] = &mut both;
        let (rest, told) = curtailed(poor);
        assert!(rest.contains("curtailed"), "{rest}");
        drop((firm, both));
        eventually("all slots are given back", || in_use(&srpd, "") == 0.0);
        told - asked
    };
    // A machine that is busy with something else may take its time now and then.
    let mostly = || (0..11).filter(|_| took() <= ms(10)).count() >= 9;
    assert!((0..5).any(|_| mostly()));
}

/// A provider that answers its third call only.
fn silent_twice() -> Upstream {
    let silent = || Reply::new().stall();
    // Whose slot is free again before it is looked for displaces nobody.
    let firm = Reply::new().pause(ms(300)).then(Reply::chat("fleet"));
    Upstream::in_turn(vec![silent(), silent(), firm])
}

/// Two floating calls that wait for such a provider, the first of which bids less; a firm call has
/// taken its slot.
fn displaced(srpd: &Instance, fleet: &Upstream) -> [Client; 2] {
    let waiting = ["4", "9"].map(|price| {
        let ask = Ask::chat("smart").key(FLOATER);
        let mut client = srpd.connect();
        client.send(ask.field("X-Sovereign-Max-Price", price).bytes());
        client
    });
    fleet.wait_requests(2);
    assert_eq!(srpd.ask(&Ask::chat("smart").key(FIRM)).said(), "fleet");
    waiting
}

#[test]
fn before_its_commit_point_a_curtailed_call_moves_on_unseen() {
    let fleet = silent_twice();
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = setup(&fleet, &backstop).start();
    let [mut poor, _rich] = displaced(&srpd, &fleet);
    eventually("one has moved on", || backstop.count() == 1);
    let moved = poor.response();
    assert_eq!((moved.status, moved.said().as_str()), (200, "home"));
    assert_eq!(moved.field("x-sovereign-attempts"), Some("2"));
}

#[test]
fn a_curtailed_call_with_nowhere_to_go_is_told_when_to_come_back() {
    let fleet = silent_twice();
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = fleet_only(&fleet, &backstop).start();
    let [mut poor, _rich] = displaced(&srpd, &fleet);
    let response = poor.response();
    response.assert_error(429, "capacity_error", Some("curtailed"), None);
    assert!(response.field("retry-after").is_some());
    assert_eq!(backstop.count(), 0);
}

#[test]
fn a_client_that_reads_nothing_loses_its_slot_all_the_same() {
    let flood = Reply::events().event(&delta("one"));
    let flood = (0..4000).fold(flood, |reply, _| reply.event(&delta(&"x".repeat(4000))));
    let (fleet, backstop) = upstreams(flood.stall());
    let srpd = fleet_only(&fleet, &backstop).start();
    let _slow = [(); 2].map(|()| begin(&srpd, &Ask::stream("smart").key(FLOATER)));
    std::thread::sleep(ms(300));
    fleet.set_always(Reply::new().pause(ms(300)).then(Reply::chat("fleet")));
    assert_eq!(srpd.ask(&Ask::chat("smart").key(FIRM)).said(), "fleet");
    eventually("the provider is let go", || fleet.closed() >= 1);
    assert_eq!(in_use(&srpd, "floating"), 1.0);
}

#[test]
fn a_reservation_anywhere_in_a_jurisdiction_finds_its_place() {
    let [one, other] = ["one", "other"].map(|_| Upstream::always(endless()));
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = keys(
        Setup::bare(&backstop.url())
            .provider("fleet", "nz", &[&one.url()], "capacity = 1")
            .provider("other", "nz", &[&other.url()], "capacity = 1"),
    )
    .capability("smart", &["fleet", "other"], "residency = \"nz-only\"")
    .raw(&reserved("firm", "jurisdiction = \"nz\"", 2))
    .start();
    let float = begin(&srpd, &Ask::stream("smart").key(FLOATER));
    // Where a slot is idle, before where somebody has to go.
    let first = begin(&srpd, &Ask::stream("smart").key(FIRM));
    assert_eq!((one.count(), other.count()), (1, 1));
    let second = begin(&srpd, &Ask::stream("smart").key(FIRM));
    assert_eq!((one.count(), other.count()), (2, 1));
    eventually("the floating one has gone", || one.closed() == 1);
    drop((float, first, second));
}

#[test]
fn a_reload_changes_reservations_and_counts_what_is_under_way() {
    let (fleet, backstop) = upstreams(endless());
    let setup = fleet_only(&fleet, &backstop);
    let srpd = setup.start();
    let firm = || {
        Ask::stream("smart")
            .key(FIRM)
            .field("X-Sovereign-Supply", "firm")
    };
    let first = begin(&srpd, &firm());
    assert_eq!(srpd.ask(&firm()).status, 429);
    srpd.reload(&setup.clone().raw(&reserved("firm", AT_FLEET, 1)));
    eventually("two are reserved", || {
        srpd.metric("srpd_reserved_slots", &["firm", "fleet"]) == 2.0
    });
    let second = begin(&srpd, &firm());
    assert_eq!(srpd.ask(&firm()).status, 429);
    drop((first, second));
    eventually("all slots are given back", || in_use(&srpd, "") == 0.0);
}

#[test]
fn prices_clear_and_are_shown() {
    let (fleet, backstop) = upstreams(endless());
    let srpd = fleet_only(&fleet, &backstop)
        .section("market", "interval = \"1s\"\nprice_cap = 20")
        .start();
    let bids = |price: &str| {
        Ask::stream("smart")
            .key(FLOATER)
            .field("X-Sovereign-Max-Price", price)
    };
    let price = || srpd.metric("srpd_market_price", &["nz"]);
    eventually("nobody asks", || price() == 0.6);
    // One slot is reserved, two are asked for: the lower bid sets the price.
    let both = [begin(&srpd, &bids("9")), begin(&srpd, &bids("4"))];
    crate::support::within(Duration::from_secs(6), "it is scarce", || price() == 4.0);
    let shown = srpd.admin("/srp/v1/market").json();
    let nz = &shown["locations"][0];
    assert_eq!(
        (&nz["location"], &nz["price"]),
        (&"nz".into(), &"4.00".into())
    );
    assert_eq!(nz["supply"][0]["slots"], 1);
    let late = srpd.ask(&bids("3.99"));
    late.assert_error(429, "capacity_error", Some("price_above_limit"), None);
    drop(both);
}
