//! Sinks: a real NATS server's stream has what the ledger has, each entry once, whoever dies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use serde_json::Value;

use super::lives::{live, nine_lives};
use super::sinks::{PATIENCE, answers, bare, by_id, calls, priced};
use super::{directory, entries};
use crate::support::instance::within;
use crate::support::nats::{Nats, STREAM, Stored, config};
use crate::support::tls::Authority;
use crate::support::{Ask, Reply, Setup, Upstream, eventually};

const LABEL: [&str; 1] = ["sink=\"events\""];

fn sink(setup: Setup, url: &str, more: &str) -> Setup {
    setup.file("sink.url", url).raw(&format!(
        "[[ledger.sink]]\nname = \"events\"\nkind = \"nats\"\nstream = \"{STREAM}\"\n\
         url = {{ file = \"sink.url\" }}\n{more}\n"
    ))
}

/// What the stream has of each call, as `srpd ledger query` shows it. Fails if a message is there
/// twice, or one of a core came before an earlier one of its lane.
fn shown(stored: &[Stored]) -> BTreeMap<String, Value> {
    let mut ids = BTreeSet::new();
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    let mut shown = Vec::new();
    for message in stored {
        let id = message.field("Nats-Msg-Id");
        assert!(ids.insert(id.clone()), "{id} twice");
        let mut said = message.said.clone();
        let fields = said.as_object_mut().expect("an object");
        let serial = fields["serial"].as_u64().expect("a number");
        assert_eq!(message.field("Srpd-Serial"), serial.to_string());
        let entry = fields["id"].as_str().expect("an id");
        match fields["amended"].as_bool().expect("whether") {
            false => assert_eq!(id, entry),
            true => assert_eq!(id, format!("{entry}.{serial}")),
        }
        let before = reached.insert(&message.subject, serial);
        assert!(before.is_none_or(|before| before < serial), "{id} is late");
        fields.remove("serial");
        fields.remove("amended");
        shown.push(said);
    }
    // Of a call's messages the last counts.
    by_id(shown)
}

/// Waits until the stream has what the ledger has; how much that is.
fn assert_same(ledger: &Path, server: &Nats) -> usize {
    let mut count = 0;
    within(PATIENCE, "the stream has what the ledger has", || {
        let (entries, shown) = (
            by_id(entries(ledger)),
            shown(&server.stored().unwrap_or_default()),
        );
        count = entries.len();
        println!("{} entries, {} in the stream", count, shown.len());
        entries == shown
    });
    count
}

/// A server with the stream.
fn started() -> Option<Nats> {
    let server = Nats::start()?;
    server.create(config());
    Some(server)
}

#[test]
fn the_stream_has_what_the_ledger_has() {
    let Some(server) = started() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let without = priced(&upstream);
    let srpd = without.start();
    calls(&srpd, "before", 30);
    srpd.reload(&sink(without, &server.url(), "batch = 7"));
    // What was there before the sink was is sent, too.
    assert_eq!(assert_same(&directory(&srpd), &server), 30);
    calls(&srpd, "after", 200);
    assert_eq!(assert_same(&directory(&srpd), &server), 230);
    eventually("it has counted", || {
        srpd.metric("srpd_sink_sent_total", &LABEL) >= 230.0
    });
    assert!(srpd.metric("srpd_sink_failing", &LABEL) < 1.0);
    let stored = server.stored().expect("a stream");
    // Numbers of frames show whether one is missing.
    let mut serials: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for message in &stored {
        let (core, _) = message.subject.rsplit_once('.').expect("a lane");
        let serial = message.said["serial"].as_u64().expect("a number");
        serials.entry(core.to_owned()).or_default().push(serial);
    }
    for (core, mut serials) in serials {
        assert!(core.starts_with("srpd.ledger."), "{core}");
        serials.sort_unstable();
        let whole: Vec<u64> = (0..serials.len() as u64).collect();
        assert_eq!(serials, whole, "{core}");
    }
    let shown = srpd.admin("/metrics").text() + &srpd.log().join("\n");
    assert!(!shown.contains("correct-horse"), "{shown}");
}

