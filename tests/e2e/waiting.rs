//! Floating calls that wait for a slot (`X-Sovereign-Defer`, SRP section 7), seen from clients and
//! from providers.

use std::time::{Duration, Instant};

use crate::balance::{begin, endless};
use crate::support::instance::attribute;
use crate::support::{Ask, Client, Instance, Reply, Setup, Upstream, eventually, ms, within};

const FLOATER: &str = "floater-key";
const FIRM: &str = "firm-key";

/// The provider `fleet` in nz with one slot, which is all that `smart` may use.
fn setup(fleet: &Upstream, backstop: &Upstream) -> Setup {
    with_keys(
        Setup::bare(&backstop.url())
            .provider("fleet", "nz", &[&fleet.url()], "capacity = 1\nprice = 0.6")
            .capability("smart", &["fleet"], "residency = \"nz-only\""),
    )
}

fn with_keys(setup: Setup) -> Setup {
    setup.key("floater", FLOATER, "capabilities = [\"*\"]").key(
        "firm",
        FIRM,
        "capabilities = [\"*\"]\nsupply = \"firm\"",
    )
}

fn reserved(place: &str) -> String {
    format!(
        "[[reservation]]\nkey = \"firm\"\n{place}\nslots = 1\n\
         from = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\n"
    )
}

fn upstreams() -> (Upstream, Upstream) {
    let backstop = Upstream::always(Reply::chat("home"));
    (Upstream::always(endless()), backstop)
}

fn ask(seconds: u32) -> Ask {
    let seconds = seconds.to_string();
    Ask::chat("smart")
        .key(FLOATER)
        .field("X-Sovereign-Defer", seconds)
}

fn at_most(ask: Ask, price: &str) -> Ask {
    ask.field("X-Sovereign-Max-Price", price)
}

/// Somebody who has the only slot, until it is dropped.
fn occupant(srpd: &Instance) -> Client {
    begin(srpd, &Ask::stream("smart").key(FLOATER))
}

fn waiting(srpd: &Instance) -> f64 {
    srpd.metric("srpd_waiting_calls", &[])
}

fn ended(srpd: &Instance, end: &str) -> f64 {
    srpd.metric("srpd_waits_total", &[&format!("end=\"{end}\"")])
}

/// Sends a call that waits, and sees it wait.
fn wait(srpd: &Instance, ask: &Ask) -> Client {
    let before = waiting(srpd);
    let mut client = srpd.connect();
    client.send(ask.bytes());
    eventually("it waits", || waiting(srpd) == before + 1.0);
    client
}

#[test]
fn a_call_that_may_wait_is_served_once_a_slot_is_idle() {
    let (fleet, backstop) = upstreams();
    let mut srpd = setup(&fleet, &backstop).start();
    let first = occupant(&srpd);
    let mut client = wait(&srpd, &ask(60).field("x-request-id", "patient"));
    std::thread::sleep(ms(300));
    fleet.set_always(Reply::chat("fleet"));
    let given_back = Instant::now();
    drop(first);
    // A 200 is the first that it hears: nothing is sent while it waits.
    let response = client.response();
    assert!(given_back.elapsed() < ms(500), "{:?}", given_back.elapsed());
    assert_eq!(response.said(), "fleet");
    assert_eq!(response.field("x-sovereign-supply"), Some("floating"));
    assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
    assert_eq!(response.field("x-sovereign-price"), Some("0.60"));
    eventually("it counts", || ended(&srpd, "dispatched") == 1.0);
    assert_eq!(waiting(&srpd), 0.0);
    let waited = srpd.metric("srpd_waited_seconds_total", &[]);
    assert!((0.3..5.0).contains(&waited), "{waited}");
    let logged = srpd.wait_log("the access record", |line| {
        let patient = attribute(line, "request_id")? == "patient";
        patient.then(|| attribute(line, "waited_ms")?.as_f64())?
    });
    assert!((300.0..5000.0).contains(&logged), "{logged}");
    // The connection goes on, and nobody waits where a slot is idle.
    assert_eq!(client.ask(&ask(60)).said(), "fleet");
    assert_eq!(ended(&srpd, "dispatched"), 1.0);
}

