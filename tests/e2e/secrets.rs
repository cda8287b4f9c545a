//! Secrets are planted where they belong, and where they don't, and then every output of srpd is
//! searched for them.

use std::path::Path;
use std::process::{Child, Command, Output};

use crate::support::setup::{SRPD, digest};
use crate::support::{
    Ask, Client, Instance, Reply, Response, Setup, Upstream, chat_body, delta, eventually, ms,
};

/// The client's key.
const CLIENT: &str = "srp_canary0client0key0that0nobody0may0see0x";

/// What the providers' keys are, by where each is kept.
const BY_ENV: &str = "sk-canary-of-the-environment-1";
const BY_FILE: &str = "sk-canary-of-the-file-2";
const BY_CREDENTIAL: &str = "sk-canary-of-the-credential-3";

/// What the collector's key is.
const OF_COLLECTOR: &str = "Bearer canary-of-the-collector";

const VARIABLE: &str = "SRPD_E2E_CANARY";

/// Fails if `text` shows a secret, or what a key's digest is.
fn assert_clean(text: &str, place: &str) {
    // Any four of a secret's words in a row would be too many: look for its distinctive part.
    for secret in ["canary", &digest(CLIENT)] {
        if let Some(at) = text.find(secret) {
            let from = text.floor_char_boundary(at.saturating_sub(80));
            let to = text.floor_char_boundary((at + 80).min(text.len()));
            panic!("{place} shows {secret}: …{}…", &text[from..to]);
        }
    }
}

fn assert_clean_response(response: &Response, place: &str) {
    for (name, value) in &response.fields {
        assert_clean(name, place);
        assert_clean(value, place);
    }
    assert_clean(&response.text(), place);
}

