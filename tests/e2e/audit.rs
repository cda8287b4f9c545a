//! What is signed of the ledger: receipts, proofs that hold elsewhere, and one tree whatever becomes of
//! the processes that go on with it.

mod life;
mod tamper;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::support::setup::SRPD;
use crate::support::{
    Ask, Instance, Reply, Setup, Upstream, chat_body, delta, eventually, ms, usage_only, within,
};

/// The sample key of RFC 8410, section 10.3.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

const PUBLIC: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

const LEDGER: &str = "directory = \"ledger\"\nsegment_bytes = 65536";

const AUDIT: &str = "key = { file = \"audit.pem\" }\ninterval = \"50ms\"";

fn with_ledger(setup: Setup) -> Setup {
    setup.section("ledger", LEDGER).file("audit.pem", PRIVATE)
}

fn audited(setup: Setup) -> Setup {
    with_ledger(setup).section("audit", AUDIT)
}

/// Runs the setup in a directory that outlives it.
fn start_in(setup: &Setup, place: &Path) -> Instance {
    setup.write(place);
    let place = place.to_owned();
    setup.start_by(move |command: &mut Command| -> Child {
        command.current_dir(place).spawn().expect("srpd starts")
    })
}

fn end(mut srpd: Instance, signal: &str) {
    srpd.signal(signal);
    srpd.wait_exit(Duration::from_secs(20));
}

/// What a command says: on standard output, on standard error, and whether all is well.
fn audit(arguments: &[&str]) -> (String, String, bool) {
    let output = Command::new(SRPD)
        .arg("audit")
        .args(arguments)
        .output()
        .expect("srpd runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (printed, said, output.status.success())
}

/// Runs a command on a ledger.
fn of(directory: &Path, arguments: &[&str]) -> (String, String, bool) {
    let place = directory.to_str().expect("text");
    audit(&[arguments, &["--directory", place]].concat())
}

fn month() -> String {
    jiff::Timestamp::now().to_string()[.."2026-11".len()].to_owned()
}

/// This month's report.
fn report(directory: &Path, more: &[&str]) -> (Value, String, bool) {
    let month = month();
    let arguments = [
        &["report", "--month", &month, "--key", PUBLIC, "--json"],
        more,
    ]
    .concat();
    let (printed, said, proven) = of(directory, &arguments);
    let json = serde_json::from_str(&printed).unwrap_or(Value::Null);
    (json, said, proven)
}

/// The newest head, once the tree has so many leaves.
fn head_of(directory: &Path, leaves: u64) -> Value {
    let mut found = Value::Null;
    within(ms(20_000), "a head", || {
        let (printed, _, done) = of(directory, &["head"]);
        if done {
            found = serde_json::from_str(&printed).expect("JSON");
        }
        found["size"].as_u64() >= Some(leaves)
    });
    found
}

fn ledger_of(srpd: &Instance) -> PathBuf {
    srpd.config_path().with_file_name("ledger")
}

/// The proof of a call, once it can be had.
fn prove(directory: &Path, id: &str) -> String {
    let mut proof = None;
    eventually("a proof", || {
        let (printed, said, done) = of(directory, &["prove", id]);
        assert!(
            done || said.contains("audit.interval") || said.contains("nothing has"),
            "{said}"
        );
        proof = done.then_some(printed);
        proof.is_some()
    });
    proof.expect("a proof")
}

fn receipt(response: &crate::support::Response) -> String {
    response
        .field("x-sovereign-receipt")
        .expect("a receipt")
        .to_owned()
}

#[test]
fn every_response_names_the_entry_of_its_call_and_without_a_ledger_none_does() {
    // A provider's own passes to nobody.
    let theirs = [
        ("content-type", "application/json"),
        ("x-sovereign-receipt", "theirs"),
    ];
    let upstream = Upstream::start(move |request| {
        match String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            false => Reply::with(200, &theirs, chat_body("whole")),
            true => Reply::events()
                .event(&delta("a"))
                .event(usage_only())
                .done(),
        }
    });
    let setup = Setup::backstop_only(&upstream.url());
    let srpd = with_ledger(setup.clone()).start();
    let asks = [
        (Ask::chat("smart"), 200),
        (Ask::stream("smart"), 200),
        (Ask::chat("smart").key("sk-unknown"), 401),
        (Ask::chat("other"), 404),
        (Ask::get("/v1/models"), 200),
        (Ask::post("/v1/chat/completions", "{"), 400),
        (Ask::get("/nowhere"), 404),
    ];
    let mut receipts = Vec::new();
    for (number, (ask, status)) in asks.into_iter().enumerate() {
        let request = format!("named-{number}");
        let response = srpd.ask(&ask.field("x-request-id", &request));
        assert_eq!(response.status, status);
        receipts.push((receipt(&response), request));
    }
    let mut client = srpd.connect();
    client.send("no HTTP\r\n\r\n");
    let stranger = client.response();
    let stranger = (
        receipt(&stranger),
        stranger.field("x-request-id").expect("an id").to_owned(),
    );
    receipts.push(stranger);
    for (id, request) in receipts {
        let output = Command::new(SRPD)
            .args(["ledger", "query", "--id", &id, "--directory"])
            .arg(ledger_of(&srpd))
            .output()
            .expect("srpd runs");
        let entry: Value = serde_json::from_slice(&output.stdout).expect("one entry");
        assert_eq!(entry["request_id"], request.as_str());
    }
    let srpd = setup.start();
    let response = srpd.ask(&Ask::chat("smart"));
    assert_eq!(response.field("x-sovereign-receipt"), None);
}

