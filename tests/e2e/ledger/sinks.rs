//! Sinks: a real PostgreSQL has what the ledger has, each entry once, whoever dies.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::lives::{live, nine_lives};
use super::{directory, entries, named, with_ledger};
use crate::support::instance::within;
use crate::support::postgres::Postgres;
use crate::support::tls::Authority;
use crate::support::{Ask, Instance, Reply, Setup, Upstream, delta, eventually, usage_only};

/// A busy machine, and a server that starts again.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Rows as `srpd ledger query` shows entries.
const ROWS: &str = "SELECT to_jsonb(t) - 'serial' - 'amended' || jsonb_build_object(\
    'price', price::text, 'cost', cost::text, \
    'began', to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) \
    FROM srpd_ledger t";

pub(super) fn by_id(all: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let named = |entry: Value| (entry["id"].as_str().expect("an id").to_owned(), entry);
    all.into_iter().map(named).collect()
}

/// What the table has, which is nothing until it is there.
fn rows(server: &Postgres) -> BTreeMap<String, Value> {
    let printed = server.may_ask(ROWS).unwrap_or_default();
    let rows = printed.lines();
    by_id(rows.map(|line| serde_json::from_str(line).expect("JSON")))
}

/// Waits until the table has what the ledger has; how much that is.
fn assert_same(ledger: &Path, server: &Postgres) -> usize {
    let mut count = 0;
    within(PATIENCE, "the table has what the ledger has", || {
        let (entries, rows) = (by_id(entries(ledger)), rows(server));
        count = entries.len();
        let same = entries == rows;
        if !same {
            let odd = entries
                .iter()
                .find(|(id, entry)| rows.get(*id) != Some(*entry));
            println!("{} entries, {} rows; {odd:?}", entries.len(), rows.len());
        }
        same
    });
    count
}

fn sink(setup: Setup, url: &str, more: &str) -> Setup {
    setup.file("sink.url", url).raw(&format!(
        "[[ledger.sink]]\nname = \"billing\"\nkind = \"postgres\"\n\
         url = {{ file = \"sink.url\" }}\n{more}\n"
    ))
}

pub(super) fn bare(upstream: &Upstream) -> Setup {
    Setup::bare(&upstream.url())
        .more("aloomu", "price = 2.4")
        .capability("smart", &[], "")
        .section("instance", "currency = \"AUD\"")
}

pub(super) fn priced(upstream: &Upstream) -> Setup {
    with_ledger(bare(upstream))
}

/// Answers whole or as a stream, as it is asked.
pub(super) fn answers() -> Upstream {
    Upstream::start(|request| {
        match String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            false => Reply::chat("whole"),
            true => Reply::events()
                .event(&delta("a"))
                .event(usage_only())
                .done(),
        }
    })
}

/// Calls of several sorts.
pub(super) fn calls(srpd: &Instance, name: &str, count: usize) {
    for number in 0..count {
        let ask = match number % 3 {
            0 => Ask::chat("smart"),
            1 => Ask::chat("other"),
            _ => Ask::chat("smart").key("sk-unknown"),
        };
        srpd.ask(&named(ask, &format!("{name}-{number}")));
    }
}

#[test]
fn the_table_has_what_the_ledger_has_and_reloads_change_the_sinks() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let without = priced(&upstream);
    let srpd = without.start();
    calls(&srpd, "before", 30);
    assert!(!srpd.admin("/metrics").text().contains("srpd_sink"));
    let with = sink(without.clone(), &server.url(), "batch = 7");
    srpd.reload(&with);
    // What was there before the sink was is sent, too.
    assert_eq!(assert_same(&directory(&srpd), &server), 30);
    calls(&srpd, "after", 200);
    assert_eq!(assert_same(&directory(&srpd), &server), 230);
    let label = ["sink=\"billing\""];
    eventually("it has counted", || {
        srpd.metric("srpd_sink_sent_total", &label) >= 230.0
    });
    assert!(srpd.metric("srpd_sink_failing", &label) < 1.0);
    assert!(srpd.metric("srpd_sink_lag_seconds", &label) < 60.0);
    let cost = server.ask("SELECT count(*) FROM srpd_ledger WHERE cost > 0 AND currency = 'AUD'");
    assert_eq!(cost.trim(), "77");
    // Numbers of frames show whether one is missing.
    let gaps = "SELECT count(*) FROM (SELECT serial - lag(serial) OVER (PARTITION BY \
                substring(id from '^.*-') ORDER BY serial) AS step FROM srpd_ledger) t \
                WHERE step <> 1";
    assert_eq!(server.ask(gaps).trim(), "0");
    // Another table: everything again, and the first is left alone.
    srpd.reload(&sink(
        without.clone(),
        &server.url(),
        "table = \"public.calls\"",
    ));
    within(PATIENCE, "the other table", || {
        let count = server
            .may_ask("SELECT count(*) FROM calls")
            .unwrap_or_default();
        calls(&srpd, "more", 1);
        !count.trim().is_empty() && count.trim() != "0"
    });
    srpd.reload(&without);
    eventually("it is gone", || {
        !srpd.admin("/metrics").text().contains("srpd_sink")
    });
    let shown = srpd.admin("/metrics").text() + &srpd.log().join("\n");
    assert!(!shown.contains("correct-horse"), "{shown}");
}

