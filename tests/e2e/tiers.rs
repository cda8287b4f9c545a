//! What firm and floating calls are called at a provider: `service_tier`, or vLLM's `priority`.

use crate::support::{Ask, Instance, Reply, Setup, Upstream};

const FIRM: &str = "firm-key";
const FLOATER: &str = "floater-key";

/// The provider `fleet` with these tiers, where `firm` has a slot.
fn start(fleet: &Upstream, backstop: &Upstream, tiers: &str) -> Instance {
    let more = format!("capacity = 2\ntiers = {tiers}");
    Setup::bare(&backstop.url())
        .provider("fleet", "nz", &[&fleet.url()], &more)
        .capability("smart", &["fleet"], "residency = \"nz-only\"")
        .key("floater", FLOATER, "capabilities = [\"*\"]")
        .key("firm", FIRM, "capabilities = [\"*\"]\nsupply = \"firm\"")
        .raw(
            "[[reservation]]\nkey = \"firm\"\nprovider = \"fleet\"\nslots = 1\n\
             from = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\n",
        )
        .start()
}

fn upstreams() -> (Upstream, Upstream) {
    let [fleet, home] = ["fleet", "home"].map(|name| Upstream::always(Reply::chat(name)));
    (fleet, home)
}

/// What the provider gets of a body.
fn sent(srpd: &Instance, fleet: &Upstream, (key, path, body): (&str, &str, &str)) -> String {
    let response = srpd.ask(&Ask::post(path, body).key(key));
    assert_eq!(response.status, 200, "{}", response.text());
    String::from_utf8(fleet.last().body).expect("text")
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_call_has_the_providers_name_for_its_tier() {
    let (fleet, backstop) = upstreams();
    let tiers = "{ firm = \"priority\", floating = \"batch\" }";
    let srpd = start(&fleet, &backstop, tiers);
    let sent = |key, body| sent(&srpd, &fleet, (key, CHAT, body));
    // Put in front, the rest as it was.
    assert_eq!(
        sent(FIRM, r#"{"model": "smart", "messages":[ ]}"#),
        r#"{"service_tier":"priority","model": "fleet-model", "messages":[ ]}"#
    );
    // Replaced where it lies, on either side of the model.
    assert_eq!(
        sent(
            FLOATER,
            r#"{"service_tier" : "flex","model":"smart","messages":[]}"#
        ),
        r#"{"service_tier" : "batch","model":"fleet-model","messages":[]}"#
    );
    assert_eq!(
        sent(
            FLOATER,
            r#"{"model":"smart","messages":[],"service_tier":null}"#
        ),
        r#"{"model":"fleet-model","messages":[],"service_tier":"batch"}"#
    );
    // Of a stream, beside what asks for its usage.
    let stream = r#"{"model":"smart","stream":true,"service_tier":"auto","messages":[]}"#;
    fleet.set_always(Reply::chat_stream(&["hi"]));
    assert_eq!(
        sent(FIRM, stream),
        "{\"stream_options\":{\"include_usage\":true},\"model\":\"fleet-model\",\"stream\":true,\
         \"service_tier\":\"priority\",\"messages\":[]}"
    );
}

#[test]
fn only_what_is_mapped_is_changed_and_only_where_there_are_tiers() {
    let (fleet, backstop) = upstreams();
    let srpd = start(&fleet, &backstop, "{ firm = \"priority\" }");
    let flex = r#"{"model":"smart","messages":[],"service_tier":"flex"}"#;
    let as_it_was = flex.replace("\"smart\"", "\"fleet-model\"");
    assert_eq!(sent(&srpd, &fleet, (FLOATER, CHAT, flex)), as_it_was);
    let embedding = r#"{"model":"smart","input":"x"}"#;
    let as_it_was = embedding.replace("\"smart\"", "\"fleet-model\"");
    let call = (FIRM, "/v1/embeddings", embedding);
    assert_eq!(sent(&srpd, &fleet, call), as_it_was);
}

#[test]
fn a_number_is_vllms_priority() {
    let (fleet, backstop) = upstreams();
    let srpd = start(&fleet, &backstop, "{ firm = 0, floating = 10 }");
    let sent = |key, path, body| sent(&srpd, &fleet, (key, path, body));
    assert_eq!(
        sent(FLOATER, CHAT, r#"{"model":"smart","messages":[]}"#),
        r#"{"priority":10,"model":"fleet-model","messages":[]}"#
    );
    // Nobody gets ahead by saying so.
    assert_eq!(
        sent(
            FLOATER,
            CHAT,
            r#"{"model":"smart","priority":-99,"messages":[]}"#
        ),
        r#"{"model":"fleet-model","priority":10,"messages":[]}"#
    );
    let large = "x".repeat(100_000);
    let body = format!(r#"{{"model":"smart","input":"{large}","priority":5}}"#);
    assert_eq!(
        sent(FIRM, "/v1/embeddings", &body),
        format!(r#"{{"model":"fleet-model","input":"{large}","priority":0}}"#)
    );
    let twice = r#"{"model":"smart","priority":1,"messages":[],"Priority":2}"#;
    let refused = srpd.ask(&Ask::post(CHAT, twice).key(FLOATER));
    refused.assert_error(
        400,
        "invalid_request_error",
        Some("invalid_json"),
        Some("priority"),
    );
}
