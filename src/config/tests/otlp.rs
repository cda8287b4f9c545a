//! `[otlp]`

use std::time::Duration;

use super::super::effective;
use super::super::fixture::Fixture;
use super::{base, rejected};

fn with_otlp(fixture: &Fixture, lines: &str) -> String {
    format!("{}\n[otlp]\n{lines}\n", base(fixture))
}

#[test]
fn without_the_table_nothing_is_exported_and_with_it_there_are_defaults() {
    let fixture = Fixture::new();
    assert!(fixture.config(&base(&fixture)).otlp.is_none());
    let text = with_otlp(&fixture, "endpoint = \"http://127.0.0.1:4318\"");
    let otlp = fixture.config(&text).otlp.expect("a collector");
    assert_eq!((&*otlp.url.host, otlp.url.port), ("127.0.0.1", 4318));
    assert_eq!(otlp.url.prefix, "/v1");
    assert!(otlp.tls.is_none() && otlp.headers.is_empty());
    assert_eq!((otlp.sample, otlp.traces_per_second), (0.01, 100));
    assert_eq!(otlp.interval, Duration::from_secs(60));
    assert_eq!(otlp.timeout, Duration::from_secs(10));
}

#[test]
fn its_keys_are_obeyed_and_the_page_of_the_configuration_shows_no_secret() {
    let fixture = Fixture::new();
    fixture.write("token", "Bearer sk-from-file\n");
    let lines = "endpoint = \"http://collector.example/otlp/\"\n\
                 headers = { Authorization = { file = \"token\" }, x-team = { env = \"SET\" } }\n\
                 sample = 0.5\ntraces_per_second = 7\ninterval = \"10s\"\ntimeout = \"1s\"";
    let config = fixture.config(&with_otlp(&fixture, lines));
    let otlp = config.otlp.as_ref().expect("a collector");
    assert_eq!(otlp.url.prefix, "/otlp/v1");
    let mut headers: Vec<(&str, &[u8])> = otlp
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    headers.sort_unstable();
    let expected: [(&str, &[u8]); 2] = [
        ("authorization", b"Bearer sk-from-file"),
        ("x-team", b"sk-from-env"),
    ];
    assert_eq!(headers, expected);
    assert_eq!((otlp.sample, otlp.traces_per_second), (0.5, 7));
    assert_eq!(otlp.interval, Duration::from_secs(10));
    assert_eq!(otlp.timeout, Duration::from_secs(1));
    let shown = effective(&config);
    assert_eq!(shown["otlp"]["headers"]["authorization"], "set");
    assert_eq!(shown["otlp"]["traces_per_second"], 7);
    assert!(!shown.to_string().contains("sk-from"), "{shown}");
}

#[test]
fn a_change_of_any_key_is_seen() {
    let fixture = Fixture::new();
    fixture.write("token", "one");
    fixture.write("other", "two");
    let keys = [
        ("endpoint", "\"http://a.example\"", "\"http://b.example\""),
        ("sample", "0.5", "0.6"),
        ("traces_per_second", "7", "8"),
        ("interval", "\"10s\"", "\"11s\""),
        ("timeout", "\"1s\"", "\"2s\""),
        (
            "headers",
            "{ x = { file = \"token\" } }",
            "{ x = { file = \"other\" } }",
        ),
    ];
    let load = |changed: Option<&str>| {
        let lines = keys.map(|(key, one, two)| {
            let value = if changed == Some(key) { two } else { one };
            format!("{key} = {value}")
        });
        fixture.config(&with_otlp(&fixture, &lines.join("\n"))).otlp
    };
    assert!(load(None) == load(None));
    for (key, _, _) in keys {
        assert!(load(None) != load(Some(key)), "{key}");
    }
}

#[test]
fn no_complaint_shows_what_a_header_holds() {
    let fixture = Fixture::new();
    fixture.write("lines", "canary\r\nx: 1");
    let endpoint = "endpoint = \"http://a.example\"";
    for headers in [
        "\"canary\"",
        "{ authorization = \"canary\" }",
        "{ authorization = { env = \"canary\" } }",
        "{ authorization = { file = \"lines\" } }",
        "{ authorization = { file = \"canary\" } }",
    ] {
        let text = with_otlp(&fixture, &format!("{endpoint}\nheaders = {headers}"));
        let errors = rejected(&fixture, &text).to_string();
        assert!(errors.contains("otlp.headers"), "{errors}");
        assert!(!errors.contains("canary"), "{errors}");
    }
}