#[test]
fn whoever_is_killed_every_entry_is_in_the_stream_once() {
    let Some(mut server) = started() else {
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
    assert!(count > 100, "{count} entries");
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
}

#[test]
fn what_was_acknowledged_to_nobody_is_not_sent_again_however_late() {
    let Some(server) = started() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = sink(priced(&upstream), &server.url(), "batch = 4");
    let srpd = setup.start();
    calls(&srpd, "first", 40);
    assert_same(&directory(&srpd), &server);
    let sent = directory(&srpd).join("events.sent");
    eventually("it is written down", || sent.exists());
    srpd.reload(&priced(&upstream));
    eventually("it has let go", || {
        !srpd.admin("/metrics").text().contains("srpd_sink")
    });
    // As if it had been killed before it wrote that down; the stream's window is long over.
    thread::sleep(Duration::from_secs(1));
    fs::remove_file(&sent).expect("it was there");
    srpd.reload(&setup);
    eventually("it is written down again", || sent.exists());
    calls(&srpd, "more", 9);
    assert_eq!(assert_same(&directory(&srpd), &server), 49);
    assert_eq!(server.stored().expect("a stream").len(), 49);
    assert!(srpd.metric("srpd_sink_errors_total", &LABEL) < 1.0);
}

#[test]
fn a_nats_server_that_is_away_costs_no_call_and_catches_up() {
    let Some(mut server) = started() else {
        return;
    };
    server.crash();
    let upstream = Upstream::always(Reply::chat("whole"));
    let mut srpd = sink(priced(&upstream), &server.url(), "").start();
    calls(&srpd, "away", 60);
    eventually("it says so", || {
        srpd.metric("srpd_sink_failing", &LABEL) > 0.0
    });
    assert!(srpd.ask(&Ask::chat("smart")).status == 200);
    thread::sleep(Duration::from_secs(2));
    assert!(srpd.metric("srpd_sink_lag_seconds", &LABEL) >= 1.0);
    server.resume();
    assert_eq!(assert_same(&directory(&srpd), &server), 61);
    // The last calls are sent before it ends.
    calls(&srpd, "last", 9);
    srpd.signal("TERM");
    srpd.wait_exit(PATIENCE);
    let stored = server.stored().expect("a stream");
    assert_eq!(shown(&stored), by_id(entries(&directory(&srpd))));
}

#[test]
fn what_a_stream_has_lost_is_sent_again() {
    let Some(mut server) = started() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let mut srpd = sink(priced(&upstream), &server.url(), "").start();
    calls(&srpd, "kept", 30);
    assert_same(&directory(&srpd), &server);
    // As if the server's machine had lost power, and with it what it hadn't made durable.
    let copy = server.store().with_extension("copy");
    let copies = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.expect("cp runs").success());
    };
    server.crash();
    copies(&server.store(), &copy);
    server.resume();
    calls(&srpd, "lost", 60);
    assert_eq!(assert_same(&directory(&srpd), &server), 90);
    server.crash();
    fs::remove_dir_all(server.store()).expect("it is removed");
    copies(&copy, &server.store());
    server.resume();
    assert_eq!(server.stored().expect("a stream").len(), 30);
    calls(&srpd, "after", 10);
    assert_eq!(assert_same(&directory(&srpd), &server), 100);
    let lost = "the stream has lost what it had acknowledged";
    srpd.wait_log(lost, |line| line.contains(lost).then_some(()));
    // A stream that was made anew.
    server.delete();
    server.create(config());
    calls(&srpd, "anew", 10);
    assert_eq!(assert_same(&directory(&srpd), &server), 110);
}

#[test]
fn of_processes_that_share_a_directory_one_sends_and_two_that_do_send_nothing_twice() {
    let Some(server) = started() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let shared = tempfile::tempdir().expect("a directory");
    let ledger = shared.path().join("ledger");
    let lines = format!("directory = {ledger:?}\nsegment_bytes = 1048576");
    let setup = sink(
        bare(&upstream).section("ledger", &lines),
        &server.url(),
        "batch = 3",
    );
    let first = setup.start();
    within(PATIENCE, "the first sends", || {
        calls(&first, "first", 1);
        first.metric("srpd_sink_sent_total", &LABEL) >= 1.0
    });
    let second = setup.start();
    calls(&first, "of-first", 30);
    calls(&second, "of-second", 30);
    assert_same(&ledger, &server);
    assert!(second.metric("srpd_sink_sent_total", &LABEL) < 1.0);
    first.signal("KILL");
    calls(&second, "alone", 30);
    assert_same(&ledger, &server);
    assert!(second.metric("srpd_sink_sent_total", &LABEL) >= 30.0);
    // Who has lost the lock without knowing it, and who has it now.
    fs::remove_file(ledger.join("events.lock")).expect("it was there");
    let third = setup.start();
    for round in 0..20 {
        calls(&second, &format!("second-{round}"), 9);
        calls(&third, &format!("third-{round}"), 9);
    }
    let count = assert_same(&ledger, &server);
    assert_eq!(server.stored().expect("a stream").len(), count);
    within(PATIENCE, "both have been at it", || {
        let sent = [&second, &third].map(|srpd| srpd.metric("srpd_sink_sent_total", &LABEL));
        sent.iter().all(|sent| *sent > 30.0)
    });
}

