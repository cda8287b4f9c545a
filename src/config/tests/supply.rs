//! Where endpoints are found, what files of targets may say, and what a provider may have of it.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::sources::{Found, NotAdmitted};
use crate::config::targets::{self, Pattern, TargetsError};

/// The base with other endpoints of the backstop, or of the vendor.
fn endpoints(fixture: &Fixture, vendor: bool, value: &str) -> String {
    let line = match vendor {
        true => "endpoints = [\"http://vendor.example/v1\"]",
        false => "endpoints = [\"http://127.0.0.1:9101\"]",
    };
    with(fixture, line, &format!("endpoints = {value}"))
}

#[test]
fn endpoints_are_listed_or_found() {
    let fixture = Fixture::new();
    fixture.write("a.json", r#"[{"targets": ["10.0.0.1:8000"]}]"#);
    let text = endpoints(
        &fixture,
        true,
        r#"{ urls = ["http://a"], files = ["*.json"], dns = ["https://fleet.example:8443/x"],
             srv = ["https://_vllm._tcp.Fleet.example/openai/v1"] }"#
            .replace('\n', " ")
            .as_str(),
    );
    let config = fixture.config(&text);
    let provider = &config.providers[1];
    assert_eq!(provider.endpoints.len(), 1);
    let sources = &provider.sources;
    assert_eq!(sources.files[0].written, "*.json");
    let name = &sources.names[0].url;
    assert_eq!((name.https, name.port, &*name.prefix), (true, 8443, "/x"));
    let service = &sources.services[0];
    assert!(service.https);
    assert_eq!(service.name, "_vllm._tcp.fleet.example");
    assert_eq!(service.domain, "fleet.example");
    assert_eq!(service.prefix, "/openai/v1");
    assert!(config.providers[0].sources.is_empty());
    let shown = effective(&config)["provider"][1]["endpoints"].to_string();
    assert!(shown.contains("_vllm._tcp.Fleet.example"), "{shown}");
}

#[test]
fn a_file_that_is_broken_at_load_is_a_warning_and_no_error() {
    let fixture = Fixture::new();
    fixture.write("torn.json", "[{");
    let text = endpoints(
        &fixture,
        true,
        r#"{ files = ["torn.json", "absent.json"] }"#,
    );
    let config = fixture.config(&text);
    let [torn, absent] = &config.warnings[..] else {
        panic!("{:?}", config.warnings);
    };
    assert!(torn.contains("provider[1].endpoints.files[0]"), "{torn}");
    assert!(torn.contains("expected an array of objects"), "{torn}");
    assert!(
        absent.contains("absent.json: expected a readable file"),
        "{absent}"
    );
    assert!(config.providers[1].endpoints.is_empty());
}

