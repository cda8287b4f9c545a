//! HTTP/1.1 to the client: RFC 9112, strictly. What is ambiguous is refused, and not a byte of it
//! goes upstream.

use std::thread;
use std::time::Instant;

use crate::support::{
    Ask, Client, Instance, KEY, Reply, Response, Setup, Upstream, delta, eventually, ms,
};

fn serve() -> (Upstream, Instance) {
    let upstream = Upstream::start(|request| {
        if request.json()["stream"] == true {
            Reply::chat_stream(&["a", "b"])
        } else {
            Reply::chat("hello")
        }
    });
    let srpd = Setup::backstop_only(&upstream.url()).start();
    (upstream, srpd)
}

const BODY: &str = r#"{"model":"smart","messages":[]}"#;

/// A chat call's head, with these lines in it.
fn head(lines: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: srpd.test\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\n{lines}\r\n"
    )
}

#[test]
fn a_connection_serves_many_calls_of_all_kinds() {
    let (upstream, srpd) = serve();
    let mut client = srpd.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "hello");
        assert!(client.ask(&Ask::stream("smart")).complete);
        assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
        assert_eq!(client.ask(&Ask::chat("nothing")).status, 404);
        assert_eq!(client.ask(&Ask::chat("smart").key("nobody")).status, 401);
        assert_eq!(client.ask(&Ask::get("/v1/nowhere")).status, 404);
        assert_eq!(client.ask(&Ask::chat("smart").body("{")).status, 400);
    }
    assert_eq!((upstream.count(), upstream.connections()), (6, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|request| {
        let user = request.json()["user"].as_u64().expect("a number");
        Reply::new()
            .pause(ms(if user == 0 { 100 } else { 0 }))
            .send("")
            .steps
            .into_iter()
            .fold(Reply::chat(&format!("call {user}")), |mut reply, step| {
                reply.steps.insert(0, step);
                reply
            })
    });
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    let call = |user: usize| {
        let body = format!(r#"{{"model":"smart","user":{user}}}"#);
        Ask::post("/v1/chat/completions", body).bytes()
    };
    let mut all: Vec<u8> = (0..6).flat_map(call).collect();
    all.extend(Ask::get("/v1/models").bytes());
    all.extend(Ask::get("/v1/nowhere").bytes());
    all.extend(call(6));
    client.send(all);
    for user in 0..6 {
        assert_eq!(client.response().said(), format!("call {user}"));
    }
    assert_eq!(client.response().json()["object"], "list");
    assert_eq!(client.response().status, 404);
    assert_eq!(client.response().said(), "call 6");
}

#[test]
fn a_request_behind_a_stream_waits_its_turn() {
    let upstream = Upstream::start(|request| {
        if request.json()["stream"] == true {
            (0..5)
                .fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(30)))
                .done()
        } else {
            Reply::chat("hello")
        }
    });
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    upstream.wait_requests(1);
    client.send(Ask::chat("smart").bytes());
    client.send(Ask::get("/v1/models").bytes());
    let streamed = client.response();
    assert!(streamed.complete);
    assert_eq!(streamed.data().len(), 6);
    assert_eq!(client.response().said(), "hello");
    assert_eq!(client.response().json()["object"], "list");
}

#[test]
fn a_client_that_leaves_with_a_request_behind_is_noticed_too() {
    let upstream = Upstream::always(Reply::new().stall());
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    client.send(Ask::chat("smart").bytes());
    upstream.wait_requests(1);
    client.send(Ask::chat("smart").bytes());
    thread::sleep(ms(30));
    let left = Instant::now();
    client.close();
    assert!(upstream.wait_closed(1) - left < ms(100));
    assert_eq!(upstream.count(), 1, "a request of a client that had left");
}