#[test]
fn a_call_is_proven_to_others_and_no_letter_of_the_proof_can_be_changed() {
    let vendor = Upstream::always(Reply::failure(503));
    let backstop = Upstream::always(Reply::chat("home"));
    let setup = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).patient_breakers();
    let srpd = audited(setup).start();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(receipt(&srpd.ask(&Ask::chat("smart"))));
    }
    let proof = prove(&ledger_of(&srpd), &ids[2]);
    drop(srpd);
    // Another machine: it has the file and the key.
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("proof.json");
    let verify = |text: &str, key: &str| {
        fs::write(&path, text).expect("a file");
        let path = path.to_str().expect("text");
        audit(&["verify", path, "--key", key])
    };
    let (printed, said, proven) = verify(&proof, PUBLIC);
    assert!(proven, "{said}");
    for expected in [
        &ids[2],
        "acme",
        "smart",
        "aloomu",
        "vendor-us in us (server_error), aloomu in au (ok)",
        "200 completed",
        "inside",
    ] {
        assert!(printed.contains(expected), "{expected} in {printed}");
    }
    let (json, _, proven) = audit(&[
        "verify",
        path.to_str().expect("text"),
        "--key",
        PUBLIC,
        "--json",
    ]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert!(proven && json["proven"] == true && json["entry"]["provider"] == "aloomu");

    let (other, _, _) = audit(&[
        "keygen",
        "--out",
        place.path().join("k.pem").to_str().expect("text"),
    ]);
    let (_, said, proven) = verify(&proof, other.trim());
    assert!(
        !proven && said.contains("not signed by the given key"),
        "{said}"
    );
    let value: Value = serde_json::from_str(&proof).expect("JSON");
    let changes: [fn(&mut Value); 11] = [
        |it| it["id"] = format!("{}0", it["id"].as_str().expect("an id")).into(),
        |it| it["leaves"][0]["index"] = (it["leaves"][0]["index"].as_u64().expect("it") ^ 1).into(),
        |it| change(&mut it["leaves"][0]["bytes"], 60),
        |it| change(&mut it["leaves"][0]["bytes"], 3),
        |it| change(&mut it["leaves"][0]["path"][0], 5),
        |it| it["leaves"] = Value::Array(Vec::new()),
        |it| it["head"]["size"] = (it["head"]["size"].as_u64().expect("a size") + 1).into(),
        |it| change(&mut it["head"]["root"], 7),
        |it| change(&mut it["head"]["tree"], 7),
        |it| it["head"]["time"] = "2026-01-01T00:00:00.000Z".into(),
        |it| change(&mut it["head"]["signature"], 9),
    ];
    for (number, changed) in changes.into_iter().enumerate() {
        let mut forged = value.clone();
        changed(&mut forged);
        assert_ne!(forged, value, "{number}");
        let (printed, said, proven) = verify(&forged.to_string(), PUBLIC);
        assert!(!proven && !said.is_empty(), "{number}: {printed}");
    }
}

/// Another digit in the place of one.
fn change(text: &mut Value, at: usize) {
    let mut letters: Vec<char> = text.as_str().expect("a text").chars().collect();
    letters[at] = if letters[at] == '0' { '1' } else { '0' };
    *text = letters.into_iter().collect::<String>().into();
}

#[test]
fn what_amends_an_entry_is_a_leaf_of_its_own_and_part_of_the_proof() {
    // The client has the end of its answer, and leaves before the provider's connection ends.
    let upstream = Upstream::always(
        Reply::events()
            .event(&delta("a"))
            .event(usage_only())
            .event("[DONE]")
            .stall(),
    );
    let srpd = audited(Setup::backstop_only(&upstream.url())).start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    let mut incoming = client.incoming();
    incoming.until("[DONE]");
    let id = incoming
        .response
        .field("x-sovereign-receipt")
        .expect("a receipt")
        .to_owned();
    client.close();
    let directory = ledger_of(&srpd);
    let head = head_of(&directory, 2);
    assert_eq!(head["size"], 2);
    let proof: Value = serde_json::from_str(&prove(&directory, &id)).expect("JSON");
    assert_eq!(proof["leaves"].as_array().map(Vec::len), Some(2));
    let (json, said, proven) = report(&directory, &[]);
    assert!(proven && json["calls"]["au"] == 1, "{json} {said}");
}

