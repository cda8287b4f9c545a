//! Servers that say how they are: what is starting gets no calls, and what is unwell is left in
//! peace without a breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::{
    Ask, Authority, Instance, Refusing, Reply, Request, Setup, Upstream, delta, eventually, ms,
};

/// An inference server whose `/health` has this status, and whose `/metrics` is this page.
fn server(name: &'static str, health: &Arc<AtomicU16>, metrics: &'static str) -> Upstream {
    let health = Arc::clone(health);
    Upstream::start(move |request: &Request| match request.line() {
        "GET /health" => Reply::json(
            health.load(Ordering::Relaxed),
            r#"{"error":{"message":"Loading model"}}"#,
        ),
        "GET /metrics" if metrics.is_empty() => Reply::json(404, "{}"),
        "GET /metrics" => Reply::with(200, &[("content-type", "text/plain")], metrics),
        _ => Reply::chat(name),
    })
}

fn status(status: u16) -> Arc<AtomicU16> {
    Arc::new(AtomicU16::new(status))
}

fn fleet(backstop: &Upstream, urls: &[&str], health: &str) -> Setup {
    let health = format!("health = {{ interval = \"100ms\", timeout = \"500ms\"{health} }}");
    Setup::bare(&backstop.url())
        .provider("fleet", "au", urls, &health)
        .capability("smart", &["fleet"], "")
}

fn ready(srpd: &Instance) -> f64 {
    srpd.metric("srpd_endpoint_ready", &["\"fleet\""])
}

/// Calls that reached it, checks left out.
fn calls(upstream: &Upstream) -> usize {
    let requests = upstream.requests();
    requests
        .iter()
        .filter(|it| it.line().starts_with("POST"))
        .count()
}

const ROWS: &str = ", healthy_after = 2, unhealthy_after = 2";

#[test]
fn a_server_that_is_loading_is_not_ready_and_no_breaker_opens() {
    let (up, loading) = (status(200), status(503));
    let (a, b) = (server("a", &up, ""), server("b", &loading, ""));
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = fleet(&backstop, &[&a.url(), &b.url()], ROWS).start();
    assert_eq!(ready(&srpd), 1.0, "known at the start");
    for _ in 0..20 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "a");
    }
    eventually("some checks", || {
        srpd.metric("srpd_health_checks_total", &["\"failed\""]) > 8.0
    });
    assert_eq!(calls(&b), 0);
    assert_eq!(srpd.metric("srpd_breaker_state", &[]), 0.0);
    assert_eq!(srpd.metric("srpd_breaker_transitions_total", &[]), 0.0);
    let page = srpd.admin("/srp/v1/providers").json();
    let endpoint = &page["providers"][1]["endpoints"][1];
    assert_eq!(endpoint["health"]["ready"], false, "{page}");
    assert_eq!(endpoint["health"]["trouble"], "status 503");

    loading.store(200, Ordering::Relaxed);
    eventually("both ready", || ready(&srpd) == 2.0);
    up.store(503, Ordering::Relaxed);
    eventually("calls at b alone", || {
        srpd.ask(&Ask::chat("smart")).said() == "b" && ready(&srpd) == 1.0
    });
    // The check bears nobody's credential, and asks for nothing else.
    let check = b
        .requests()
        .into_iter()
        .find(|it| it.line() == "GET /health");
    let check = check.expect("a check");
    assert_eq!(check.field("authorization"), None);
    assert_eq!(check.field("host"), Some(b.url()[7..].to_owned()));
    assert_eq!(backstop.count(), 0);
}

#[test]
fn a_stream_goes_on_though_its_server_is_no_longer_ready() {
    let up = status(200);
    let health = Arc::clone(&up);
    let stream = (0..10).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(100)));
    let stream = stream.done();
    let a = Upstream::start(move |request: &Request| match request.line() {
        "GET /health" => Reply::json(health.load(Ordering::Relaxed), "{}"),
        "GET /metrics" => Reply::json(404, "{}"),
        _ => stream.clone(),
    });
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = fleet(&backstop, &[&a.url()], ROWS).start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    let mut incoming = client.incoming();
    incoming.until("data:");
    up.store(500, Ordering::Relaxed);
    eventually("not ready", || ready(&srpd) == 0.0);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    eventually("the stream alone", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 1.0
    });
    let response = incoming.finish();
    assert_eq!((response.complete, response.data().len()), (true, 11));
    assert_eq!(srpd.metric("srpd_breaker_transitions_total", &[]), 0.0);
}

