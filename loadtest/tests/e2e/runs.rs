//! Runs: that what is counted is true, and that the exit status says how it went.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{Canned, Fleet, LOAD, failures, figures, load, measure, ms};

#[test]
fn a_stall_counts_for_every_call_that_was_due_in_it() {
    // Nothing is answered for a second; 100 calls are due in it, and each waits to its end.
    let fleet = Fleet::fast(&["--fault", "1@1500ms+1s:stall"]);
    let open = measure(fleet.url(), &["--rate", "100", "--duration", "4s"]);
    let all = figures(&open);
    assert_eq!(
        (all["calls"].as_u64(), all["failed"].as_u64()),
        (Some(400), Some(0))
    );
    assert!(ms(all, "e2e", "max") > 900.0, "{all:#}");
    assert!(
        ms(all, "e2e", "p90") > 450.0,
        "a tenth waited 0.6 s or more: {all:#}"
    );
    assert!(
        ms(all, "lag", "max") < 500.0,
        "the generator went on sending: {all:#}"
    );
}

#[test]
fn a_closed_loop_meets_the_same_stall_once() {
    let fleet = Fleet::fast(&["--fault", "1@1500ms+1s:stall"]);
    let closed = measure(fleet.url(), &["--concurrency", "1", "--duration", "4s"]);
    let all = figures(&closed);
    assert!(ms(all, "e2e", "max") > 900.0, "{all:#}");
    assert!(
        ms(all, "e2e", "p99") < 450.0,
        "omitted, as closed loops do: {all:#}"
    );
}

#[test]
fn connections_that_are_waited_for_count() {
    // One connection, calls of 50 ms, 40 calls a second: each waits longer than the one before.
    let fleet = Fleet::start(
        1,
        &["--decode", "20", "--output", "1", "--prefill", "1000000"],
    );
    let report = measure(
        fleet.url(),
        &["--rate", "40", "--duration", "1s", "--connections", "1"],
    );
    let all = figures(&report);
    assert_eq!(all["calls"], 40);
    assert!(
        ms(all, "e2e", "max") > 900.0,
        "40 calls of 50 ms take 2 s: {all:#}"
    );
    assert!(ms(all, "lag", "max") > 800.0, "{all:#}");
}

#[test]
fn objectives_decide_the_exit_status() {
    let fleet = Fleet::fast(&[]);
    let run = |slo: &str| {
        let output = load(
            fleet.url(),
            &[
                "--rate",
                "50",
                "--duration",
                "500ms",
                "--stream",
                "--goodput",
                "ttft=10s",
                "--slo",
                slo,
            ],
        );
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, table) = run("ttft_p99=10s");
    assert!(code == 0 && table.contains("kept"), "{code} {table}");
    let (code, table) = run("e2e_p50=1us");
    assert!(code == 1 && table.contains("MISSED"), "{code} {table}");
    assert_eq!(run("error_rate=0%").0, 0);
    assert_eq!(run("goodput=100%").0, 0);
    let broken = Fleet::fast(&["--fault", "1@0s:503"]);
    let arguments = [
        "--rate",
        "50",
        "--duration",
        "500ms",
        "--slo",
        "error_rate=0.1%",
    ];
    assert_eq!(load(broken.url(), &arguments).status.code(), Some(1));
    // Nothing was streamed: what can't be said isn't kept.
    let arguments = [
        "--rate",
        "50",
        "--duration",
        "500ms",
        "--slo",
        "ttft_p99=10s",
    ];
    assert_eq!(load(fleet.url(), &arguments).status.code(), Some(1));
}

#[test]
fn an_interrupt_still_shows_what_was_measured() {
    let fleet = Fleet::fast(&[]);
    let mut child = Command::new(LOAD)
        .args(["--url", fleet.url(), "--rate", "100", "--duration", "60s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    fleet.await_metric("vllm:request_success_total", |calls| calls > 20.0);
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let mut table = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut table)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        table.contains("calls in") && table.contains("e2e"),
        "{table}"
    );
    assert!(table.contains("stopped early"), "{table}");
}