#[test]
fn a_month_is_counted_by_jurisdiction_and_proven() {
    let vendor = Upstream::always(Reply::chat("abroad"));
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = audited(Setup::vendor_and_backstop(&vendor.url(), &backstop.url())).start();
    for _ in 0..3 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "abroad");
    }
    let within = Ask::chat("smart").field("x-sovereign-residency", "au-only");
    assert_eq!(srpd.ask(&within).said(), "home");
    srpd.ask(&Ask::chat("other"));
    let directory = ledger_of(&srpd);
    head_of(&directory, 5);
    let (json, said, proven) = report(&directory, &[]);
    assert!(proven, "{json} {said}");
    assert_eq!(
        json["calls"],
        serde_json::json!({"us": 3, "au": 1, "none": 1})
    );
    assert_eq!(
        (&json["covered"], &json["flaws"]),
        (&5.into(), &Value::Array(Vec::new()))
    );
    // The configuration has directory and key; another month has nothing.
    let config = srpd.config_path();
    let config = config.to_str().expect("text");
    let (printed, said, proven) = audit(&["report", "--month", "2020-01", "--config", config]);
    assert!(
        proven && printed.contains("calls         0"),
        "{printed} {said}"
    );
    assert_eq!(srpd.metric("srpd_audit_leaves", &[]), 5.0);
    assert_eq!(srpd.metric("srpd_audit_active", &[]), 1.0);
    assert_eq!(srpd.metric("srpd_audit_failing", &[]), 0.0);
}

#[test]
fn a_tree_goes_on_over_kills_with_each_entry_once_and_none_forgotten() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = audited(Setup::backstop_only(&upstream.url()));
    let place = tempfile::tempdir().expect("a directory");
    let (place, directory) = (place.path(), place.path().join("ledger"));
    let mut heads: Vec<PathBuf> = Vec::new();
    let mut calls: u64 = 0;
    for life in 0..8 {
        let srpd = start_in(&setup, place);
        for _ in 0..10 + 7 * life {
            assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
            calls += 1;
        }
        std::thread::sleep(ms(13 * life));
        end(srpd, "KILL");
        let (head, _, done) = of(&directory, &["head"]);
        if done {
            let path = place.join(format!("head-{life}.json"));
            fs::write(&path, head).expect("a file");
            heads.push(path);
        }
    }
    let srpd = start_in(&setup, place);
    let head = head_of(&directory, calls);
    assert_eq!(head["size"], calls);
    end(srpd, "TERM");
    assert!(!heads.is_empty());
    let since: Vec<&str> = heads
        .iter()
        .flat_map(|path| ["--since", path.to_str().expect("text")])
        .collect();
    let (json, said, proven) = report(&directory, &since);
    assert!(proven, "{json} {said}");
    assert_eq!(
        (&json["covered"], &json["calls"]["au"]),
        (&calls.into(), &calls.into())
    );
}

#[test]
fn processes_that_share_a_directory_have_one_tree_and_the_next_takes_it_over() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = audited(Setup::backstop_only(&upstream.url()));
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("ledger");
    let (first, second) = (
        start_in(&setup, place.path()),
        start_in(&setup, place.path()),
    );
    for srpd in [&first, &second, &first] {
        assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    }
    // One of them signs what both write.
    assert_eq!(head_of(&directory, 3)["size"], 3);
    let active = |srpd: &Instance| srpd.metric("srpd_audit_active", &[]);
    assert_eq!(active(&first) + active(&second), 1.0);
    let (gone, left) = match active(&first) == 1.0 {
        true => (first, second),
        false => (second, first),
    };
    end(gone, "TERM");
    assert_eq!(left.ask(&Ask::chat("smart")).status, 200);
    assert_eq!(head_of(&directory, 4)["size"], 4);
    assert_eq!(active(&left), 1.0);
    let (json, said, proven) = report(&directory, &[]);
    assert!(proven && json["covered"] == 4, "{json} {said}");
}

#[test]
fn a_reload_cannot_change_who_signs() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = with_ledger(Setup::backstop_only(&upstream.url()));
    let mut srpd = setup.start();
    srpd.reload(&audited(Setup::backstop_only(&upstream.url())));
    srpd.wait_log("the refusal", |line| {
        line.contains("audit: changing it needs a restart")
            .then_some(())
    });
}
