//! OpenTelemetry: what a collector is sent of a call, what a provider is told of its trace, and that
//! no call waits for either.

use std::time::Instant;

use serde_json::Value;

use crate::support::tls::Authority;
use crate::support::{
    Ask, Instance, Refusing, Reply, Request, Setup, Upstream, eventually, ms, within,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What a client says of its span, with these flags.
fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A collector that takes everything.
fn collector() -> Upstream {
    Upstream::always(Reply::json(200, "{}"))
}

/// `[otlp]` with that collector. Metrics come seldom unless `more` says otherwise.
fn exporting(setup: Setup, collector: &str, more: &str) -> Setup {
    let lines = format!("endpoint = \"{collector}\"\n{more}");
    setup.section("otlp", &lines)
}

fn exports<'r>(requests: &'r [Request], signal: &'r str) -> impl Iterator<Item = &'r Request> {
    let line = format!("POST /v1/{signal}");
    requests.iter().filter(move |it| it.line() == line)
}

/// All spans that a collector was sent.
fn spans(collector: &Upstream) -> Vec<Value> {
    let requests = collector.requests();
    let spans = exports(&requests, "traces").flat_map(|request| {
        let sent = request.json();
        let spans = &sent["resourceSpans"][0]["scopeSpans"][0]["spans"];
        spans.as_array().expect("spans").clone()
    });
    spans.collect()
}

fn wait_spans(collector: &Upstream, count: usize) -> Vec<Value> {
    eventually("the spans", || spans(collector).len() >= count);
    spans(collector)
}

fn attribute<'s>(of: &'s Value, key: &str) -> &'s Value {
    let attributes = of["attributes"].as_array().expect("attributes");
    let found = attributes.iter().find(|it| it["key"] == key);
    let value = found.and_then(|it| it["value"].as_object());
    let value = value.and_then(|value| value.values().next());
    value.unwrap_or(&Value::Null)
}

fn assert_said(span: &Value, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(attribute(span, key), value, "{key} of {span}");
    }
}

/// The only `traceparent` that an upstream was sent last, in its parts.
fn told(upstream: &Upstream) -> Vec<String> {
    let fields = upstream.last().fields();
    let mut values = fields.iter().filter(|(name, _)| name == "traceparent");
    let (_, value) = values.next().expect("a traceparent");
    assert_eq!(values.next(), None, "one only");
    value.split('-').map(str::to_owned).collect()
}

fn port(upstream: &Upstream) -> String {
    upstream.address().port().to_string()
}

#[test]
fn a_failover_is_a_span_with_one_below_it_for_each_attempt_and_providers_are_told_theirs() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("hello"));
    let collector = collector();
    let setup = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).patient_breakers();
    let srpd = exporting(setup, &collector.url(), "sample = 0").start();
    let ask = Ask::chat("smart")
        .field("traceparent", traceparent("03"))
        .field("tracestate", "vendor=1,other=2")
        .field("x-request-id", "traced-1");
    assert_eq!(srpd.ask(&ask).status, 200);

    let spans = wait_spans(&collector, 3);
    let [call, first, second] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(call["name"], "chat smart");
    assert_eq!(call["parentSpanId"], PARENT);
    for span in [call, first, second] {
        assert_eq!(span["traceId"], TRACE);
        assert_said(
            span,
            &[
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.request.model", "smart"),
            ],
        );
    }
    assert_said(
        call,
        &[
            ("srp.request_id", "traced-1"),
            ("srp.attempts", "2"),
            ("srp.jurisdiction", "au"),
            ("srp.key", "acme"),
            ("gen_ai.provider.name", "aloomu"),
            ("http.response.status_code", "200"),
        ],
    );
    let (vendor_port, backstop_port) = (port(&vendor), port(&backstop));
    assert_said(
        first,
        &[
            ("error.type", "server_error"),
            ("http.response.status_code", "500"),
            ("server.address", "127.0.0.1"),
            ("server.port", &vendor_port),
        ],
    );
    assert_said(
        second,
        &[
            ("gen_ai.provider.name", "aloomu"),
            ("http.response.status_code", "200"),
            ("server.port", &backstop_port),
            ("srp.jurisdiction", "au"),
        ],
    );
    // Each provider works for the span of its own attempt.
    for (upstream, attempt) in [(&vendor, first), (&backstop, second)] {
        assert_eq!(attempt["parentSpanId"], call["spanId"]);
        let told = told(upstream);
        let id = attempt["spanId"].as_str().expect("an id");
        assert_eq!(told, ["00", TRACE, id, "03"]);
        let state = upstream.last().field("tracestate");
        assert_eq!(state.as_deref(), Some("vendor=1,other=2"));
    }
    assert_in_order(call, first, second);
}