#[test]
fn an_interrupt_does_not_wait_for_answers_that_do_not_come() {
    let silent = Canned::start("");
    let mut child = Command::new(LOAD)
        .args([
            "--url",
            &silent.url,
            "--concurrency",
            "3",
            "--duration",
            "60s",
            "--json",
            "-",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while silent.requests().len() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (
            report["cut_short"].as_u64(),
            figures(&report)["calls"].as_u64()
        ),
        (Some(3), Some(0))
    );
}

#[test]
fn a_trace_is_replayed_as_it_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.jsonl");
    let lines = [
        r#"{"timestamp":1000,"input_length":1100,"output_length":3,"hash_ids":[1,2]}"#,
        r#"{"timestamp":1300,"input_length":1100,"output_length":5,"hash_ids":[1,2]}"#,
        r#"{"timestamp":1600,"input_length":600,"output_length":7,"hash_ids":[9]}"#,
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let fleet = Fleet::fast(&[]);
    let report = measure(
        fleet.url(),
        &["--stream", "--trace", file.to_str().unwrap()],
    );
    let all = figures(&report);
    assert_eq!(
        (all["calls"].as_u64(), all["failed"].as_u64()),
        (Some(3), Some(0))
    );
    // The simulator's answers have four tokens at most here; the first was to have three.
    assert_eq!(all["times"]["added"]["count"], 3 + 4 + 4);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!((0.6..1.5).contains(&seconds), "{seconds}");
    assert_eq!(fleet.metric("vllm:prompt_tokens_total"), 2800.0);
    assert_eq!(
        fleet.metric("vllm:prefix_cache_hits_total"),
        1024.0,
        "two blocks of 512"
    );
    let fast = measure(
        fleet.url(),
        &["--speed", "3", "--trace", file.to_str().unwrap()],
    );
    assert!(fast["seconds"].as_f64().unwrap() < 0.6);
}

#[test]
fn targets_are_compared_within_rounds() {
    let arguments = ["--decode", "200", "--output", "4", "--prefill", "1000000"];
    let fleet = Fleet::start(
        2,
        &[
            &arguments[..],
            &["--endpoints", "2", "--fault", "2@0s:slow:3"],
        ]
        .concat(),
    );
    let report = measure(
        fleet.url(),
        &[
            "--compare",
            &fleet.urls[1],
            "--slice",
            "200ms",
            "--duration",
            "4s",
            "--rate",
            "50",
            "--stream",
        ],
    );
    let ratio = &report["comparisons"][0]["ratios"]["gap_mean"];
    assert!(
        (2.5..3.5).contains(&ratio["ratio"].as_f64().unwrap()),
        "{ratio}"
    );
    assert!(
        ratio["low"].as_f64().unwrap() > 1.0 && ratio["rounds"].as_u64().unwrap() >= 9,
        "{ratio}"
    );
    assert_eq!(report["comparisons"][0]["rounds"], 10);
    let calls = |target: usize| report["targets"][target]["all"]["calls"].as_u64().unwrap();
    assert_eq!(calls(0) + calls(1), 200);
    assert!(
        (90..=110).contains(&calls(0)),
        "{} and {}",
        calls(0),
        calls(1)
    );
    let closed = measure(
        fleet.url(),
        &[
            "--compare",
            &fleet.urls[1],
            "--slice",
            "200ms",
            "--duration",
            "2s",
            "--concurrency",
            "4",
        ],
    );
    let ratio = closed["comparisons"][0]["ratios"]["calls_per_second"]["ratio"]
        .as_f64()
        .unwrap();
    assert!((0.2..0.6).contains(&ratio), "a third of the calls: {ratio}");
}

#[test]
fn late_answers_are_given_up_after_the_time_out() {
    let fleet = Fleet::fast(&["--fault", "1@0s:stall"]);
    let report = measure(
        fleet.url(),
        &["--rate", "20", "--duration", "500ms", "--timeout", "300ms"],
    );
    let all = figures(&report);
    assert_eq!(
        (failures(all, 0, "timeout"), all["calls"].as_u64()),
        (10, Some(10))
    );
}

#[test]
fn warm_up_calls_do_not_count() {
    let fleet = Fleet::fast(&[]);
    let report = measure(
        fleet.url(),
        &["--rate", "100", "--duration", "500ms", "--warmup", "500ms"],
    );
    assert_eq!(figures(&report)["calls"], 50);
    assert_eq!(fleet.metric("vllm:request_success_total"), 100.0);
}

#[test]
fn several_threads_share_the_schedule() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let fleet = Fleet::fast(&[]);
    let list: Vec<String> = (0..cpus.min(2)).map(|cpu| cpu.to_string()).collect();
    let report = measure(
        fleet.url(),
        &[
            "--cpus",
            &list.join(","),
            "--rate",
            "100",
            "--poisson",
            "--duration",
            "1s",
        ],
    );
    let one = measure(
        fleet.url(),
        &["--rate", "100", "--poisson", "--duration", "1s"],
    );
    assert_eq!(
        figures(&report)["calls"],
        figures(&one)["calls"],
        "the seed decides, not the threads"
    );
    let closed = measure(
        fleet.url(),
        &[
            "--cpus",
            &list.join(","),
            "--concurrency",
            "5",
            "--duration",
            "300ms",
        ],
    );
    assert_eq!(figures(&closed)["failed"], 0);
}

#[test]
fn stages_follow_each_other() {
    let fleet = Fleet::fast(&[]);
    let report = measure(
        fleet.url(),
        &[
            "--stage",
            "500ms:20",
            "--stage",
            "500ms:20..180",
            "--stage",
            "500ms:0",
        ],
    );
    assert_eq!(figures(&report)["calls"], 10 + 50);
}

#[test]
fn reports_are_written_and_hold_together() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let fleet = Fleet::fast(&[]);
    let output = load(
        fleet.url(),
        &[
            "--rate",
            "50",
            "--duration",
            "1s",
            "--stream",
            "--key",
            "sk-secret",
            "--json",
            &path("a.json"),
            "--csv",
            &path("a.csv"),
            "--html",
            &path("a.html"),
        ],
    );
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path("a.json")).unwrap()).unwrap();
    let points = json["targets"][0]["series"].as_array().unwrap();
    let calls: u64 = points
        .iter()
        .map(|point| point["calls"].as_u64().unwrap())
        .sum();
    assert_eq!(Some(calls), figures(&json)["calls"].as_u64());
    let csv = std::fs::read_to_string(path("a.csv")).unwrap();
    let mut rows = csv.lines();
    assert!(
        rows.next()
            .unwrap()
            .starts_with("url,class,from_s,seconds,calls,failed,metric,p50_ms")
    );
    assert!(rows.clone().any(|row| row.contains(",ttft,")) && rows.count() > 20);
    let html = std::fs::read_to_string(path("a.html")).unwrap();
    assert!(html.contains("\"calls_per_second\"") && !html.contains("/* DATA */"));
    assert!(!html.contains("sk-secret") && !json.to_string().contains("sk-secret"));
}