#[test]
fn who_is_not_ready_does_not_send_a_call_across_a_border() {
    let down = status(503);
    let (fleet_server, home) = (server("fleet", &down, ""), server("home", &down, ""));
    let abroad = Upstream::always(Reply::chat("abroad"));
    let health = "health = { interval = \"100ms\" }";
    let srpd = Setup::bare(&home.url())
        .more("aloomu", health)
        .provider("fleet", "au", &[&fleet_server.url()], health)
        .provider("vendor-us", "us", &[&abroad.url()], "")
        .capability("smart", &["fleet", "vendor-us"], "")
        .capability("home", &[], "")
        .start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "abroad", "no border");
    let bordered = Ask::chat("smart").field("x-sovereign-residency", "au-only");
    let kind = "service_unavailable_error";
    srpd.ask(&bordered)
        .assert_error(503, kind, Some("residency_unavailable"), None);
    srpd.ask(&Ask::chat("home"))
        .assert_error(503, kind, Some("no_provider_available"), None);
    assert_eq!(abroad.count(), 1);
    let unready = srpd.admin("/readyz");
    assert_eq!(unready.status, 503);
    assert!(
        unready.text().contains("capability home"),
        "{}",
        unready.text()
    );
    down.store(200, Ordering::Relaxed);
    eventually("at home again", || srpd.ask(&bordered).status == 200);
    eventually("ready", || srpd.admin("/readyz").status == 200);
    assert_eq!(abroad.count(), 1);
}

#[test]
fn flapping_changes_nothing_and_a_refused_connection_is_one_check() {
    let backstop = Upstream::always(Reply::chat("from home"));
    // It fails every other check.
    let flapping = Upstream::start(|request: &Request| match request.line() {
        "GET /health" if request.number.is_multiple_of(2) => Reply::json(200, "{}"),
        "GET /health" => Reply::json(500, "{}"),
        _ => Reply::chat("flapping"),
    });
    let gone = Refusing::new();
    let more = ", metrics = false, healthy_after = 2, unhealthy_after = 2";
    let srpd = fleet(&backstop, &[&flapping.url(), &gone.url()], more).start();
    eventually("many checks", || {
        srpd.metric("srpd_health_checks_total", &["\"fleet\""]) > 24.0
    });
    for _ in 0..20 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "flapping");
    }
    assert_eq!(ready(&srpd), 1.0);
    let asked_for_metrics = |it: &Request| it.line() == "GET /metrics";
    assert!(!flapping.requests().iter().any(asked_for_metrics));
    assert_eq!(srpd.metric("srpd_breaker_transitions_total", &[]), 0.0);
    let page = srpd.admin("/srp/v1/providers").text();
    assert!(page.contains("Connection refused"), "{page}");
}

#[test]
fn a_servers_own_figures_are_read_and_shown() {
    const PAGE: &str = "# TYPE vllm:num_requests_waiting gauge\n\
                        vllm:num_requests_waiting{engine=\"0\"} 5.0\n\
                        vllm:num_requests_running{engine=\"0\"} 3.0\n\
                        vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n";
    let up = status(200);
    let (busy, idle) = (server("busy", &up, PAGE), server("idle", &up, ""));
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = fleet(&backstop, &[&busy.url(), &idle.url()], ROWS).start();
    let said = |name: &str| srpd.metric(name, &[&busy.url()]);
    eventually("its figures", || {
        said("srpd_endpoint_reported_waiting") == 5.0
    });
    assert_eq!(said("srpd_endpoint_reported_running"), 3.0);
    assert_eq!(said("srpd_endpoint_reported_cache_use"), 0.5);
    for _ in 0..20 {
        assert_eq!(
            srpd.ask(&Ask::chat("smart")).said(),
            "idle",
            "it has less to do"
        );
    }
    let asked = |upstream: &Upstream| {
        let requests = upstream.requests();
        requests
            .iter()
            .filter(|it| it.line() == "GET /metrics")
            .count()
    };
    eventually("more figures", || asked(&busy) > 4);
    assert_eq!(asked(&idle), 1, "it has none, and isn't asked each time");
}

#[test]
fn a_check_believes_only_whom_a_call_would() {
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let up = status(200);
    let good = server("good", &up, "").over_tls(trusted.server().server());
    let bad = server("bad", &up, "").over_tls(stranger.server().server());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = fleet(&backstop, &[&good.url(), &bad.url()], ROWS)
        .trusting("fleet", &trusted)
        .start();
    assert_eq!(ready(&srpd), 1.0);
    for _ in 0..10 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "good");
    }
    assert_eq!(bad.count(), 0);
    let page = srpd.admin("/srp/v1/providers").text();
    assert!(page.contains("invalid peer certificate"), "{page}");
}

#[test]
fn checks_that_are_taken_away_by_a_reload_keep_nobody_out() {
    let down = status(503);
    let a = server("a", &down, "");
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = fleet(&backstop, &[&a.url()], ROWS).start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    let without = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&a.url()], "")
        .capability("smart", &["fleet"], "");
    srpd.reload(&without);
    eventually("served again", || {
        srpd.ask(&Ask::chat("smart")).said() == "a"
    });
    let checks = a.count() - calls(&a);
    // And back: it has served until now, so a row of checks decides.
    let patient = ", healthy_after = 1, unhealthy_after = 1000";
    srpd.reload(&fleet(&backstop, &[&a.url()], patient));
    eventually("checked again", || a.count() - calls(&a) > checks + 3);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "a");
}
