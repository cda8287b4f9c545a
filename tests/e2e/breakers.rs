//! SRP section 6: circuit breakers and gates, seen from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Ask, Client, Instance, Refusing, Reply, Setup, Upstream, delta, eventually, ms,
};

struct World {
    vendor: Upstream,
    backstop: Upstream,
    srpd: Instance,
}

/// A vendor that answers with `reply` before a backstop that works, and breakers by `lines`.
fn world(reply: Reply, lines: &str) -> World {
    let vendor = Upstream::always(reply);
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("breaker", "open_jitter = 0.0")
        .section("breaker", lines)
        .section("timeouts", "stream_idle = \"200ms\"\nfirst_byte = \"2s\"")
        .start();
    World {
        vendor,
        backstop,
        srpd,
    }
}

/// Asks until the vendor's breaker has opened, and says when the last failure was.
fn trip(world: &World, client: &mut Client) -> Instant {
    for _ in 0..5 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    }
    world.vendor.last().at
}

fn provider_state(srpd: &Instance, name: &str) -> Value {
    let page = srpd.admin("/srp/v1/providers").json();
    let providers = page["providers"].as_array().expect("providers").clone();
    let found = providers
        .into_iter()
        .find(|provider| provider["name"] == name);
    found.expect("the provider")
}

#[test]
fn five_failures_in_a_row_open_it() {
    let world = world(Reply::failure(500), "open = \"20s\"");
    let mut client = world.srpd.connect();
    for round in 1..=12 {
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "from home");
        let attempts = if round <= 5 { "2" } else { "1" };
        assert_eq!(
            response.field("x-sovereign-attempts"),
            Some(attempts),
            "call {round}"
        );
    }
    assert_eq!(world.vendor.count(), 5);
    eventually("the open breaker in sight", || {
        provider_state(&world.srpd, "vendor-us")["breaker"] == "open"
            && world
                .srpd
                .metric("srpd_breaker_state", &["vendor-us", "endpoint=\"\""])
                == 2.0
    });
    assert_eq!(provider_state(&world.srpd, "aloomu")["breaker"], "closed");
    let opened = ["vendor-us", "endpoint=\"\"", "open"];
    assert!(world.srpd.metric("srpd_breaker_transitions_total", &opened) >= 1.0);
}

#[test]
fn a_success_in_between_starts_the_count_again() {
    let world = world(Reply::failure(500), "open = \"20s\"");
    world.vendor.set(|request| match request.number % 5 {
        4 => Reply::chat("vendor"),
        _ => Reply::failure(500),
    });
    let mut client = world.srpd.connect();
    // Below the number of outcomes from which the share of failures counts.
    for _ in 0..19 {
        assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
    }
    assert_eq!(world.vendor.count(), 19);
}

#[test]
fn half_of_twenty_outcomes_open_it() {
    let world = world(Reply::failure(500), "open = \"20s\"");
    world.vendor.set(|request| match request.number % 2 {
        0 => Reply::chat("vendor"),
        _ => Reply::failure(500),
    });
    let mut client = world.srpd.connect();
    for _ in 0..40 {
        assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
    }
    let asked = world.vendor.count();
    assert!((20..=22).contains(&asked), "{asked}");
}

#[test]
fn every_core_stops_within_ten_milliseconds() {
    let world = world(Reply::failure(500), "open = \"20s\"");
    let mut clients: Vec<_> = (0..24).map(|_| world.srpd.connect()).collect();
    // Each connection has found its core and its table before the trip.
    for client in &mut clients {
        assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
    }
    trip(&world, &mut clients[0]);
    thread::sleep(ms(10));
    for client in &mut clients {
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
    }
    assert_eq!(world.vendor.count(), 5);
}

#[test]
fn failures_on_different_cores_add_up() {
    let world = world(Reply::failure(500), "open = \"20s\"");
    for _ in 0..12 {
        assert_eq!(world.srpd.ask(&Ask::chat("smart")).said(), "from home");
        thread::sleep(ms(10));
    }
    assert_eq!(world.vendor.count(), 5);
}

