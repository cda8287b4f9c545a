//! Whole bodies: every endpoint, both directions, large and cut short.

use std::time::Instant;

use crate::support::wire::Ended;
use crate::support::{Ask, Reply, Setup, Upstream, chat_body, eventually, ms};

#[test]
fn every_endpoint_goes_to_its_path_with_the_model_replaced() {
    let upstream = Upstream::always(Reply::json(200, r#"{"ok":true}"#));
    let prefixed = format!("{}/api/v9", upstream.url());
    for (base, prefix) in [(upstream.url(), "/v1"), (prefixed, "/api/v9")] {
        let srpd = Setup::backstop_only(&base).start();
        let mut client = srpd.connect();
        for path in [
            "/chat/completions",
            "/completions",
            "/embeddings",
            "/responses",
            "/moderations",
            "/rerank",
            "/images/generations",
            "/audio/speech",
        ] {
            println!("{path}");
            let body = r#"{"input":["model", "x"],"model":"smart","n":1.0}"#;
            let response = client.ask(&Ask::post(&format!("/v1{path}"), body));
            assert_eq!(
                (response.status, response.text().as_str()),
                (200, r#"{"ok":true}"#)
            );
            let request = upstream.last();
            assert_eq!(request.line(), format!("POST {prefix}{path}"));
            let sent = r#"{"input":["model", "x"],"model":"aloomu-model","n":1.0}"#;
            assert_eq!(String::from_utf8_lossy(&request.body), sent);
            assert_eq!(
                request.field("content-length"),
                Some(sent.len().to_string())
            );
            assert_eq!(
                request.field("content-type").as_deref(),
                Some("application/json")
            );
            assert_eq!(request.field("host"), Some(upstream.address().to_string()));
        }
    }
}

#[test]
fn speech_and_other_bytes_pass_untouched() {
    let sound: Vec<u8> = (0..300_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let typed = [("content-type", "audio/mpeg")];
    let chunked = [
        ("content-type", "audio/mpeg"),
        ("transfer-encoding", "chunked"),
    ];
    for reply in [
        Reply::with(200, &typed, &sound),
        sound
            .chunks(10_000)
            .fold(Reply::head(200, &chunked), |r, c| r.chunk(c))
            .last_chunk(),
        Reply::head(200, &typed).send(&sound).close(),
    ] {
        let upstream = Upstream::always(reply);
        let srpd = Setup::backstop_only(&upstream.url()).start();
        let mut client = srpd.connect();
        for _ in 0..2 {
            let ask = Ask::post("/v1/audio/speech", r#"{"model":"smart","input":"hi"}"#);
            let response = client.ask(&ask);
            assert_eq!(response.status, 200);
            assert!(response.complete);
            assert_eq!(response.field("content-type"), Some("audio/mpeg"));
            assert!(response.body == sound, "{} bytes", response.body.len());
        }
    }
}

fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    body.extend(b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n");
    body.extend(file);
    body.extend(b"\r\n--edge--\r\n");
    body
}

#[test]
fn forms_are_routed_by_their_model_field() {
    let upstream = Upstream::always(Reply::json(200, r#"{"text":"hi"}"#));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let sound: Vec<u8> = (0..1_000_000_u32).map(|n| ((n * 7) >> 2) as u8).collect();
    let post = |target: &str, body: Vec<u8>| {
        let ask = Ask::post(target, body).without("content-type");
        srpd.ask(&ask.field("content-type", "multipart/form-data; boundary=edge"))
    };
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        let fields = [
            ("language", "en"),
            ("model", "smart"),
            ("prompt", "name=\"model\""),
        ];
        let response = post(path, form(&fields, &sound));
        assert_eq!(response.text(), r#"{"text":"hi"}"#);
        let request = upstream.last();
        assert_eq!(request.line(), format!("POST {path}"));
        let content_type = request.field("content-type");
        assert_eq!(
            content_type.as_deref(),
            Some("multipart/form-data; boundary=edge")
        );
        let sent = [
            ("language", "en"),
            ("model", "aloomu-model"),
            ("prompt", "name=\"model\""),
        ];
        assert!(request.body == form(&sent, &sound));
    }
    let count = upstream.count();
    let path = "/v1/audio/transcriptions";
    let kind = "invalid_request_error";
    let response = post(path, form(&[("language", "en")], b"x"));
    response.assert_error(400, kind, Some("missing_model"), Some("model"));
    let response = post(path, form(&[("model", "gpt")], b"x"));
    response.assert_error(404, kind, Some("model_not_found"), Some("model"));
    let twice = post(path, form(&[("model", "smart"), ("model", "smart")], b"x"));
    assert_eq!(twice.status, 400);
    let cut = post(path, form(&[("model", "smart")], b"x")[..90].to_vec());
    assert_eq!(cut.status, 400);
    assert_eq!(upstream.count(), count);
}

#[test]
fn five_megabytes_in_both_directions() {
    let text = "All work and no play. ".repeat(5 << 20 >> 4);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"smart"}}"#);
    let answer = chat_body(&text);
    assert!(body.len() > 5 << 20);
    let upstream = Upstream::always(Reply::json(200, &answer));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    for _ in 0..2 {
        let response = client.ask(&Ask::post("/v1/chat/completions", &body));
        assert_eq!(response.status, 200);
        assert!(response.complete && response.body == answer.as_bytes());
        let sent = body.replace("\"smart\"", "\"aloomu-model\"");
        assert!(upstream.last().body == sent.as_bytes());
    }
}

#[test]
fn a_death_after_the_commit_cuts_the_response_short() {
    let part = vec![b' '; 100_000];
    let json = ("content-type", "application/json");
    for (what, reply) in [
        (
            "a length",
            Reply::head(200, &[json, ("content-length", "200000")])
                .send(&part)
                .close(),
        ),
        (
            "a length, reset",
            Reply::head(200, &[json, ("content-length", "200000")])
                .send(&part)
                .pause(ms(50))
                .reset(),
        ),
        (
            "a length, silence",
            Reply::head(200, &[json, ("content-length", "200000")])
                .send(&part)
                .stall(),
        ),
        (
            "chunks",
            Reply::head(200, &[json, ("transfer-encoding", "chunked")])
                .chunk(&part)
                .close(),
        ),
        (
            "broken chunks",
            Reply::head(200, &[json, ("transfer-encoding", "chunked")])
                .chunk(&part)
                .pause(ms(50))
                .send("\r\n")
                .close(),
        ),
    ] {
        println!("{what}");
        let vendor = Upstream::always(reply);
        let backstop = Upstream::always(Reply::chat("from home"));
        let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
            .section("timeouts", "stream_idle = \"300ms\"")
            .start();
        let mut client = srpd.connect();
        client.send(Ask::chat("smart").bytes());
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(!response.complete, "passed off as whole");
        assert!(response.body.len() <= part.len());
        client.assert_closed();
        assert_eq!(backstop.count(), 0);
    }
}

#[test]
fn a_death_before_the_commit_is_not_seen() {
    let part = vec![b' '; 60_000];
    let fields = [
        ("content-type", "application/json"),
        ("content-length", "200000"),
    ];
    let vendor = Upstream::always(Reply::head(200, &fields).send(&part).close());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).start();
    let response = srpd.ask(&Ask::chat("smart"));
    assert_eq!(response.said(), "from home");
    assert_eq!(response.field("x-sovereign-attempts"), Some("2"));
}

#[test]
fn a_slow_upstream_is_waited_for() {
    let body = chat_body("slowly");
    let declared = body.len().to_string();
    let head = Reply::new()
        .pause(ms(150))
        .send("HTTP/1.1 200 OK\r\ncontent-")
        .pause(ms(150))
        .send(format!(
            "type: application/json\r\ncontent-length: {declared}\r\n\r\n"
        ));
    let reply = body
        .as_bytes()
        .chunks(50)
        .fold(head, |r, piece| r.send(piece).pause(ms(60)));
    let upstream = Upstream::always(reply);
    let srpd = Setup::backstop_only(&upstream.url())
        .section(
            "timeouts",
            "first_byte = \"600ms\"\nstream_idle = \"250ms\"",
        )
        .start();
    let begun = Instant::now();
    let response = srpd.ask(&Ask::chat("smart"));
    assert_eq!(response.said(), "slowly");
    assert!(begun.elapsed() > ms(500));
    let told: f64 = response
        .field("openai-processing-ms")
        .and_then(|value| value.parse().ok())
        .expect("openai-processing-ms");
    assert!((300.0..5000.0).contains(&told), "{told}");
}

#[test]
fn usage_is_counted() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    for _ in 0..4 {
        srpd.ask(&Ask::chat("smart"));
    }
    eventually("tokens in the metrics", || {
        let tokens = |direction| srpd.metric("srpd_tokens_total", &["aloomu", direction]);
        (tokens("input"), tokens("output")) == (12.0, 8.0)
    });
}

#[test]
fn usage_of_a_response_too_long_to_hold_is_counted_too() {
    let body = format!(
        r#"{{"object":"list","data":[{{"embedding":"{}"}}],"usage":{{"prompt_tokens":7,"total_tokens":7}}}}"#,
        "A".repeat(300_000)
    );
    let upstream = Upstream::always(Reply::json(200, &body));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let ask = Ask::post("/v1/embeddings", r#"{"model":"smart","input":"x"}"#);
    assert_eq!(srpd.ask(&ask).text(), body);
    eventually("the tokens are counted", || {
        srpd.metric("srpd_tokens_total", &["aloomu", "input"]) == 7.0
    });
    assert_eq!(srpd.metric("srpd_usage_missing_total", &["aloomu"]), 0.0);
}

#[test]
fn a_cut_is_told_apart_from_an_end_in_http_1_0_too() {
    let part = vec![b'x'; 100_000];
    let fields = [
        ("content-type", "audio/mpeg"),
        ("transfer-encoding", "chunked"),
    ];
    let begun = Reply::head(200, &fields).chunk(&part).pause(ms(50));
    for (reply, ended) in [
        (begun.clone().last_chunk(), Ended::Closed),
        (begun.close(), Ended::Reset),
    ] {
        let upstream = Upstream::always(reply);
        let srpd = Setup::backstop_only(&upstream.url()).start();
        let ask = Ask::post("/v1/audio/speech", r#"{"model":"smart","input":"hi"}"#).bytes();
        let mut client = srpd.connect();
        client.send(
            String::from_utf8(ask)
                .expect("text")
                .replace("HTTP/1.1", "HTTP/1.0"),
        );
        assert_eq!(client.rest().1, ended);
    }
}

#[test]
fn an_answer_that_comes_before_the_body_was_taken_passes() {
    let early = r#"{"error":{"message":"too much","type":"invalid_request_error","param":null,"code":"too_large"}}"#;
    let vendor = Upstream::early(Reply::json(413, early).pause(ms(500)).close());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).start();
    let body = format!(r#"{{"model":"smart","input":"{}"}}"#, "x".repeat(12 << 20));
    let response = srpd.ask(&Ask::post("/v1/embeddings", body));
    assert_eq!((response.status, response.text().as_str()), (413, early));
    assert_eq!(backstop.count(), 0);
}
