//! Bounds on connections and on time that are not an error of a call.

use std::time::Instant;

use crate::support::{Ask, Client, Reply, Setup, Upstream, delta, eventually, ms};

#[test]
fn connections_beyond_the_limit_are_told_so_and_closed() {
    let stream = Reply::events().event(&delta("a")).pause(ms(60_000));
    let upstream = Upstream::always(stream);
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .section("limits", "connections_per_core = 2")
        .start();
    let mut busy: Vec<Client> = (0..2).map(|_| srpd.connect()).collect();
    for client in &mut busy {
        client.send(Ask::stream("smart").bytes());
        client.incoming().until("data:");
    }
    // Who asks is answered, whatever it asks for and however much is still to come.
    let mut beyond = srpd.connect();
    beyond.send(Ask::chat("smart").bytes());
    let answer = beyond.response();
    answer.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.field("connection"), Some("close"));
    beyond.assert_closed();
    // Who says nothing is told nothing.
    srpd.connect().assert_closed();
    assert_eq!(srpd.metric("srpd_connections_refused_total", &[]), 2.0);
    assert_eq!(srpd.metric("srpd_connections", &[]), 2.0);
    upstream.set_always(Reply::chat("hi"));
    busy.pop().expect("a client").close();
    eventually("a place that is free again", || {
        let mut client = srpd.connect();
        client.send(Ask::chat("smart").field("connection", "close").bytes());
        client.rest().0.starts_with(b"HTTP/1.1 200")
    });
}

#[test]
fn a_core_that_is_behind_refuses_calls_until_it_is_in_time() {
    let stream = Reply::events().event(&delta("a")).pause(ms(60_000));
    let upstream = Upstream::always(stream);
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start();
    // Twice in a row it has no CPU for longer than it may be late, and less than a tick between.
    let late_again = || {
        let mut client = srpd.connect();
        srpd.signal("STOP");
        client.send(Ask::chat("smart").bytes());
        std::thread::sleep(ms(450));
        srpd.signal("CONT");
        client.response()
    };
    let mut busy: Vec<Client> = (0..70).map(|_| srpd.connect()).collect();
    for client in &mut busy {
        client.send(Ask::stream("smart").bytes());
    }
    for client in &mut busy {
        client.incoming().until("data:");
    }
    upstream.set_always(Reply::chat("hi"));
    eventually("a call refused", || {
        let answer = late_again();
        if answer.status == 200 {
            return false;
        }
        answer.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert!(answer.text().contains("more to do than it can"));
        true
    });
    eventually("a core that is in time", || {
        srpd.ask(&Ask::chat("smart")).status == 200
    });
    // With few calls, being late is nobody's fault here.
    drop(busy);
    eventually("few calls", || {
        srpd.metric("srpd_calls_in_flight", &[]) < 2.0
    });
    for _ in 0..5 {
        assert_eq!(late_again().said(), "hi");
    }
}

#[test]
fn at_the_limit_the_longest_idle_connection_makes_way_for_a_new_one() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .section("limits", "connections_per_core = 2")
        .start();
    let (mut longest, mut shorter) = (srpd.connect(), srpd.connect());
    for client in [&mut longest, &mut shorter] {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    }
    let mut newest = srpd.connect();
    assert_eq!(newest.ask(&Ask::chat("smart")).said(), "hi");
    longest.assert_closed();
    assert_eq!(shorter.ask(&Ask::chat("smart")).said(), "hi");
    assert_eq!(srpd.metric("srpd_connections_shed_total", &[]), 1.0);
    assert_eq!(srpd.metric("srpd_connections_refused_total", &[]), 0.0);
}

#[test]
fn idle_connections_end_after_keep_alive_on_both_sides() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("timeouts", "keep_alive = \"300ms\"")
        .start();
    let (mut used, mut unused) = (srpd.connect(), srpd.connect());
    let begun = Instant::now();
    assert_eq!(used.ask(&Ask::chat("smart")).said(), "hi");
    used.assert_closed();
    unused.assert_closed();
    let took = begun.elapsed();
    assert!(took >= ms(280) && took < ms(900), "{took:?}");
    upstream.wait_closed(1);
    assert!(begun.elapsed() < ms(2500), "the pool kept it");
}

#[test]
fn a_stream_may_last_longer_than_any_time_out_but_the_calls() {
    let reply = (0..12).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(100)));
    let upstream = Upstream::always(reply.done());
    let short = "head = \"300ms\"\nbody = \"300ms\"\nfirst_byte = \"300ms\"\nkeep_alive = \"300ms\"\nstream_idle = \"300ms\"";
    let srpd = Setup::backstop_only(&upstream.url())
        .section("timeouts", short)
        .start();
    let response = srpd.ask(&Ask::stream("smart"));
    assert!(response.complete);
    assert_eq!(response.data().len(), 13);
}

#[test]
fn the_calls_deadline_ends_a_stream_too_and_says_so() {
    let reply = (0..30).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(50)));
    let upstream = Upstream::always(reply.done());
    let srpd = Setup::backstop_only(&upstream.url())
        .section("timeouts", "call = \"400ms\"")
        .start();
    let mut client = srpd.connect();
    let begun = Instant::now();
    let response = client.ask(&Ask::stream("smart"));
    let took = begun.elapsed();
    assert!(took >= ms(350) && took < ms(800), "{took:?}");
    assert!(!response.complete);
    client.assert_closed();
    let last = response.data().pop().expect("an event");
    let json: serde_json::Value = serde_json::from_str(&last).expect("an error event");
    assert!(json["error"]["code"].is_string(), "{last}");
    upstream.wait_closed(1);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let event = delta(&"x".repeat(60_000));
    let reply = (0..400).fold(Reply::events(), |reply, _| reply.event(&event));
    let upstream = Upstream::always(reply.done());
    let srpd = Setup::backstop_only(&upstream.url())
        .section("timeouts", "stream_idle = \"500ms\"")
        .start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    upstream.wait_closed(1);
    eventually("the call at its end", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 0.0
    });
}
