//! SRP section 2: every row of the error table that this build can reach.

use crate::support::{Ask, Instance, KEY, Reply, Setup, Upstream, eventually, ms};

const INVALID: &str = "invalid_request_error";

fn backstop() -> Upstream {
    Upstream::always(Reply::chat("hello"))
}

fn assert_untouched(upstream: &Upstream) {
    assert_eq!(upstream.connections(), 0, "{:?}", upstream.requests());
}

#[test]
fn malformed_bodies_are_400_and_name_the_parameter() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    let table: [(&str, &str, Option<&str>); 16] = [
        (r#"{"model":"#, "invalid_json", None),
        (r#"{"model":"smart""#, "invalid_json", None),
        (r#"{"model":"smart"} {}"#, "invalid_json", None),
        (r#"{"model":"smart",}"#, "invalid_json", None),
        (r#"["smart"]"#, "invalid_json", None),
        (r#""smart""#, "invalid_json", None),
        ("model=smart", "invalid_json", None),
        ("", "invalid_json", None),
        (
            r#"{"model":"smart","model":"fast"}"#,
            "invalid_json",
            Some("model"),
        ),
        (
            r#"{"model":"smart","mode\u006c":"fast"}"#,
            "invalid_json",
            Some("model"),
        ),
        (
            r#"{"model":"smart","stream":true,"stream":false}"#,
            "invalid_json",
            Some("stream"),
        ),
        (
            r#"{"model":"smart","stream":"yes"}"#,
            "invalid_json",
            Some("stream"),
        ),
        (r#"{"messages":[]}"#, "missing_model", Some("model")),
        (r"{}", "missing_model", Some("model")),
        (
            r#"{"messages":[{"model":"smart"}]}"#,
            "missing_model",
            Some("model"),
        ),
        (r#"{"model":null}"#, "missing_model", Some("model")),
    ];
    for (body, code, param) in table {
        let response = srpd.ask(&Ask::post("/v1/chat/completions", body));
        println!("{body}");
        // What is no JSON at all has no parameter to blame, but may blame the body as a whole.
        let param = param.or(response.json()["error"]["param"].as_str().and(Some("body")));
        response.assert_error(400, INVALID, Some(code), param);
        response.assert_should_retry(false);
    }
    assert_untouched(&backstop);
}

#[test]
fn a_model_that_is_not_text_is_400() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    for value in ["1", "true", "[\"smart\"]", "{}"] {
        let body = format!(r#"{{"model":{value}}}"#);
        let response = srpd.ask(&Ask::post("/v1/chat/completions", body));
        assert_eq!(response.status, 400, "{value}");
        assert_eq!(response.json()["error"]["param"], "model", "{value}");
    }
    assert_untouched(&backstop);
}

#[test]
fn missing_and_unknown_keys_are_401() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    let chat = Ask::chat("smart").without("authorization");
    let asks = [
        chat.clone(),
        chat.clone().key("sk-of-the-cliens"),
        chat.clone().key(""),
        chat.clone().field("authorization", KEY),
        chat.clone().field("authorization", format!("Basic {KEY}")),
        chat.clone()
            .field("authorization", format!("Bearer {KEY}x")),
        chat.clone()
            .field("authorization", format!("Bearer {KEY}, Bearer {KEY}")),
        chat.clone()
            .key(KEY)
            .field("authorization", format!("Bearer {KEY}")),
        Ask::get("/v1/models").without("authorization"),
        Ask::get("/v1/models/smart").key("nobody"),
    ];
    for ask in asks {
        println!("{}", String::from_utf8_lossy(&ask.bytes()));
        let response = srpd.ask(&ask);
        response.assert_error(401, INVALID, Some("invalid_api_key"), None);
        response.assert_should_retry(false);
    }
    assert_untouched(&backstop);
}

#[test]
fn what_a_key_may_not_is_403_and_what_is_not_there_404() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url())
        .capability("fast", &[], "")
        .key("acme", KEY, "capabilities = [\"fast\"]")
        .start();
    assert_eq!(srpd.ask(&Ask::chat("fast")).said(), "hello");

    let response = srpd.ask(&Ask::chat("smart"));
    response.assert_error(
        403,
        "permission_error",
        Some("capability_not_allowed"),
        Some("model"),
    );
    response.assert_should_retry(false);

    for model in ["gpt-4o", "aloomu-model", "", "Fast", "fast "] {
        let response = srpd.ask(&Ask::chat(model));
        response.assert_error(404, INVALID, Some("model_not_found"), Some("model"));
        response.assert_should_retry(false);
    }
    let response = srpd.ask(&Ask::get("/v1/models/gpt-4o"));
    response.assert_error(404, INVALID, Some("model_not_found"), Some("model"));
    assert_eq!(backstop.count(), 1);
}

#[test]
fn unknown_paths_are_404_and_wrong_methods_405() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    for target in [
        "/",
        "/v1",
        "/v1/",
        "/v1/chat",
        "/v2/models",
        "/v1/files",
        "/healthz",
        "/metrics",
        "/v1/chat/completions/",
        "/v1//models",
        "/v1/%6dodels",
        "/v1/../v1/models",
        "/v1/./models",
        "/v1/models;x=1",
        "/V1/models",
    ] {
        println!("{target}");
        let response = srpd.ask(&Ask::get(target));
        response.assert_error(404, INVALID, Some("unknown_url"), None);
        response.assert_should_retry(false);
    }
    for (method, target, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/chat/completions", "POST"),
        ("GET", "/v1/audio/transcriptions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PUT", "/v1/models/smart", "GET, HEAD"),
        ("OPTIONS", "/v1/embeddings", "POST"),
    ] {
        println!("{method} {target}");
        let response = srpd.ask(&Ask::get(target).method(method));
        response.assert_error(405, INVALID, None, None);
        response.assert_should_retry(false);
        assert_eq!(response.field("allow"), Some(allow));
    }
    assert_untouched(&backstop);
}

#[test]
fn a_request_that_comes_too_slowly_is_408() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url())
        .section("timeouts", "head = \"200ms\"\nbody = \"200ms\"")
        .start();
    let whole = Ask::chat("smart").bytes();
    for count in [10, 60, whole.len() - 5] {
        let mut client = srpd.connect();
        client.send(&whole[..count]);
        let response = client.response();
        response.assert_error(408, INVALID, None, None);
        client.assert_closed();
    }
    // Slow, but never slower than is allowed.
    let mut client = srpd.connect();
    let body_at = whole.len() - 20;
    client.send(&whole[..body_at]);
    for piece in whole[body_at..].chunks(4) {
        std::thread::sleep(ms(70));
        client.send(piece);
    }
    assert_eq!(client.response().said(), "hello");
    assert_eq!(backstop.count(), 1);
}

#[test]
fn a_body_without_a_length_is_411() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    let mut client = srpd.connect();
    let unframed = Ask::get("/v1/chat/completions")
        .method("POST")
        .field("content-type", "application/json");
    client.send(unframed.bytes());
    let response = client.response();
    response.assert_error(411, INVALID, None, None);
    response.assert_should_retry(false);
    assert_untouched(&backstop);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url())
        .section("limits", "body_bytes = 2000")
        .start();
    let body = |length: usize| {
        let frame = r#"{"model":"smart","pad":""}"#.len();
        format!(
            r#"{{"model":"smart","pad":"{}"}}"#,
            "x".repeat(length - frame)
        )
    };
    let post = |body: String| srpd.ask(&Ask::post("/v1/chat/completions", body));
    assert_eq!(post(body(2000)).said(), "hello");
    let response = post(body(2001));
    response.assert_error(413, INVALID, None, None);
    response.assert_should_retry(false);

    // Declared, never sent: refused by what it declares.
    let mut client = srpd.connect();
    let huge = Ask::get("/v1/chat/completions")
        .method("POST")
        .field("content-type", "application/json")
        .field("content-length", "99999999999")
        .field("expect", "100-continue");
    client.send(huge.bytes());
    client.response().assert_error(413, INVALID, None, None);
    client.assert_closed();

    // In chunks, each within the limit.
    let mut client = srpd.connect();
    let chunked = Ask::get("/v1/chat/completions")
        .method("POST")
        .field("content-type", "application/json")
        .field("transfer-encoding", "chunked");
    client.send(chunked.bytes());
    for piece in body(2400).as_bytes().chunks(800) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.response().assert_error(413, INVALID, None, None);
    client.assert_closed();
    assert_eq!(backstop.count(), 1);
}