#[test]
fn a_backstops_names_must_be_accredited_and_what_is_found_is_judged_when_it_is() {
    let fixture = Fixture::new();
    let refused = endpoints(&fixture, false, r#"{ dns = ["http://fleet.example"] }"#);
    let errors = rejected(&fixture, &refused).to_string();
    assert!(
        errors.contains("\"fleet.example\" is not among the accredited"),
        "{errors}"
    );

    let statement = fixture.statement("aloomu", "au", &["127.0.0.1", "fleet.example"], 365);
    fixture.accredit("aloomu", statement);
    fixture.write("a.json", "[]");
    let value = r#"{ dns = ["http://fleet.example"], files = ["a.json"] }"#;
    let config = fixture.config(&endpoints(&fixture, false, value));
    let backstop = &config.providers[0];
    let admit = |host: &str, vouched: &str| {
        backstop.admit(Found {
            url: endpoint::parse_endpoint(&format!("http://{host}:8000")).unwrap(),
            name: vouched.to_owned(),
            vouched: vouched.to_owned(),
            metrics: None,
        })
    };
    let found = admit("10.0.0.1", "fleet.example").expect("the name is accredited");
    assert_eq!(found.url, "http://10.0.0.1:8000");
    assert_eq!(found.authority(), "fleet.example:8000");
    assert!(admit("127.0.0.1", "127.0.0.1").is_ok());
    for stranger in ["127.0.0.2", "a.fleet.example", "fleet.example.au"] {
        let refused = admit(stranger, stranger).err();
        assert!(
            matches!(&refused, Some(NotAdmitted::Unaccredited(host)) if host == stranger),
            "{refused:?}"
        );
    }
}

#[test]
fn an_address_that_was_found_must_lie_in_the_pinned_ranges() {
    let fixture = Fixture::new();
    fixture.write("a.json", "[]");
    let text = endpoints(
        &fixture,
        true,
        "{ files = [\"a.json\"] }\naddresses = [\"10.0.0.0/8\"]",
    );
    let config = fixture.config(&text);
    let admit = |url: &str| {
        let url = endpoint::parse_endpoint(url).unwrap();
        config.providers[1].admit(Found {
            name: url.host.clone(),
            vouched: url.host.clone(),
            url,
            metrics: None,
        })
    };
    assert!(admit("http://10.9.9.9:1").is_ok());
    assert!(
        admit("http://a.example:1").is_ok(),
        "judged when it resolves"
    );
    for outside in [
        "http://11.0.0.1:1",
        "http://[::ffff:11.0.0.1]:1",
        "http://[::1]:1",
    ] {
        let refused = admit(outside).err();
        assert!(
            matches!(refused, Some(NotAdmitted::Outside(_))),
            "{outside}"
        );
    }
}

#[test]
fn what_is_found_is_verified_by_the_providers_own_authorities() {
    let fixture = Fixture::new();
    fixture.write("a.json", "[]");
    let value = "{ files = [\"a.json\"] }\nca = \"tls/cert.pem\"";
    let config = fixture.config(&endpoints(&fixture, true, value));
    let admit = |name: &str| {
        let found = config.providers[1].admit(Found {
            url: endpoint::parse_endpoint("https://10.0.0.1").unwrap(),
            name: name.to_owned(),
            vouched: "10.0.0.1".to_owned(),
            metrics: None,
        });
        found.expect("admitted").tls.expect("TLS").trust()
    };
    let text = with(
        &fixture,
        "endpoints = [\"http://vendor.example/v1\"]",
        "endpoints = [\"https://fleet.example\"]\nca = \"tls/cert.pem\"",
    );
    let listed = fixture.config(&text);
    let listed = listed.providers[1].endpoints[0].tls.as_ref().unwrap();
    assert!(admit("fleet.example") == listed.trust());
    assert!(admit("10.0.0.1") != listed.trust());
}

#[test]
fn checks_have_defaults_and_can_leave_metrics_alone() {
    let fixture = Fixture::new();
    let health = |value: &str| {
        let text = endpoints(&fixture, true, &format!("[\"http://a\"]\nhealth = {value}"));
        fixture.config(&text).providers[1].health.clone()
    };
    let defaults = Health {
        path: "/health".into(),
        metrics: Some("/metrics".into()),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        healthy_after: 2,
        unhealthy_after: 3,
    };
    assert_eq!(health("{}"), Some(defaults.clone()));
    let given = r#"{ path = "/v1/models?x=1", metrics = "/m", interval = "1s", timeout = "1m",
                     healthy_after = 1, unhealthy_after = 9 }"#;
    let expected = Health {
        path: "/v1/models?x=1".into(),
        metrics: Some("/m".into()),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(60),
        healthy_after: 1,
        unhealthy_after: 9,
    };
    assert_eq!(health(&given.replace('\n', " ")), Some(expected));
    let without = Health {
        metrics: None,
        ..defaults
    };
    assert_eq!(health("{ metrics = false }"), Some(without));
    let none = fixture.config(&base(&fixture));
    assert_eq!(none.providers[1].health, None);
}

fn urls(content: &str) -> Result<Vec<String>, TargetsError> {
    let targets = targets::parse(content.as_bytes())?;
    Ok(targets.iter().map(|it| it.url.canonical()).collect())
}

#[test]
fn targets_are_read_as_prometheus_writes_them() {
    let content = r#"[
        {"targets": ["10.0.0.1:8000", "gpu-2.example:8000"], "labels": {"job": "vllm"}},
        {"targets": ["[::1]:443"], "labels": {"__scheme__": "https", "prefix": "/openai/v1",
                                             "__metrics_path__": "/stats"}},
        {"targets": []}
    ]"#;
    assert_eq!(
        urls(content).unwrap(),
        [
            "http://10.0.0.1:8000",
            "http://gpu-2.example:8000",
            "https://[::1]/openai/v1"
        ]
    );
    let targets = targets::parse(content.as_bytes()).unwrap();
    assert_eq!(targets[0].metrics, None);
    assert_eq!(targets[2].metrics.as_deref(), Some("/stats"));
    assert_eq!(urls("[]").unwrap(), [""; 0]);
}

