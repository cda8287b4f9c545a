//! What loads, what doesn't, and what is said about it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::SignedDuration;
use zeroize::Zeroizing;

use super::fixture::{Fixture, Pair};
use super::*;
use crate::base::KeyDigest;
use crate::policy::accreditation::AuthorityKey;
use crate::policy::meter::Rate;
use crate::policy::residency::{Jurisdiction, JurisdictionSet};

mod audit;
mod market;
mod otlp;
mod secrets;
mod sinks;
mod supply;

/// Loads as it stands, in a [`Fixture`]; `AUTHORITY` stands for its `[[authority]]`.
const BASE: &str = r#"
[instance]
jurisdiction = "au"

[instance.groups]
anz = ["au", "nz"]

AUTHORITY
[[provider]]
name = "aloomu"
jurisdiction = "au"
accreditation = "aloomu.accreditation.json"
endpoints = ["http://127.0.0.1:9101"]
models = { "*" = "aloomu-70b" }

[[provider]]
name = "vendor"
jurisdiction = "us"
endpoints = ["http://vendor.example/v1"]
models = { smart = "frontier-1" }

[[capability]]
name = "smart"
chain = ["vendor"]

[[capability]]
name = "sovereign"
chain = []

[[key]]
name = "acme"
sha256 = "b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78"
capabilities = ["smart"]
"#;

fn base(fixture: &Fixture) -> String {
    BASE.replace("AUTHORITY\n", &fixture.authority_table())
}

/// The base with something in place of the first line that reads so.
fn with(fixture: &Fixture, line: &str, instead: &str) -> String {
    let base = base(fixture);
    let line = format!("{line}\n");
    assert!(base.contains(&line), "not in the base: {line}");
    base.replacen(&line, &format!("{instead}\n"), 1)
}

fn rejected(fixture: &Fixture, text: &str) -> ConfigErrors {
    match fixture.parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors,
    }
}

fn set(codes: &[&str]) -> JurisdictionSet {
    let codes = codes.iter().map(|code| Jurisdiction::parse(code).unwrap());
    codes.collect()
}

/// Files that the blocks of `errors.txt` name.
fn surroundings() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("empty", "\n");
    fixture.write("two-lines", "a\nb");
    fixture.write("long", &"-".repeat(64 * 1024 + 1));
    let certificate = std::fs::read_to_string(fixture.directory.path().join("tls/cert.pem"));
    let certificate = certificate.unwrap();
    fixture.write("tls/torn.pem", &certificate[..certificate.len() / 2]);
    let lines = certificate.lines().enumerate();
    let kept = lines.filter(|(number, _)| *number != 2);
    let garbage: Vec<&str> = kept.map(|(_, line)| line).collect();
    fixture.write("tls/garbage.pem", &garbage.join("\n"));
    fixture.write("tls/other-key.pem", &Pair::new(2026..2028).key);
    let statement = |name, code, host, days| fixture.statement(name, code, &[host], days);
    fixture.accredit("fleet", statement("fleet", "au", "127.0.0.1", 365));
    fixture.accredit("abroad", statement("aloomu", "nz", "127.0.0.1", 365));
    fixture.accredit("elsewhere", statement("aloomu", "au", "127.0.0.2", 365));
    fixture.accredit("expired", statement("aloomu", "au", "127.0.0.1", -1));
    let mut early = statement("aloomu", "au", "127.0.0.1", 365);
    early.not_before = fixture.now + SignedDuration::from_hours(24);
    fixture.accredit("early", early);
    let stranger = AuthorityKey::from_seed(&Zeroizing::new([8; 32]));
    let signed = statement("aloomu", "au", "127.0.0.1", 365).sign(&stranger);
    fixture.write("stranger.accreditation.json", &signed.to_string());
    fixture
}