#[test]
fn content_that_routing_cannot_read_is_415() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    let chat = Ask::chat("smart");
    let typed = |kind: &str| {
        chat.clone()
            .without("content-type")
            .field("content-type", kind)
    };
    let refused = [
        chat.clone().field("content-encoding", "gzip"),
        typed("text/plain"),
        typed("application/x-www-form-urlencoded"),
        typed("multipart/form-data; boundary=x"),
        chat.clone().field("content-type", "application/json"),
        chat.clone().without("content-type"),
        Ask::post("/v1/audio/transcriptions", r#"{"model":"smart"}"#),
    ];
    for ask in refused {
        println!("{}", String::from_utf8_lossy(&ask.bytes()));
        let response = srpd.ask(&ask);
        response.assert_error(415, INVALID, None, None);
        response.assert_should_retry(false);
    }
    assert_untouched(&backstop);
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(srpd.ask(&typed(kind)).said(), "hello", "{kind}");
    }
    let plain = chat.clone().field("content-encoding", "identity");
    assert_eq!(srpd.ask(&plain).said(), "hello");
}

#[test]
fn a_head_over_the_limits_is_431() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url())
        .section("limits", "head_bytes = 4096\nheaders = 20")
        .start();
    let many = (0..30).fold(Ask::chat("smart"), |ask, n| {
        ask.field(&format!("x-{n}"), "1")
    });
    let long = Ask::chat("smart").field("x-long", "v".repeat(5000));
    let name = Ask::chat("smart").field(&"n".repeat(70_000), "v");
    for ask in [many, long, name] {
        let mut client = srpd.connect();
        client.send(ask.bytes());
        let response = client.response();
        response.assert_error(431, INVALID, None, None);
        response.assert_should_retry(false);
    }
    // A head that never ends is refused at the limit, not kept.
    let mut client = srpd.connect();
    client.send(format!(
        "GET /v1/models HTTP/1.1\r\nx-long: {}",
        "v".repeat(5000)
    ));
    client.response().assert_error(431, INVALID, None, None);
    assert_untouched(&backstop);
    let within = Ask::chat("smart").field("x-long", "v".repeat(3000));
    assert_eq!(srpd.ask(&within).said(), "hello");
}

