//! The admin plane, and what the log says.

use serde_json::Value;

use crate::support::setup::digest;
use crate::support::{Ask, Instance, KEY, Refusing, Reply, Setup, Upstream, delta, eventually};

#[test]
fn health_readiness_and_what_isnt_there() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    assert_eq!(srpd.admin("/healthz").status, 200);
    eventually("ready", || srpd.admin("/readyz").status == 200);
    assert_eq!(srpd.admin("/nothing").status, 404);
    assert_eq!(
        srpd.admin("/v1/models").status,
        404,
        "the data plane is elsewhere"
    );
}

#[test]
fn not_ready_while_a_capability_has_nobody() {
    let dead = Refusing::new();
    let srpd = Setup::backstop_only(&dead.url())
        .section("breaker", "open = \"20s\"")
        .start();
    eventually("ready", || srpd.admin("/readyz").status == 200);
    let mut client = srpd.connect();
    for _ in 0..5 {
        assert_eq!(client.ask(&Ask::chat("smart")).status, 502);
    }
    eventually("not ready", || srpd.admin("/readyz").status == 503);
    assert_eq!(srpd.admin("/healthz").status, 200);
}

#[test]
fn metrics_tell_what_happened() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::start(|request| {
        if request.json()["stream"] == true {
            Reply::chat_stream(&["a"])
        } else {
            Reply::chat("hi")
        }
    });
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).start();
    let mut client = srpd.connect();
    for _ in 0..3 {
        client.ask(&Ask::chat("smart"));
    }
    client.ask(&Ask::stream("smart"));
    client.ask(&Ask::chat("nothing"));
    let is = |name: &str, labels: &[&str], value: f64| {
        eventually(&format!("{name} {labels:?} = {value}"), || {
            srpd.metric(name, labels) == value
        });
    };
    is("srpd_calls_total", &["\"smart\"", "\"200\""], 4.0);
    is("srpd_calls_total", &["\"404\""], 1.0);
    is("srpd_attempts_total", &["\"vendor-us\""], 4.0);
    is("srpd_attempts_total", &["\"aloomu\"", "\"ok\""], 4.0);
    is("srpd_failovers_total", &["\"vendor-us\""], 4.0);
    is("srpd_rejections_total", &["\"model_not_found\""], 1.0);
    is("srpd_calls_in_flight", &[], 0.0);
    is("srpd_call_seconds_count", &["\"smart\""], 4.0);
    is("srpd_ttft_seconds_count", &["\"smart\""], 4.0);
    is("srpd_pool_idle", &[], 1.0);
    let page = srpd.admin("/metrics");
    let kind = page.field("content-type").expect("a content type");
    assert!(kind.starts_with("text/plain"), "{kind}");
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_state_pages_hold_no_secret() {
    let vendor = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::bare(&vendor.url())
        .provider(
            "vendor-us",
            "us",
            &[&vendor.url()],
            "api_key = { file = \"vendor.key\" }",
        )
        .file("vendor.key", "sk-vendor-secret\n")
        .capability("smart", &["vendor-us"], "")
        .section("timeouts", "first_byte = \"7s\"")
        .start();
    let digest = digest(KEY);
    for path in ["/srp/v1/config", "/srp/v1/providers", "/metrics"] {
        let page = srpd.admin(path);
        assert_eq!(page.status, 200);
        assert!(!page.text().contains("sk-vendor-secret"), "{path}");
        assert!(!page.text().contains(&digest), "{path}");
    }
    let config = srpd.admin("/srp/v1/config");
    assert_eq!(config.field("content-type"), Some("application/json"));
    assert_eq!(
        config.json()["timeouts"]["first_byte"],
        "7s",
        "{}",
        config.text()
    );
    assert_eq!(
        config.json()["timeouts"]["head"],
        "10s",
        "a default is in force too"
    );
    assert!(config.text().contains("vendor-us"));
    let page = srpd.admin("/srp/v1/providers").json();
    let providers = page["providers"].as_array().expect("providers");
    assert_eq!(providers.len(), 2);
    assert_eq!(providers[0]["name"], "aloomu");
    assert_eq!(providers[0]["backstop"], true);
    assert_eq!(providers[1]["jurisdiction"], "us");
    assert_eq!(providers[1]["breaker"], "closed");
    assert_eq!(
        providers[1]["endpoints"][0]["url"],
        Value::from(vendor.url())
    );
}

/// A vendor that fails, a backstop that answers, and breaks streams off.
fn logged() -> (Upstream, Upstream, Instance) {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::start(|request| {
        if request.json()["stream"] == true {
            Reply::events().event(&delta("answer-marker")).close()
        } else {
            Reply::chat("answer-marker")
        }
    });
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).start();
    (vendor, backstop, srpd)
}

fn question(stream: bool, id: &str) -> Ask {
    let body = format!(r#"{{"model":"smart","stream":{stream},"input":"question-marker"}}"#);
    Ask::post("/v1/chat/completions", body).field("x-request-id", id)
}

/// The one line of the access log about a call.
fn line(srpd: &mut Instance, id: &str) -> Value {
    let quoted = format!("\"{id}\"");
    let found = |line: &str| line.contains(&quoted).then(|| line.to_owned());
    let text = srpd.wait_log(&quoted, found);
    let mut lines = srpd.log();
    lines.retain(|line| line.contains(&quoted));
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&text).expect("a JSON line")
}

#[test]
fn each_call_is_one_line() {
    let (_vendor, _backstop, mut srpd) = logged();
    srpd.ask(&question(false, "id-whole"));
    let whole = line(&mut srpd, "id-whole");
    for (name, value) in [
        ("status", Value::from(200)),
        ("attempts", 2.into()),
        ("capability", "smart".into()),
        ("key", "acme".into()),
        ("provider", "aloomu".into()),
        ("jurisdiction", "au".into()),
        ("residency", "any".into()),
        ("input_tokens", 3.into()),
        ("output_tokens", 2.into()),
        ("outcome", "completed".into()),
        ("stream", false.into()),
    ] {
        assert_eq!(whole[name], value, "{name} in {whole}");
    }
    srpd.ask(&question(true, "id-stream"));
    let stream = line(&mut srpd, "id-stream");
    assert_eq!(stream["outcome"], "cut", "{stream}");
    assert_eq!(stream["stream"], true, "{stream}");
    srpd.ask(&question(false, "id-refused").key("no-such-key"));
    assert_eq!(line(&mut srpd, "id-refused")["status"], 401);
}

#[test]
fn the_log_holds_no_body_and_no_key() {
    let (_vendor, _backstop, mut srpd) = logged();
    srpd.ask(&question(false, "id-1"));
    srpd.ask(&question(true, "id-2"));
    srpd.ask(&question(false, "id-3").key("no-such-key"));
    line(&mut srpd, "id-3");
    let secrets = [
        KEY,
        "no-such-key",
        "question-marker",
        "answer-marker",
        "vendor secret",
    ];
    for line in srpd.log() {
        let leak = secrets.iter().find(|secret| line.contains(**secret));
        assert_eq!(leak, None, "{line}");
    }
}
