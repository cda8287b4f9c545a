//! SRP section 9: what is added to a message, what is taken out, and the list of models.

use std::collections::HashSet;

use crate::support::{Ask, KEY, Reply, Setup, Upstream, chat_body};

#[test]
fn request_ids_are_the_clients_own_or_made() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    let longest = "x".repeat(128);
    for id in ["req-1", "a", "!~{}\"\\", longest.as_str()] {
        for ask in [
            Ask::chat("smart"),
            Ask::chat("nothing"),
            Ask::get("/v1/models"),
        ] {
            let response = client.ask(&ask.field("x-request-id", id));
            assert_eq!(response.field("x-request-id"), Some(id));
        }
    }
    let mut made = HashSet::new();
    let too_long = "x".repeat(129);
    for id in ["", "two words", "é", "a\tb", too_long.as_str()] {
        for ask in [Ask::chat("smart"), Ask::chat("nothing")] {
            let response = client.ask(&ask.field("x-request-id", id));
            let own = response.field("x-request-id").expect("an id").to_owned();
            assert!((8..=128).contains(&own.len()) && own.bytes().all(|b| b.is_ascii_graphic()));
            assert_ne!(own, id);
            assert!(made.insert(own), "made twice");
        }
    }
    for _ in 0..50 {
        let response = client.ask(&Ask::chat("smart"));
        assert!(made.insert(response.field("x-request-id").expect("an id").to_owned()));
    }
}

#[test]
fn an_allow_list_of_response_fields_passes() {
    let fields = [
        ("content-type", "application/json; charset=utf-8"),
        ("server", "cloudflare"),
        ("set-cookie", "__cf_bm=secret"),
        ("openai-organization", "org-secret"),
        ("openai-project", "proj-secret"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-tokens", "5"),
        ("cf-ray", "secret-SYD"),
        ("cf-cache-status", "DYNAMIC"),
        ("via", "1.1 secret"),
        ("x-powered-by", "secret"),
        ("x-envoy-upstream-service-time", "5"),
        ("x-anything-else", "secret"),
        ("x-request-id", "vendors-own"),
        ("x-sovereign-jurisdiction", "zz"),
        ("x-sovereign-attempts", "77"),
        ("x-should-retry", "true"),
        ("openai-processing-ms", "987654"),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3=\":443\""),
        ("access-control-allow-origin", "https://secret"),
        ("keep-alive", "timeout=5"),
        ("trailer", "x-secret"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "Basic"),
        ("connection", "keep-alive, x-anything-else"),
    ];
    let upstream = Upstream::always(Reply::with(200, &fields, chat_body("hi")));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    for status in [200, 400] {
        upstream.set_always(Reply::with(status, &fields, chat_body("hi")));
        let response = srpd.ask(&Ask::chat("smart").field("x-request-id", "mine"));
        assert_eq!(response.status, status);
        assert_eq!(
            response.field("content-type"),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(response.field("x-request-id"), Some("mine"));
        assert_eq!(response.field("x-sovereign-jurisdiction"), Some("au"));
        assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
        assert_ne!(response.field("openai-processing-ms"), Some("987654"));
        assert!(response.field("openai-processing-ms").is_some());
        for (name, value) in &response.fields {
            assert!(!value.contains("secret"), "{name}: {value}");
            let own = ["content-type", "x-request-id", "openai-processing-ms"];
            let taken_out = fields.iter().any(|(n, _)| n == name);
            assert!(
                !taken_out || own.contains(&name.as_str()) || name.starts_with("x-sovereign-"),
                "{name}: {value}"
            );
        }
    }
}

/// What a client may send on to a provider.
const PASSING: &[(&str, &str)] = &[
    ("x-custom", "kept"),
    ("openai-beta", "assistants=v2"),
    ("accept", "application/json"),
];

/// What it may not: the hop's own, and what identifies or authorises the client.
const KEPT_BACK: &[(&str, &str)] = &[
    ("x-nominated", "1"),
    ("cookie", "session=1"),
    ("x-api-key", "leak"),
    ("api-key", "leak"),
    ("proxy-authorization", "leak"),
    ("forwarded", "for=10.1.1.1"),
    ("x-forwarded-for", "10.1.1.1"),
    ("x-forwarded-host", "leak"),
    ("x-real-ip", "10.1.1.1"),
    ("via", "1.1 leak"),
    ("accept-encoding", "gzip, br"),
    ("te", "trailers"),
    ("trailer", "x-t"),
    ("upgrade", "h2c"),
    ("keep-alive", "timeout=5"),
    ("openai-organization", "org-client"),
    ("openai-project", "proj-client"),
];

#[test]
fn providers_get_their_own_credential_and_nothing_that_identifies_the_client() {
    let (vendor, backstop) = (
        Upstream::always(Reply::failure(500)),
        Upstream::always(Reply::chat("hi")),
    );
    let srpd = Setup::bare(&backstop.url())
        .provider(
            "vendor-us",
            "us",
            &[&vendor.url()],
            "api_key = { file = \"vendor.key\" }",
        )
        .capability("smart", &["vendor-us"], "")
        .file("vendor.key", "sk-vendor-secret\n")
        .start();
    let mut ask = Ask::chat("smart").field("connection", "keep-alive, x-nominated");
    for (name, value) in PASSING.iter().chain(KEPT_BACK) {
        ask = ask.field(name, value);
    }
    assert_eq!(srpd.ask(&ask).said(), "hi");
    let given = vendor.last();
    assert_eq!(
        given.field("authorization").as_deref(),
        Some("Bearer sk-vendor-secret")
    );
    assert_eq!(given.field("host"), Some(vendor.address().to_string()));
    let bare = backstop.last();
    assert_eq!(bare.field("authorization"), None, "another provider's key");
    assert_eq!(bare.field("host"), Some(backstop.address().to_string()));
    for request in [given, bare] {
        for (name, value) in PASSING {
            assert_eq!(request.field(name).as_deref(), Some(*value), "{name}");
        }
        for (name, value) in KEPT_BACK {
            assert_ne!(request.field(name).as_deref(), Some(*value), "{name}");
        }
        let coding = request.field("accept-encoding");
        assert!(
            matches!(coding.as_deref(), None | Some("identity")),
            "{coding:?}"
        );
        assert!(!request.head.contains(KEY), "{}", request.head);
    }
}

#[test]
fn the_provider_is_named_only_where_that_is_configured() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let setup = Setup::backstop_only(&upstream.url());
    let response = setup.start().ask(&Ask::chat("smart"));
    assert_eq!(response.field("x-sovereign-provider"), None);
    let exposing = setup.section("instance", "expose_providers = true").start();
    let response = exposing.ask(&Ask::chat("smart"));
    assert_eq!(response.field("x-sovereign-provider"), Some("aloomu"));
}

