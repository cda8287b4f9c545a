//! The simulator, as a client sees it.

use std::io::{Read, Write};
use std::time::Instant;

use crate::support::{Fleet, connect, figures, get, measure, ms};

fn call(url: &str, body: &str) -> std::net::TcpStream {
    let mut stream = connect(url);
    let length = body.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

const QUESTION: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

#[test]
fn an_endpoint_has_what_a_router_looks_at() {
    let fleet = Fleet::fast(&[]);
    assert!(get(fleet.url(), "/health").starts_with("HTTP/1.1 200 "));
    assert!(get(fleet.url(), "/v1/models").contains("\"id\":\"simulated\""));
    assert!(get(fleet.url(), "/other").starts_with("HTTP/1.1 404 "));
    let page = get(fleet.url(), "/metrics");
    for name in [
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "gpu_cache_usage_perc",
        "prefix_cache_queries_total",
        "prefix_cache_hits_total",
        "time_to_first_token_seconds_bucket",
    ] {
        assert!(page.contains(&format!("\nvllm:{name}{{")), "{name}: {page}");
    }
}

#[test]
fn calls_beyond_the_slots_wait_and_a_client_that_leaves_makes_room() {
    let fleet = Fleet::start(1, &["--slots", "1", "--decode", "10", "--output", "1000"]);
    let first = call(fleet.url(), QUESTION);
    fleet.await_metric("vllm:num_requests_running", |running| running == 1.0);
    let second = call(fleet.url(), QUESTION);
    fleet.await_metric("vllm:num_requests_waiting", |waiting| waiting == 1.0);
    assert!(fleet.metric("vllm:kv_cache_usage_perc") > 0.0);
    drop(second);
    fleet.await_metric("vllm:num_requests_waiting", |waiting| waiting == 0.0);
    drop(first);
    fleet.await_metric("vllm:num_requests_running", |running| running == 0.0);
    assert_eq!(
        fleet.metric("vllm:request_success_total{engine=\"0\",finished_reason=\"abort\""),
        2.0
    );
}

#[test]
fn known_beginnings_are_read_faster() {
    // 2000 tokens of a prefix take 200 ms, and nothing once they are known.
    let fleet = Fleet::start(
        1,
        &["--prefill", "10000", "--output", "1", "--decode", "1000000"],
    );
    let run = |prefixes: &str, seed: &str| {
        let arguments = [
            "--rate",
            "4",
            "--duration",
            "2s",
            "--prompt",
            "16",
            "--stream",
        ];
        let report = measure(
            fleet.url(),
            &[&arguments[..], &["--prefixes", prefixes, "--seed", seed]].concat(),
        );
        ms(figures(&report), "ttft", "p50")
    };
    let shared = run("1x2000", "1");
    let apart = run("1000000x2000", "2");
    assert!(shared < 60.0 && apart > 190.0, "{shared} and {apart}");
}

#[test]
fn nobody_listens_while_the_schedule_says_so() {
    let fleet = Fleet::fast(&["--fault", "1@400ms+400ms:refuse"]);
    let address = fleet.url().strip_prefix("http://").unwrap().to_owned();
    let begin = Instant::now();
    let mut states = Vec::new();
    while begin.elapsed().as_millis() < 1500 {
        let is_up = std::net::TcpStream::connect(&address).is_ok();
        if states.last() != Some(&is_up) {
            states.push(is_up);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(states, [true, false, true]);
}

#[test]
fn the_same_seed_varies_the_same() {
    let tokens = |seed: &str| {
        let fleet = Fleet::start(
            1,
            &[
                "--output",
                "uniform:1..1000",
                "--seed",
                seed,
                "--decode",
                "1000000",
            ],
        );
        let mut text = String::new();
        let body = QUESTION.replace(",\"stream\":true", "");
        let mut stream = call(fleet.url(), &body);
        stream.read_to_string(&mut text).unwrap();
        let counted = text.split_once("\"completion_tokens\":");
        let (_, rest) = counted.unwrap_or_else(|| panic!("no usage in {text}"));
        rest.split(',').next().unwrap().to_owned()
    };
    assert_eq!(tokens("5"), tokens("5"));
}
