//! Things that are legal and rare: each is relayed as what it is.

use crate::support::{Ask, Instance, Reply, Setup, Upstream, chat_body, delta, ms};

fn serve(reply: Reply) -> (Upstream, Instance) {
    let upstream = Upstream::always(reply);
    let srpd = Setup::backstop_only(&upstream.url()).start();
    (upstream, srpd)
}

#[test]
fn interim_responses_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let mut reply = Reply::new().send(interim).pause(ms(20));
    reply.steps.extend(Reply::chat("hi").steps);
    let (upstream, srpd) = serve(reply);
    let mut client = srpd.connect();
    for _ in 0..2 {
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "hi");
        assert_eq!(response.field("link"), None);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_http_1_0_provider_is_understood() {
    let body = chat_body("old");
    let reply = Reply::new()
        .send("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n")
        .send(body)
        .close();
    let (upstream, srpd) = serve(reply);
    let mut client = srpd.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "old");
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn trailers_and_chunk_extensions_of_a_provider_are_dropped() {
    let head = Reply::head(
        200,
        &[
            ("content-type", "application/json"),
            ("transfer-encoding", "chunked"),
        ],
    );
    let body = chat_body("hi");
    let reply = head
        .send(format!("{:X};a=b\r\n{body}\r\n", body.len()))
        .send("0;c\r\nx-trailer: 1\r\nset-cookie: a\r\n\r\n");
    let (upstream, srpd) = serve(reply);
    let mut client = srpd.connect();
    for _ in 0..2 {
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "hi");
        assert_eq!(response.field("x-trailer"), None);
        assert_eq!(response.field("set-cookie"), None);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_provider_that_closes_is_not_waited_for() {
    let fields = [
        ("content-type", "application/json"),
        ("connection", "close"),
    ];
    let (upstream, srpd) = serve(Reply::with(200, &fields, chat_body("hi")).pause(ms(300)));
    let mut client = srpd.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    }
    assert_eq!(upstream.connections(), 3, "it had said that it would close");
}

#[test]
fn json_that_is_deep_or_strange_is_json() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let half = r#""\ud83d""#;
    for odd in [
        deep(300),
        half.to_owned(),
        "1e999".into(),
        "-0.0E+00".into(),
        "\"\u{7f}\"".into(),
    ] {
        let head = &odd[..odd.len().min(20)];
        println!("{head}");
        let answer = format!(r#"{{"odd":{odd},"choices":[{{"message":{{"content":"hi"}}}}]}}"#);
        let (upstream, srpd) = serve(Reply::json(200, &answer));
        let body = format!(r#"{{"odd":{odd},"model":"smart"}}"#);
        let response = srpd.ask(&Ask::post("/v1/chat/completions", &body));
        assert_eq!((response.status, response.text()), (200, answer), "{head}");
        let sent = body.replace("\"smart\"", "\"aloomu-model\"");
        assert_eq!(String::from_utf8_lossy(&upstream.last().body), sent);
    }
    // Deep enough to overflow a stack, if anything took one frame a level.
    let (upstream, srpd) = serve(Reply::chat("hi"));
    let body = format!(r#"{{"odd":{},"model":"smart"}}"#, deep(200_000));
    assert_eq!(
        srpd.ask(&Ask::post("/v1/chat/completions", &body)).said(),
        "hi"
    );
    assert_eq!(upstream.last().body.len(), body.len() + "aloomu-".len());
    upstream.set_always(Reply::json(200, &deep(200_000)));
    let response = srpd.ask(&Ask::chat("smart"));
    assert!(matches!(response.status, 200 | 502), "{}", response.status);
}

#[test]
fn a_stream_that_was_asked_for_and_not_given_is_relayed_whole() {
    let (_upstream, srpd) = serve(Reply::chat("whole"));
    let response = srpd.ask(&Ask::stream("smart"));
    assert_eq!(response.said(), "whole");
    assert_eq!(response.field("content-type"), Some("application/json"));
}

#[test]
fn events_of_any_size_pass() {
    let long = delta(&"x".repeat(300_000));
    let (_upstream, srpd) = serve(
        Reply::events()
            .event(&long)
            .event(&delta("a"))
            .event(&long)
            .done(),
    );
    let response = srpd.ask(&Ask::stream("smart"));
    assert!(response.complete);
    assert_eq!(
        response.data(),
        [long.clone(), delta("a"), long, "[DONE]".into()]
    );
}

#[test]
fn a_death_within_a_long_event_is_still_an_event_of_its_own() {
    let half = format!("data: {}", &delta(&"x".repeat(300_000))[..200_000]);
    for reply in [
        Reply::events()
            .event(&delta("a"))
            .chunk(&half)
            .pause(ms(100))
            .close(),
        Reply::events()
            .event(&delta("a"))
            .chunk(&half)
            .pause(ms(100))
            .chunk("x")
            .close(),
    ] {
        let (_upstream, srpd) = serve(reply);
        let response = srpd.ask(&Ask::stream("smart"));
        assert!(!response.complete);
        let data = response.data();
        assert_eq!(data[0], delta("a"));
        let last = data.last().expect("an event");
        let json: serde_json::Value = serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{error}: ...{}", &last[last.len() - 200..]));
        assert_eq!(json["error"]["code"], "upstream_died");
    }
}

#[test]
fn a_model_name_may_be_written_with_escapes() {
    let (upstream, srpd) = serve(Reply::chat("hi"));
    let ask = Ask::post("/v1/chat/completions", r#"{"model":"\u0073m\u0061rt"}"#);
    assert_eq!(srpd.ask(&ask).said(), "hi");
    assert_eq!(upstream.last().body, br#"{"model":"aloomu-model"}"#);
}

#[test]
fn responses_without_a_body_are_responses() {
    for status in [204, 304] {
        let (_upstream, srpd) = serve(Reply::head(status, &[("content-length", "5")]));
        let mut client = srpd.connect();
        let response = client.ask(&Ask::chat("smart"));
        assert!(
            matches!(response.status, 204 | 304 | 502),
            "{}",
            response.status
        );
        assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
    }
}

#[test]
fn a_coded_response_that_nobody_asked_for_is_passed_on_as_it_is() {
    let coded = b"\x1f\x8b\x08\x00not really gzip, and no JSON".as_slice();
    let fields = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let (_upstream, srpd) = serve(Reply::with(200, &fields, coded));
    let response = srpd.ask(&Ask::chat("smart"));
    assert_eq!((response.status, response.body.as_slice()), (200, coded));
    assert_eq!(response.field("content-encoding"), Some("gzip"));
}
