//! Bad usage: an error that names the option and what was expected, and exit status 2.

use std::process::Command;

use crate::support::LOAD;

fn refused(arguments: &[&str], expected: &[&str]) {
    let output = Command::new(LOAD).args(arguments).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    for part in expected {
        assert!(
            error.contains(part),
            "{arguments:?}: no {part:?} in {error}"
        );
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn options_that_cannot_be_are_named_with_what_was_expected() {
    let url = "http://127.0.0.1:1";
    refused(&[], &["--url", "expected"]);
    refused(&["--url", "127.0.0.1:1"], &["--url", "http://HOST"]);
    refused(
        &["--url", url, "--rate", "fast"],
        &["--rate", "calls per second"],
    );
    refused(
        &["--url", url, "--rate", "-3"],
        &["--rate", "calls per second, 0 to", "\"-3\""],
    );
    refused(&["--url", url, "--speed", "-1"], &["--speed", "expected"]);
    refused(
        &["--url", url, "--concurrency", "-1"],
        &["--concurrency", "'-1'"],
    );
    refused(&["fleet", "--decode", "-1"], &["--decode", "expected"]);
    refused(
        &["--url", url, "--stage", "5"],
        &["--stage", "30s:100..500"],
    );
    refused(&["--url", url, "--duration", "5"], &["--duration", "unit"]);
    refused(
        &["--url", url, "--prompt", "big"],
        &["--prompt", "lognormal:MEDIAN,SIGMA"],
    );
    refused(
        &["--url", url, "--slo", "ttft=1s"],
        &["--slo", "ttft_p99=300ms"],
    );
    refused(
        &["--url", url, "--goodput", "gap=1s"],
        &["--goodput", "ttft=500ms"],
    );
    refused(
        &["--url", url, "--prefixes", "8"],
        &["--prefixes", "8x256@50%"],
    );
    refused(
        &["--url", url, "--header", "nothing"],
        &["--header", "Name: value"],
    );
    refused(
        &["--url", url, "--rate", "1", "--concurrency", "1"],
        &["--rate", "--concurrency", "one of them"],
    );
    refused(
        &["--url", url, "--endpoint", "images"],
        &["--endpoint", "embeddings"],
    );
    refused(&["--url", url, "--nonsense"], &["--nonsense"]);
    refused(
        &["--url", url, "--trace", "/nonexistent.jsonl"],
        &["--trace /nonexistent.jsonl"],
    );
    refused(
        &["--url", url, "--html", "/nonexistent/a.html"],
        &["--html /nonexistent/a.html"],
    );
    refused(
        &["--url", "https://127.0.0.1:1", "--ca", "/nonexistent.pem"],
        &["--ca", "PEM"],
    );
}

#[test]
fn a_scenario_that_cannot_be_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.toml");
    let path = file.to_str().unwrap();
    refused(&["--scenario", path], &["--scenario", "No such file"]);
    std::fs::write(&file, "url = \"http://127.0.0.1:1\"\nratte = 1\n").unwrap();
    refused(&["--scenario", path], &["--scenario", "line 2", "ratte"]);
    std::fs::write(
        &file,
        "url = \"http://127.0.0.1:1\"\n[[class]]\nprompt = \"x\"\n",
    )
    .unwrap();
    refused(&["--scenario", path], &["line 3", "lognormal"]);
    refused(
        &["--scenario", path, "--stream"],
        &["--stream", "--scenario"],
    );
}

#[test]
fn a_fleet_that_cannot_be_is_named() {
    refused(&["fleet", "--endpoints", "0"], &["--endpoints", "1 to"]);
    refused(
        &["fleet", "--fault", "9@1s:stall"],
        &["--fault 9@", "1 to 1"],
    );
    refused(
        &["fleet", "--fault", "1@1s:boredom"],
        &["--fault", "2@10s+5s:stall"],
    );
    refused(&["fleet", "--decode", "0"], &["--decode", "above 0"]);
    refused(&["fleet", "--listen", "here"], &["--listen"]);
}

#[test]
fn a_server_that_is_not_there_is_a_failed_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let arguments = ["--url", &url, "--concurrency", "1", "--duration", "200ms"];
    let output = Command::new(LOAD).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("connection_refused"), "{table}");
}

#[test]
fn pages_and_completions_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(LOAD).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let written = run(&["man", "--out", directory.path().to_str().unwrap()]);
    let mut lines: Vec<&str> = written.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "srpd-load-completions.1",
            "srpd-load-fleet.1",
            "srpd-load-man.1",
            "srpd-load.1"
        ]
    );
    let page = std::fs::read_to_string(directory.path().join("srpd-load.1")).unwrap();
    for part in ["\\-\\-poisson", "EXIT STATUS"] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("poisson"), "{shell}");
    }
}
