//! What can be seen from inside: samples of the last hour, the market's pages, and the site for
//! browsers. tests/clients/test_pages.py has the same in a browser.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::balance::{begin, endless};
use crate::support::{Ask, Instance, Reply, Setup, Upstream, eventually, within};

/// From one sample to the next, and a moment.
const SAMPLE: Duration = Duration::from_secs(12);

fn sum(column: &Value) -> u64 {
    let column = column.as_array().expect("a column");
    column.iter().filter_map(Value::as_u64).sum()
}

fn named<'v>(list: &'v Value, member: &str, name: &str) -> &'v Value {
    let mut list = list.as_array().expect("a list").iter();
    let found = list.find(|it| it[member] == name);
    found.unwrap_or_else(|| panic!("no {member} {name}"))
}

#[test]
fn samples_add_up_to_what_happened() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::start(|request| match request.json()["stream"] == true {
        true => endless(),
        false => Reply::chat("hi"),
    });
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .patient_breakers()
        .start();
    // The first look says where counting begins, and an instance takes it at its start.
    eventually("it counts", || srpd.admin("/srp/v1/history").status == 200);
    let mut client = srpd.connect();
    for _ in 0..4 {
        assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
    }
    assert_eq!(client.ask(&Ask::chat("nothing")).status, 404);
    let streaming = begin(&srpd, &Ask::stream("smart"));
    let mut page = Value::Null;
    within(SAMPLE, "a sample with all of it", || {
        page = srpd.admin("/srp/v1/history").json();
        sum(&page["calls"]["served"]) == 4
            && page["in_flight"]
                .as_array()
                .is_some_and(|it| it.last().and_then(Value::as_u64) == Some(1))
    });
    assert_eq!(sum(&page["calls"]["refused"]), 1);
    assert_eq!(sum(&page["calls"]["failed"]), 0);
    assert_eq!(sum(&page["errors"]["model_not_found"]), 1);
    assert_eq!(page["errors"].as_object().map(|it| it.len()), Some(1));
    let of = |name| named(&page["providers"], "name", name);
    assert_eq!(sum(&of("vendor-us")["failed"]), 5);
    assert_eq!(sum(&of("aloomu")["ended"]), 4);
    let under_way = of("aloomu")["in_flight"].as_array().expect("a column");
    assert_eq!(under_way.last(), Some(&1.into()));
    let state = srpd.admin("/srp/v1/providers").json();
    let aloomu = named(&state["providers"], "name", "aloomu");
    assert_eq!(
        (&aloomu["in_flight"], &aloomu["price"]),
        (&1.into(), &"0.00".into())
    );
    assert_eq!(srpd.metric("srpd_attempts_in_flight", &["aloomu"]), 1.0);
    drop(streaming);
    // Every column has a number for each moment, and what was seen isn't said again.
    let moments = page["at"].as_array().expect("moments");
    let length = |column: &Value| column.as_array().map(Vec::len);
    let columns = [
        &page["lasted_ms"],
        &page["connections"],
        &page["ttft_ms"]["p50"],
        &page["call_ms"]["p99"],
        &of("vendor-us")["price"],
        &of("vendor-us")["output_tokens"],
    ];
    assert!(columns.iter().all(|it| length(it) == Some(moments.len())));
    let medians = page["call_ms"]["p50"].as_array().expect("a column");
    assert!(
        medians
            .iter()
            .any(|ms| ms.as_f64().is_some_and(|ms| ms > 0.0))
    );
    let last = moments.last().and_then(Value::as_i64).expect("a moment");
    let later = srpd.admin(&format!("/srp/v1/history?since={last}")).json();
    let first = later["at"].as_array().and_then(|at| at.first()?.as_i64());
    assert!(
        first.is_none_or(|first| first > last),
        "{first:?} after {last}"
    );
    let odd = srpd.admin("/srp/v1/history?since=yesterday");
    odd.assert_error(400, "invalid_request_error", None, None);
}

fn market(srpd: &Instance) -> Value {
    let page = srpd.admin("/srp/v1/market").json();
    named(&page["locations"], "location", "nz").clone()
}

