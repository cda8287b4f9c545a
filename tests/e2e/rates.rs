//! Limits per key: what they let in on all cores together, what they say, and what counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Ask, Client, Instance, KEY, Reply, Response, Setup, Upstream, chat_body, delta, eventually, ms,
    usage_only,
};

/// An instance with two cores whose one key has these limits, as lines of its table.
fn limited(upstream: &Upstream, limits: &str) -> Setup {
    let more = format!("capabilities = [\"*\"]\n{limits}");
    Setup::backstop_only(&upstream.url()).key("acme", KEY, &more)
}

/// Answers with a chat completion that used so many tokens.
fn using(tokens: u64) -> Reply {
    let usage = format!("\"completion_tokens\":{}", tokens - 3);
    Reply::json(
        200,
        &chat_body("hi").replace("\"completion_tokens\":2", &usage),
    )
}

fn assert_refused(response: &Response) {
    response.assert_error(429, "rate_limit_error", Some("rate_limit_exceeded"), None);
    response.assert_should_retry(true);
    assert_eq!(response.field("x-sovereign-attempts"), Some("0"));
    let wait = wait(response);
    let seconds: u64 = response
        .field("retry-after")
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert_eq!(seconds, wait.as_millis().div_ceil(1000) as u64);
    assert!(seconds >= 1);
}

fn wait(response: &Response) -> Duration {
    let millis = response.field("retry-after-ms").expect("retry-after-ms");
    ms(millis.parse().expect("milliseconds"))
}

/// `x-ratelimit-{limit,remaining,reset}-KIND`
fn standing<'r>(response: &'r Response, kind: &str) -> [Option<&'r str>; 3] {
    ["limit", "remaining", "reset"]
        .map(|part| response.field(&format!("x-ratelimit-{part}-{kind}")))
}

/// Asks on so many connections at once until each has been refused so often; how many calls were
/// let in.
fn rush(srpd: &Instance, connections: usize, refusals: usize) -> usize {
    let admitted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut client = srpd.connect();
                let mut refused = 0;
                while refused < refusals {
                    let response = client.ask(&Ask::chat("smart"));
                    if response.status == 200 {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_refused(&response);
                        refused += 1;
                    }
                }
            });
        }
    });
    admitted.into_inner()
}

#[test]
fn a_small_limit_is_exact_across_the_cores_and_its_calls_come_back() {
    const LIMIT: usize = 60;
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = limited(&upstream, "requests_per_minute = 60").start();
    let begun = Instant::now();
    let admitted = rush(&srpd, 12, 4);
    let took = begun.elapsed().as_secs_f64();
    let most = LIMIT + took as usize + 1;
    assert!((LIMIT..=most).contains(&admitted), "{admitted} in {took} s");
    assert_eq!(upstream.count(), admitted, "no attempt for what is refused");
    let mut client = srpd.connect();
    let refused = std::iter::from_fn(|| Some(client.ask(&Ask::chat("smart"))))
        .find(|response| response.status != 200)
        .expect("a refusal");
    assert_refused(&refused);
    let wait = wait(&refused);
    assert!(wait <= ms(1000), "{wait:?}");
    thread::sleep(wait);
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    let metric = |name, labels: &[&str]| srpd.metric(name, labels);
    let counted = metric("srpd_rejections_total", &["\"rate_limit_exceeded\""]);
    assert!(counted >= 12.0 * 4.0, "{counted}");
    eventually("the refusals under the key's name", || {
        metric("srpd_rate_limited_total", &["\"acme\"", "\"requests\""]) == counted
    });
}

#[test]
fn a_large_limit_is_shared_out_and_stays_within_its_error() {
    // Ten at a time go to each of the two cores.
    const LIMIT: usize = 1280;
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = limited(&upstream, "requests_per_minute = 1280").start();
    let begun = Instant::now();
    let first = rush(&srpd, 12, 1);
    assert!(first >= LIMIT - LIMIT / 64, "{first}: a 64th may be held");
    // What was held comes back.
    thread::sleep(ms(200));
    let admitted = first + rush(&srpd, 12, 1);
    let took = begun.elapsed().as_secs_f64() + 0.1;
    let most = LIMIT + (LIMIT as f64 * took / 60.0) as usize + 1;
    assert!((LIMIT..=most).contains(&admitted), "{admitted} in {took} s");
    assert_eq!(upstream.count(), admitted);
}