/// The attempts lie in the call, one after the other.
fn assert_in_order(call: &Value, first: &Value, second: &Value) {
    let time = |span: &Value, which: &str| {
        let nanos = span[which].as_str().expect("a text");
        nanos.parse::<u64>().expect("a number")
    };
    let (start, end) = ("startTimeUnixNano", "endTimeUnixNano");
    assert!(time(call, start) <= time(first, start));
    assert!(time(first, end) <= time(second, start));
    assert!(time(second, end) <= time(call, end));
    let took = time(call, end) - time(call, start);
    assert!(took > 0 && took < 60_000_000_000, "{took}");
}

#[test]
fn what_is_not_recorded_goes_on_as_it_came() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let collector = collector();
    let backstop = || Setup::backstop_only(&upstream.url());
    let watched = exporting(backstop(), &collector.url(), "sample = 0.0").start();
    let unwatched = backstop().start();
    let malformed = traceparent("0");
    for srpd in [&watched, &unwatched] {
        for value in [&traceparent("00"), &malformed] {
            let ask = Ask::chat("smart").field("traceparent", value);
            let ask = ask.field("tracestate", "a=1");
            assert_eq!(srpd.ask(&ask).status, 200);
            let last = upstream.last();
            assert_eq!(last.field("traceparent").as_ref(), Some(value));
            assert_eq!(last.field("tracestate").as_deref(), Some("a=1"));
        }
        assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
        assert_eq!(upstream.last().field("traceparent"), None);
        let twice = Ask::chat("smart")
            .field("traceparent", traceparent("01"))
            .field("traceparent", traceparent("01"));
        assert_eq!(srpd.ask(&twice).status, 200);
    }
    // Without the table even what asks for it.
    let ask = Ask::chat("smart").field("traceparent", traceparent("01"));
    assert_eq!(unwatched.ask(&ask).status, 200);
    let last = upstream.last().field("traceparent");
    assert_eq!(last, Some(traceparent("01")));
    // What is recorded is the next, and nothing before it.
    assert_eq!(watched.ask(&ask).status, 200);
    assert_eq!(wait_spans(&collector, 2).len(), 2);
    assert!(!unwatched.admin("/metrics").text().contains("srpd_otlp"));
}

#[test]
fn a_trace_of_our_own_takes_the_place_of_one_that_is_malformed() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let collector = collector();
    let setup = Setup::backstop_only(&upstream.url());
    let srpd = exporting(setup, &collector.url(), "sample = 1").start();
    let ask = Ask::chat("smart")
        .field("Traceparent", traceparent("0g"))
        .field("tracestate", "a=1");
    assert_eq!(srpd.ask(&ask).status, 200);
    let told = told(&upstream);
    assert_ne!(told[1], TRACE);
    assert_eq!((told[0].as_str(), told[3].as_str()), ("00", "03"));
    assert_eq!(upstream.last().field("tracestate"), None);
    let spans = wait_spans(&collector, 2);
    assert_eq!(spans[0]["traceId"], told[1]);
    assert_eq!(spans[0].get("parentSpanId"), None);
    assert_eq!(spans[1]["spanId"], told[2]);
    // Who may not call has no trace recorded, and a call that is refused has.
    let stranger = Ask::chat("smart").key("sk-unknown");
    assert_eq!(srpd.ask(&stranger).status, 401);
    let abroad = Ask::chat("smart").field("x-sovereign-residency", "us-only");
    assert_eq!(srpd.ask(&abroad).status, 403);
    let refused = &wait_spans(&collector, 3)[2];
    assert_said(refused, &[("error.type", "data_residency_mismatch")]);
    assert_eq!(refused["status"]["code"], 2);
    assert_eq!(spans_after(&srpd, &collector, 3).len(), 3);
}

