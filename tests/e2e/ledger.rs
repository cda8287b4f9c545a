//! The ledger: one entry for each call, whatever becomes of the call, of the process, or of the disk.

mod disk;
mod lives;
mod sinks;
mod streams;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::setup::SRPD;
use crate::support::{
    Ask, Instance, Reply, Setup, Upstream, chat_body, delta, eventually, ms, usage_only,
};

const LEDGER: &str = "directory = \"ledger\"\nsegment_bytes = 65536";

/// An instance with a ledger in its own directory.
fn with_ledger(setup: Setup) -> Setup {
    setup.section("ledger", LEDGER)
}

fn directory(srpd: &Instance) -> PathBuf {
    srpd.config_path().with_file_name("ledger")
}

/// Runs a command on a ledger; what it prints, and whether it found everything whole.
fn ledger(directory: &Path, arguments: &[&str]) -> (String, bool) {
    let output = Command::new(SRPD)
        .args(["ledger", arguments[0], "--directory"])
        .arg(directory)
        .args(&arguments[1..])
        .output()
        .expect("srpd runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    // Shown if the test fails.
    print!("{said}");
    (printed, output.status.success())
}

/// All entries.
fn entries(directory: &Path) -> Vec<Value> {
    let (printed, whole) = ledger(directory, &["query"]);
    assert!(whole, "the ledger is not whole");
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Entries by request id: there is one for each.
fn by_request(directory: &Path) -> HashMap<String, Value> {
    let mut found = HashMap::new();
    for entry in entries(directory) {
        let id = entry["request_id"].as_str().expect("an id").to_owned();
        assert!(found.insert(id.clone(), entry).is_none(), "two of {id}");
    }
    found
}

/// The only entry of a request, once it is there.
fn entry(srpd: &Instance, request: &str) -> Value {
    let directory = directory(srpd);
    let mut found = None;
    eventually("the entry", || {
        found = by_request(&directory).remove(request);
        found.is_some()
    });
    found.expect("an entry")
}

fn named(ask: Ask, request: &str) -> Ask {
    ask.field("x-request-id", request)
}

fn assert_said(entry: &Value, expected: &[(&str, Value)]) {
    for (member, value) in expected {
        assert_eq!(&entry[member], value, "{member} of {entry}");
    }
}

fn results(entry: &Value) -> Vec<(String, String)> {
    let attempts = entry["attempts"].as_array().expect("attempts");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let results = attempts
        .iter()
        .map(|it| (text(&it["provider"]), text(&it["result"])));
    results.collect()
}

fn pair(provider: &str, result: &str) -> (String, String) {
    (provider.to_owned(), result.to_owned())
}

#[test]
fn a_call_is_there_before_its_client_has_the_answer() {
    let body = chat_body("whole");
    let upstream = Upstream::always(Reply::json(200, &body));
    let setup = Setup::bare(&upstream.url())
        .more("aloomu", "price = 2.4")
        .capability("smart", &[], "")
        .section("instance", "currency = \"AUD\"");
    let srpd = with_ledger(setup).start();
    let response =
        srpd.ask(&named(Ask::chat("smart"), "whole-1").field("x-sovereign-residency", "au-only"));
    assert_eq!(response.status, 200);
    // No wait: it was there before the answer.
    let found = by_request(&directory(&srpd))
        .remove("whole-1")
        .expect("an entry");
    assert_said(
        &found,
        &[
            ("status", 200.into()),
            ("outcome", "completed".into()),
            ("key", "acme".into()),
            ("capability", "smart".into()),
            ("residency", "au-only".into()),
            ("jurisdiction", "au".into()),
            ("provider", "aloomu".into()),
            ("supply", "floating".into()),
            ("price", "2.40".into()),
            ("currency", "AUD".into()),
            ("stream", false.into()),
            ("code", Value::Null),
            ("bytes_out", body.len().into()),
        ],
    );
    assert_eq!(results(&found), [pair("aloomu", "ok")]);
    assert_eq!(found["attempts"][0]["status"], 200);
    let said = response.json();
    let usage = &said["usage"];
    assert_eq!(found["input_tokens"], usage["prompt_tokens"]);
    assert_eq!(found["output_tokens"], usage["completion_tokens"]);
    let (printed, _) = ledger(
        &directory(&srpd),
        &["sum", "--by", "key,jurisdiction", "--json"],
    );
    let sum: Value = serde_json::from_str(&printed).expect("one line");
    assert_eq!(sum["cost"], found["cost"]);
    assert_eq!((&sum["calls"], &sum["key"]), (&"1".into(), &"acme".into()));
}

#[test]
fn what_is_refused_is_an_entry_with_its_code() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let srpd = with_ledger(Setup::backstop_only(&upstream.url())).start();
    let asks = [
        (
            "stranger",
            Ask::chat("smart").key("sk-unknown"),
            401,
            "invalid_api_key",
        ),
        ("no-model", Ask::chat("other"), 404, "model_not_found"),
        (
            "no-json",
            Ask::post("/v1/chat/completions", "{"),
            400,
            "invalid_json",
        ),
        (
            "abroad",
            Ask::chat("smart").field("x-sovereign-residency", "us-only"),
            403,
            "data_residency_mismatch",
        ),
    ];
    for (request, ask, status, code) in asks {
        assert_eq!(srpd.ask(&named(ask, request)).status, status);
        let found = by_request(&directory(&srpd))
            .remove(request)
            .expect("an entry");
        assert_said(
            &found,
            &[
                ("status", status.into()),
                ("code", code.into()),
                ("outcome", "failed".into()),
                ("provider", Value::Null),
                ("cost", Value::Null),
            ],
        );
    }
    // Not even a request.
    let mut client = srpd.connect();
    client.send("no HTTP\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let statuses: Vec<Value> = entries(&directory(&srpd))
        .iter()
        .map(|entry| entry["status"].clone())
        .collect();
    assert_eq!(statuses.len(), 5, "{statuses:?}");
}

#[test]
fn every_attempt_is_in_the_entry_of_its_call() {
    let vendor = Upstream::always(Reply::failure(503));
    let backstop = Upstream::always(Reply::chat("home"));
    let setup = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).patient_breakers();
    let srpd = with_ledger(setup).start();
    assert_eq!(srpd.ask(&named(Ask::chat("smart"), "over")).said(), "home");
    let found = entry(&srpd, "over");
    assert_eq!(
        results(&found),
        [pair("vendor-us", "server_error"), pair("aloomu", "ok")]
    );
    assert_eq!(found["attempts"][0]["status"], 503);
    assert_eq!(
        found["attempts"][0]["endpoint"],
        vendor.address().to_string()
    );
    assert_said(
        &found,
        &[("provider", "aloomu".into()), ("jurisdiction", "au".into())],
    );

    backstop.set_always(Reply::failure(500));
    assert_eq!(srpd.ask(&named(Ask::chat("smart"), "none")).status, 502);
    let found = entry(&srpd, "none");
    assert_said(
        &found,
        &[
            ("code", "all_attempts_failed".into()),
            ("provider", Value::Null),
        ],
    );
    assert_eq!(
        results(&found),
        [
            pair("vendor-us", "server_error"),
            pair("aloomu", "server_error")
        ]
    );

    vendor.set_always(Reply::json(422, r#"{"error":{"message":"no"}}"#));
    assert_eq!(srpd.ask(&named(Ask::chat("smart"), "theirs")).status, 422);
    let found = entry(&srpd, "theirs");
    assert_said(
        &found,
        &[
            ("status", 422.into()),
            ("provider", "vendor-us".into()),
            ("input_tokens", Value::Null),
        ],
    );
    assert_eq!(results(&found), [pair("vendor-us", "client_error")]);
}

#[test]
fn a_stream_is_there_before_it_says_that_it_is_over() {
    let words = || Reply::events().event(&delta("a")).event(usage_only());
    let upstream = Upstream::always(words().event("[DONE]").stall());
    let srpd = with_ledger(Setup::backstop_only(&upstream.url())).start();
    let mut client = srpd.connect();
    client.send(named(Ask::stream("smart"), "said-done").bytes());
    let mut incoming = client.incoming();
    while !incoming.response.text().contains("[DONE]") {
        assert!(incoming.piece(), "it ends before it says so");
    }
    // Its body hasn't ended, and it has its entry.
    let found = by_request(&directory(&srpd))
        .remove("said-done")
        .expect("an entry");
    assert_said(
        &found,
        &[("outcome", "completed".into()), ("stream", true.into())],
    );
    assert!(
        found["input_tokens"].is_u64() && found["ttft_us"].is_u64(),
        "{found}"
    );

    upstream.set_always(words().close());
    assert!(!srpd.ask(&named(Ask::stream("smart"), "died")).complete);
    let found = entry(&srpd, "died");
    assert_said(&found, &[("outcome", "cut".into()), ("status", 200.into())]);
    assert_eq!(results(&found), [pair("aloomu", "truncated")]);
}

#[test]
fn a_client_that_leaves_is_an_entry_too() {
    let upstream = Upstream::always(Reply::events().event(&delta("a")).stall());
    let srpd = with_ledger(Setup::backstop_only(&upstream.url())).start();
    let mut client = srpd.connect();
    client.send(named(Ask::stream("smart"), "left").bytes());
    assert!(client.incoming().piece());
    client.close();
    let found = entry(&srpd, "left");
    assert_said(
        &found,
        &[
            ("outcome", "client_gone".into()),
            ("input_tokens", Value::Null),
            ("cost", Value::Null),
        ],
    );
    assert_eq!(results(&found), [pair("aloomu", "cancelled")]);
    // Before it was answered at all.
    upstream.set_always(Reply::new().stall());
    let mut client = srpd.connect();
    client.send(named(Ask::chat("smart"), "impatient").bytes());
    upstream.wait_requests(2);
    client.close();
    let found = entry(&srpd, "impatient");
    assert_said(&found, &[("status", 499.into()), ("provider", Value::Null)]);
}

#[test]
fn segments_rotate_are_private_and_the_oldest_go() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = with_ledger(Setup::backstop_only(&upstream.url())).section("instance", "cores = 1");
    let mut srpd = setup.start();
    let mut client = srpd.connect();
    let (mut calls, mut served) = (0, 0);
    while served < 900 {
        let ask = named(Ask::chat("smart"), &format!("turn-{calls}"));
        calls += 1;
        match client.ask(&ask).status {
            200 => served += 1,
            // A disk that is slower than this: segments are short, and each needs a file.
            503 => std::thread::sleep(ms(20)),
            status => panic!("{status}"),
        }
    }
    let directory = directory(&srpd);
    let served_entries = || {
        let (printed, _) = ledger(&directory, &["query", "--outcome", "completed"]);
        printed.lines().count()
    };
    assert_eq!(served_entries(), 900);
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let paths = || {
        let all = fs::read_dir(&directory).expect("a directory");
        all.map(|entry| entry.expect("an entry").path())
            .collect::<Vec<_>>()
    };
    assert!(paths().iter().all(|path| mode(path) == 0o600));
    assert!(paths().len() >= 3, "{:?}", paths());
    drop(client);
    srpd.signal("TERM");
    assert!(srpd.wait_exit(Duration::from_secs(10)).success());
    assert!(
        paths()
            .iter()
            .all(|path| path.extension().is_some_and(|it| it == "ledger"))
    );
    assert_eq!(served_entries(), 900);
    // Sealed ones are as long as what is in them.
    let zeros = |path: &PathBuf| fs::read(path).expect("a segment").ends_with(&[0; 16]);
    assert!(!paths().iter().any(zeros));

    let bounded = setup.section("ledger", "bytes_max = 262144");
    let kept = tempfile::tempdir().expect("a directory");
    let inside = kept.path().join("ledger");
    fs::create_dir(&inside).expect("a directory");
    for path in paths() {
        let name = path.file_name().expect("a name");
        fs::copy(&path, inside.join(name)).expect("a copy");
        for copy in 0..3 {
            let text = name.to_str().expect("text");
            let other = format!("{copy}{}", &text[1..]);
            fs::copy(&path, inside.join(other)).expect("a copy");
        }
    }
    bounded.write(kept.path());
    let sizes = || {
        let all = fs::read_dir(&inside).expect("a directory");
        all.map(|entry| entry.expect("an entry").metadata().map_or(0, |it| it.len()))
            .sum::<u64>()
    };
    assert!(sizes() > 262_144);
    let mut again = bounded.start_by(|command| {
        command
            .current_dir(kept.path())
            .spawn()
            .expect("srpd starts")
    });
    again.wait_log("what was removed", |line| {
        line.contains("ledger: removed").then_some(())
    });
    // What it writes itself comes on top.
    assert!(sizes() <= 262_144 + 2 * 65_536, "{}", sizes());
}

#[test]
fn two_instances_can_share_a_directory() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let shared = tempfile::tempdir().expect("a directory");
    let path = shared.path().join("ledger");
    let lines = format!("directory = {path:?}\nsegment_bytes = 65536");
    let setup = Setup::backstop_only(&upstream.url()).section("ledger", &lines);
    let first = setup.start();
    let second = setup.start();
    for (srpd, request) in [(&first, "one"), (&second, "two"), (&first, "three")] {
        assert_eq!(srpd.ask(&named(Ask::chat("smart"), request)).status, 200);
    }
    assert_eq!(by_request(&path).len(), 3);
    assert_eq!(first.metric("srpd_ledger_frames_total", &["entry"]), 2.0);
    assert_eq!(second.metric("srpd_ledger_frames_total", &["entry"]), 1.0);
}

#[test]
fn exports_have_every_entry() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let srpd = with_ledger(Setup::backstop_only(&upstream.url())).start();
    for request in ["one", "two,\"quoted\""] {
        assert_eq!(srpd.ask(&named(Ask::chat("smart"), request)).status, 200);
    }
    srpd.ask(&Ask::chat("smart").key("sk-unknown"));
    let directory = directory(&srpd);
    let (printed, whole) = ledger(&directory, &["export", "--format", "csv"]);
    assert!(whole && printed.lines().count() == 4, "{printed}");
    assert!(printed.contains(r#""two,""quoted""""#), "{printed}");
    let out = directory.with_file_name("calls.parquet");
    let path = out.to_str().expect("text");
    let arguments = ["export", "--format", "parquet", "--out", path];
    assert!(ledger(&directory, &arguments).1);
    let bytes = fs::read(&out).expect("a file");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    assert_eq!(
        out.metadata().expect("it").permissions().mode() & 0o777,
        0o600
    );
    // It is never written over.
    assert!(!ledger(&directory, &arguments).1);
    let (printed, _) = ledger(&directory, &["query", "--outcome", "failed"]);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let (printed, _) = ledger(&directory, &["tail", "-n", "2"]);
    assert_eq!(printed.lines().count(), 2, "{printed}");
    let id = by_request(&directory)["one"]["id"].clone();
    let (printed, _) = ledger(&directory, &["query", "--id", id.as_str().expect("text")]);
    assert!(
        printed.lines().count() == 1 && printed.contains("\"one\""),
        "{printed}"
    );
}

#[test]
fn a_reload_cannot_change_it() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = with_ledger(Setup::backstop_only(&upstream.url()));
    let mut srpd = setup.start();
    srpd.reload(&setup.section("ledger", "on_failure = \"serve\""));
    srpd.wait_log("the refusal", |line| {
        line.contains("ledger: changing it needs a restart")
            .then_some(())
    });
}