#[test]
fn every_answer_says_how_the_limit_stands_and_only_of_what_is_limited() {
    let fields = [
        ("content-type", "application/json"),
        ("x-ratelimit-limit-requests", "777"),
        ("x-ratelimit-limit-tokens", "777"),
        ("x-ratelimit-reset-tokens", "777s"),
    ];
    let upstream = Upstream::always(Reply::with(200, &fields, chat_body("hi")));
    let table = |limits: &str| format!("capabilities = [\"*\"]\n{limits}");
    let srpd = Setup::backstop_only(&upstream.url())
        .key("one", "requests", &table("requests_per_minute = 2"))
        .key("two", "tokens", &table("tokens_per_minute = 6"))
        .key("three", "none", &table(""))
        .start();
    let ask = |key: &str| srpd.ask(&Ask::chat("smart").key(key));

    let nothing = [None; 3];
    let one = ask("requests");
    assert_eq!(standing(&one, "tokens"), nothing);
    assert_eq!(standing(&one, "requests")[..2], [Some("2"), Some("1")]);
    let reset = standing(&one, "requests")[2].expect("a reset");
    assert!(reset.starts_with('2') || reset == "30s", "{reset}");
    assert_eq!(standing(&ask("requests"), "requests")[1], Some("0"));
    let refused = ask("requests");
    assert_refused(&refused);
    assert_eq!(standing(&refused, "requests")[..2], [Some("2"), Some("0")]);
    assert!(wait(&refused) > ms(20_000) && wait(&refused) <= ms(30_000));

    // Five tokens a call: the second is still let in, with one token left.
    let mut client = srpd.connect();
    let mut ask_one = || client.ask(&Ask::chat("smart").key("tokens"));
    let one = ask_one();
    assert_eq!(standing(&one, "requests"), nothing);
    assert_eq!(standing(&one, "tokens"), [Some("6"), Some("6"), Some("0s")]);
    let two = ask_one();
    assert_eq!(standing(&two, "tokens")[..2], [Some("6"), Some("1")]);
    let refused = ask_one();
    assert_refused(&refused);
    assert_eq!(standing(&refused, "tokens")[..2], [Some("6"), Some("0")]);
    let reset = standing(&refused, "tokens")[2].expect("a reset");
    assert!(
        reset.starts_with("1m"),
        "{reset}: ten tokens, ten seconds each"
    );

    for response in [ask("none"), ask("none")] {
        assert_eq!(response.said(), "hi");
        assert_eq!(standing(&response, "requests"), nothing);
        assert_eq!(standing(&response, "tokens"), nothing);
    }
}

#[test]
fn tokens_are_what_the_provider_counted_and_a_debt_is_waited_for() {
    let upstream = Upstream::always(using(6200));
    let srpd = limited(&upstream, "tokens_per_minute = 6000").start();
    let mut client = srpd.connect();
    assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
    let refused = client.ask(&Ask::chat("smart"));
    assert_refused(&refused);
    // 201 tokens at 100 a second.
    let told = wait(&refused);
    assert!(told > ms(500) && told <= ms(2010), "{told:?}");
    // Another core sees it too, within its 25 ms.
    eventually("the debt on every core", || {
        let statuses = (0..8).map(|_| srpd.ask(&Ask::chat("smart")).status);
        statuses.filter(|&status| status == 429).count() == 8 || upstream.count() > 1
    });
    thread::sleep(told);
    assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
    eventually("the refusals under the key's name", || {
        srpd.metric("srpd_rate_limited_total", &["\"acme\"", "\"tokens\""]) >= 1.0
    });
}

#[test]
fn streams_are_charged_too_and_nothing_is_guessed() {
    let with_usage = Reply::events()
        .event(&delta("hi"))
        .event(usage_only())
        .done();
    let upstream = Upstream::in_turn(vec![
        Reply::json(200, &chat_body("hi").replace("\"usage\"", "\"unused\"")),
        Reply::chat_stream(&["no", "usage"]),
        with_usage.clone(),
        with_usage,
    ]);
    let srpd = limited(&upstream, "tokens_per_minute = 10").start();
    let mut client = srpd.connect();
    let mut left = |ask: Ask| {
        let response = client.ask(&ask);
        assert_eq!(response.status, 200, "{}", response.text());
        let [_, left, _] = standing(&response, "tokens");
        left.map(str::to_owned).expect("what is left")
    };
    assert_eq!(left(Ask::chat("smart")), "10");
    assert_eq!(left(Ask::stream("smart")), "10", "no usage, no charge");
    assert_eq!(left(Ask::stream("smart")), "10", "no usage, no charge");
    assert_eq!(left(Ask::stream("smart")), "5");
    assert_refused(&client.ask(&Ask::stream("smart")));
}

#[test]
fn the_refusal_does_not_wait_for_the_body() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = limited(&upstream, "requests_per_minute = 1").start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    let head = |more: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\ncontent-length: 1000\r\n{more}\r\n"
        )
    };
    for more in ["", "expect: 100-continue\r\n"] {
        let mut client = srpd.connect();
        client.send(head(more));
        let response = client.response();
        assert_refused(&response);
        assert_eq!(response.field("connection"), Some("close"));
        client.assert_closed();
    }
    // One that came whole leaves the connection usable.
    let mut client = srpd.connect();
    for _ in 0..3 {
        assert_refused(&client.ask(&Ask::chat("smart")));
    }
}

