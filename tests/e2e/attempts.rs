//! SRP section 5: the bounds of a call's attempts, the backstop's place, and repeats.

use std::thread;

use crate::support::{Ask, Instance, Reply, Setup, Upstream, ms};

/// An instance that never trips.
fn patient(vendor: &str, backstop: &str) -> Setup {
    Setup::vendor_and_backstop(vendor, backstop).patient_breakers()
}

/// Three vendors that fail, in `us`, `gb` and `fr`, before a backstop.
fn long_chain(more: &str) -> (Vec<Upstream>, Upstream, Instance) {
    let vendors: Vec<_> = (0..3)
        .map(|_| Upstream::always(Reply::failure(500)))
        .collect();
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::bare(&backstop.url())
        .provider("one", "us", &[&vendors[0].url()], "")
        .provider("two", "gb", &[&vendors[1].url()], "")
        .provider("three", "fr", &[&vendors[2].url()], "")
        .capability("smart", &["one", "two", "three"], "")
        .patient_breakers()
        .section("retry", more)
        .start();
    (vendors, backstop, srpd)
}

#[test]
fn the_last_attempt_is_the_backstops() {
    for (max_attempts, counts) in [(2, [1, 0, 0, 1]), (3, [1, 1, 0, 1]), (9, [1, 1, 1, 1])] {
        let more = if max_attempts == 3 {
            String::new()
        } else {
            format!("max_attempts = {max_attempts}")
        };
        let (vendors, backstop, srpd) = long_chain(&more);
        let response = srpd.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "from home", "{max_attempts}");
        let asked: Vec<_> = vendors
            .iter()
            .chain([&backstop])
            .map(Upstream::count)
            .collect();
        assert_eq!(asked, counts, "max_attempts = {max_attempts}");
        let attempts = counts.iter().sum::<usize>().to_string();
        assert_eq!(
            response.field("x-sovereign-attempts"),
            Some(attempts.as_str())
        );
    }
}

#[test]
fn attempts_end_at_max_attempts() {
    let (vendors, backstop, srpd) = long_chain("max_attempts = 1");
    let response = srpd.ask(&Ask::chat("smart"));
    response.assert_error(502, "upstream_error", Some("all_attempts_failed"), None);
    assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
    assert_eq!(
        (vendors[0].count(), vendors[1].count(), backstop.count()),
        (1, 0, 0)
    );
    // Where the backstop may not serve, its attempt is not kept back for it either.
    let (vendors, backstop, srpd) = long_chain("");
    let abroad = Ask::chat("smart").field("x-sovereign-residency", "us-only,gb-only,fr-only");
    let response = srpd.ask(&abroad);
    response.assert_error(502, "upstream_error", Some("all_attempts_failed"), None);
    assert_eq!(vendors.iter().map(Upstream::count).sum::<usize>(), 3);
    assert_eq!(backstop.connections(), 0);
}

#[test]
fn a_backstop_listed_earlier_keeps_its_place_and_is_not_repeated() {
    let vendor = Upstream::always(Reply::chat("abroad"));
    let backstop = Upstream::always(Reply::failure(500));
    let srpd = Setup::bare(&backstop.url())
        .provider("vendor-us", "us", &[&vendor.url()], "")
        .capability("smart", &["aloomu", "vendor-us"], "")
        .patient_breakers()
        .start();
    let response = srpd.ask(&Ask::chat("smart"));
    assert_eq!(response.said(), "abroad");
    assert_eq!(response.field("x-sovereign-attempts"), Some("2"));
    vendor.set_always(Reply::failure(500));
    let response = srpd.ask(&Ask::chat("smart"));
    assert_eq!(response.status, 502);
    assert_eq!((vendor.count(), backstop.count()), (2, 2));
}

#[test]
fn each_attempt_carries_the_same_body_with_that_providers_model() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = patient(&vendor.url(), &backstop.url())
        .models("vendor-us", "{ smart = \"fron\\\"tier\" }")
        .start();
    let body = |model: &str| {
        format!(
            "{{ \"x\" : [1 , 2.50,\"é\\u00e9 \\\"model\\\":\"],\t\"model\" :{model} ,\n\"messages\":[{{\"model\":\"smart\"}}] }}"
        )
    };
    let response = srpd.ask(&Ask::post("/v1/chat/completions?a=b", body("\"smart\"")));
    assert_eq!(response.said(), "from home");
    let text = |upstream: &Upstream| String::from_utf8(upstream.last().body).expect("text");
    assert_eq!(text(&vendor), body("\"fron\\\"tier\""));
    assert_eq!(text(&backstop), body("\"aloomu-model\""));
}