#[test]
fn who_has_the_wrong_password_is_told_so_and_nobody_else_learns_it() {
    let Some(server) = started() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = priced(&upstream).section("log", "level = \"trace\"");
    let mut srpd = sink(setup.clone(), &server.url_with("battery-staple"), "").start();
    calls(&srpd, "few", 9);
    srpd.wait_log("the complaint", |line| {
        let told = line.contains("the sink fails") && line.contains("authorization violation");
        told.then_some(())
    });
    srpd.reload(&sink(setup, &server.url(), ""));
    assert_eq!(assert_same(&directory(&srpd), &server), 9);
    let shown = srpd.admin("/metrics").text() + &srpd.log().join("\n");
    assert!(!shown.contains("battery"), "{shown}");
}

#[test]
fn a_stream_that_is_not_there_or_forgets_is_waited_for_aloud() {
    let Some(server) = Nats::start() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = sink(priced(&upstream), &server.url(), "");
    let mut srpd = setup.start();
    calls(&srpd, "few", 9);
    let mut says = |what: &str| {
        // It tries at once, and not as late as it would by now.
        srpd.reload(&setup);
        srpd.wait_log(what, |line| line.contains(what).then_some(()));
    };
    says("which is yours to make: ");
    let attempts: [(Config, &str); 4] = [
        (
            Config {
                storage: StorageType::Memory,
                ..config()
            },
            "expected storage in files",
        ),
        (
            Config {
                retention: RetentionPolicy::WorkQueue,
                ..config()
            },
            "expected retention by limits",
        ),
        (
            Config {
                no_ack: true,
                ..config()
            },
            "expected acknowledgements",
        ),
        (
            Config {
                subjects: vec!["other.>".to_owned()],
                ..config()
            },
            "no stream takes srpd.ledger.",
        ),
    ];
    for (config, what) in attempts {
        server.create(config);
        says(what);
        server.delete();
    }
    server.create(config());
    srpd.reload(&setup);
    assert_eq!(assert_same(&directory(&srpd), &server), 9);
}

#[test]
fn a_subject_that_somebody_else_writes_to_is_not_written_to() {
    let Some(server) = started() else {
        return;
    };
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = priced(&upstream).section("instance", "cores = 1");
    let mut srpd = sink(setup, &server.url(), "").start();
    calls(&srpd, "few", 9);
    assert_same(&directory(&srpd), &server);
    let subjects = server.stored().expect("a stream");
    let subject = &subjects[0].subject;
    server.publish(subject, "\"mine\"");
    calls(&srpd, "more", 9);
    srpd.wait_log("the complaint", |line| {
        line.contains("expected the field Srpd-Serial")
            .then_some(())
    });
    eventually("it fails", || {
        srpd.metric("srpd_sink_failing", &LABEL) > 0.0
    });
    let stored = server.stored().expect("a stream");
    let mine = stored.iter().position(|it| it.said == "mine").expect("it");
    assert!(
        stored[mine..]
            .iter()
            .skip(1)
            .all(|it| it.subject != *subject)
    );
}

#[test]
fn a_nats_server_over_tls_is_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Some(server) = Nats::over_tls(&authority) else {
        return;
    };
    server.create(config());
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = sink(priced(&upstream), &server.url(), "ca = \"sink.pem\"");
    let srpd = setup.clone().file("sink.pem", &other.pem()).start();
    calls(&srpd, "tls", 9);
    within(PATIENCE, "it is refused", || {
        srpd.metric("srpd_sink_failing", &LABEL) > 0.0
    });
    assert_eq!(server.stored().expect("a stream").len(), 0);
    srpd.reload(&setup.file("sink.pem", &authority.pem()));
    assert_eq!(assert_same(&directory(&srpd), &server), 9);
}

#[test]
fn what_is_too_old_for_the_stream_is_no_loss() {
    let Some(server) = Nats::start() else {
        return;
    };
    server.create(Config {
        max_age: Duration::from_secs(1),
        ..config()
    });
    let upstream = Upstream::always(Reply::chat("whole"));
    let srpd = sink(priced(&upstream), &server.url(), "").start();
    for round in 1..=3 {
        calls(&srpd, &format!("round-{round}"), 30);
        within(PATIENCE, "all of it is sent", || {
            srpd.metric("srpd_sink_sent_total", &LABEL) >= f64::from(30 * round)
        });
        within(PATIENCE, "it is removed", || {
            server.stored().is_some_and(|stored| stored.is_empty())
        });
    }
    assert!(srpd.metric("srpd_sink_sent_total", &LABEL) < 91.0);
    assert!(srpd.metric("srpd_sink_errors_total", &LABEL) < 1.0);
}