/// All spans, once what came so far must have been exported.
fn spans_after(srpd: &Instance, collector: &Upstream, least: usize) -> Vec<Value> {
    let marked = Ask::chat("smart").field("x-request-id", "marker");
    assert_eq!(srpd.ask(&marked).status, 200);
    let spans = wait_spans(collector, least + 2);
    let is_marker = |span: &&Value| attribute(span, "srp.request_id") == "marker";
    assert_eq!(spans.iter().filter(is_marker).count(), 1);
    spans[..spans.len() - 2].to_vec()
}

#[test]
fn no_more_are_recorded_than_the_bound_on_their_rate() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let collector = collector();
    let setup = Setup::backstop_only(&upstream.url()).section("instance", "cores = 1");
    let rate = "sample = 0\ntraces_per_second = 1";
    let srpd = exporting(setup, &collector.url(), rate).start();
    let began = Instant::now();
    let mut client = srpd.connect();
    let ask = Ask::chat("smart").field("traceparent", traceparent("01"));
    for _ in 0..20 {
        assert_eq!(client.ask(&ask).status, 200);
    }
    let most = 2 + began.elapsed().as_secs() as usize;
    let capped = srpd.metric("srpd_otlp_capped_total", &[]) as usize;
    assert!(capped >= 20 - most, "{capped}");
    assert_eq!(
        wait_spans(&collector, 2 * (20 - capped)).len(),
        2 * (20 - capped)
    );
}

#[test]
fn metrics_are_of_all_calls_and_add_up() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let collector = collector();
    let setup = Setup::backstop_only(&upstream.url());
    let often = "sample = 0\ninterval = \"100ms\"";
    let srpd = exporting(setup, &collector.url(), often).start();
    let mut usage = Value::Null;
    for _ in 0..10 {
        let response = srpd.ask(&Ask::chat("smart"));
        usage = response.json()["usage"].clone();
    }
    assert_eq!(srpd.ask(&Ask::chat("unknown")).status, 404);
    let points = |name: &str| {
        let requests = collector.requests();
        let last = exports(&requests, "metrics").last();
        let sent = last.map(Request::json).unwrap_or_default();
        let metrics = sent["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone();
        let metrics = metrics.as_array().cloned().unwrap_or_default();
        let found = metrics.iter().find(|it| it["name"] == name);
        let points = found.map(|it| it["histogram"]["dataPoints"].clone());
        points
            .and_then(|points| points.as_array().cloned())
            .unwrap_or_default()
    };
    let counted = |name: &str, key: &str, value: &Value| {
        let points = points(name);
        let found = points.iter().find(|it| attribute(it, key) == value);
        let count = found.and_then(|it| it["count"].as_str());
        count.unwrap_or_default().to_owned()
    };
    let request = "gen_ai.server.request.duration";
    eventually("all calls", || {
        counted(request, "gen_ai.provider.name", &"aloomu".into()) == "10"
            && counted(request, "error.type", &"model_not_found".into()) == "1"
    });
    for name in [
        "gen_ai.client.operation.duration",
        "gen_ai.server.time_to_first_token",
    ] {
        assert_eq!(counted(name, "gen_ai.request.model", &"smart".into()), "10");
    }
    let tokens = points("gen_ai.client.token.usage");
    for (kind, key) in [("input", "prompt_tokens"), ("output", "completion_tokens")] {
        let mut points = tokens.iter();
        let point = points.find(|it| attribute(it, "gen_ai.token.type") == kind);
        let sum = point.expect("tokens")["sum"].as_f64().expect("a sum");
        assert_eq!(sum, 10.0 * usage[key].as_f64().expect("a count"));
    }
    assert!(spans(&collector).is_empty());
}

