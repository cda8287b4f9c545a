//! The tree while processes take each other's place, and while the disk has no room for it or fails.

use std::collections::HashSet;
use std::fs;

use super::{audited, head_of, ledger_of, of, receipt, report};
use crate::support::disk::{bound_files, spawn_ignoring_xfsz, spawn_without_sync};
use crate::support::{Ask, Instance, Reply, Setup, Upstream, eventually, ms, within};
use crate::upgrade::{Line, Load, answering};

/// This month's report says that all of these calls are proven, and each of them is by itself.
fn all_proven(srpd: &Instance, receipts: &[String]) {
    let directory = ledger_of(srpd);
    let calls = receipts.len() as u64;
    let distinct: HashSet<_> = receipts.iter().collect();
    assert_eq!(distinct.len(), receipts.len(), "a receipt is there twice");
    head_of(&directory, calls);
    let (json, said, proven) = report(&directory, &[]);
    assert!(proven, "{json} {said}");
    assert_eq!(
        (&json["covered"], &json["calls"]["au"]),
        (&calls.into(), &calls.into())
    );
    for id in receipts {
        let (_, said, done) = of(&directory, &["prove", id]);
        assert!(done, "{id}: {said}");
    }
}

#[test]
fn upgrades_under_load_leave_one_tree_with_each_entry_once() {
    let upstream = answering();
    let setup = audited(Setup::backstop_only(&upstream.url()));
    let mut srpd = setup.start();
    let mut line = Line::default();
    let load = Load::start(&srpd);
    load.go_on(40);
    for _ in 0..2 {
        line.succeed(&srpd);
        load.go_on(40);
    }
    let receipts = load.end();
    srpd.wait_exit(ms(8000));
    eventually("the newest process signs", || {
        srpd.metric("srpd_audit_active", &[]) == 1.0
    });
    all_proven(&srpd, &receipts);
    let runs: HashSet<_> = receipts
        .iter()
        .filter_map(|id| id.split('-').next())
        .collect();
    assert_eq!(runs.len(), 3);
}

fn failing(srpd: &Instance) -> bool {
    srpd.metric("srpd_audit_failing", &[]) == 1.0
}

#[test]
fn a_tree_without_room_is_said_and_goes_on_when_there_is_some() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let setup = audited(Setup::backstop_only(&upstream.url())).section("instance", "cores = 1");
    let mut srpd = setup.start_by(|command| spawn_ignoring_xfsz(command));
    let mut client = srpd.connect();
    let mut call = || receipt(&client.ask(&Ask::chat("smart")));
    let mut receipts = vec![call()];
    let directory = ledger_of(&srpd);
    head_of(&directory, 1);
    // Room for a part of a record.
    let tree = directory.join("audit.tree");
    let whole = fs::read(&tree).expect("a tree");
    bound_files(&srpd, Some(whole.len() as u64 + 100));
    receipts.extend([call(), call()]);
    srpd.wait_log("what is wrong", |line| {
        line.contains("audit: entries can't be signed")
            .then_some(())
    });
    let failures = srpd.metric("srpd_audit_failures_total", &[]);
    within(ms(20_000), "tries go on", || {
        srpd.metric("srpd_audit_failures_total", &[]) > failures + 2.0
    });
    // Calls go on, and are recorded: the ledger has room yet.
    receipts.push(call());
    assert!(failing(&srpd));
    assert_eq!(srpd.metric("srpd_audit_leaves", &[]), 1.0);
    assert_eq!(srpd.metric("srpd_ledger_failing", &[]), 0.0);
    // What was written in part is no part of it.
    eventually("the tree is as it was", || {
        fs::read(&tree).expect("a tree") == whole
    });
    let (_, said, done) = of(&directory, &["prove", &receipts[1]]);
    assert!(!done && said.contains("audit.interval"), "{said}");

    bound_files(&srpd, None);
    eventually("it signs again", || !failing(&srpd));
    srpd.wait_log("that it does", |line| {
        line.contains("audit: entries are signed again")
            .then_some(())
    });
    receipts.push(call());
    all_proven(&srpd, &receipts);
}

#[test]
fn a_tree_that_cannot_be_made_durable_is_not_gone_on_with() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let setup = audited(Setup::backstop_only(&upstream.url()));
    let mut srpd = setup.start_by(spawn_without_sync);
    let id = receipt(&srpd.ask(&Ask::chat("smart")));
    srpd.wait_log("what is wrong", |line| {
        (line.contains("audit: entries can't be signed") && line.contains("only a restart helps"))
            .then_some(())
    });
    eventually("it is a metric", || failing(&srpd));
    let (_, _, done) = of(&ledger_of(&srpd), &["prove", &id]);
    assert!(!done, "nothing was signed");
    assert_eq!(srpd.metric("srpd_audit_failures_total", &[]), 1.0);
    assert_eq!(srpd.metric("srpd_audit_leaves", &[]), 0.0);
}