#[test]
fn one_repeat_on_another_endpoint_of_a_fleet() {
    let good = Upstream::always(Reply::chat("fleet"));
    let bad = Upstream::always(Reply::failure(503));
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&bad.url(), &good.url()], "")
        .capability("smart", &["fleet"], "")
        .patient_breakers()
        .section("retry", "budget_min = 1000")
        .start();
    let mut repeated = 0;
    for _ in 0..20 {
        let bad_before = bad.count();
        let response = srpd.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "fleet");
        let tries = 1 + bad.count() - bad_before;
        repeated += tries - 1;
        assert_eq!(
            response.field("x-sovereign-attempts"),
            Some(tries.to_string().as_str())
        );
    }
    assert!(repeated > 0, "the bad endpoint was never tried");
    // One repeat only: a third endpoint is not tried.
    good.set_always(Reply::failure(503));
    let before = bad.count() + good.count();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(bad.count() + good.count(), before + 2);
}

#[test]
fn one_repeat_when_a_reused_connection_died() {
    let backstop = Upstream::always(Reply::chat("from home"));
    // Each connection answers once, and ends at its second request without a byte.
    let vendor = Upstream::start(
        |request| match (request.on_connection, request.number % 2) {
            (0, _) => Reply::chat("vendor"),
            (_, 0) => Reply::new().reset(),
            _ => Reply::new().close(),
        },
    );
    let srpd = patient(&vendor.url(), &backstop.url())
        .section("instance", "cores = 1")
        .start();
    let mut client = srpd.connect();
    for (round, attempts) in ["1", "2", "2"].into_iter().enumerate() {
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "vendor", "{round}");
        assert_eq!(
            response.field("x-sovereign-attempts"),
            Some(attempts),
            "{round}"
        );
    }
    assert_eq!(
        (vendor.count(), vendor.connections(), backstop.count()),
        (5, 3, 0)
    );
    // A fresh connection that dies is a failure like any other: no repeat there.
    vendor.set_always(Reply::new().reset());
    let fresh = vendor.connections();
    let response = client.ask(&Ask::chat("smart"));
    assert_eq!(response.said(), "from home");
    assert_eq!(response.field("x-sovereign-attempts"), Some("3"));
    assert_eq!(vendor.connections(), fresh + 1);
}

#[test]
fn idle_connections_that_the_upstream_closes_are_not_noticed() {
    let backstop = Upstream::always(Reply::chat("from home"));
    let vendor = Upstream::always(Reply::chat("vendor").close());
    let srpd = patient(&vendor.url(), &backstop.url())
        .section("retry", "budget_min = 1000")
        .start();
    let mut client = srpd.connect();
    for round in 0..60 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "vendor", "{round}");
        thread::sleep(ms(round % 3));
    }
    assert_eq!(backstop.count(), 0);
}

#[test]
fn repeats_draw_on_a_budget() {
    const CALLS: usize = 60;
    let failing = || Upstream::always(Reply::failure(500));
    let (one, two) = (failing(), failing());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&one.url(), &two.url()], "")
        .capability("smart", &["fleet"], "")
        .patient_breakers()
        .start();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let mut client = srpd.connect();
            thread::spawn(move || {
                for _ in 0..CALLS / 4 {
                    assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
                    thread::sleep(ms(10));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().expect("every call is served");
    }
    let seen = one.count() + two.count();
    assert!(seen >= CALLS + 3, "the least that a budget is: {seen}");
    assert!(
        seen <= CALLS * 12 / 10,
        "more than 1.2 times its share: {seen}"
    );
    assert_eq!(backstop.count(), CALLS);
}

#[test]
fn going_on_to_the_next_provider_draws_on_nothing() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = patient(&vendor.url(), &backstop.url())
        .section("retry", "budget_min = 0")
        .start();
    let mut client = srpd.connect();
    for _ in 0..30 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    }
    assert_eq!((vendor.count(), backstop.count()), (30, 30));
}
