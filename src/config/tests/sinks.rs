//! `[[ledger.sink]]`

use super::*;

/// The base with a sink whose URL is in a file.
fn config_with(fixture: &Fixture, url: &str, lines: &str) -> String {
    let path = fixture.directory.path().join("sink.url");
    std::fs::write(path, format!("{url}\n")).unwrap();
    format!(
        "{}\n[[ledger.sink]]\nname = \"billing\"\nkind = \"postgres\"\n\
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
    assert_eq!(sink.table, "srpd_ledger");
    assert_eq!(sink.url.expose(), HERE.as_bytes());
    assert!(sink.roots.is_none());
    let shown = effective(&config);
    assert_eq!(shown["ledger"]["sink"][0]["table"], "srpd_ledger");
    assert!(!shown.to_string().contains("pass-1"), "{shown}");
    let lines = "table = \"billing.calls\"\nbatch = 9";
    let sink = &fixture.config(&config_with(&fixture, HERE, lines)).sinks[0];
    assert_eq!((sink.table.as_str(), sink.batch), ("billing.calls", 9));
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
    let pem = Pair::new(2020..2040).certificate;
    std::fs::write(fixture.directory.path().join("ca.pem"), pem).unwrap();
    let plain = "postgresql://srpd:pass-1@db/ledger?sslmode=disable";
    refused(plain, "ca = \"ca.pem\"", "ledger.sink[0].ca: ");
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