#[test]
fn a_slot_that_is_given_back_is_used_within_ten_milliseconds() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let took = || {
        fleet.set_always(endless());
        let first = occupant(&srpd);
        let mut client = wait(&srpd, &ask(60));
        fleet.set_always(Reply::chat("fleet"));
        let given_back = Instant::now();
        drop(first);
        assert_eq!(client.response().said(), "fleet");
        given_back.elapsed()
    };
    // A machine that is busy with something else may take its time now and then.
    let mostly = || (0..11).filter(|_| took() <= ms(10)).count() >= 9;
    assert!((0..5).any(|_| mostly()));
}

#[test]
fn the_highest_bid_is_next_and_then_who_came_first_on_whatever_core() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let first = occupant(&srpd);
    let bids = ["4", "9", "4", "", "9", "2", "9", "", "4", "2"];
    let clients: Vec<Client> = (0..)
        .zip(bids)
        .map(|(number, bid)| {
            let ask = ask(60).field("x-request-id", format!("{bid}-{number}"));
            match bid {
                "" => wait(&srpd, &ask),
                bid => wait(&srpd, &at_most(ask, bid)),
            }
        })
        .collect();
    fleet.set_always(Reply::chat("fleet"));
    drop(first);
    for mut client in clients {
        assert_eq!(client.response().said(), "fleet");
    }
    let served = fleet.requests_since(1);
    let served: Vec<String> = served
        .iter()
        .filter_map(|request| request.field("x-request-id"))
        .collect();
    let expected = [
        "-3", "-7", "9-1", "9-4", "9-6", "4-0", "4-2", "4-8", "2-5", "2-9",
    ];
    assert_eq!(served, expected);
}

#[test]
fn without_leave_to_wait_nobody_is_kept() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let _first = occupant(&srpd);
    let _client = wait(&srpd, &at_most(ask(60), "5"));
    for newcomer in ["4.99", "5", "5.01"] {
        let plain = at_most(Ask::chat("smart").key(FLOATER), newcomer);
        let refused = srpd.ask(&plain);
        refused.assert_error(429, "capacity_error", Some("floating_unavailable"), None);
    }
    // Firm work has its reservation, or it hasn't.
    let firm = ask(60).key(FIRM).field("X-Sovereign-Supply", "firm");
    assert_eq!(srpd.ask(&firm).status, 403);
    assert_eq!(waiting(&srpd), 1.0);
}

#[test]
fn what_can_not_be_read_is_refused_before_the_body() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let refused = |ask: &Ask| {
        let response = srpd.ask(ask);
        let about = Some("X-Sovereign-Defer");
        response.assert_error(400, "invalid_request_error", Some("invalid_defer"), about);
        response.assert_should_retry(false);
    };
    for value in ["", "0", "86401", "1.5", "-1", "soon", "1, 2"] {
        let plain = Ask::chat("smart").key(FLOATER);
        refused(&plain.field("X-Sovereign-Defer", value));
    }
    refused(&ask(1).field("X-Sovereign-Defer", "1"));
    refused(&ask(1).field("Connection", "X-Sovereign-Defer"));
    assert_eq!((fleet.count(), waiting(&srpd)), (0, 0.0));
}

#[test]
fn who_has_waited_long_enough_is_told_what_it_would_have_been() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let _first = occupant(&srpd);
    let asked = Instant::now();
    let full = srpd.ask(&ask(1));
    let waited = asked.elapsed();
    assert!((ms(1000)..ms(2000)).contains(&waited), "{waited:?}");
    full.assert_error(429, "capacity_error", Some("floating_unavailable"), None);
    assert!(full.field("retry-after").is_some());
    let dear = srpd.ask(&at_most(ask(1), "0.5"));
    dear.assert_error(429, "capacity_error", Some("price_above_limit"), None);
    assert_eq!((ended(&srpd, "expired"), waiting(&srpd)), (2.0, 0.0));
}

