//! Scenarios: what is taken, what is refused and how.

use super::*;

const FILE: &str = r#"
url = "http://127.0.0.1:1"
rate = 50
poisson = true
duration = "20s"
warmup = "2s"
seed = 7
goodput = ["ttft=500ms"]
slo = ["firm:ttft_p99=300ms", "goodput=90%"]

[[class]]
name = "firm"
weight = 1
stream = true
model = "smart"
key = "sk-1"
headers = ["X-Sovereign-Supply: firm"]
prompt = "lognormal:512,0.8"
output = 128
prefixes = "8x256@50%"

[[class]]
name = "embed"
weight = 3
endpoint = "embeddings"
prompt = 64
"#;

fn file(text: &str) -> Result<Given, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn simple() -> Given {
    Given {
        url: Some("http://127.0.0.1:1".to_owned()),
        classes: vec![ClassGiven::default()],
        ..Given::default()
    }
}

#[test]
fn a_file_is_a_scenario() {
    let scenario = Scenario::new(file(FILE).unwrap()).unwrap();
    let Schedule::Open(profile) = &scenario.schedule else {
        panic!("not open");
    };
    assert_eq!(
        (profile.spacing, profile.calls()),
        (Spacing::Poisson, 1100.0)
    );
    assert_eq!(scenario.total, 22_000_000_000);
    assert_eq!(scenario.classes[0].headers[0].1, "firm");
    assert_eq!(scenario.classes[0].prefixes.unwrap().count, 8);
    assert_eq!(scenario.classes[1].endpoint, Endpoint::Embeddings);
    assert_eq!((scenario.seed, scenario.slos.len()), (7, 2));
}

#[test]
fn the_command_line_comes_before_the_file() {
    let line = Given {
        concurrency: Some(4),
        seed: Some(9),
        ..Given::default()
    };
    let scenario = Scenario::new(line.over(file(FILE).unwrap())).unwrap();
    assert!(matches!(
        scenario.schedule,
        Schedule::Closed { concurrency: 4, .. }
    ));
    assert_eq!((scenario.seed, scenario.warmup), (9, 2_000_000_000));
}

#[test]
fn a_file_says_nothing_unknown() {
    for (text, what) in [
        ("ratte = 5", "ratte"),
        ("rate = \"fast\"", "calls per second"),
        ("[[class]]\nprompt = \"gauss:1\"", "lognormal"),
        ("[[class]]\nheaders = [\"nocolon\"]", "Name: value"),
        ("[[class]]\nheaders = [\"Host: a\"]", "own to say"),
        ("[[class]]\nprefixes = \"8\"", "COUNTxTOKENS"),
    ] {
        let error = file(text).unwrap_err();
        assert!(error.contains(what), "{text}: {error}");
    }
}

fn span(seconds: u64) -> Option<values::Span> {
    Some(values::Span(seconds * 1_000_000_000))
}

/// Fails unless `change` makes a scenario wrong, and the error says `what`.
fn refused(what: &str, change: impl FnOnce(&mut Given)) {
    let mut given = simple();
    change(&mut given);
    let Err(error) = Scenario::new(given) else {
        panic!("{what}: taken");
    };
    assert!(error.contains(what), "{what}: {error}");
}

#[test]
fn times_that_cannot_be_are_refused_by_option() {
    let rate = Some(values::Rate(5.0));
    refused("one of them", |given| {
        (given.rate, given.concurrency) = (rate, Some(1));
    });
    refused("--poisson", |given| given.poisson = true);
    refused("--speed", |given| given.speed = Some(2.0));
    refused("--warmup", |given| {
        (given.warmup, given.stages) = (span(5), vec!["5s:5".parse().unwrap()]);
    });
    refused("--duration", |given| given.duration = span(0));
    refused("--duration", |given| {
        (given.duration, given.stages) = (span(5), vec!["1s:5".parse().unwrap()]);
    });
    refused("at least one call", |given| {
        given.rate = Some(values::Rate(0.0));
    });
    refused("--concurrency", |given| given.concurrency = Some(0));
    refused("--trace", |given| given.trace = Some("none.jsonl".into()));
    refused("more than nothing", |given| given.timeout = span(0));
}

#[test]
fn whatever_else_cannot_be_is_refused_by_option() {
    let other = || vec!["http://127.0.0.1:2".to_owned()];
    refused("--url", |given| given.url = None);
    refused("--cpus", |given| given.cpus = vec![100_000]);
    refused("no class", |given| {
        given.slo = vec!["none:error_rate=1%".parse().unwrap()];
    });
    refused("--goodput", |given| {
        given.slo = vec!["goodput=1%".parse().unwrap()];
    });
    refused("--slice", |given| given.slice = span(1));
    refused("3 rounds", |given| {
        (given.compare, given.duration) = (other(), span(5));
    });
    refused("600 slices", |given| {
        (given.compare, given.duration) = (other(), span(5000));
    });
    refused("[[class]]", |given| given.classes.clear());
    refused("name", |given| {
        given.classes = vec![ClassGiven::default(); 2];
    });
    refused("--compare ftp", |given| {
        given.compare = vec!["ftp://a".to_owned()];
    });
}

#[test]
fn the_first_slice_begins_with_what_counts() {
    let given = Given {
        compare: vec!["http://127.0.0.1:2".to_owned()],
        warmup: Some(values::Span(500_000_000)),
        ..simple()
    };
    let scenario = Scenario::new(given).unwrap();
    let at = |ms: u64| scenario.target_at(ms * 1_000_000);
    assert_eq!(at(0), at(1_499));
    assert_ne!(at(500), at(1_500), "each has its turn in a round");
    assert_eq!(scenario.interval, scenario.slice);
}

#[test]
fn intervals_are_neither_too_many_nor_too_long() {
    assert_eq!(interval(10_000_000_000), 100_000_000);
    assert_eq!(interval(60_000_000_000), 500_000_000);
    assert_eq!(interval(3_600_000_000_000), 30_000_000_000);
}