#[test]
fn half_open_lets_one_probe_through_across_the_cores() {
    let world = world(Reply::failure(500), "open = \"300ms\"");
    let tripped = trip(&world, &mut world.srpd.connect());
    // The other core has followed by then, however busy the machine is.
    thread::sleep(ms(100));
    let probing = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let seen = Arc::clone(&probing);
    world.vendor.set(move |_| {
        // In flight, and the most that ever were.
        let now = seen[0].fetch_add(1, Ordering::SeqCst) + 1;
        seen[1].fetch_max(now, Ordering::SeqCst);
        thread::sleep(ms(250));
        seen[0].fetch_sub(1, Ordering::SeqCst);
        Reply::failure(500)
    });
    let until = tripped + ms(2200);
    let callers: Vec<_> = (0..24)
        .map(|_| {
            let mut client = world.srpd.connect();
            thread::spawn(move || {
                while Instant::now() < until {
                    assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
                    thread::sleep(ms(5));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().expect("every call is served");
    }
    assert_eq!(probing[1].load(Ordering::SeqCst), 1, "probes at one time");
    let probes: Vec<_> = world.vendor.requests()[5..].iter().map(|r| r.at).collect();
    // Open for 300 ms, then, each probe having failed, for 600 and 1200.
    let first = probes[0] - tripped;
    assert!(first >= ms(280) && first < ms(500), "{first:?}");
    let second = probes[1] - probes[0] - ms(250);
    assert!(second >= ms(580) && second < ms(850), "doubled: {second:?}");
    assert_eq!(probes.len(), 2);
}

#[test]
fn two_clean_completions_close_it() {
    let world = world(Reply::failure(500), "open = \"300ms\"");
    let mut client = world.srpd.connect();
    trip(&world, &mut client);
    world.vendor.set_always(Reply::chat("vendor"));
    thread::sleep(ms(400));
    let mut served = 0;
    let deadline = Instant::now() + ms(1500);
    while served < 2 && Instant::now() < deadline {
        served += usize::from(client.ask(&Ask::chat("smart")).said() == "vendor");
        thread::sleep(ms(20));
    }
    assert_eq!(served, 2);
    eventually("the breaker closed", || {
        provider_state(&world.srpd, "vendor-us")["breaker"] == "closed"
    });
    // From here on every core uses it, many calls at a time.
    thread::sleep(ms(20));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let mut client = world.srpd.connect();
            thread::spawn(move || client.ask(&Ask::chat("smart")).said())
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().expect("an answer"), "vendor");
    }
    // The next opening is as short as the first was.
    world.vendor.set_always(Reply::failure(500));
    let tripped = trip(&world, &mut client);
    world.vendor.set_always(Reply::chat("vendor"));
    while client.ask(&Ask::chat("smart")).said() != "vendor" {
        assert!(
            tripped.elapsed() < ms(580),
            "open for longer than the first time"
        );
        thread::sleep(ms(10));
    }
}

#[test]
fn one_clean_completion_does_not_close_it() {
    let world = world(Reply::failure(500), "open = \"300ms\"");
    let mut client = world.srpd.connect();
    trip(&world, &mut client);
    world.vendor.set(|request| match request.number {
        5 => Reply::chat("vendor"),
        _ => Reply::failure(500),
    });
    thread::sleep(ms(400));
    for _ in 0..15 {
        assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
        thread::sleep(ms(20));
    }
    // The clean probe, and the failed one that opened it again.
    assert_eq!(world.vendor.count(), 7);
}

#[test]
fn a_probe_whose_client_leaves_is_no_verdict() {
    let world = world(Reply::failure(500), "open = \"300ms\"");
    trip(&world, &mut world.srpd.connect());
    world.vendor.set_always(Reply::new().stall());
    thread::sleep(ms(400));
    let mut leaving = world.srpd.connect();
    leaving.send(Ask::chat("smart").bytes());
    world.vendor.wait_requests(6);
    assert_eq!(
        world.srpd.ask(&Ask::chat("smart")).said(),
        "from home",
        "one probe at a time"
    );
    leaving.close();
    world.vendor.set_always(Reply::chat("vendor"));
    // Neither reopened for 600 ms nor stuck: the next call may probe.
    let left = Instant::now();
    while world.srpd.ask(&Ask::chat("smart")).said() != "vendor" {
        assert!(
            left.elapsed() < ms(250),
            "the probe's place was not given back"
        );
        thread::sleep(ms(10));
    }
}

#[test]
fn streams_that_stall_or_break_off_are_failures() {
    let begun = || Reply::events().event(&delta("a"));
    for reply in [
        begun().close(),
        begun().stall(),
        begun().pause(ms(20)).reset(),
    ] {
        println!("{reply:?}");
        let world = world(reply, "open = \"20s\"\nconsecutive_failures = 3");
        for _ in 0..3 {
            let response = world.srpd.ask(&Ask::stream("smart"));
            assert_eq!(response.field("x-sovereign-jurisdiction"), Some("us"));
            thread::sleep(ms(20));
        }
        world.backstop.set_always(Reply::chat_stream(&["home"]));
        let response = world.srpd.ask(&Ask::stream("smart"));
        assert_eq!(response.field("x-sovereign-jurisdiction"), Some("au"));
        assert_eq!(world.vendor.count(), 3);
    }
}

#[test]
fn a_stream_is_a_success_only_at_its_clean_end() {
    let slow = Reply::events()
        .event(&delta("a"))
        .pause(ms(150))
        .event(&delta("b"))
        .done();
    let world = world(
        Reply::failure(500),
        "open = \"20s\"\nconsecutive_failures = 3",
    );
    world.vendor.set(move |request| match request.number {
        2 => slow.clone(),
        _ => Reply::failure(500),
    });
    world.backstop.set_always(Reply::chat_stream(&["home"]));
    let mut client = world.srpd.connect();
    let mut other = world.srpd.connect();
    client.ask(&Ask::stream("smart"));
    client.ask(&Ask::stream("smart"));
    // While the third call's stream runs, it is neither success nor failure: a third failure
    // beside it trips.
    other.send(Ask::stream("smart").bytes());
    other.incoming().until("data:");
    client.ask(&Ask::stream("smart"));
    thread::sleep(ms(20));
    client.ask(&Ask::stream("smart"));
    assert_eq!(world.vendor.count(), 4);
}

/// A replica with a crowd of calls under way: another one that is idle is asked first, though it
/// has failed once.
fn busy() -> Upstream {
    Upstream::start(|request| match request.json()["stream"].as_bool() {
        Some(true) => Reply::events().event(&delta("on")).stall(),
        _ => Reply::chat("fleet"),
    })
}

fn keep_busy(srpd: &Instance) -> Vec<Client> {
    let begin = |_| {
        let mut client = srpd.connect();
        client.send(Ask::stream("smart").bytes());
        client.incoming().until("on");
        // A success, so that the provider as a whole is not taken for dead.
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "fleet");
        client
    };
    (0..20).map(begin).collect()
}

#[test]
fn a_dead_endpoint_is_left_alone_while_its_fleet_serves() {
    let dead = Refusing::new();
    let good = busy();
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&dead.url(), &good.url()], "")
        .capability("smart", &["fleet"], "")
        .section(
            "breaker",
            "consecutive_failures = 3\nopen = \"20s\"\nopen_jitter = 0.0",
        )
        .section("retry", "budget_min = 1000")
        .start();
    let _busy = keep_busy(&srpd);
    let mut client = srpd.connect();
    for _ in 0..60 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "fleet");
    }
    let state = provider_state(&srpd, "fleet");
    assert_eq!(state["breaker"], "closed", "{state}");
    assert_eq!(state["endpoints"][0]["breaker"], "open", "{state}");
    // Calls went on while the office, on a busy machine, had yet to hear of the third.
    let failures = state["endpoints"][0]["failures"].as_u64();
    assert!(failures.is_some_and(|it| (3..10).contains(&it)), "{state}");
    assert_eq!(state["endpoints"][1]["breaker"], "closed", "{state}");
    assert_eq!(backstop.connections(), 0);
}