#[test]
fn every_error_has_its_line_its_key_and_what_was_expected() {
    let fixture = surroundings();
    let files = [
        include_str!("testdata/errors.txt"),
        include_str!("testdata/errors-otlp.txt"),
        include_str!("testdata/errors-supply.txt"),
        include_str!("testdata/errors-tls.txt"),
    ];
    let blocks = files.iter().flat_map(|file| file.split("\n\n").skip(1));
    let mut seen = 0;
    for block in blocks
        .map(str::trim)
        .filter(|block| !block.starts_with("=="))
    {
        let text = match block.strip_prefix("replace: ") {
            Some(block) => {
                let (line, instead) = block.split_once('\n').unwrap();
                with(&fixture, line, instead)
            }
            None => format!("{}\n{block}\n", base(&fixture)),
        };
        let mut expected = Vec::new();
        for (index, line) in text.lines().enumerate() {
            for mark in line.split("#! ").skip(1) {
                let (key, says) = mark.split_once(": ").unwrap();
                expected.push((index + 1, key, says.trim_end()));
            }
        }
        let errors = rejected(&fixture, &text);
        assert_eq!(errors.iter().count(), expected.len(), "{block}\n\n{errors}");
        for (error, (line, key, says)) in errors.iter().zip(expected) {
            assert_eq!(error.line, Some(line), "{block}\n\n{errors}");
            assert_eq!(error.key, key, "{block}\n\n{errors}");
            assert!(error.message.contains(says), "{block}\n\n{errors}");
        }
        seen += 1;
    }
    assert!(seen > 120, "{seen}");
}

#[test]
fn an_error_reads_as_file_line_key_expectation() {
    let fixture = Fixture::new();
    let errors = rejected(&fixture, "[instance]\njurisdiction = \"x\"\n").to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    let file = fixture.directory.path().join("srpd.toml");
    let expected = "instance.jurisdiction: expected an ISO 3166-1 alpha-2 code, such as \"au\", \
                    found \"x\"";
    assert_eq!(lines[2], format!("{}:2: {expected}", file.display()));
}