/// The bytes of a request, and what is wrong with it.
type Misplaced = (&'static str, Vec<u8>);

/// The key in a header field: of the wrong name, in the wrong form, or beside the right one.
fn misplaced_in_fields() -> Vec<Misplaced> {
    let good = Ask::chat("env").key(CLIENT);
    let with = |name: &str, value: &str| good.clone().field(name, value).bytes();
    let instead = |name: &str, value: &str| {
        let ask = Ask::chat("env").without("authorization");
        ask.field(name, value).bytes()
    };
    let scheme = |scheme: &str| instead("authorization", &format!("{scheme}{CLIENT}"));
    let typed = |value: &str| {
        let ask = good.clone().without("content-type");
        ask.field("content-type", value).bytes()
    };
    let only = format!("{CLIENT}-only");
    vec![
        ("no scheme", scheme("")),
        ("another scheme", scheme("Basic ")),
        ("a wrong key", scheme("Bearer x")),
        ("a word too many", scheme(&format!("Bearer {CLIENT} "))),
        ("twice", with("authorization", &format!("Bearer {CLIENT}"))),
        ("x-api-key", instead("x-api-key", CLIENT)),
        ("api-key", instead("api-key", CLIENT)),
        ("cookie", instead("cookie", &format!("key={CLIENT}"))),
        ("residency", with("x-sovereign-residency", CLIENT)),
        ("residency of a kind", with("x-sovereign-residency", &only)),
        ("supply", with("x-sovereign-supply", CLIENT)),
        ("price", with("x-sovereign-max-price", CLIENT)),
        ("coding", with("content-encoding", CLIENT)),
        ("media type", typed(CLIENT)),
        ("expectation", with("expect", CLIENT)),
        ("connection", with("connection", &format!("host, {CLIENT}"))),
        ("a head too large", with("x", &CLIENT.repeat(1000))),
    ]
}

/// The key where HTTP has something else.
fn misplaced_in_lines() -> Vec<Misplaced> {
    let to = |target: &str| Ask::post(target, "{}").key(CLIENT).bytes();
    let get = |method: &str, target: &str| Ask::get(target).method(method).key(CLIENT).bytes();
    let line = |line: &str| format!("{line}\r\nhost: a\r\n\r\n").into_bytes();
    let field = |field: &str| {
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n").into_bytes()
    };
    vec![
        ("coding", field(&format!("transfer-encoding: {CLIENT}"))),
        ("length", field(&format!("content-length: {CLIENT}"))),
        ("field name", field(&format!("{CLIENT} : x"))),
        ("control byte", field(&format!("x: {CLIENT}\u{1}"))),
        ("path", to(&format!("/v1/{CLIENT}"))),
        ("query", to(&format!("/v1/chat/completions?key={CLIENT}"))),
        (
            "user",
            to(&format!("http://{CLIENT}@a/v1/chat/completions")),
        ),
        ("model's path", get("GET", &format!("/v1/models/{CLIENT}"))),
        ("another method", get("DELETE", "/v1/models")),
        ("method", line(&format!("{CLIENT} /v1/models HTTP/1.1"))),
        ("version", line(&format!("GET /v1/models {CLIENT}"))),
        ("a line of its own", line(CLIENT)),
    ]
}

/// The key in the body.
fn misplaced_in_bodies() -> Vec<Misplaced> {
    let body = |body: &str| {
        let body = body.replace("KEY", CLIENT);
        let ask = Ask::post("/v1/chat/completions", body);
        ask.key(CLIENT).bytes()
    };
    let form = |boundary: &str| {
        let ask = Ask::get("/v1/audio/transcriptions").method("POST");
        let body =
            "--KEY\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nKEY\r\n--KEY--\r\n";
        let boundary = format!("multipart/form-data; boundary={boundary}");
        let ask = ask.key(CLIENT).field("content-type", boundary);
        ask.body(body.replace("KEY", CLIENT)).bytes()
    };
    vec![
        ("model", body(r#"{"model":"KEY"}"#)),
        ("model of another type", body(r#"{"model":["KEY"]}"#)),
        ("no JSON", body("KEY")),
        ("cut", body(r#"{"model":"KEY"#)),
        ("member", body(r#"{"KEY":1,"KEY":2}"#)),
        ("twice", body(r#"{"model":"KEY","model":"KEY"}"#)),
        ("stream", body(r#"{"model":"env","stream":"KEY"}"#)),
        (
            "options",
            body(r#"{"model":"env","stream":true,"stream_options":"KEY"}"#),
        ),
        ("form", form(CLIENT)),
        ("another boundary", form("x")),
    ]
}

/// Three vendors with a key each, of every kind, and a backstop without one.
struct House {
    vendors: Vec<(Upstream, &'static str)>,
    backstop: Upstream,
    collector: Upstream,
    setup: Setup,
}

fn house() -> House {
    let answer = |request: &crate::support::Request| {
        if request.json()["stream"] == true {
            Reply::events().event(&delta("hi")).close()
        } else {
            Reply::chat("hi")
        }
    };
    let vendors: Vec<(Upstream, &str)> = [BY_ENV, BY_FILE, BY_CREDENTIAL]
        .map(|secret| (Upstream::start(answer), secret))
        .into();
    let backstop = Upstream::start(answer);
    let places = [
        ("env", format!("{{ env = \"{VARIABLE}\" }}")),
        ("file", "{ file = \"vendor.key\" }".to_owned()),
        ("credential", "{ credential = \"vendor\" }".to_owned()),
    ];
    let collector = Upstream::always(Reply::json(200, "{}"));
    let mut setup = Setup::bare(&backstop.url())
        .section("otlp", &format!("endpoint = \"{}\"", collector.url()))
        .section("otlp", "sample = 1\ninterval = \"100ms\"")
        .section(
            "otlp",
            "headers = { authorization = { file = \"collector\" } }",
        )
        .file("collector", OF_COLLECTOR)
        .section("log", "level = \"trace\"")
        .file("vendor.key", &format!("{BY_FILE}\n"))
        .file("vendor", BY_CREDENTIAL)
        .key(
            "acme",
            CLIENT,
            "capabilities = [\"*\"]\ntokens_per_minute = 100000",
        )
        .key(
            "poor",
            "POOR",
            "capabilities = [\"home\"]\nrequests_per_minute = 1",
        )
        .capability("home", &[], "");
    for ((name, place), (upstream, _)) in places.iter().zip(&vendors) {
        let vendor = format!("vendor-{name}");
        setup = setup
            .provider(
                &vendor,
                "us",
                &[&upstream.url()],
                &format!("api_key = {place}"),
            )
            .capability(name, &[&vendor], "");
    }
    House {
        vendors,
        backstop,
        collector,
        setup,
    }
}

/// Starts srpd as systemd would, with credentials and an environment.
fn spawn_with_secrets(command: &mut Command) -> Child {
    let directory = command.get_current_dir().expect("a directory").to_owned();
    command
        .env(VARIABLE, BY_ENV)
        .env("CREDENTIALS_DIRECTORY", directory)
        .spawn()
        .expect("srpd starts")
}

fn admin_pages(srpd: &Instance) {
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/srp/v1/config",
        "/srp/v1/providers",
        "/",
        &format!("/srp/v1/{CLIENT}"),
        &format!("/metrics?key={CLIENT}"),
    ] {
        assert_clean_response(&srpd.admin(path), path);
    }
}

/// What no upstream but its owner may have been sent.
fn assert_each_sees_its_own(house: &House) {
    for (upstream, secret) in &house.vendors {
        let requests = upstream.requests();
        assert!(!requests.is_empty());
        for request in requests {
            let sent = request.field("authorization");
            assert_eq!(sent.as_deref(), Some(&*format!("Bearer {secret}")));
            let rest = request.head.replacen(secret, "", 1);
            assert_clean(&rest, "what a vendor is sent");
            assert_clean(&String::from_utf8_lossy(&request.body), "a vendor's body");
        }
    }
    for request in house.backstop.requests() {
        assert_clean(&request.head, "what the backstop is sent");
    }
}

/// What a collector was sent: its own key, and no other; nothing of what was asked or answered.
fn assert_exports_are_clean(collector: &Upstream) {
    let requests = collector.requests();
    for signal in ["POST /v1/traces", "POST /v1/metrics"] {
        assert!(requests.iter().any(|it| it.line() == signal), "{signal}");
    }
    for request in requests {
        let sent = request.field("authorization");
        assert_eq!(sent.as_deref(), Some(OF_COLLECTOR));
        let rest = request.head.replacen(OF_COLLECTOR, "", 1);
        assert_clean(&rest, "what a collector is sent");
        let body = String::from_utf8_lossy(&request.body);
        assert_clean(&body, "an export");
        for content in ["messages", "choices", "\"hi\""] {
            assert!(!body.contains(content), "an export shows {content}: {body}");
        }
    }
}

/// Lets the vendors refuse the key that they are sent, and quote it: none of it is passed on.
fn refuse_and_quote(house: &House, ask: impl Fn(&str)) {
    let capabilities = ["env", "file", "credential"];
    for ((upstream, secret), capability) in house.vendors.iter().zip(capabilities) {
        let fields = [("content-type", "application/json"), ("x-key", secret)];
        for status in [401, 403, 429, 500] {
            let quoted = format!("{{\"error\":{{\"message\":\"Incorrect API key: {secret}\"}}}}");
            upstream.set_always(Reply::with(status, &fields, quoted));
            ask(capability);
        }
        upstream.set_always(Reply::with(200, &fields, chat_body("hi")));
        ask(capability);
    }
}

#[test]
fn no_output_shows_a_secret() {
    let house = house();
    let mut srpd = house.setup.start_by(spawn_with_secrets);
    let good = |capability: &str| Ask::chat(capability).key(CLIENT);
    let ask = |ask: &Ask, place: &str| {
        let response = srpd.ask(ask);
        assert_clean_response(&response, place);
        response.status
    };
    for capability in ["env", "file", "credential", "home"] {
        let hidden = good(capability)
            .field("x-api-key", CLIENT)
            .field("api-key", CLIENT)
            .field("proxy-authorization", CLIENT)
            .field("cookie", CLIENT);
        assert_eq!(ask(&hidden, capability), 200);
        // A stream that dies.
        assert_eq!(ask(&Ask::stream(capability).key(CLIENT), capability), 200);
    }
    let requests = [
        misplaced_in_fields(),
        misplaced_in_lines(),
        misplaced_in_bodies(),
    ];
    for (place, bytes) in requests.concat() {
        let mut client: Client = srpd.connect();
        client.send(&bytes);
        let response = client.response();
        assert!(
            (400..500).contains(&response.status),
            "{place}: {}",
            response.text()
        );
        assert_clean_response(&response, place);
    }
    for expected in [200, 429] {
        assert_eq!(ask(&Ask::chat("home").key("POOR"), "a limit"), expected);
    }
    assert_eq!(ask(&Ask::get("/v1/models").key(CLIENT), "the models"), 200);
    assert_each_sees_its_own(&house);

    refuse_and_quote(&house, |capability| {
        assert_eq!(ask(&good(capability), "a vendor's refusal"), 200);
    });
    house.backstop.set_always(Reply::failure(500));
    assert_eq!(ask(&good("home"), "nobody left"), 502);
    admin_pages(&srpd);

    // A reload that finds the key in the wrong place, and one that is fine.
    let text = std::fs::read_to_string(srpd.config_path()).expect("the file");
    let wrong = text.replace(
        &format!("{{ env = \"{VARIABLE}\" }}"),
        &format!("\"{BY_ENV}\""),
    );
    assert_ne!(wrong, text);
    srpd.reload_text(&wrong);
    eventually("the refusal", || {
        srpd.metric("srpd_config_reload_failures_total", &[]) == 1.0
    });
    srpd.reload_text(&text);
    eventually("the reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    admin_pages(&srpd);

    srpd.signal("TERM");
    assert!(srpd.wait_exit(ms(15_000)).success());
    assert_exports_are_clean(&house.collector);
    let log = srpd.whole_log();
    assert!(log.len() > 50, "the access log is among it: {}", log.len());
    for line in log {
        assert_clean(&line, "the log");
    }
}

fn check(directory: &Path) -> Output {
    Command::new(SRPD)
        .args(["check", "srpd.toml"])
        .current_dir(directory)
        .env(VARIABLE, "canary of\r\ntwo lines")
        .env("CREDENTIALS_DIRECTORY", directory)
        .output()
        .expect("srpd runs")
}

/// Lines in place of a provider's `api_key`, or beside it, that show what they hold to whoever
/// isn't careful.
const WRONG: &[&str] = &[
    "api_key = \"sk-canary\"",
    "api_key = sk-canary",
    "api_key = \"sk-canary",
    "api_key = [\"sk-canary\"]",
    "api_key = { sk-canary = \"env\" }",
    "api_key = { value = \"sk-canary\" }",
    "api_key = { env = \"sk-canary\" }",
    "api_key = { env = [\"sk-canary\"] }",
    "api_key = { env = \"SRPD_E2E_CANARY\" }",
    "api_key = { file = \"sk-canary\" }",
    "api_key = { file = \"two-lines\" }",
    "api_key = { file = \"binary\" }",
    "api_key = { file = \"long\" }",
    "api_key = { file = \".\" }",
    "api_key = { credential = \"sk-canary\" }",
    "api_key = { credential = \"../sk-canary\" }",
    "api_key = { credential = \"two-lines\" }",
    "api_key = { env = \"HOME\", file = \"sk-canary\" }",
    "accreditation = \"two-lines\"",
    "accreditation = \"text.json\"",
    "accreditation = \"object.json\"",
    "authorization = \"Bearer sk-canary\"",
    "api-key = \"sk-canary\"",
];

/// The same for `[[key]]`; the name of each is its own.
const WRONG_KEYS: &[&str] = &[
    "name = \"n\"\nsha256 = \"srp_canary\"\ncapabilities = [\"*\"]",
    "name = \"n\"\nkey = \"srp_canary\"\ncapabilities = [\"*\"]",
    "name = \"srp canary!\"\nsha256 = \"DIGEST\"\ncapabilities = [\"*\"]",
    "name = \"CLIENT\"\nsha256 = \"DIGEST\"\ncapabilities = [\"*\"]",
];

#[test]
fn no_complaint_about_a_configuration_shows_a_secret() {
    let setup = Setup::backstop_only("http://127.0.0.1:9")
        .file("two-lines", "sk-canary\r\nx-injected: 1\n")
        .file("binary", "sk-canary\0")
        .file("long", &"sk-canary".repeat(2000))
        .file("text.json", "\"sk-canary\"")
        .file("object.json", "{\"sk-canary\":\"sk-canary\"}");
    let refused = |setup: &Setup, wrong: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        setup.write(directory.path());
        let output = check(directory.path());
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{wrong}: {said}");
        assert!(said.contains("srpd.toml:"), "{said}");
        assert_clean(&said, wrong);
    };
    for wrong in WRONG {
        let vendor = setup
            .clone()
            .provider("v", "us", &["http://127.0.0.1:9"], wrong);
        refused(&vendor, wrong);
    }
    for url in [
        "http://user:canary@127.0.0.1:9",
        "http://127.0.0.1:9/v1?key=canary",
        "canary",
        "canary://127.0.0.1",
        "http://127.0.0.1:canary",
    ] {
        refused(&setup.clone().provider("v", "us", &[url], ""), url);
    }
    for wrong in WRONG_KEYS {
        let wrong = wrong
            .replace("CLIENT", CLIENT)
            .replace("DIGEST", &digest(CLIENT));
        refused(&setup.clone().raw(&format!("[[key]]\n{wrong}\n")), &wrong);
    }
    for key in ["canary", "-----BEGIN PRIVATE KEY-----\\ncanary"] {
        let authority = format!("[[authority]]\nname = \"other\"\npublic_key = \"{key}\"\n");
        refused(&setup.clone().raw(&authority), key);
    }
}

#[test]
fn a_key_file_taken_for_a_configuration_is_not_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    for content in [
        "sk-canary\n",
        "\"sk-canary\"\n",
        "-----BEGIN PRIVATE KEY-----\ncanary\n",
        "KEY=sk-canary\n",
        "{\"key\": \"sk-canary\"}",
    ] {
        std::fs::write(directory.path().join("srpd.toml"), content).expect("a file");
        let output = check(directory.path());
        assert_eq!(output.status.code(), Some(1));
        assert_clean(&String::from_utf8_lossy(&output.stderr), content);
    }
}