#[test]
fn an_endpoint_that_is_probed_and_still_dead_is_not_noticed() {
    let dead = Upstream::always(Reply::new().reset());
    let good = busy();
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&dead.url(), &good.url()], "")
        .capability("smart", &["fleet"], "")
        .section(
            "breaker",
            "consecutive_failures = 3\nopen = \"50ms\"\nopen_max = \"100ms\"",
        )
        .section("retry", "budget_min = 1000")
        .start();
    let _busy = keep_busy(&srpd);
    let mut client = srpd.connect();
    for _ in 0..80 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "fleet");
        thread::sleep(ms(15));
    }
    assert!(dead.count() > 8, "not probed: {}", dead.count());
    assert!(dead.count() < 40, "not left alone: {}", dead.count());
    assert_eq!(backstop.connections(), 0);
    dead.set_always(Reply::chat("risen"));
    eventually("the endpoint used again", || {
        client.ask(&Ask::chat("smart")).said() == "risen"
    });
}

#[test]
fn too_many_requests_gate_until_retry_after() {
    let reply = |after: &[(&str, &str)]| {
        let mut fields = after.to_vec();
        fields.push(("content-type", "application/json"));
        Reply::with(
            429,
            &fields,
            r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#,
        )
    };
    for (fields, least, most) in [
        (vec![("retry-after", "2")], 1900, 2600),
        (vec![("retry-after-ms", "300")], 280, 600),
        (vec![], 600, 900),
    ] {
        let world = world(
            reply(&fields),
            "consecutive_failures = 2\nrate_limit_gate = \"650ms\"",
        );
        let mut client = world.srpd.connect();
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        let gated = world.vendor.last().at;
        world.vendor.set_always(Reply::chat("vendor"));
        let mut asked = 0;
        while client.ask(&Ask::chat("smart")).said() != "vendor" {
            asked += 1;
            assert!(gated.elapsed() < Duration::from_secs(5), "gated for ever");
            // The other core as well.
            if asked % 4 == 0 && gated.elapsed() < ms(least - 100) {
                assert_eq!(world.srpd.ask(&Ask::chat("smart")).said(), "from home");
            }
            thread::sleep(ms(10));
        }
        let open = world.vendor.last().at - gated;
        assert!(open >= ms(least) && open < ms(most), "{fields:?}: {open:?}");
        assert_eq!(world.vendor.count(), 2);
    }
}

#[test]
fn a_providers_own_figures_override_the_instances() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("from home"));
    let own = "breaker = { consecutive_failures = 2, open = \"20s\" }\ntimeouts = { first_byte = \"100ms\" }";
    let srpd = Setup::bare(&backstop.url())
        .provider("vendor-us", "us", &[&vendor.url()], own)
        .capability("smart", &["vendor-us"], "")
        .start();
    vendor.set_always(Reply::new().stall());
    let mut client = srpd.connect();
    let begun = Instant::now();
    for _ in 0..6 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    }
    assert_eq!(vendor.count(), 2);
    assert!(begun.elapsed() < ms(1500));
}
