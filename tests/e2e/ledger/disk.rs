//! A disk that is full, or fails, or has kept half of what it was given.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{by_request, directory, ledger, named, with_ledger};
use crate::support::disk::{bound_files, spawn_ignoring_xfsz, spawn_without_sync};
use crate::support::{Ask, Client, Reply, Setup, Upstream, eventually};

/// Calls until one is refused; how many were served.
fn fill(client: &mut Client) -> usize {
    for count in 0..2000 {
        let response = client.ask(&named(Ask::chat("smart"), &format!("fill-{count}")));
        if response.status != 200 {
            response.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
            assert_eq!(response.field("retry-after"), Some("1"));
            return count;
        }
    }
    panic!("no call was refused");
}

fn one_core(upstream: &Upstream) -> Setup {
    with_ledger(Setup::backstop_only(&upstream.url())).section("instance", "cores = 1")
}

#[test]
fn a_full_disk_refuses_new_calls_until_there_is_room() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let srpd = one_core(&upstream).start_by(|command| spawn_ignoring_xfsz(command));
    assert_eq!(srpd.admin("/readyz").status, 200);
    bound_files(&srpd, Some(4096));
    let mut client = srpd.connect();
    let served = fill(&mut client);
    // What is there is used up first: two segments' worth.
    assert!(served > 300, "{served}");
    eventually("it says so", || srpd.admin("/readyz").status == 503);
    let said = srpd.admin("/readyz").text();
    assert!(said.contains("the ledger can't be written"), "{said}");
    assert_eq!(srpd.metric("srpd_ledger_failing", &[]), 1.0);
    assert_eq!(srpd.metric("srpd_ledger_lost_total", &["served"]), 0.0);
    let found = by_request(&directory(&srpd));
    let missing = (0..served).filter(|count| !found.contains_key(&format!("fill-{count}")));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<usize>::new());

    bound_files(&srpd, None);
    eventually("it is ready again", || srpd.admin("/readyz").status == 200);
    let again = client.ask(&named(Ask::chat("smart"), "again"));
    assert_eq!(again.status, 200);
    assert_eq!(srpd.metric("srpd_ledger_failing", &[]), 0.0);
    // The gap shows, unless every refusal has found room, too.
    let refused = srpd.metric("srpd_ledger_lost_total", &["refused"]);
    let (printed, whole) = ledger(&directory(&srpd), &["query"]);
    assert!(printed.contains("\"again\""));
    assert_eq!(whole, refused == 0.0, "{refused}");
}

#[test]
fn who_prefers_it_serves_on_and_knows_what_is_lost() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = one_core(&upstream).section("ledger", "on_failure = \"serve\"");
    let srpd = setup.start_by(|command| spawn_ignoring_xfsz(command));
    bound_files(&srpd, Some(4096));
    let mut client = srpd.connect();
    let mut calls = 0;
    while srpd.metric("srpd_ledger_lost_total", &["served"]) == 0.0 {
        for _ in 0..50 {
            assert_eq!(client.ask(&Ask::chat("smart")).status, 200);
            calls += 1;
        }
        assert!(calls < 5000);
    }
    // The clerk's next try may be a moment after the first call that found no room.
    eventually("it says so", || {
        srpd.metric("srpd_ledger_failing", &[]) == 1.0
    });
    assert_eq!(srpd.admin("/readyz").status, 200);
    eventually("each is kept or known to be lost", || {
        let kept = srpd.metric("srpd_ledger_frames_total", &["entry"]);
        kept + srpd.metric("srpd_ledger_lost_total", &["served"]) == f64::from(calls)
    });
}

#[test]
fn a_disk_that_fails_refuses_new_calls_for_good() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let srpd = one_core(&upstream).start_by(spawn_without_sync);
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    eventually("it is noticed", || srpd.admin("/readyz").status == 503);
    let refused = srpd.ask(&Ask::chat("smart"));
    refused.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    assert!(srpd.metric("srpd_ledger_sync_failures_total", &[]) >= 1.0);
    // It isn't forgotten by the next try that has nothing to write.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(srpd.metric("srpd_ledger_failing", &[]), 1.0);
}

#[test]
fn without_room_for_the_first_segments_there_is_no_start() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("file");
    fs::write(&file, "x").expect("a file");
    let setup = Setup::backstop_only(&upstream.url())
        .section("ledger", &format!("directory = {:?}", file.join("ledger")));
    setup.write(place.path());
    let output = Command::new(crate::support::setup::SRPD)
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(place.path())
        .output()
        .expect("srpd runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ledger.directory = "), "{said}");
    assert!(
        said.contains("expected a directory that can be written"),
        "{said}"
    );
}

#[test]
fn a_torn_tail_is_cut_off_and_said() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let shared = tempfile::tempdir().expect("a directory");
    let path = shared.path().join("ledger");
    let lines = format!("directory = {path:?}\nsegment_bytes = 65536");
    let setup = Setup::backstop_only(&upstream.url())
        .section("ledger", &lines)
        .section("instance", "cores = 1");
    let mut srpd = setup.start();
    for number in 0..5 {
        let ask = named(Ask::chat("smart"), &format!("kept-{number}"));
        assert_eq!(srpd.ask(&ask).status, 200);
    }
    srpd.signal("KILL");
    srpd.wait_exit(Duration::from_secs(5));
    drop(srpd);
    let live = fs::read_dir(&path).expect("a directory");
    let mut live: Vec<_> = live.map(|entry| entry.expect("an entry").path()).collect();
    live.sort();
    let bytes = fs::read(&live[0]).expect("a segment");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("frames") + 1;
    let file = OpenOptions::new()
        .write(true)
        .open(&live[0])
        .expect("it opens");
    // Half a frame: its length, and something.
    let next = end.next_multiple_of(8) as u64;
    file.write_all_at(&[200, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 9], next)
        .expect("it is written");
    let again = setup.start();
    assert_eq!(again.metric("srpd_ledger_torn_total", &[]), 1.0);
    assert!(again.metric("srpd_ledger_torn_bytes_total", &[]) >= 17.0);
    let torn = |line: &String| line.contains("a torn tail was cut off");
    assert!(again.log().iter().any(torn));
    assert_eq!(by_request(&path).len(), 5);
    let sealed = live[0].with_extension("ledger");
    assert_eq!(sealed.metadata().expect("it is sealed").len() % 8, 0);
}
