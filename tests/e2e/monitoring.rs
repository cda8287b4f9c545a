//! monitoring/ and docs/OPERATING.md speak of metrics and alarms that there are. What promtool
//! says of the same files is in monitoring/check.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Ask, Authority, Instance, Reply, Setup, Upstream, tls};

const FILES: [&str; 4] = [
    "monitoring/alerts.yml",
    "monitoring/alerts_test.yml",
    "monitoring/grafana.json",
    "docs/OPERATING.md",
];

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The sample key of RFC 8410, section 10.3.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

/// The words of a text that begin so.
fn words<'t>(text: &'t str, beginning: &str) -> BTreeSet<&'t str> {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
    words.filter(|word| word.starts_with(beginning)).collect()
}

/// Everything that makes a metric of its own.
fn all_of_it(backstop: &Upstream) -> (Authority, Setup) {
    let authority = Authority::new();
    let setup = Setup::backstop_only(&backstop.url())
        .over_tls(&authority.server())
        .more("aloomu", "capacity = 4\nhealth = {}")
        .section("ledger", "directory = \"ledger\"\nsegment_bytes = 65536")
        .file("audit.pem", PRIVATE)
        .section("audit", "key = { file = \"audit.pem\" }")
        // Nobody listens there.
        .section("otlp", "endpoint = \"http://127.0.0.1:9\"")
        .key(
            "bank",
            "bank-key",
            "capabilities = [\"*\"]\nrequests_per_minute = 60",
        )
        .raw(
            "[[reservation]]\nkey = \"bank\"\nprovider = \"aloomu\"\nslots = 1\n\
             from = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\n",
        )
        .file("sink.url", "nats://127.0.0.1:9")
        .raw(
            "[[ledger.sink]]\nname = \"events\"\nkind = \"nats\"\nstream = \"LEDGER\"\n\
             url = { file = \"sink.url\" }\n",
        );
    (authority, setup)
}

fn families(srpd: &Instance) -> BTreeSet<String> {
    let page = srpd.admin("/metrics").text();
    let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

#[test]
fn every_metric_that_is_named_is_there() {
    let backstop = Upstream::always(Reply::chat("hi"));
    let (authority, setup) = all_of_it(&backstop);
    let srpd = setup.start();
    let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    assert_eq!(client.ask(&Ask::chat("smart").key("bank-key")).status, 200);
    let families = families(&srpd);
    let parts = ["_bucket", "_count", "_sum"];
    let known = |name: &str| {
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        families.contains(name) || whole.is_some_and(|whole| families.contains(whole))
    };
    for file in FILES {
        let text = read(file);
        let named = words(&text, "srpd_");
        assert!(!named.is_empty(), "{file}");
        let unknown: Vec<_> = named.into_iter().filter(|name| !known(name)).collect();
        assert!(
            unknown.is_empty(),
            "{file}: {unknown:?} are in no exposition"
        );
    }
}

#[test]
fn alarms_are_tested_and_explained_and_no_others_are() {
    let rules = read("monitoring/alerts.yml");
    let named = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alarms: BTreeSet<&str> = named.collect();
    assert!(alarms.len() > 10);
    for file in ["monitoring/alerts_test.yml", "docs/OPERATING.md"] {
        assert_eq!(words(&read(file), "Srpd"), alarms, "{file}");
    }
}