#[test]
fn an_empty_file_lacks_three_things() {
    let errors = rejected(&Fixture::new(), "");
    let found: Vec<_> = errors
        .iter()
        .map(|e| (e.line, e.message.as_str()))
        .collect();
    let line = Some(1);
    assert_eq!(
        found,
        [
            (
                line,
                "missing: expected an ISO 3166-1 alpha-2 code, such as \"au\""
            ),
            (line, "expected at least 1 table [[capability]]"),
            (line, "expected at least 1 table [[provider]]"),
        ]
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let fixture = Fixture::new();
    let absent = fixture.directory.path().join("absent.toml");
    let refused = load(&absent, fixture.now).err().unwrap().to_string();
    assert!(
        refused.starts_with(&absent.display().to_string()),
        "{refused}"
    );
    let binary = fixture.directory.path().join("binary.toml");
    std::fs::write(&binary, b"[instance]\n\xff").unwrap();
    let refused = load(&binary, fixture.now).err().unwrap().to_string();
    assert!(
        refused.ends_with("binary.toml:2: expected UTF-8"),
        "{refused}"
    );
}

#[test]
fn defaults_are_those_of_the_example() {
    let fixture = Fixture::new();
    let config = fixture.config(&base(&fixture));
    let whole = fixture.config(EXAMPLE);
    assert_eq!(
        format!("{:?}", config.limits),
        format!("{:?}", whole.limits)
    );
    assert_eq!(config.timeouts, whole.timeouts);
    assert_eq!(format!("{:?}", config.retry), format!("{:?}", whole.retry));
    assert_eq!(format!("{:?}", config.log), format!("{:?}", whole.log));
    let (market, theirs) = (&config.market, &whole.market);
    let figures = (market.interval, market.price_cap, &market.bookings.path);
    let theirs = (theirs.interval, theirs.price_cap, &theirs.bookings.path);
    assert_eq!(figures, theirs);
    // The vendor of the base overrides nothing, the backstop of the example neither.
    assert_eq!(config.providers[1].breaker, whole.providers[0].breaker);
    let (mine, theirs) = (&config.instance, &whole.instance);
    assert_eq!((&mine.listen, mine.admin), (&theirs.listen, theirs.admin));
    assert_eq!((&mine.cores, mine.driver), (&theirs.cores, theirs.driver));
    assert_eq!(mine.expose_providers, theirs.expose_providers);
}

#[test]
fn bookings_lie_where_the_file_says_or_in_the_state_directory() {
    let fixture = Fixture::new();
    let file = |more: &str, state: Option<&str>| {
        let text = base(&fixture) + more;
        let path = fixture.directory.path().join("srpd.toml");
        let env = |name: &str| match name {
            "STATE_DIRECTORY" => state.map(str::to_owned),
            _ => None,
        };
        let config = parse(&text, &path, fixture.now, &env);
        let file = config
            .unwrap_or_else(|errors| panic!("{errors}"))
            .market
            .bookings;
        (file.path, file.named)
    };
    let of = |path: &str, named| (path.into(), named);
    let usual = "/var/lib/srpd/reservations.redb";
    assert_eq!(file("", None), of(usual, false));
    assert_eq!(file("", Some("")), of(usual, false));
    assert_eq!(file("", Some("/s/a")), of("/s/a/reservations.redb", false));
    assert_eq!(
        file("", Some("/s/a:/s/b")),
        of("/s/a/reservations.redb", false)
    );
    let own = "[market]\nbookings = \"/b.redb\"\n";
    assert_eq!(file(own, Some("/s/a")), of("/b.redb", true));
    let beside = file("[market]\nbookings = \"b.redb\"\n", None);
    assert_eq!(beside, (fixture.directory.path().join("b.redb"), true));
}

/// The example of the documentation: its authority is the fixture's.
const EXAMPLE: &str = include_str!("../../docs/srpd.example.toml");

#[test]
fn the_example_loads() {
    let fixture = Fixture::new();
    let config = fixture.config(EXAMPLE);
    let names: Vec<_> = config.providers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["aloomu", "fleet-per", "vendor-us"]);
    let chains: Vec<_> = config
        .capabilities
        .iter()
        .map(|it| it.chain.clone())
        .collect();
    assert_eq!(chains, [vec![2, 0], vec![1, 2, 0], vec![0]]);
    assert_eq!(config.capabilities[2].residency, set(&["au"]));
    assert_eq!(config.keys[0].residency, set(&["au", "nz"]));
    assert_eq!(config.keys[0].capabilities, Allowed::Some(vec![0, 1, 2]));
    assert!(config.keys[0].sha256 == KeyDigest::of(b"ABC"));
    assert_eq!(config.keys[0].requests, Rate::new(6000));
    assert_eq!(config.keys[0].tokens, Rate::new(2_000_000));
    let vendor = &config.providers[2];
    assert_eq!(vendor.timeouts.first_byte, Duration::from_secs(30));
    assert_eq!(vendor.timeouts.connect, config.timeouts.connect);
    assert_eq!(vendor.breaker.consecutive_failures, 3);
    assert_eq!(vendor.breaker.quota_gate, Duration::from_secs(300));
    assert_eq!(vendor.endpoints[0].authority(), "127.0.0.1:9121");
    let accredited = config.providers[0].accreditation.as_ref().unwrap();
    assert_eq!(accredited.authority, "au-accreditor");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_whole_format_loads() {
    let fixture = Fixture::new();
    let config = fixture.config(include_str!("testdata/target.toml"));
    assert_eq!(config.warnings, Vec::<String>::new());
    let expected = Ledger {
        directory: "/var/lib/srpd/ledger".into(),
        sync: Duration::from_millis(100),
        segment_bytes: 67_108_864,
        keep_days: None,
        bytes_max: None,
        on_failure: OnFailure::Stop,
    };
    assert_eq!(config.ledger.as_ref(), Some(&expected));
    // What the file says are the defaults.
    let empty = fixture.config(&format!("{}\n[ledger]\n", base(&fixture)));
    assert_eq!(empty.ledger, Some(expected));
}

#[test]
fn the_ledgers_table_is_obeyed_and_without_it_there_is_none() {
    let fixture = Fixture::new();
    let config = fixture.config(&format!(
        "{}\n[ledger]\ndirectory = \"ledger\"\nsync = \"1s\"\nsegment_bytes = 65536\n\
         keep_days = 400\nbytes_max = 1000000\non_failure = \"serve\"\n",
        base(&fixture)
    ));
    let expected = Ledger {
        directory: fixture.directory.path().join("ledger"),
        sync: Duration::from_secs(1),
        segment_bytes: 65_536,
        keep_days: Some(400),
        bytes_max: Some(1_000_000),
        on_failure: OnFailure::Serve,
    };
    assert_eq!(config.ledger, Some(expected));
    let none = fixture.config(&base(&fixture));
    assert_eq!(none.ledger, None);
}

#[test]
fn the_documentation_has_every_key_of_the_whole_format() {
    let documentation = include_str!("../../docs/CONFIGURATION.md");
    let whole: toml::Table = include_str!("testdata/target.toml").parse().unwrap();
    let mut missing = Vec::new();
    for (name, value) in &whole {
        if !documentation.contains(&format!("[{name}]")) {
            missing.push(format!("[{name}]"));
        }
        let tables = value.as_array().cloned().unwrap_or(vec![value.clone()]);
        for key in tables
            .iter()
            .flat_map(|table| table.as_table().unwrap().keys())
        {
            let spellings = [
                format!("`{key}`"),
                format!("{name}.{key}`"),
                format!("{name}.{key}]`"),
            ];
            if !spellings.iter().any(|it| documentation.contains(it)) {
                missing.push(format!("{name}.{key}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// The base with a second backstop, of `nz`, and one more capability.
fn two_backstops(fixture: &Fixture, capability: &str) -> Config {
    let statement = fixture.statement("kauri", "nz", &["kauri.example"], 365);
    fixture.accredit("kauri", statement);
    fixture.config(&format!(
        "{}\n[[provider]]\nname = \"kauri\"\njurisdiction = \"nz\"\n\
         accreditation = \"kauri.accreditation.json\"\nendpoints = [\"http://kauri.example\"]\n\
         models = {{ \"*\" = \"kauri-1\" }}\n\n[[capability]]\nname = \"x\"\n{capability}\n",
        base(fixture)
    ))
}

#[test]
fn backstops_close_the_chains_that_may_be_served_there() {
    const ALOOMU: usize = 0;
    const VENDOR: usize = 1;
    const KAURI: usize = 2;
    let fixture = Fixture::new();
    let chain = |capability: &str| {
        let config = two_backstops(&fixture, capability);
        assert_eq!(config.capabilities[0].chain, [VENDOR, KAURI, ALOOMU]);
        assert_eq!(config.capabilities[1].chain, [ALOOMU], "sovereign");
        config.capabilities[2].chain.clone()
    };
    assert_eq!(chain("chain = []"), [KAURI, ALOOMU]);
    assert_eq!(chain("chain = []\nresidency = \"nz-only\""), [KAURI]);
    assert_eq!(chain("chain = [\"aloomu\"]"), [ALOOMU, KAURI]);
    assert_eq!(chain("chain = [\"kauri\", \"aloomu\"]"), [KAURI, ALOOMU]);
}

#[test]
fn sovereign_stays_at_home_whatever_the_file_says() {
    let fixture = Fixture::new();
    for residency in ["", "residency = \"any\"", "residency = \"anz-only\""] {
        let text = with(&fixture, "chain = []", &format!("chain = []\n{residency}"));
        let config = fixture.config(&text);
        assert_eq!(
            config.capabilities[1].residency,
            set(&["au"]),
            "{residency}"
        );
    }
}

#[test]
fn what_deserves_a_word_is_a_warning() {
    let warned = |text: &str, fixture: &Fixture, line: &str, says: &str| {
        let warnings = fixture.config(text).warnings;
        let expected = text.lines().position(|found| found == line).unwrap() + 1;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains(&format!("srpd.toml:{expected}: ")),
            "{warnings:?}"
        );
        assert!(warnings[0].contains(says), "{warnings:?}");
    };
    let mut fixture = Fixture::new();
    let outside = "chain = [\"vendor\"]\nresidency = \"au-only\"";
    let text = with(&fixture, "chain = [\"vendor\"]", outside);
    warned(
        &text,
        &fixture,
        "chain = [\"vendor\"]",
        "outside the residency floor",
    );

    let text = base(&fixture);
    let accreditation = "accreditation = \"aloomu.accreditation.json\"";
    fixture.now += SignedDuration::from_hours(24 * 335);
    assert!(
        fixture.config(&text).warnings.is_empty(),
        "30 days are left"
    );
    fixture.now += SignedDuration::from_secs(1);
    warned(
        &text,
        &fixture,
        accreditation,
        "expires at 2027-11-22T00:00:00Z, in 29 days",
    );

    let fixture = Fixture::new();
    let no_key = base(&fixture).split("[[key]]").next().unwrap().to_owned();
    warned(&no_key, &fixture, "", "every call will get 401");
}

#[test]
fn pinned_ranges_decide_about_addresses() {
    let fixture = Fixture::new();
    let line = "endpoints = [\"http://vendor.example/v1\"]";
    let pinned = format!("{line}\naddresses = [\"10.0.0.0/8\", \"2001:db8::1\"]");
    let config = fixture.config(&with(&fixture, line, &pinned));
    let admits = |text: &str| {
        let address: IpAddr = text.parse().unwrap();
        config.providers[1].admits(address)
    };
    assert!(admits("10.255.0.1") && admits("::ffff:10.0.0.1") && admits("2001:db8::1"));
    assert!(!admits("11.0.0.1") && !admits("::ffff:11.0.0.1") && !admits("2001:db8::2"));
    assert!(config.providers[0].admits("11.0.0.1".parse().unwrap()));
}

#[test]
fn cores_are_a_word_a_number_or_a_list() {
    let fixture = Fixture::new();
    let cores = |value: &str| {
        let line = "jurisdiction = \"au\"";
        let text = with(&fixture, line, &format!("{line}\ncores = {value}"));
        fixture.config(&text).instance.cores
    };
    assert_eq!(cores("\"auto\""), Cores::Auto);
    assert_eq!(cores("0x10"), Cores::Count(16.try_into().unwrap()));
    assert_eq!(cores("[4, 0]"), Cores::Cpus(vec![4, 0]));
}

#[test]
fn memory_is_what_there_is_or_a_number() {
    let fixture = Fixture::new();
    let text = |value: &str| format!("{}\n[limits]\nmemory_bytes = {value}\n", base(&fixture));
    let memory = |value: &str| {
        let config = fixture.config(&text(value));
        let shown = effective(&config)["limits"]["memory_bytes"].clone();
        (config.limits.memory_bytes, shown.to_string())
    };
    assert_eq!(memory("\"auto\""), (None, "\"auto\"".to_owned()));
    let gib = 1 << 30;
    assert_eq!(memory("1_073_741_824"), (Some(gib), gib.to_string()));
    for value in ["67_108_863", "\"1 GiB\"", "[1]"] {
        let errors = rejected(&fixture, &text(value));
        let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["limits.memory_bytes"]);
    }
}

#[test]
fn the_effective_configuration_is_complete_and_keeps_secrets() {
    let fixture = Fixture::new();
    let config = fixture.config(EXAMPLE);
    let shown = effective(&config);
    assert_eq!(shown["capability"][1]["chain"][2], "aloomu");
    assert_eq!(shown["timeouts"]["call"], "10m");
    assert_eq!(shown["provider"][2]["timeouts"]["first_byte"], "30s");
    assert_eq!(shown["provider"][2]["api_key"], "set");
    assert_eq!(shown["provider"][0]["models"]["*"], "aloomu-70b");
    assert_eq!(shown["key"][0]["residency"], "au-only,nz-only");
    assert_eq!(shown["key"][0]["requests_per_minute"], 6000);
    assert_eq!(shown["key"][0]["tokens_per_minute"], 2_000_000);
    let unlimited = effective(&fixture.config(&base(&fixture)));
    assert!(unlimited["key"][0]["requests_per_minute"].is_null());
    assert!(unlimited["key"][0]["tokens_per_minute"].is_null());
    let text = shown.to_string();
    assert!(
        !text.contains("sk-from-env") && !text.contains("b5d4045c"),
        "{text}"
    );
    let tables: BTreeSet<&str> = shown
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "instance",
        "limits",
        "timeouts",
        "retry",
        "market",
        "ledger",
        "otlp",
        "audit",
        "log",
        "dns",
        "provider",
        "capability",
        "key",
        "reservation",
        "warnings",
    ];
    assert_eq!(tables, expected.into());
}

#[test]
fn too_much_of_anything_is_refused() {
    let fixture = Fixture::new();
    let many =
        |count: usize, table: fn(usize) -> String| -> String { (0..count).map(table).collect() };
    let refused = |extra: String, says: &str| {
        let errors = rejected(&fixture, &(base(&fixture) + &extra));
        assert_eq!(errors.iter().count(), 1, "{errors}");
        assert!(errors.to_string().contains(says), "{errors}");
    };
    let provider = |i| {
        format!(
            "[[provider]]\nname = \"p{i}\"\njurisdiction = \"us\"\nendpoints = [\"http://a\"]\n\
             models = {{ smart = \"m\", sovereign = \"m\" }}\n"
        )
    };
    let capability = |i| format!("[[capability]]\nname = \"c{i}\"\nchain = []\n");
    refused(many(255, provider), "at most 256 tables [[provider]]");
    refused(many(255, capability), "at most 256 tables [[capability]]");
    let urls: Vec<String> = (0..1023).map(|i| format!("\"http://h{i}\"")).collect();
    let large = provider(0).replace("\"http://a\"", &urls.join(","));
    refused(large, "at most 1024 endpoints");
    let names: Vec<String> = (0..64).map(|i| format!("\"p{i}\"")).collect();
    let long = many(64, provider)
        + &format!(
            "[[capability]]\nname = \"long\"\nchain = [{}]\n",
            names.join(",")
        );
    let long = long.replace("sovereign = \"m\"", "\"*\" = \"m\"");
    refused(long, "at most 64 providers with the backstops, found 65");
}

proptest::proptest! {
    /// Whatever is missing or misspelt: an answer, and errors in the file's order.
    #[test]
    fn damaged_files_are_answered(
        dropped in proptest::collection::vec(0usize..110, 0..4),
        at in 0usize..4000,
        instead in "[a-z0-9\"\\[\\]{}=.,# -]{0,3}",
    ) {
        let fixture = Fixture::new();
        let kept = EXAMPLE.lines().enumerate().filter(|(line, _)| !dropped.contains(line));
        let mut text: String = kept.flat_map(|(_, line)| [line, "\n"]).collect();
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..at + 1, &instead);
        }
        if let Err(errors) = fixture.parse(&text) {
            let lines: Vec<_> = errors.iter().map(|error| error.line.unwrap()).collect();
            proptest::prop_assert!(!lines.is_empty() && lines.is_sorted());
            proptest::prop_assert!(*lines.last().unwrap() <= text.lines().count() + 1);
        }
    }
}