#[test]
fn who_is_being_served_does_not_wait() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let first = occupant(&srpd);
    let stream = Ask::stream("smart").key(FLOATER);
    let mut second = wait(&srpd, &stream.field("X-Sovereign-Defer", "60"));
    drop(first);
    second.incoming().until("one");
    assert_eq!(waiting(&srpd), 0.0);
    let _third = wait(&srpd, &ask(60));
}

#[test]
fn a_client_that_leaves_leaves_the_line() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    let first = occupant(&srpd);
    let gone = wait(&srpd, &at_most(ask(60), "9"));
    let mut stays = wait(&srpd, &at_most(ask(60), "4"));
    drop(gone);
    eventually("it has left", || waiting(&srpd) == 1.0);
    assert_eq!(ended(&srpd, "gone"), 1.0);
    fleet.set_always(Reply::chat("fleet"));
    drop(first);
    assert_eq!(stays.response().said(), "fleet");
    assert_eq!(fleet.count(), 2, "nothing was sent for who had left");
}

#[test]
fn a_slot_that_comes_as_its_client_leaves_is_not_lost() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop).start();
    for _ in 0..20 {
        fleet.set_always(endless());
        let first = occupant(&srpd);
        let gone = wait(&srpd, &at_most(ask(60), "9"));
        let mut stays = wait(&srpd, &at_most(ask(60), "4"));
        fleet.set_always(Reply::chat("fleet"));
        drop(first);
        drop(gone);
        assert_eq!(stays.response().said(), "fleet");
        eventually("no slot is in use", || {
            srpd.metric("srpd_slots", &[]) == 0.0
        });
    }
    assert_eq!(waiting(&srpd), 0.0);
}

#[test]
fn who_waits_when_the_instance_goes_down_is_told_to_come_again() {
    let (fleet, backstop) = upstreams();
    let mut srpd = setup(&fleet, &backstop).start();
    let first = occupant(&srpd);
    let mut client = wait(&srpd, &ask(3600));
    srpd.signal("TERM");
    let told = client.response();
    told.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    told.assert_should_retry(true);
    assert!(told.field("retry-after").is_some());
    assert_eq!(told.field("connection"), Some("close"));
    drop(first);
    assert!(srpd.wait_exit(Duration::from_secs(5)).success());
}

#[test]
fn a_price_that_falls_releases_those_whose_limit_it_meets() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop)
        .more("fleet", "location = \"akl\"")
        .section("market", "interval = \"1s\"\nprice_cap = 20")
        .start();
    let price = || srpd.metric("srpd_market_price", &["akl"]);
    let first = occupant(&srpd);
    let dear = wait(&srpd, &at_most(ask(60), "9"));
    // One slot, and two who want it: whoever waits is demand, at its bid.
    within(Duration::from_secs(6), "it is scarce", || price() == 9.0);
    let shown = srpd.admin("/srp/v1/market").json();
    assert_eq!(shown["locations"][0]["waiting"], 1, "{shown}");
    let mut client = srpd.connect();
    client.send(at_most(ask(60), "3").bytes());
    eventually("both wait", || waiting(&srpd) == 2.0);
    drop(dear);
    fleet.set_always(Reply::chat("fleet"));
    drop(first);
    let response = client.response();
    assert_eq!(response.said(), "fleet");
    let paid: f64 = response
        .field("x-sovereign-price")
        .and_then(|price| price.parse().ok())
        .expect("a price");
    assert!(paid <= 3.0, "{paid}");
}

#[test]
fn a_curtailed_call_goes_back_to_waiting_unseen() {
    let fleet = Upstream::in_turn(vec![
        Reply::new().stall(),
        endless(),
        Reply::chat("after all"),
    ]);
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = setup(&fleet, &backstop)
        .raw(&reserved("provider = \"fleet\""))
        .start();
    let mut client = srpd.connect();
    client.send(ask(60).bytes());
    fleet.wait_requests(1);
    let firm = begin(&srpd, &Ask::stream("smart").key(FIRM));
    eventually("it waits", || waiting(&srpd) == 1.0);
    assert_eq!(srpd.metric("srpd_attempts_total", &["curtailed"]), 1.0);
    drop(firm);
    let response = client.response();
    assert_eq!(response.said(), "after all");
    assert_eq!(response.field("x-sovereign-attempts"), Some("2"));
    assert_eq!(backstop.count(), 0);
}