#[test]
fn what_amends_an_entry_changes_its_row_and_what_comes_twice_changes_nothing() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = sink(priced(&upstream), &server.url(), "");
    let srpd = setup.start();
    calls(&srpd, "first", 9);
    assert_same(&directory(&srpd), &server);
    // As if a batch had arrived and its acknowledgement had not.
    let sent = directory(&srpd).join("billing.sent");
    let versions = "SELECT string_agg(id || ' ' || xmin::text, ',' ORDER BY id) FROM srpd_ledger";
    let before = server.ask(versions);
    eventually("it is written down", || sent.exists());
    srpd.reload(&with_ledger(Setup::backstop_only(&upstream.url())));
    eventually("it has let go", || {
        !srpd.admin("/metrics").text().contains("srpd_sink")
    });
    thread::sleep(Duration::from_secs(1));
    std::fs::remove_file(&sent).expect("it was there");
    // An earlier state of a row is amended.
    server.ask("UPDATE srpd_ledger SET serial = -1, outcome = 'cut' WHERE request_id = 'first-0'");
    srpd.reload(&setup);
    eventually("all of it is sent again", || sent.exists());
    assert_same(&directory(&srpd), &server);
    assert_eq!(before.split(',').count(), 9);
    let after = server.ask(versions);
    let same = before.trim().split(',').filter(|row| after.contains(*row));
    assert_eq!(
        same.count(),
        8,
        "but one, none was written: {before} {after}"
    );
}

#[test]
fn whoever_is_killed_every_entry_is_there_once() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let upstream = answers();
    let setup = sink(bare(&upstream), &server.url(), "batch = 50");
    let place = nine_lives(setup, |pause| {
        server.crash();
        pause();
        server.resume();
    });
    let (mut child, _) = live(place.path());
    let count = assert_same(&place.path().join("ledger"), &server);
    println!("{count} entries");
    assert!(count > 100, "{count} entries");
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
}

#[test]
fn a_server_that_is_away_costs_no_call_and_catches_up() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    server.crash();
    let upstream = Upstream::always(Reply::chat("whole"));
    let mut srpd = sink(priced(&upstream), &server.url(), "").start();
    let label = ["sink=\"billing\""];
    calls(&srpd, "away", 60);
    eventually("it says so", || {
        srpd.metric("srpd_sink_failing", &label) > 0.0
    });
    assert!(srpd.ask(&Ask::chat("smart")).status == 200);
    thread::sleep(Duration::from_secs(2));
    assert!(srpd.metric("srpd_sink_lag_seconds", &label) >= 1.0);
    assert!(srpd.metric("srpd_sink_errors_total", &label) >= 1.0);
    server.resume();
    assert_eq!(assert_same(&directory(&srpd), &server), 61);
    // The last calls are sent before it ends.
    calls(&srpd, "last", 9);
    srpd.signal("TERM");
    srpd.wait_exit(PATIENCE);
    assert_eq!(rows(&server), by_id(entries(&directory(&srpd))));
}

#[test]
fn a_table_of_somebody_elses_is_left_alone() {
    let Some(server) = Postgres::start() else {
        return;
    };
    server.ask("CREATE TABLE srpd_ledger (id text, mine text)");
    let upstream = Upstream::always(Reply::chat("whole"));
    let mut srpd = sink(priced(&upstream), &server.url(), "").start();
    calls(&srpd, "few", 3);
    srpd.wait_log("the complaint", |line| {
        line.contains("expected \\\"srpd ledger, schema 1\\\"")
            .then_some(())
    });
    assert_eq!(server.ask("SELECT count(*) FROM srpd_ledger").trim(), "0");
}

#[test]
fn a_server_over_tls_is_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Some(server) = Postgres::over_tls(&authority.server()) else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = sink(priced(&upstream), &server.url(), "ca = \"sink.pem\"");
    let srpd = setup.clone().file("sink.pem", &other.pem()).start();
    calls(&srpd, "tls", 9);
    let label = ["sink=\"billing\""];
    within(PATIENCE, "it is refused", || {
        srpd.metric("srpd_sink_failing", &label) > 0.0
    });
    assert_eq!(rows(&server).len(), 0);
    srpd.reload(&setup.file("sink.pem", &authority.pem()));
    assert_eq!(assert_same(&directory(&srpd), &server), 9);
    let secured = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE ssl AND application_name = 'srpd'";
    assert_eq!(server.ask(secured).trim(), "1");
}