#[test]
fn nothing_that_can_take_the_call_is_503() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::failure(500));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section(
            "breaker",
            "open = \"60s\"\nopen_max = \"60s\"\nopen_jitter = 0.0",
        )
        .start();
    let mut client = srpd.connect();
    for _ in 0..5 {
        let response = client.ask(&Ask::chat("smart"));
        response.assert_error(502, "upstream_error", Some("all_attempts_failed"), None);
        response.assert_should_retry(true);
        assert_eq!(response.field("x-sovereign-attempts"), Some("2"));
        assert!(response.field("x-vendor-secret").is_none());
        assert!(
            !response.text().contains("vendor secret"),
            "{}",
            response.text()
        );
        assert!(
            !response.text().contains("vendor_code"),
            "{}",
            response.text()
        );
    }
    for (ask, code) in [
        (Ask::chat("smart"), "no_provider_available"),
        (
            Ask::chat("smart").field("x-sovereign-residency", "au-only"),
            "residency_unavailable",
        ),
    ] {
        let response = client.ask(&ask);
        response.assert_error(503, "service_unavailable_error", Some(code), None);
        response.assert_should_retry(true);
        let after: u64 = response
            .field("retry-after")
            .and_then(|value| value.parse().ok())
            .expect("retry-after in seconds");
        assert!((1..=61).contains(&after), "{after}");
    }
    assert_eq!((vendor.count(), backstop.count()), (5, 5));
}

#[test]
fn more_calls_than_allowed_are_503_overloaded() {
    let backstop =
        Upstream::always(Reply::new().pause(ms(1500)).send(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        ));
    let srpd = Setup::backstop_only(&backstop.url())
        .section("instance", "cores = 1")
        .section("limits", "calls_per_core = 2")
        .start();
    let mut holding: Vec<_> = (0..2).map(|_| srpd.connect()).collect();
    for client in &mut holding {
        client.send(Ask::chat("smart").bytes());
    }
    backstop.wait_requests(2);
    let response = srpd.ask(&Ask::chat("smart"));
    response.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    response.assert_should_retry(true);
    assert!(response.field("retry-after").is_some());
    for client in &mut holding {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200, "room again");
}

#[test]
fn the_total_deadline_is_504() {
    let vendor = Upstream::always(Reply::new().stall());
    let backstop = Upstream::always(Reply::new().stall());
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("timeouts", "call = \"500ms\"\nfirst_byte = \"300ms\"")
        .start();
    let begun = std::time::Instant::now();
    let response = srpd.ask(&Ask::chat("smart"));
    let took = begun.elapsed();
    response.assert_error(504, "upstream_error", Some("deadline_exceeded"), None);
    assert!(took >= ms(450) && took < ms(900), "{took:?}");
    assert_eq!((vendor.count(), backstop.count()), (1, 1));
    let closed = backstop.wait_closed(1);
    assert!(closed < begun + ms(900), "the attempt outlived its call");
}

#[test]
fn errors_are_counted_by_code() {
    let backstop = backstop();
    let srpd = Setup::backstop_only(&backstop.url()).start();
    srpd.ask(&Ask::chat("gpt-4o"));
    srpd.ask(&Ask::chat("smart").field("x-sovereign-residency", "us-only"));
    let counted = |srpd: &Instance, code: &str| srpd.metric("srpd_rejections_total", &[code]);
    eventually("the codes in the metrics", || {
        counted(&srpd, "\"model_not_found\"") == 1.0
            && counted(&srpd, "\"data_residency_mismatch\"") == 1.0
    });
}