#[test]
fn the_market_shows_supply_demand_and_who_was_curtailed() {
    let (fleet, backstop) = (Upstream::always(endless()), Upstream::always(endless()));
    let srpd = Setup::bare(&backstop.url())
        .provider("fleet", "nz", &[&fleet.url()], "capacity = 2\nprice = 0.6")
        .capability("smart", &["fleet"], "residency = \"nz-only\"")
        .key(
            "firm",
            "firm-key",
            "capabilities = [\"*\"]\nsupply = \"firm\"",
        )
        .key("floater", "floater-key", "capabilities = [\"*\"]")
        .section("market", "interval = \"1s\"\nprice_cap = 9")
        .raw(
            "[[reservation]]\nkey = \"firm\"\nprovider = \"fleet\"\nslots = 1\n\
             from = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\n",
        )
        .start();
    let floating = |limit: &str| {
        let ask = Ask::stream("smart").key("floater-key");
        begin(&srpd, &ask.field("X-Sovereign-Max-Price", limit))
    };
    let _both = [floating("3"), floating("4")];
    eventually("demand by its limits", || {
        let demand = market(&srpd)["demand"].clone();
        let limits = demand.as_array().expect("a list").iter();
        let limits: Vec<_> = limits.filter_map(|it| it["limit"].as_str()).collect();
        limits == ["4.00", "3.00"]
    });
    let now = market(&srpd);
    assert_eq!(now["supply"][0]["slots"], 1);
    assert_eq!(now["supply"][0]["price"], "0.60");
    assert_eq!(
        now["stacks"][0]["supply"], now["supply"],
        "it never changed"
    );
    assert_eq!(now["stacks"].as_array().map(Vec::len), Some(1));
    let _firm = begin(&srpd, &Ask::stream("smart").key("firm-key"));
    eventually("it is in the clearing that came after it", || {
        let now = market(&srpd);
        let history = now["history"].as_array().expect("a list").iter();
        let curtailed: u64 = history.filter_map(|it| it["curtailed"].as_u64()).sum();
        curtailed == 1 && now["curtailed"] == 0
    });
}

#[test]
fn pages_for_browsers_say_what_they_may_do() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    for (path, kind) in [
        ("/", "text/html"),
        ("/dashboard", "text/html"),
        ("/market", "text/html"),
        ("/site/plot.js", "text/javascript"),
        ("/site/dashboard.js", "text/javascript"),
        ("/site/market.js", "text/javascript"),
        ("/site/style.css", "text/css"),
        ("/site/icon.svg", "image/svg+xml"),
    ] {
        let page = srpd.admin(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(
            page.field("content-type")
                .is_some_and(|it| it.starts_with(kind)),
            "{path}"
        );
        let policy = page.field("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    }
    let json = srpd.admin("/srp/v1/providers");
    assert_eq!(json.field("x-content-type-options"), Some("nosniff"));
    for path in [
        "/site/",
        "/site/../dashboard",
        "/dashboard/",
        "/site/plot.js/x",
    ] {
        assert_eq!(srpd.admin(path).status, 404, "{path}");
    }
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_srpd"));
    command.args(arguments).output().expect("srpd runs")
}

#[test]
fn one_look_is_plain_text() {
    let fleet = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::bare(&fleet.url())
        .provider("fleet", "nz", &[&fleet.url()], "capacity = 2\nprice = 0.6")
        .capability("smart", &["fleet"], "")
        .start();
    let admin = srpd.admin_address().to_string();
    let once = |command: &str| {
        let done = run(&[command, "--once", "--admin", &admin]);
        assert!(done.status.success(), "{command}");
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    let top = once("top");
    assert!(
        top.contains("calls/s") && top.contains("fleet") && top.contains("aloomu"),
        "{top}"
    );
    let market = once("market");
    assert!(
        market.contains("nz 0.60") && market.contains("Supply and demand"),
        "{market}"
    );
    assert!(
        !(top + &market).contains('\u{1b}'),
        "no command to a terminal"
    );
    drop(srpd);
    for arguments in [["top", "--once"], ["market", "--once"]] {
        let gone = run(&[&arguments[..], &["--admin", &admin]].concat());
        assert_eq!(gone.status.code(), Some(1));
        let says = String::from_utf8_lossy(&gone.stderr).into_owned();
        assert!(says.contains("the admin plane at 127.0.0.1:"), "{says}");
    }
}

#[test]
fn a_live_view_needs_a_terminal() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let admin = srpd.admin_address().to_string();
    for command in ["top", "market"] {
        let done = run(&[command, "--admin", &admin]);
        assert_eq!(done.status.code(), Some(1));
        assert!(done.stdout.is_empty());
        let says = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            says.contains("no terminal: --once prints one look"),
            "{says}"
        );
    }
}