#[test]
fn a_file_that_says_anything_else_is_refused_whole() {
    let group = |target: &str, labels: &str| {
        format!(r#"[{{"targets": ["10.0.0.1:1", "{target}"], "labels": {{{labels}}}}}]"#)
    };
    for (content, says) in [
        (String::new(), "EOF"),
        ("{}".into(), "invalid type"),
        ("[{}]".into(), "missing field `targets`"),
        (
            r#"[{"targets": [], "label": {}}]"#.into(),
            "unknown field `label`",
        ),
        (r#"[{"targets": [1]}]"#.into(), "expected a string"),
        (group("10.0.0.2", ""), "\"10.0.0.2\": expected http(s)"),
        (group("http://10.0.0.2:1", ""), "HOST:PORT"),
        (group("10.0.0.2:1/v1", ""), "HOST:PORT"),
        (group("10.0.0.2:0", ""), "not a number from 1"),
        (group("user@h:1", ""), "credentials"),
        (group("127.1:1", ""), "neither a DNS name"),
        (
            group("a:1", r#""__scheme__": "grpc""#),
            "\"http\" or \"https\"",
        ),
        (
            group("a:1", r#""__metrics_path__": "metrics""#),
            "a path such as",
        ),
        (
            group("a:1", r#""__metrics_path__": "/a b""#),
            "a path such as",
        ),
        (group("a:1", r#""prefix": "v1""#), "a path such as"),
        (group("a:1", r#""prefix": "/v1?x""#), "a path such as"),
    ] {
        let error = urls(&content).expect_err(&content).to_string();
        assert!(error.contains(says), "{content}: {error}");
    }
    let many = vec!["\"a:1\""; 1025].join(",");
    let error = urls(&format!("[{{\"targets\": [{many}]}}]")).unwrap_err();
    assert!(matches!(error, TargetsError::Many), "{error}");
}

#[test]
fn a_pattern_stands_for_what_is_in_its_directory() {
    let fixture = Fixture::new();
    let directory = fixture.directory.path();
    std::fs::create_dir(directory.join("fleet")).unwrap();
    for name in ["a.json", "ab.json", "b.json", ".a.json", "a.json.tmp"] {
        fixture.write(&format!("fleet/{name}"), "[]");
    }
    let found = |written: &str| -> Vec<String> {
        let pattern = Pattern::new(written, directory).expect("a pattern");
        let files = targets::read(&pattern).expect("a directory");
        let names = files.iter().map(|(path, _)| path.file_name().unwrap());
        names
            .map(|name| name.to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(found("fleet/*.json"), ["a.json", "ab.json", "b.json"]);
    assert_eq!(found("fleet/a*.json"), ["a.json", "ab.json"]);
    assert_eq!(found("fleet/absent.json"), ["absent.json"]);
    let absolute = directory.join("fleet/b*.json");
    assert_eq!(found(absolute.to_str().unwrap()), ["b.json"]);
    let nowhere = Pattern::new("nowhere/*.json", directory).expect("a pattern");
    assert!(targets::read(&nowhere).is_err());
    for written in ["", "fleet/", "a.yaml", "*/a.json", "a*b*.json", ".."] {
        assert_eq!(Pattern::new(written, Path::new("/srv")), None, "{written}");
    }
    let large = format!("[{}]", " ".repeat(1 << 20));
    fixture.write("large.json", &large);
    let files = targets::read(&Pattern::new("large.json", directory).unwrap()).unwrap();
    assert!(files[0].1.is_err(), "over a mebibyte");
}

proptest! {
    #[test]
    fn no_file_of_targets_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = targets::parse(&content);
    }

    /// Whatever a target says: what is taken is a place that could have been configured.
    #[test]
    fn a_target_is_a_place_that_could_stand_in_the_configuration(target in "[ -~]{0,40}") {
        let content = serde_json::json!([{ "targets": [target] }]).to_string();
        if let Ok(targets) = targets::parse(content.as_bytes()) {
            let url = targets[0].url.canonical();
            prop_assert_eq!(&endpoint::parse_endpoint(&url).unwrap(), &targets[0].url);
        }
    }
}