#[test]
fn methods_and_targets_of_other_roles_are_no_way_through() {
    let (upstream, srpd) = serve();
    for line in [
        "CONNECT srpd.test:443",
        "TRACE /v1/models",
        "OPTIONS *",
        "GET *",
        "PRI *",
        "GET ftp://srpd.test/v1/models",
        "POST v1/chat/completions",
    ] {
        println!("{line}");
        let mut client = srpd.connect();
        let fields = "host: srpd.test\r\nauthorization: Bearer sk-of-the-client\r\n";
        client.send(format!("{line} HTTP/1.1\r\n{fields}\r\n"));
        let response = client.response();
        assert!(
            matches!(response.status, 400 | 404 | 405),
            "{}",
            response.status
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn requests_in_any_pieces_are_the_same_requests() {
    let (upstream, srpd) = serve();
    let mut client = srpd.connect();
    let two = [Ask::chat("smart").bytes(), Ask::stream("smart").bytes()].concat();
    for size in [1, 3, 50] {
        for piece in two.chunks(size) {
            client.send(piece);
            if size > 1 {
                thread::sleep(ms(1));
            }
        }
        assert_eq!(client.response().said(), "hello");
        assert!(client.response().complete);
    }
    assert_eq!(upstream.count(), 6);
}

#[test]
fn chunked_requests_arrive_whole_and_framed_anew() {
    let (upstream, srpd) = serve();
    let mut client = srpd.connect();
    for coded in [
        format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()),
        format!("{:X};name=value\r\n{BODY}\r\n0;last\r\n\r\n", BODY.len()),
        format!(
            "000{:x}\r\n{BODY}\r\n0\r\nx-trailer: 1\r\nauthorization: x\r\n\r\n",
            BODY.len()
        ),
        BODY.bytes()
            .map(|byte| format!("1\r\n{}\r\n", byte as char))
            .collect::<String>()
            + "0\r\n\r\n",
    ] {
        for size in [usize::MAX, 2] {
            client.send(head("transfer-encoding: chunked\r\n"));
            for piece in coded.as_bytes().chunks(size.min(coded.len())) {
                client.send(piece);
            }
            assert_eq!(client.response().said(), "hello");
            let request = upstream.last();
            let sent = BODY.replace("\"smart\"", "\"aloomu-model\"");
            assert_eq!(String::from_utf8_lossy(&request.body), sent);
            assert_eq!(
                request.field("content-length"),
                Some(sent.len().to_string())
            );
            assert_eq!(request.field("transfer-encoding"), None);
            assert_eq!(
                (request.field("x-trailer"), request.field("trailer")),
                (None, None)
            );
        }
    }
    client.send(head("Transfer-Encoding: Chunked\r\n"));
    client.send(format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()));
    assert_eq!(client.response().said(), "hello");
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let (upstream, srpd) = serve();
    let mut client = srpd.connect();
    for framing in [
        format!("content-length: {}", BODY.len()),
        "transfer-encoding: chunked".into(),
    ] {
        client.send(head(&format!("expect: 100-continue\r\n{framing}\r\n")));
        assert_eq!(client.response().status, 100);
        if framing.contains("chunked") {
            client.send(format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()));
        } else {
            client.send(BODY);
        }
        assert_eq!(client.response().said(), "hello");
        assert_eq!(upstream.last().field("expect"), None);
    }
    // Refused by its head: no 100 that asks for the body.
    let refused = head(&format!(
        "expect: 100-continue\r\ncontent-length: {}\r\n",
        BODY.len()
    ));
    client.send(refused.replace(KEY, "nobody"));
    assert_eq!(client.response().status, 401);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let (_upstream, srpd) = serve();
    let mut client = srpd.connect();
    for path in ["/v1/models", "/v1/models/smart"] {
        let whole = client.ask(&Ask::get(path));
        client.send(Ask::get(path).method("HEAD").bytes());
        let head = client.bodiless();
        assert_eq!((whole.status, head.status), (200, 200));
        for name in ["content-length", "content-type"] {
            assert_eq!(head.field(name), whole.field(name));
            assert!(head.field(name).is_some());
        }
    }
    client.send(Ask::get("/v1/nowhere").method("HEAD").bytes());
    assert_eq!(client.bodiless().status, 404);
    assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let (_upstream, srpd) = serve();
    let old = |body: &str| {
        let head = head(&format!("content-length: {}\r\n", body.len()));
        let mut client = srpd.connect();
        client.send(
            head.replace("HTTP/1.1", "HTTP/1.0")
                .replace("host: srpd.test\r\n", "")
                + body,
        );
        let incoming = client.incoming();
        assert!(!incoming.is_chunked(), "chunked to HTTP/1.0");
        let response = incoming.finish();
        client.assert_closed();
        response
    };
    assert_eq!(old(BODY).said(), "hello");
    let streamed = old(r#"{"model":"smart","stream":true}"#);
    assert_eq!(streamed.data(), [delta("a"), delta("b"), "[DONE]".into()]);
    assert_eq!(old("{").status, 400);
}

#[test]
fn connection_close_is_kept_to() {
    let (_upstream, srpd) = serve();
    for ask in [
        Ask::chat("smart"),
        Ask::stream("smart"),
        Ask::get("/v1/models"),
        Ask::get("/"),
    ] {
        let mut client = srpd.connect();
        let response = client.ask(&ask.field("connection", "close"));
        assert_eq!(response.field("connection"), Some("close"));
        assert!(response.complete);
        client.assert_closed();
    }
}

#[test]
fn absolute_form_queries_and_names_in_any_case() {
    let (upstream, srpd) = serve();
    let mut client = srpd.connect();
    for target in [
        "http://srpd.test/v1/models",
        "/v1/models?limit=1",
        "/v1/models?",
    ] {
        assert_eq!(client.ask(&Ask::get(target)).status, 200, "{target}");
    }
    let shouting = Ask::chat("smart")
        .without("authorization")
        .without("content-type")
        .field("AUTHORIZATION", format!("bearer {KEY}"))
        .field("CONTENT-TYPE", "APPLICATION/JSON");
    assert_eq!(client.ask(&shouting).said(), "hello");
    let azure = Ask::post("/v1/chat/completions?api-version=1", BODY);
    assert_eq!(client.ask(&azure).said(), "hello");
    assert_eq!(upstream.count(), 2);
}

/// One refusal in the error shape, then the end of the connection.
fn assert_refused(client: &mut Client, what: &str) -> Response {
    let response = client.response();
    assert!(
        matches!(response.status, 400 | 411 | 431),
        "{what:?}: {} {}",
        response.status,
        response.text()
    );
    response.assert_error(response.status, "invalid_request_error", None, None);
    response.assert_should_retry(false);
    client.assert_closed();
    response
}

/// Transfer codings that leave room for two opinions on where the body ends.
fn ambiguous_codings() -> Vec<String> {
    let length = format!("content-length: {}\r\n", BODY.len());
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    [
        format!("{length}transfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\n{length}"),
        "transfer-encoding: chunked, chunked\r\n".into(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".into(),
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n".into(),
        "transfer-encoding: gzip, chunked\r\n".into(),
        "transfer-encoding: xchunked\r\n".into(),
        "transfer-encoding: identity\r\n".into(),
        "transfer-encoding: \"chunked\"\r\n".into(),
        "transfer-encoding: chunked;q=1\r\n".into(),
        "transfer-encoding:\r\n".into(),
        "transfer-encoding: \x0bchunked\r\n".into(),
        "transfer-encoding : chunked\r\n".into(),
        "x: y\r\n transfer-encoding: chunked\r\n".into(),
        "transfer-encoding:\r\n chunked\r\n".into(),
    ]
    .iter()
    .map(|lines| head(lines) + &chunks)
    .collect()
}

/// The same of lengths and of field lines.
fn ambiguous_fields() -> Vec<String> {
    let n = BODY.len();
    let length = format!("content-length: {n}\r\n");
    [
        format!("{length}{length}"),
        format!("{length}content-length: {}\r\n", n + 1),
        format!("content-length: {n}, {n}\r\n"),
        format!("content-length: +{n}\r\n"),
        format!("content-length: -{n}\r\n"),
        format!("content-length: 0x{n:x}\r\n"),
        format!("content-length: {n}.0\r\n"),
        format!("content-length: {n} {n}\r\n"),
        format!("content-length : {n}\r\n"),
        format!(" content-length: {n}\r\n"),
        format!("{length}x\r\n"),
        format!("{length}: x\r\n"),
        format!("{length}x y: z\r\n"),
        format!("{length}x: a\r\n folded\r\n"),
        format!("{length}x: a\0b\r\n"),
        format!("{length}x: a\rb\r\n"),
        format!("{length}x: a\x01b\r\n"),
        format!("{length}x: a\n"),
        format!("{length}host: other\r\n"),
        "content-length:\r\n".to_owned(),
        "content-length: \r\n".to_owned(),
        "content-length: 18446744073709551617\r\n".to_owned(),
        "content-length: 99999999999999999999999999\r\n".to_owned(),
    ]
    .iter()
    .map(|lines| head(lines) + BODY)
    .collect()
}

/// Request lines and heads that are none.
fn broken_heads() -> Vec<String> {
    let sound = head(&format!("content-length: {}\r\n", BODY.len()));
    let first = "POST /v1/chat/completions HTTP/1.1";
    [
        sound.replace("host: srpd.test\r\n", ""),
        sound.replace("\r\n", "\n"),
        sound.replacen("\r\n", "\n", 1),
        sound.replace(first, "POST  /v1/chat/completions HTTP/1.1"),
        sound.replace(first, "POST /v1/chat/completions"),
        sound.replace(first, "POST /v1/chat/completions HTTP/1.1 "),
        sound.replace(first, "POST /v1/chat/completions HTTP/2.0"),
        sound.replace(first, "POST /v1/chat/completions HTTP/0.9"),
        sound.replace(first, "POST /v1/chat/completions http/1.1"),
        sound.replace(first, "POST /v1/chat/ completions HTTP/1.1"),
        sound.replace(first, "POST\t/v1/chat/completions HTTP/1.1"),
        sound.replace(first, "PO(ST /v1/chat/completions HTTP/1.1"),
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(),
        head("transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0"),
    ]
    .iter()
    .map(|head| head.clone() + BODY)
    .collect()
}

#[test]
fn what_is_ambiguous_is_refused_and_goes_nowhere() {
    let (upstream, srpd) = serve();
    let smuggled = Ask::get("/v1/models").bytes();
    let all = [ambiguous_codings(), ambiguous_fields(), broken_heads()];
    for request in all.concat() {
        println!("{request:?}");
        let mut client = srpd.connect();
        client.send(request.as_bytes());
        client.send(&smuggled);
        assert_refused(&mut client, &request);
    }
    assert_eq!((upstream.connections(), upstream.bytes_in()), (0, 0));
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hello");
}

#[test]
fn broken_chunks_are_refused_and_go_nowhere() {
    let (upstream, srpd) = serve();
    let n = BODY.len();
    let smuggled = String::from_utf8(Ask::get("/v1/models").bytes()).expect("text");
    for chunks in [
        format!("{n:x}\n{BODY}\r\n0\r\n\r\n"),
        format!("{n:x}\r\n{BODY}\n0\r\n\r\n"),
        format!("{n:x}\r\n{BODY}0\r\n\r\n"),
        format!("{n:x}\r\n{BODY}xx0\r\n\r\n"),
        format!("0x{n:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("+{n:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("-{n:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!(" {n:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{n:x} \r\n{BODY}\r\n0\r\n\r\n"),
        format!("{n:x};a\nb\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{n:x};a\0b\r\n{BODY}\r\n0\r\n\r\n"),
        format!("\r\n{BODY}\r\n0\r\n\r\n"),
        format!("g\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{n:x}\r\n{BODY}\r\n\r\n"),
        format!("{n:x}\r\n{BODY}\r\n0\r\nbroken trailer\r\n\r\n"),
        format!("{n:x}\r\n{BODY}\r\n0\r\nx: {}\r\n\r\n", "y".repeat(100_000)),
        format!("{n:x};{}\r\n{BODY}\r\n0\r\n\r\n", "y".repeat(100_000)),
        format!("10000000000000000{n:x}\r\n{BODY}\r\n0\r\n\r\n"),
    ] {
        let start = &chunks[..chunks.len().min(60)];
        println!("{start:?}");
        let mut client = srpd.connect();
        client.send(head("transfer-encoding: chunked\r\n") + &chunks + &smuggled);
        assert_refused(&mut client, start);
    }
    assert_eq!((upstream.connections(), upstream.bytes_in()), (0, 0));
}

#[test]
fn what_follows_a_body_is_the_next_request() {
    let (upstream, srpd) = serve();
    let mut client = srpd.connect();
    // A body that looks like a request is a body.
    let inner = String::from_utf8(Ask::chat("smart").bytes()).expect("text");
    let body = serde_json::json!({"model": "smart", "input": inner}).to_string();
    client.send(Ask::post("/v1/embeddings", &body).bytes());
    assert_eq!(client.response().status, 200);
    assert_eq!(upstream.count(), 1);
    // A body on a GET is read as its head says, and is not the next request.
    client.send(
        Ask::get("/v1/models")
            .body(Ask::chat("smart").bytes())
            .bytes(),
    );
    client.send(Ask::get("/v1/nowhere").bytes());
    let first = client.response();
    assert!(matches!(first.status, 200 | 400), "{}", first.status);
    if first.status == 200 {
        assert_eq!(client.response().status, 404);
    } else {
        client.assert_closed();
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_refused_call_with_its_body_still_to_come_does_no_harm() {
    let (upstream, srpd) = serve();
    let long = format!(
        r#"{{"model":"smart","x":"{}"}}"#,
        "GET / HTTP/1.1\\r\\n".repeat(20_000)
    );
    for ask in [
        Ask::post("/v1/chat/completions", &long).key("nobody"),
        Ask::post("/v1/nowhere", &long),
        Ask::post("/v1/models", &long),
    ] {
        let mut client = srpd.connect();
        client.send(ask.bytes());
        let response = client.response();
        assert!(
            matches!(response.status, 401 | 404 | 405),
            "{}",
            response.status
        );
        // Either it read the body, or it closes: it never takes the body for a request.
        if response.field("connection") == Some("close") {
            client.assert_closed();
        } else {
            assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn unsolicited_bytes_from_upstream_are_never_a_response() {
    let said = r#"{"choices":[{"message":{"content":"poison"}}]}"#;
    let poison = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{said}",
        said.len()
    );
    let poisonous = poison.len();
    // A second response behind the first, in one write with it or soon after: whoever reused the
    // connection would get it.
    let upstream = Upstream::start(move |request| {
        let user = request.json()["user"].as_u64().expect("a number");
        let reply = Reply::chat(&format!("call {user}"));
        if user % 2 == 0 {
            reply.send(&poison)
        } else {
            reply.pause(ms(5)).send(&poison)
        }
    });
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    for user in 0..20 {
        let before = upstream.bytes_out();
        let body = format!(r#"{{"model":"smart","user":{user}}}"#);
        let response = client.ask(&Ask::post("/v1/chat/completions", body));
        assert_eq!(response.said(), format!("call {user}"));
        let sent = before + response.body.len() + poisonous;
        eventually("the poison sent", || upstream.bytes_out() > sent);
    }
}
