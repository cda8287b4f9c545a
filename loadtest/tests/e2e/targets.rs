//! What the generator says to servers, and what it makes of their answers.

use std::io::Write;
use std::sync::Arc;

use crate::support::{Canned, Fleet, failures, figures, load, measure, ms};

const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Sovereign-Attempts: 2\r\n\r\n{}";

#[test]
fn classes_say_what_the_scenario_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mix.toml");
    std::fs::write(
        &file,
        r#"
rate = 100
duration = "1s"
slo = ["firm:error_rate=0%"]

[[class]]
name = "firm"
weight = 3
model = "smart"
key = "sk-firm"
headers = ["X-Sovereign-Supply: firm"]
prompt = "uniform:10..20"
output = 7

[[class]]
name = "vectors"
endpoint = "embeddings"
key = "sk-float"
headers = ["X-Sovereign-Supply: floating"]
prompt = 5
"#,
    )
    .unwrap();
    let server = Canned::start(WHOLE);
    let report = measure(&server.url, &["--scenario", file.to_str().unwrap()]);
    let calls = |class: &str| {
        report["targets"][0]["classes"][class]["calls"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(calls("firm") + calls("vectors"), 100);
    assert!(
        (60..90).contains(&calls("firm")),
        "three quarters, about: {}",
        calls("firm")
    );
    assert_eq!(report["objectives"][0]["kept"], true);
    let requests = server.requests();
    let (firm, vectors): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition(|text| text.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    assert_eq!(firm.len() as u64, calls("firm"));
    for request in firm {
        assert!(request.contains("authorization: Bearer sk-firm\r\nX-Sovereign-Supply: firm\r\n"));
        assert!(request.contains("\"max_tokens\":7") && request.contains("\"model\":\"smart\""));
    }
    for request in vectors {
        assert!(request.starts_with("POST /v1/embeddings ") && request.contains("Bearer sk-float"));
    }
}

#[test]
fn failovers_are_counted_where_the_proxy_says_so() {
    let server = Canned::start(WHOLE);
    let output = load(
        &server.url,
        &[
            "--rate",
            "50",
            "--duration",
            "200ms",
            "--slo",
            "failover_rate=50%",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("10 calls took more than one attempt"),
        "{table}"
    );
}

#[test]
fn failures_have_their_status_and_code() {
    let at = |answer| {
        let server = Canned::start(answer);
        measure(
            &server.url,
            &["--concurrency", "1", "--duration", "100ms", "--stream"],
        )
    };
    let limited = at(
        "HTTP/1.1 429 Too Many\r\ncontent-length: 43\r\n\r\n{\"error\":{\"code\":\"rate_limit_exceeded\"}}   ",
    );
    assert!(
        failures(figures(&limited), 429, "rate_limit_exceeded") > 0,
        "{limited:#}"
    );
    let html = at("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>");
    assert!(failures(figures(&html), 502, "no_code") > 0);
    let cut = at("HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\ndata: {\"choices\":[]}\n");
    assert!(failures(figures(&cut), 200, "stream_truncated") > 0);
    let died = at(
        "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\ndata: {\"error\":{\"code\":\"upstream_died\"}}\n\n",
    );
    assert!(
        failures(figures(&died), 200, "upstream_died") > 0,
        "{died:#}"
    );
    let garbage = at("SSH-2.0-server\r\n\r\n");
    assert!(failures(figures(&garbage), 0, "bad_head") > 0);
}

#[test]
fn faults_of_connections_are_told_apart() {
    let at = |fault: &str| {
        let fleet = Fleet::start(1, &["--decode", "100", "--fault", fault]);
        measure(
            fleet.url(),
            &["--rate", "20", "--duration", "1s", "--stream"],
        )
    };
    let reset = at("1@1s:reset");
    let codes = figures(&reset);
    assert!(
        failures(codes, 0, "connection_reset") > 0,
        "before the answer: {codes:#}"
    );
    assert!(
        failures(codes, 200, "connection_reset") > 0,
        "in the middle of streams: {codes:#}"
    );
    let refused = at("1@0s:refuse");
    assert_eq!(
        failures(figures(&refused), 0, "connection_refused"),
        20,
        "{refused:#}"
    );
    let failing = at("1@0s:503");
    assert_eq!(failures(figures(&failing), 503, "simulated_failure"), 20);
}

#[test]
fn tokens_are_timed_from_their_stamps() {
    let fleet = Fleet::start(1, &["--decode", "100", "--output", "10"]);
    for endpoint in ["chat", "completions"] {
        let report = measure(
            fleet.url(),
            &[
                "--rate",
                "10",
                "--duration",
                "500ms",
                "--stream",
                "--endpoint",
                endpoint,
            ],
        );
        let all = figures(&report);
        assert_eq!(all["times"]["added"]["count"], 50);
        assert_eq!(all["times"]["gap"]["count"], 45);
        assert!(ms(all, "added", "p50") < 5.0, "{all:#}");
        assert!((9.0..14.0).contains(&ms(all, "gap", "mean")), "{all:#}");
        assert!(
            ms(all, "e2e", "p50") >= 100.0 && ms(all, "ttft", "p50") < 90.0,
            "{all:#}"
        );
        let tokens =
            all["tokens_per_second"].as_f64().unwrap() * report["seconds"].as_f64().unwrap();
        assert!((tokens - 50.0).abs() < 0.01, "{tokens}");
    }
    let vectors = measure(
        fleet.url(),
        &[
            "--rate",
            "10",
            "--duration",
            "500ms",
            "--endpoint",
            "embeddings",
        ],
    );
    assert_eq!(figures(&vectors)["succeeded"], 5);
}

#[test]
fn a_stall_in_a_stream_is_counted() {
    let fleet = Fleet::start(
        1,
        &[
            "--decode",
            "100",
            "--output",
            "100",
            "--fault",
            "1@800ms+500ms:stall",
        ],
    );
    let report = measure(
        fleet.url(),
        &["--rate", "10", "--duration", "300ms", "--stream"],
    );
    let all = figures(&report);
    assert_eq!(
        (all["stalls"].as_u64(), all["stalled_calls"].as_u64()),
        (Some(3), Some(3)),
        "{all:#}"
    );
    assert!(ms(all, "gap", "max") > 400.0);
}

/// A server of TLS that answers one request a connection.
fn tls_server() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, socket.unwrap());
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while !request.ends_with(b"}") {
                    match std::io::Read::read(&mut stream, &mut part) {
                        Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
                );
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    (url, made.cert.pem())
}

#[test]
fn https_is_verified_by_the_authority_that_is_named() {
    let (url, pem) = tls_server();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let ca = ca.to_str().unwrap();
    let report = measure(&url, &["--ca", ca, "--rate", "20", "--duration", "500ms"]);
    assert_eq!(
        (
            figures(&report)["succeeded"].as_u64(),
            figures(&report)["failed"].as_u64()
        ),
        (Some(10), Some(0)),
        "{report:#}"
    );
    let (stranger, _) = tls_server();
    let report = measure(
        &stranger,
        &["--ca", ca, "--rate", "20", "--duration", "200ms"],
    );
    assert_eq!(failures(figures(&report), 0, "tls_failed"), 4, "{report:#}");
}