#[test]
fn a_collector_that_is_gone_costs_calls_nothing_and_what_is_dropped_is_counted() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("hello"));
    let refusing = Refusing::new();
    let setup = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).patient_breakers();
    let all = "sample = 1\ntraces_per_second = 10000\ninterval = \"100ms\"";
    let mut srpd = exporting(setup, &refusing.url(), all).start();
    let mut client = srpd.connect();
    // Three spans each: more than wait for a collector, and one export beside them.
    for _ in 0..1600 {
        assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
    }
    eventually("the drops", || {
        srpd.metric("srpd_otlp_spans_total", &["dropped"]) > 0.0
    });
    assert!(srpd.metric("srpd_otlp_failed_exports_total", &["traces"]) > 0.0);
    assert!(srpd.metric("srpd_otlp_failed_exports_total", &["metrics"]) > 0.0);
    assert_eq!(srpd.metric("srpd_otlp_lost_total", &[]), 0.0);
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    // Nor does it keep the process.
    drop(client);
    srpd.signal("TERM");
    assert!(srpd.wait_exit(ms(15_000)).success());
    let complaints = srpd.whole_log();
    let complaints = complaints.iter().filter(|it| it.contains("took no export"));
    assert_eq!(complaints.count(), 2, "once for each kind");
}

#[test]
fn what_a_collector_puts_off_is_sent_again_and_what_it_refuses_is_not() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let busy = Reply::with(503, &[("retry-after", "1")], "");
    let collector = Upstream::in_turn(vec![busy, Reply::json(200, "{}")]);
    let setup = Setup::backstop_only(&upstream.url());
    let srpd = exporting(setup, &collector.url(), "sample = 1").start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    let sent = || srpd.metric("srpd_otlp_spans_total", &["sent"]);
    eventually("the second try", || sent() == 2.0);
    let requests = collector.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
    let paused = requests[1].at.duration_since(requests[0].at);
    assert!(paused >= ms(950), "{paused:?}");

    collector.set_always(Reply::failure(400));
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    let refused = || srpd.metric("srpd_otlp_spans_total", &["refused"]);
    eventually("the refusal", || refused() == 2.0);
    let partly = r#"{"partialSuccess":{"rejectedSpans":"1"}}"#;
    collector.set_always(Reply::json(200, partly));
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    within(ms(20_000), "the part", || refused() == 3.0);
    assert_eq!(sent(), 3.0);
    assert_eq!(srpd.metric("srpd_otlp_spans_total", &["dropped"]), 0.0);
}

#[test]
fn a_collector_that_is_silent_is_left_after_the_time_out() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let collector = Upstream::always(Reply::new().stall());
    let setup = Setup::backstop_only(&upstream.url());
    let silent = "sample = 1\ntimeout = \"200ms\"";
    let srpd = exporting(setup, &collector.url(), silent).start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    eventually("the time-out", || {
        srpd.metric("srpd_otlp_failed_exports_total", &["traces"]) >= 1.0
    });
}

#[test]
fn exports_go_over_tls_bear_the_fields_that_are_asked_for_and_end_with_the_process() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let authority = Authority::new();
    let collector = collector().over_tls(authority.server().server());
    let more = "sample = 1\nca = \"ca.pem\"\n\
                headers = { Authorization = { file = \"token\" }, x-scope = { file = \"scope\" } }";
    let setup = Setup::backstop_only(&upstream.url())
        .file("ca.pem", &authority.pem())
        .file("token", "Bearer sk-collector 1\n")
        .file("scope", "tenant-1");
    let endpoint = format!("{}/otlp", collector.url());
    let mut srpd = exporting(setup, &endpoint, more).start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    // Before anything was due.
    srpd.signal("TERM");
    assert!(srpd.wait_exit(ms(15_000)).success());
    let requests = collector.requests();
    let mut lines: Vec<&str> = requests.iter().map(Request::line).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["POST /otlp/v1/metrics", "POST /otlp/v1/traces"]);
    for request in &requests {
        let field = |name| request.field(name).expect("a field");
        assert_eq!(field("authorization"), "Bearer sk-collector 1");
        assert_eq!(field("x-scope"), "tenant-1");
        assert_eq!(field("content-type"), "application/json");
    }
}

#[test]
fn another_collector_takes_a_restart() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let collector = collector();
    let setup = Setup::backstop_only(&upstream.url());
    let srpd = exporting(setup.clone(), &collector.url(), "").start();
    srpd.reload(&setup);
    eventually("the refusal", || {
        srpd.metric("srpd_config_reload_failures_total", &[]) == 1.0
    });
    let log = srpd.log();
    let named = log
        .iter()
        .any(|line| line.contains("otlp: changing it needs a restart"));
    assert!(named, "{log:?}");
}