#[test]
fn a_provider_that_failed_before_the_wait_does_not_get_the_call_again() {
    let broken = Upstream::always(Reply::failure(500));
    let (fleet, backstop) = upstreams();
    let nz = |setup: Setup, name: &str, of: &Upstream| {
        setup.provider(name, "nz", &[&of.url()], "capacity = 1\nprice = 0.6")
    };
    let setup = nz(Setup::bare(&backstop.url()), "broken", &broken);
    let chain = &["broken", "fleet"];
    let srpd = with_keys(nz(setup, "fleet", &fleet))
        .capability("smart", chain, "residency = \"nz-only\"")
        .patient_breakers()
        .start();
    let first = occupant(&srpd);
    assert_eq!(broken.count(), 1);
    let mut client = wait(&srpd, &ask(60));
    assert_eq!(broken.count(), 2);
    fleet.set_always(Reply::chat("fleet"));
    drop(first);
    let response = client.response();
    assert_eq!((response.said().as_str(), broken.count()), ("fleet", 2));
    assert_eq!(response.field("x-sovereign-attempts"), Some("2"));
}

#[test]
fn so_many_wait_at_a_location_and_no_more() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop)
        .section("market", "waiting_max = 2")
        .start();
    let _first = occupant(&srpd);
    let one = wait(&srpd, &ask(60));
    let _two = wait(&srpd, &ask(60));
    let asked = Instant::now();
    let third = srpd.ask(&ask(60));
    third.assert_error(429, "capacity_error", Some("floating_unavailable"), None);
    assert!(asked.elapsed() < ms(1000));
    assert_eq!(ended(&srpd, "full"), 1.0);
    drop(one);
    eventually("one has left", || waiting(&srpd) == 1.0);
    let _three = wait(&srpd, &ask(60));
}

#[test]
fn a_wait_is_no_part_of_the_calls_deadline() {
    let (fleet, backstop) = upstreams();
    let srpd = setup(&fleet, &backstop)
        .section("timeouts", "call = \"2s\"")
        .start();
    // Ended by its own deadline.
    let _first = occupant(&srpd);
    let asked = Instant::now();
    let mut client = wait(&srpd, &ask(60));
    fleet.set_always(after(ms(1000), Reply::chat("fleet")));
    assert_eq!(client.response().said(), "fleet");
    assert!(asked.elapsed() > ms(2500), "{:?}", asked.elapsed());
}

#[test]
fn nobody_is_given_a_slot_beyond_its_border() {
    let (fleet, backstop) = upstreams();
    let far = Upstream::always(endless());
    let srpd = with_keys(
        Setup::bare(&backstop.url())
            .provider("far", "us", &[&far.url()], "capacity = 1\nprice = 0.1")
            .provider("fleet", "nz", &[&fleet.url()], "capacity = 1\nprice = 0.6")
            .more("aloomu", "capacity = 1\nprice = 9")
            .capability("smart", &["far", "fleet"], ""),
    )
    .start();
    let stream = |border: &str| {
        let stream = Ask::stream("smart").key(FLOATER);
        begin(&srpd, &stream.field("X-Sovereign-Residency", border))
    };
    let (at_far, at_fleet) = (stream("us-only"), stream("nz-only"));
    let mut client = wait(&srpd, &ask(60).field("X-Sovereign-Residency", "nz-only"));
    far.set_always(Reply::chat("far"));
    drop(at_far);
    eventually("far is idle", || srpd.metric("srpd_slots", &["far"]) == 0.0);
    std::thread::sleep(ms(200));
    assert_eq!((waiting(&srpd), far.count()), (1.0, 1));
    // Somebody else may have it at once: it isn't waited for there.
    let plain = Ask::chat("smart").key(FLOATER);
    assert_eq!(srpd.ask(&plain).said(), "far");
    fleet.set_always(Reply::chat("near"));
    drop(at_fleet);
    assert_eq!(client.response().said(), "near");
}