#[test]
fn models_are_the_keys_capabilities() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .capability("fast", &[], "")
        .capability("sovereign", &[], "")
        .key("some", "SOME", "capabilities = [\"sovereign\", \"smart\"]")
        .key("all", "ALL", "capabilities = [\"*\"]")
        .start();
    for (key, expected) in [
        ("SOME", vec!["smart", "sovereign"]),
        ("ALL", vec!["fast", "smart", "sovereign"]),
    ] {
        let response = srpd.ask(&Ask::get("/v1/models").key(key));
        assert_eq!(response.status, 200);
        assert_eq!(response.field("content-type"), Some("application/json"));
        assert!(response.field("x-request-id").is_some());
        let list = response.json();
        assert_eq!(list["object"], "list");
        let data = list["data"].as_array().expect("a list");
        let mut ids: Vec<_> = data
            .iter()
            .map(|model| model["id"].as_str().expect("id"))
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, expected);
        for model in data {
            assert_eq!(model["object"], "model");
            assert_eq!(model["owned_by"], "srp");
            assert!(model["created"].is_u64());
        }
        assert!(!response.text().contains("aloomu"), "{}", response.text());
    }
    let one = srpd.ask(&Ask::get("/v1/models/smart").key("SOME"));
    assert_eq!(
        (one.status, one.json()["id"].as_str()),
        (200, Some("smart"))
    );
    assert_eq!(one.json()["owned_by"], "srp");
    let hidden = srpd.ask(&Ask::get("/v1/models/fast").key("SOME"));
    assert!(matches!(hidden.status, 403 | 404), "{}", hidden.status);
    assert_eq!(upstream.connections(), 0);
}
