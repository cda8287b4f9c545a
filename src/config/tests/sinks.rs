//! `[[ledger.sink]]`

use super::*;
use crate::config::SinkTarget;

/// The base with a sink whose URL is in a file.
fn config_with(fixture: &Fixture, url: &str, lines: &str) -> String {
    let path = fixture.directory.path().join("sink.url");
    std::fs::write(path, format!("{url}\n")).unwrap();
    let kind = match url.starts_with("nats") {
        true => "nats",
        false => "postgres",
    };
    format!(
        "{}\n[[ledger.sink]]\nname = \"billing\"\nkind = \"{kind}\"\n\
         url = {{ file = \"sink.url\" }}\n{lines}\n",
        base(fixture)
    )
}

const HERE: &str = "postgresql://srpd:pass-1@127.0.0.1/ledger";

#[test]
fn a_sink_is_obeyed_and_its_url_is_shown_to_nobody() {
    let fixture = Fixture::new();
    let config = fixture.config(&config_with(&fixture, HERE, ""));
    // A sink is of a ledger, which is there with it.
    assert!(config.ledger.is_some());
    let sink = &config.sinks[0];
    assert_eq!((sink.name.as_str(), sink.batch), ("billing", 500));
    let table = |name: &str| SinkTarget::Postgres { table: name.into() };
    assert_eq!(sink.target, table("srpd_ledger"));
    assert_eq!(sink.url.expose(), HERE.as_bytes());
    assert!(sink.roots.is_none());
    let shown = effective(&config);
    assert_eq!(shown["ledger"]["sink"][0]["table"], "srpd_ledger");
    assert!(!shown.to_string().contains("pass-1"), "{shown}");
    let lines = "table = \"billing.calls\"\nbatch = 9";
    let sink = &fixture.config(&config_with(&fixture, HERE, lines)).sinks[0];
    assert_eq!((&sink.target, sink.batch), (&table("billing.calls"), 9));
}

#[test]
fn a_stream_is_obeyed_and_its_url_is_shown_to_nobody() {
    let fixture = Fixture::new();
    let url = "nats://srpd:pass-1@127.0.0.1:4333";
    let of = |lines: &str| fixture.config(&config_with(&fixture, url, lines));
    let config = of("stream = \"LEDGER\"");
    let sink = &config.sinks[0];
    let target = |stream: &str, subject: &str| SinkTarget::Nats {
        stream: stream.into(),
        subject: subject.into(),
    };
    assert_eq!(sink.target, target("LEDGER", "srpd.ledger"));
    assert!(sink.roots.is_none() && sink.batch == 500);
    let shown = effective(&config);
    assert_eq!(shown["ledger"]["sink"][0]["stream"], "LEDGER");
    assert_eq!(shown["ledger"]["sink"][0]["subject"], "srpd.ledger");
    assert!(!shown.to_string().contains("pass-1"), "{shown}");
    let config = of("stream = \"calls-1\"\nsubject = \"billing\"");
    assert_eq!(config.sinks[0].target, target("calls-1", "billing"));
}

#[test]
fn a_url_that_is_none_is_refused_and_not_shown() {
    let fixture = Fixture::new();
    let refused = |url: &str, lines: &str, says: &str| {
        let errors = rejected(&fixture, &config_with(&fixture, url, lines));
        assert_eq!(errors.iter().count(), 1, "{errors}");
        let text = errors.to_string();
        assert!(text.contains(says) && !text.contains("pass-1"), "{text}");
    };
    let expected = "ledger.sink[0].url: expected postgresql://USER";
    for url in [
        "mysql://srpd:pass-1@127.0.0.1/ledger",
        "postgresql://srpd:pass-1@127.0.0.1:many/ledger",
        "postgresql://127.0.0.1/ledger",
        "postgresql:///ledger?user=pass-1",
        "postgresql://srpd:pass-1@db/ledger?sslmode=verify-full",
    ] {
        refused(url, "", expected);
    }
    let stream = "stream = \"LEDGER\"";
    for url in [
        "nats://srpd:pass-1@127.0.0.1:many",
        "nats://srpd:pass-1@127.0.0.1/pass-1",
        "nats://srpd:pass-1@127.0.0.1?tls=verify",
    ] {
        refused(url, stream, "ledger.sink[0].url: expected nats://USER");
    }
    let pem = Pair::new(2020..2040).certificate;
    std::fs::write(fixture.directory.path().join("ca.pem"), pem).unwrap();
    let plain = "postgresql://srpd:pass-1@db/ledger?sslmode=disable";
    refused(plain, "ca = \"ca.pem\"", "ledger.sink[0].ca: ");
    let plain = "nats://srpd:pass-1@127.0.0.1";
    let lines = format!("{stream}\nca = \"ca.pem\"");
    refused(plain, &lines, "ledger.sink[0].ca: ");
}

#[test]
fn too_many_sinks_are_refused() {
    let fixture = Fixture::new();
    let mut text = config_with(&fixture, HERE, "");
    for number in 1..9 {
        text.push_str(&format!(
            "[[ledger.sink]]\nname = \"s{number}\"\nkind = \"postgres\"\nurl = {{ file = \"sink.url\" }}\n"
        ));
    }
    let errors = rejected(&fixture, &text).to_string();
    assert!(
        errors.contains("ledger.sink[8]: expected at most 8"),
        "{errors}"
    );
}
