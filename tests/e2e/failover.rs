//! SRP section 5: what fails over, what passes, and what is our own fault.

use std::thread;

use crate::support::{
    Ask, BlackHole, Refusing, Reply, Response, Setup, Upstream, chat_body, delta, ms,
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// An instance with quick time-outs that never trips.
fn quick(vendor: &str, backstop: &str) -> Setup {
    Setup::vendor_and_backstop(vendor, backstop)
        .patient_breakers()
        .section(
            "timeouts",
            "first_byte = \"250ms\"\nconnect = \"250ms\"\nstream_idle = \"250ms\"",
        )
}

fn assert_served_by_backstop(response: &Response, what: &str) {
    assert_eq!(response.status, 200, "{what}: {}", response.text());
    assert!(response.complete, "{what}");
    assert_eq!(
        response.field("x-sovereign-jurisdiction"),
        Some("au"),
        "{what}"
    );
    assert_eq!(response.field("x-sovereign-attempts"), Some("2"), "{what}");
    assert_eq!(response.field("x-vendor-secret"), None, "{what}");
}

/// What a provider may do that nobody is to notice, whether a stream was asked for or not.
fn retryable() -> Vec<(&'static str, Reply)> {
    let mut causes: Vec<(&str, Reply)> = [408, 498, 500, 502, 503, 504, 529]
        .into_iter()
        .map(|status| ("a status", Reply::failure(status)))
        .collect();
    causes.extend(broken_heads());
    causes.extend(broken_bodies());
    causes
}

fn broken_heads() -> Vec<(&'static str, Reply)> {
    let send = |text: &str| Reply::new().send(text);
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000));
    let both = [
        JSON,
        ("content-length", "2"),
        ("transfer-encoding", "chunked"),
    ];
    let two = [JSON, ("content-length", "2"), ("content-length", "3")];
    let switch = [("upgrade", "x"), ("connection", "upgrade")];
    vec![
        ("reset before the first byte", Reply::new().reset()),
        ("closed before the first byte", Reply::new().close()),
        ("no byte in time", Reply::new().stall()),
        (
            "a head that stops coming",
            send("HTTP/1.1 200 OK\r\nx-a: b\r\n").stall(),
        ),
        (
            "a head cut off",
            send("HTTP/1.1 200 OK\r\ncontent-le").close(),
        ),
        ("no HTTP", send("SSH-2.0-OpenSSH_9.2\r\n\r\n").close()),
        (
            "CL and TE",
            Reply::head(200, &both).send("2\r\n{}\r\n0\r\n\r\n").close(),
        ),
        ("two lengths", Reply::head(200, &two).send("{} ").close()),
        ("a head without end", send(&endless).stall()),
        ("switching protocols", Reply::head(101, &switch).stall()),
        (
            "1xx without end",
            send(&"HTTP/1.1 103 Early\r\n\r\n".repeat(500)).stall(),
        ),
    ]
}

fn broken_bodies() -> Vec<(&'static str, Reply)> {
    let body = chat_body("never seen");
    let declared = || Reply::head(200, &[JSON, ("content-length", "9999")]);
    let chunked = || Reply::head(200, &[JSON, ("transfer-encoding", "chunked")]);
    vec![
        ("no body in time", declared().stall()),
        ("a body cut off", declared().send(&body).close()),
        ("a body reset", declared().send(&body).pause(ms(30)).reset()),
        ("a body that stops coming", declared().send(&body).stall()),
        ("chunks cut off", chunked().chunk(&body).close()),
        ("chunks that are none", chunked().send("zz\r\n").stall()),
    ]
}

#[test]
fn every_retryable_cause_fails_over_unseen() {
    let vendor = Upstream::always(Reply::new().close());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = quick(&vendor.url(), &backstop.url()).start();
    let mut only_json = vec![(
        "JSON that doesn't parse",
        Reply::json(200, "{\"id\":1").close(),
    )];
    only_json.push(("an empty 200", Reply::json(200, "").close()));
    only_json.push(("a page", Reply::json(200, "<html>busy</html>").close()));
    only_json.push((
        "JSON until the close that doesn't parse",
        Reply::head(200, &[JSON]).send("{\"id\":").close(),
    ));
    for (what, reply) in retryable().into_iter().chain(only_json) {
        println!("{what}: {reply:?}");
        let before = (vendor.count(), backstop.count());
        vendor.set_always(reply);
        let response = srpd.ask(&Ask::chat("smart"));
        assert_served_by_backstop(&response, what);
        assert_eq!(response.said(), "from home", "{what}");
        assert_eq!(
            (vendor.count(), backstop.count()),
            (before.0 + 1, before.1 + 1),
            "{what}"
        );
    }
}