#[test]
fn what_is_in_force_when_the_wait_ends_is_what_holds() {
    let (fleet, backstop) = upstreams();
    let first_setup = setup(&fleet, &backstop);
    let srpd = first_setup.start();
    let _first = occupant(&srpd);
    let mut revoked = wait(&srpd, &ask(60));
    // Another secret: whoever has the old one has none. `border` is the key's own.
    let rotated = |capacity: u32, border: &str| {
        let slots = format!("capacity = {capacity}\nprice = 0.6");
        let key = format!("capabilities = [\"*\"]\nresidency = \"{border}\"");
        Setup::bare(&backstop.url())
            .provider("fleet", "nz", &[&fleet.url()], &slots)
            .capability("smart", &["fleet"], "residency = \"nz-only\"")
            .key("floater", "another-key", &key)
    };
    srpd.reload(&rotated(1, "any"));
    let told = revoked.response();
    told.assert_error(401, "invalid_request_error", Some("invalid_api_key"), None);

    let mut narrowed = wait(&srpd, &ask(60).key("another-key"));
    srpd.reload(&rotated(1, "us-only"));
    let told = narrowed.response();
    told.assert_error(
        403,
        "residency_error",
        Some("data_residency_mismatch"),
        Some("X-Sovereign-Residency"),
    );

    srpd.reload(&rotated(1, "any"));
    eventually("it is in force", || {
        let plain = Ask::chat("smart").key("another-key");
        srpd.ask(&plain).status == 429
    });
    let mut widened = wait(&srpd, &ask(60).key("another-key"));
    fleet.set_always(Reply::chat("fleet"));
    srpd.reload(&rotated(2, "any"));
    assert_eq!(widened.response().said(), "fleet");
    assert_eq!(backstop.count(), 0);
}

#[test]
fn a_group_that_means_something_else_now_is_not_guessed_at() {
    let (fleet, backstop) = upstreams();
    let with = |groups: &str| {
        setup(&fleet, &backstop).section("instance.groups", &format!("near = [{groups}]"))
    };
    let srpd = with("\"nz\", \"au\"").start();
    let _first = occupant(&srpd);
    let mut client = wait(&srpd, &ask(60).field("X-Sovereign-Residency", "near-only"));
    srpd.reload(&with("\"au\""));
    let told = client.response();
    told.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    assert_eq!(fleet.count(), 1);
}

#[test]
fn many_wait_and_all_are_served_never_more_at_a_time_than_there_are_slots() {
    const CALLS: usize = 60;
    let fleet = Upstream::always(after(ms(5), Reply::chat("fleet")));
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = setup(&fleet, &backstop).start();
    let mut clients: Vec<Client> = (0..CALLS).map(|_| srpd.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let bid = (number % 7 + 1).to_string();
        client.send(at_most(ask(60), &bid).bytes());
    }
    // Every fifth gives up.
    let stays = |number: usize| !number.is_multiple_of(5);
    let clients = clients.into_iter().enumerate();
    let staying: Vec<Client> = clients
        .filter_map(|(number, client)| stays(number).then_some(client))
        .collect();
    for mut client in staying {
        assert_eq!(client.response().said(), "fleet");
        assert!(srpd.metric("srpd_slots", &[]) <= 1.0);
    }
    eventually("no slot is in use", || {
        srpd.metric("srpd_slots", &[]) == 0.0
    });
    assert_eq!(waiting(&srpd), 0.0);
    assert!(fleet.count() <= CALLS);
}

/// A reply that takes its time.
fn after(time: Duration, reply: Reply) -> Reply {
    let mut slow = Reply::new().pause(time);
    slow.steps.extend(reply.steps);
    slow
}