#[test]
fn a_call_is_one_unit_however_many_attempts_it_makes() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .key(
            "acme",
            KEY,
            "capabilities = [\"*\"]\nrequests_per_minute = 3",
        )
        .start();
    let mut client = srpd.connect();
    for left in ["2", "1", "0"] {
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.field("x-sovereign-attempts"), Some("2"));
        assert_eq!(standing(&response, "requests")[1], Some(left));
    }
    assert_refused(&client.ask(&Ask::chat("smart")));
}

#[test]
fn what_counts_is_every_call_that_was_let_in_and_nothing_else() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = limited(&upstream, "requests_per_minute = 3").start();
    let free = [
        (Ask::get("/v1/models"), 200),
        (Ask::get("/v1/models/smart"), 200),
        (Ask::get("/v1/nothing"), 404),
        (Ask::chat("smart").key("unknown"), 401),
        (Ask::chat("smart").field("x-sovereign-residency", "?"), 400),
        (Ask::chat("smart").field("content-encoding", "gzip"), 415),
    ];
    let counted = [
        (Ask::chat("nothing"), 404),
        (Ask::post("/v1/chat/completions", "no JSON"), 400),
        (Ask::chat("smart"), 200),
    ];
    let status = |ask: &Ask| srpd.ask(ask).status;
    for (ask, expected) in &free {
        assert_eq!(status(ask), *expected, "{ask:?}");
        assert_eq!(standing(&srpd.ask(ask), "requests"), [None; 3]);
    }
    for ((ask, expected), left) in counted.iter().zip(["2", "1", "0"]) {
        let response = srpd.ask(ask);
        assert_eq!(response.status, *expected, "{ask:?}");
        assert_eq!(standing(&response, "requests")[1], Some(left));
    }
    for (ask, _) in &counted {
        assert_refused(&srpd.ask(ask));
    }
    for (ask, expected) in &free {
        assert_eq!(status(ask), *expected, "still: {ask:?}");
    }
}

#[test]
fn one_keys_limit_is_no_other_keys() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let limit = "capabilities = [\"*\"]\nrequests_per_minute = 2";
    let srpd = Setup::backstop_only(&upstream.url())
        .key("one", "ONE", limit)
        .key("other", "OTHER", limit)
        .start();
    let status = |key| srpd.ask(&Ask::chat("smart").key(key)).status;
    assert_eq!(["ONE"; 3].map(status), [200, 200, 429]);
    assert_eq!(["OTHER"; 3].map(status), [200, 200, 429]);
}

#[test]
fn the_access_log_names_the_key_and_the_reason() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let mut srpd = limited(&upstream, "requests_per_minute = 1").start();
    let ask = |id: &str| Ask::chat("smart").field("x-request-id", id);
    assert_eq!(srpd.ask(&ask("id-in")).status, 200);
    assert_eq!(srpd.ask(&ask("id-out")).status, 429);
    let line = srpd.wait_log("the refused call", |line| {
        let is_it = line.contains("\"id-out\"");
        is_it.then(|| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
    });
    assert_eq!(
        (&line["key"], &line["status"]),
        (&"acme".into(), &429.into())
    );
    assert_eq!(line["code"], "rate_limit_exceeded", "{line}");
    assert_eq!(line["attempts"], 0, "{line}");
}

#[test]
fn a_reload_changes_a_limit_and_forgets_nothing() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let limit =
        |per_minute: u32| limited(&upstream, &format!("requests_per_minute = {per_minute}"));
    let srpd = limit(4).start();
    let mut client = srpd.connect();
    let ask = |client: &mut Client| client.ask(&Ask::chat("smart"));
    let mut statuses =
        |count: usize| -> Vec<u16> { (0..count).map(|_| ask(&mut client).status).collect() };
    assert_eq!(statuses(5), [200, 200, 200, 200, 429]);
    let in_force = |per_minute: &serde_json::Value| {
        eventually("the new limit", || {
            let config = srpd.admin("/srp/v1/config").json();
            config["key"][0]["requests_per_minute"] == *per_minute
        });
    };
    srpd.reload(&limit(6));
    in_force(&6.into());
    assert_eq!(statuses(3), [200, 200, 429], "six less the four");
    srpd.reload(&limit(2));
    in_force(&2.into());
    let refused = srpd.ask(&Ask::chat("smart"));
    assert_refused(&refused);
    assert!(wait(&refused) <= ms(30_000), "an empty bucket, no debt");
    srpd.reload(&limited(&upstream, ""));
    in_force(&serde_json::Value::Null);
    assert_eq!(statuses(9), [200; 9]);
    srpd.reload(&limit(9));
    in_force(&9.into());
    let left = srpd.ask(&Ask::chat("smart"));
    let [limit, left, _] = standing(&left, "requests");
    assert_eq!(limit, Some("9"));
    let left: u32 = left.and_then(|left| left.parse().ok()).expect("a number");
    assert!((6..=7).contains(&left), "{left}: two were used, one is now");
}