#[test]
fn every_retryable_cause_fails_over_unseen_for_streams() {
    let vendor = Upstream::always(Reply::new().close());
    let backstop = Upstream::always(Reply::chat_stream(&["from", "home"]));
    let srpd = quick(&vendor.url(), &backstop.url()).start();
    let error = r#"{"error":{"message":"vendor secret","type":"server_error","code":"boom"}}"#;
    let only_streams = [
        (
            "an error as first event",
            Reply::events().event(error).last_chunk(),
        ),
        ("an error with [DONE]", Reply::events().event(error).done()),
        (
            "an error after comments",
            Reply::events()
                .chunk(": hi\n\n: ho\n\n")
                .event(error)
                .done(),
        ),
        (
            "an error event by name",
            Reply::events()
                .chunk(format!("event: error\ndata: {error}\n\n"))
                .last_chunk(),
        ),
        (
            "an error in pieces",
            Reply::events()
                .chunk("data: {\"err")
                .pause(ms(30))
                .chunk("or\":{\"message\":\"vendor secret\"}}\n\n")
                .last_chunk(),
        ),
        ("no event at all", Reply::events().last_chunk()),
        (
            "comments only",
            Reply::events().chunk(": hi\n\n").last_chunk(),
        ),
        (
            "half an event",
            Reply::events().chunk("data: {\"choices\":").close(),
        ),
        (
            "comments, then silence",
            Reply::events().chunk(": hi\n\n").stall(),
        ),
        (
            "an event until the close without its end",
            Reply::head(200, &[("content-type", "text/event-stream")])
                .send("data: {}")
                .close(),
        ),
    ];
    for (what, reply) in retryable().into_iter().chain(only_streams) {
        println!("{what}: {reply:?}");
        let before = (vendor.count(), backstop.count());
        vendor.set_always(reply.close());
        let response = srpd.ask(&Ask::stream("smart"));
        assert_served_by_backstop(&response, what);
        assert_eq!(
            response.data(),
            [delta("from"), delta("home"), "[DONE]".into()],
            "{what}"
        );
        assert!(!response.text().contains("vendor secret"), "{what}");
        assert_eq!(
            (vendor.count(), backstop.count()),
            (before.0 + 1, before.1 + 1),
            "{what}"
        );
    }
}

#[test]
fn connects_that_fail_fail_over_unseen() {
    let (refusing, hole) = (Refusing::new(), BlackHole::new());
    let backstop = Upstream::always(Reply::chat("from home"));
    for url in [
        refusing.url(),
        hole.url(),
        "http://nowhere.invalid:80".to_owned(),
    ] {
        let srpd = quick(&url, &backstop.url()).start();
        let response = srpd.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "from home", "{url}");
        // A name without an address is passed over: that is no attempt.
        let attempts = if url.contains("nowhere") { "1" } else { "2" };
        assert_eq!(
            response.field("x-sovereign-attempts"),
            Some(attempts),
            "{url}"
        );
    }
}

#[test]
fn too_many_requests_fail_over_unseen() {
    for reply in [
        Reply::failure(429),
        Reply::with(
            429,
            &[("retry-after", "1"), ("connection", "close")],
            "slow down",
        )
        .close(),
    ] {
        let vendor = Upstream::always(reply);
        let backstop = Upstream::always(Reply::chat("from home"));
        let srpd = quick(&vendor.url(), &backstop.url()).start();
        let response = srpd.ask(&Ask::chat("smart"));
        assert_served_by_backstop(&response, "429");
        assert_eq!(response.field("retry-after"), None);
        assert_eq!(vendor.count(), 1);
    }
}

#[test]
fn a_providers_word_on_the_request_passes_unchanged() {
    let vendor = Upstream::always(Reply::new().close());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("breaker", "consecutive_failures = 3\nratio_min_calls = 5")
        .start();
    let body = r#"{ "error" : {"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"} }"#;
    let absent = r#"{"error":{"message":"No such file","type":"invalid_request_error","param":"file_id","code":"file_not_found"}}"#;
    let mut asked = 0;
    for _ in 0..2 {
        for (status, body) in [
            (400, body),
            (404, absent),
            (409, body),
            (413, body),
            (422, body),
            (451, body),
            (418, "short and stout"),
        ] {
            for stream in [false, true] {
                println!("{status} {stream}");
                vendor.set_always(Reply::json(status, body));
                let ask = if stream {
                    Ask::stream("smart")
                } else {
                    Ask::chat("smart")
                };
                let response = srpd.ask(&ask);
                asked += 1;
                assert_eq!((response.status, response.text().as_str()), (status, body));
                assert_eq!(response.field("content-type"), Some("application/json"));
                assert_eq!(response.field("x-sovereign-jurisdiction"), Some("us"));
                assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
                assert!(response.field("x-request-id").is_some());
                assert_eq!((vendor.count(), backstop.count()), (asked, 0));
            }
        }
    }
}

#[test]
fn our_own_credential_or_mapping_at_fault_is_the_next_candidate_and_no_failure() {
    let vendor = Upstream::always(Reply::new().close());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("breaker", "consecutive_failures = 2\nratio_min_calls = 2")
        .start();
    let model = r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#;
    let mut asked = 0;
    for reply in [
        Reply::failure(401),
        Reply::failure(403),
        Reply::json(404, model).close(),
    ] {
        vendor.set_always(reply);
        for _ in 0..4 {
            let response = srpd.ask(&Ask::chat("smart"));
            asked += 1;
            assert_served_by_backstop(&response, "credential");
            assert_eq!(vendor.count(), asked, "the breaker took it for a failure");
        }
    }
    assert!(srpd.metric("srpd_credential_alarms_total", &["vendor-us"]) >= 1.0);
}

#[test]
fn an_exhausted_quota_is_the_next_candidate_and_a_long_gate() {
    let quota = r#"{"error":{"message":"You exceeded your quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let told = [JSON, ("retry-after", "1"), ("connection", "close")];
    for reply in [
        Reply::failure(402),
        Reply::json(429, quota).close(),
        Reply::with(429, &told, quota).close(),
        Reply::with(403, &told, quota).close(),
    ] {
        println!("{reply:?}");
        let vendor = Upstream::always(reply);
        let backstop = Upstream::always(Reply::chat("from home"));
        let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).start();
        assert_served_by_backstop(&srpd.ask(&Ask::chat("smart")), "quota");
        thread::sleep(ms(1300));
        for _ in 0..4 {
            let response = srpd.ask(&Ask::chat("smart"));
            assert_eq!(response.said(), "from home");
            assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
        }
        assert_eq!(vendor.count(), 1, "gated for longer than retry-after said");
    }
}
