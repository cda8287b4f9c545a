//! Endpoints that come and go, as the desk sees them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::desk::Desk;
use super::super::discovery::Source;
use super::super::discovery::resolver::{Answer, Server};
use super::super::discovery::survey::{Finding, Found};
use super::super::health::check::Checkup;
use super::super::health::vitals::Vitals;
use super::super::pages;
use super::super::testing::{config, jurisdiction};
use super::desk::{addresses_of, desk_of};
use crate::base::Moment;
use crate::config::endpoint::parse_endpoint;
use crate::config::targets::{self, Pattern};
use crate::config::{Config, DnsName, Health, Service};
use crate::tables::Queue;
use crate::telemetry::exposition::tests::Page;

/// The vendor, with endpoints from a file, a name and a service.
fn found_everywhere() -> Config {
    let mut config = config();
    let sources = &mut config.providers[1].sources;
    sources.files = vec![pattern()];
    sources.names = vec![DnsName {
        written: "http://fleet.example:8000".into(),
        url: parse_endpoint("http://fleet.example:8000").expect("a URL"),
    }];
    sources.services = vec![Service {
        written: "http://_vllm._tcp.fleet.example".into(),
        https: false,
        name: "_vllm._tcp.fleet.example".into(),
        domain: "fleet.example".into(),
        prefix: "/v1".into(),
    }];
    config
}

fn pattern() -> Pattern {
    Pattern::new("fleet.json", Path::new("/srv")).expect("a pattern")
}

fn file(content: &str) -> Vec<Finding> {
    let targets = targets::parse(content.as_bytes()).map_err(|error| error.to_string());
    vec![Finding {
        source: Source::Files(pattern()),
        result: Ok(Found::Files(vec![(
            PathBuf::from("/srv/fleet.json"),
            targets,
        )])),
    }]
}

fn servers(hosts: &[&str]) -> Vec<Finding> {
    let server = |host: &&str| Server {
        host: (*host).to_owned(),
        port: 8001,
    };
    vec![Finding {
        source: Source::Service("_vllm._tcp.fleet.example".into()),
        result: Ok(Found::Servers(Answer {
            records: hosts.iter().map(server).collect(),
            ttl: Duration::from_secs(5),
        })),
    }]
}

/// The URLs in the page, and the addresses in the tables.
fn shown(desk: &Desk, provider: usize) -> (Vec<String>, Vec<String>) {
    let page: serde_json::Value = serde_json::from_str(&pages::providers(desk)).expect("JSON");
    let endpoints = page["providers"][provider]["endpoints"].as_array();
    let urls = endpoints.expect("a list").iter();
    let urls = urls.map(|it| it["url"].as_str().expect("a URL").to_owned());
    let snapshot = desk.board.snapshot();
    let endpoints = snapshot.routes.providers[provider].endpoints.iter();
    let addresses = endpoints.flat_map(|it| &it.addresses);
    (urls.collect(), addresses.map(ToString::to_string).collect())
}

#[test]
fn files_names_and_services_add_endpoints() {
    let mut desk = desk_of(found_everywhere());
    let wanted = desk.supply.due(desk.clock.now());
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    assert_eq!(
        wanted,
        ["fleet.json", "_vllm._tcp.fleet.example", "fleet.example"]
    );
    let mut findings = file(r#"[{"targets": ["10.0.0.1:1", "gpu.example:2"]}]"#);
    findings.extend(addresses_of("gpu.example", &["10.0.0.2"]));
    findings.extend(addresses_of("fleet.example", &["10.0.0.3", "10.0.0.4"]));
    findings.extend(servers(&["gpu.example"]));
    let epoch = desk.board.epoch();
    desk.found(findings);
    assert_eq!(desk.board.epoch(), epoch + 1, "published once");
    let (urls, addresses) = shown(&desk, 1);
    assert_eq!(
        urls,
        [
            "http://127.0.0.1:9121",
            "http://10.0.0.1:1",
            "http://gpu.example:2",
            "http://10.0.0.3:8000",
            "http://10.0.0.4:8000",
            "http://gpu.example:8001",
        ]
    );
    assert_eq!(addresses[1..3], ["10.0.0.1:1", "10.0.0.2:2"]);
    let snapshot = desk.board.snapshot();
    let authorities: Vec<&str> = snapshot.routes.providers[1]
        .endpoints
        .iter()
        .map(|it| &*it.authority)
        .collect();
    assert_eq!(
        authorities[3..],
        [
            "fleet.example:8000",
            "fleet.example:8000",
            "fleet.example:8001"
        ]
    );
    // The same again is no news; less is.
    let epoch = desk.board.epoch();
    desk.found(servers(&["gpu.example"]));
    assert_eq!(desk.board.epoch(), epoch);
    desk.found(servers(&[]));
    desk.found(file("[]"));
    assert_eq!(shown(&desk, 1).0.len(), 3);
}

#[test]
fn a_broken_file_leaves_its_endpoints_and_alarms() {
    let mut desk = desk_of(found_everywhere());
    desk.found(file(r#"[{"targets": ["10.0.0.1:1"]}]"#));
    let before = shown(&desk, 1);
    for torn in ["", "[{", r#"[{"targets": ["nonsense"]}]"#] {
        desk.found(file(torn));
        assert_eq!(shown(&desk, 1), before);
        let page = Page::parse(&pages::metrics(&desk));
        let labels = [("kind", "file"), ("source", "/srv/fleet.json")];
        assert_eq!(
            page.get("srpd_source_failing", &labels),
            Some(1.0),
            "{torn}"
        );
    }
    desk.found(file(r#"[{"targets": ["10.0.0.9:1"]}]"#));
    assert_eq!(shown(&desk, 1).1, ["127.0.0.1:9121", "10.0.0.9:1"]);
    let page = Page::parse(&pages::metrics(&desk));
    assert_eq!(page.sum("srpd_source_failing"), 0.0);
}

#[test]
fn what_a_backstop_may_not_have_is_refused_and_told() {
    let mut accredited = found_everywhere();
    accredited.providers.swap(0, 1);
    accredited.providers[0].accreditation = accredited.providers[1].accreditation.take();
    let hosts = &mut accredited.providers[0]
        .accreditation
        .as_mut()
        .expect("it")
        .hosts;
    hosts.insert("fleet.example".into());
    let mut desk = desk_of(accredited);
    let mut findings = file(r#"[{"targets": ["127.0.0.1:1", "10.0.0.1:1"]}]"#);
    findings.extend(servers(&["elsewhere.example", "fleet.example"]));
    desk.found(findings);
    desk.found(addresses_of("fleet.example", &["10.0.0.3"]));
    let (urls, _) = shown(&desk, 0);
    assert_eq!(
        urls,
        [
            "http://127.0.0.1:9121",
            "http://127.0.0.1:1",
            "http://10.0.0.3:8000",
            "http://fleet.example:8001"
        ]
    );
    let page: serde_json::Value = serde_json::from_str(&pages::providers(&desk)).expect("JSON");
    let refused = page["providers"][0]["refused"].as_array().expect("a list");
    let refused: Vec<&str> = refused
        .iter()
        .filter_map(|it| it["endpoint"].as_str())
        .collect();
    assert_eq!(
        refused,
        ["http://10.0.0.1:1", "http://elsewhere.example:8001"]
    );
    let page = Page::parse(&pages::metrics(&desk));
    assert_eq!(page.sum("srpd_endpoints_refused"), 2.0);
    let wanted = desk.supply.due(desk.clock.now());
    let strange = Source::Name("elsewhere.example".into());
    assert!(!wanted.contains(&strange), "nobody needs its address");
}

#[test]
fn a_name_abroad_adds_no_endpoint() {
    let mut pinned = found_everywhere();
    pinned.providers[1].addresses = vec!["10.0.0.0/8".parse().expect("a range")];
    pinned.providers[1].endpoints.clear();
    let mut desk = desk_of(pinned);
    desk.found(addresses_of("fleet.example", &["10.0.0.3", "192.0.2.1"]));
    assert_eq!(shown(&desk, 1).1, ["10.0.0.3:8000"]);
    let page = Page::parse(&pages::metrics(&desk));
    assert_eq!(page.sum("srpd_endpoints_refused"), 1.0);
}

#[test]
fn a_reload_judges_again_what_was_found() {
    let mut desk = desk_of(found_everywhere());
    desk.found(file(r#"[{"targets": ["10.0.0.1:1", "11.0.0.1:1"]}]"#));
    assert_eq!(shown(&desk, 1).0.len(), 3);
    let mut stricter = found_everywhere();
    stricter.providers[1].addresses = vec!["10.0.0.0/8".parse().expect("a range")];
    stricter.providers[1].endpoints.clear();
    desk.put_in_force(stricter, Vec::new()).expect("valid");
    assert_eq!(shown(&desk, 1).0, ["http://10.0.0.1:1"]);
    desk.put_in_force(config(), Vec::new()).expect("valid");
    assert_eq!(shown(&desk, 1).0, ["http://127.0.0.1:9121"]);
    let mut elsewhere = config();
    elsewhere.providers[1].jurisdiction = jurisdiction("nz");
    desk.put_in_force(elsewhere, Vec::new()).expect("valid");
    assert_eq!(
        desk.supply.due(desk.clock.now()),
        [],
        "nothing is looked at any more"
    );
}

#[test]
fn a_drain_takes_an_endpoint_out_of_the_tables_across_reloads() {
    const VENDOR: &str = "vendor-us";
    let mut desk = desk_of(found_everywhere());
    desk.found(file(r#"[{"targets": ["10.0.0.1:1"]}]"#));
    assert_eq!(
        desk.drain(VENDOR, "http://10.0.0.1:1", true).ok(),
        Some(true)
    );
    assert_eq!(
        desk.drain(VENDOR, "http://10.0.0.1:1", true).ok(),
        Some(false)
    );
    let draining = |desk: &Desk| {
        let page = Page::parse(&pages::metrics(desk));
        page.sum("srpd_endpoints_draining")
    };
    assert_eq!(shown(&desk, 1).1, ["127.0.0.1:9121"]);
    assert_eq!(shown(&desk, 1).0.len(), 2, "it is still shown");
    desk.put_in_force(found_everywhere(), Vec::new())
        .expect("valid");
    assert_eq!((shown(&desk, 1).1.len(), draining(&desk)), (1, 1.0));
    // Gone and back.
    desk.found(file("[]"));
    desk.found(file(r#"[{"targets": ["10.0.0.1:1"]}]"#));
    assert_eq!(shown(&desk, 1).1.len(), 1);
    assert_eq!(
        desk.drain(VENDOR, "http://10.0.0.1:1", false).ok(),
        Some(true)
    );
    assert_eq!((shown(&desk, 1).1.len(), draining(&desk)), (2, 0.0));
    assert!(desk.drain(VENDOR, "http://10.0.0.2:1", true).is_err());
    assert!(desk.drain("nobody", "http://10.0.0.1:1", true).is_err());
    // Without any endpoint left the provider takes no call.
    let now = desk.clock.now();
    desk.drain("aloomu", "http://127.0.0.1:9101", true)
        .expect("an endpoint");
    assert_eq!(
        pages::unready(&desk, now),
        ["capability sovereign has no eligible provider"]
    );
}

#[test]
fn endpoints_may_come_and_go_for_ever() {
    let mut desk = desk_of(found_everywhere());
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..3000u32 {
        let [_, a, b, _] = round.to_be_bytes();
        let target = format!("10.0.{a}.{b}:{}", 1 + round % 60_000);
        desk.found_at(
            file(&format!(r#"[{{"targets": ["{target}"]}}]"#)),
            crate::base::Moment(u64::from(round) * 600_000_000),
        );
        let snapshot = desk.board.snapshot();
        let endpoint = snapshot.routes.providers[1].endpoints.last().expect("one");
        assert_eq!(endpoint.addresses[0].to_string(), target);
        seen.insert(endpoint.id);
        let core = &desk.cores[0];
        core.attempt(
            snapshot.routes.providers[1].id,
            endpoint.id,
            crate::telemetry::AttemptResult::Succeeded,
        );
        let id = crate::tables::Target::Endpoint(endpoint.id);
        assert_eq!(
            desk.successes(id),
            1,
            "round {round}: it counts from its own beginning"
        );
    }
    assert!(seen.len() < 1024, "{}", seen.len());
}

#[test]
fn a_check_decides_who_takes_calls_and_trips_no_breaker() {
    let mut checked = config();
    checked.providers[1].health = Some(health());
    let mut desk = desk_of(checked);
    let now = desk.clock.now();
    let [visit] = &desk.due_checks(now)[..] else {
        panic!("one");
    };
    assert_eq!(
        (&*visit.path, visit.metrics.as_deref()),
        ("/health", Some("/metrics"))
    );
    assert_eq!(
        visit.addresses,
        ["127.0.0.1:9121".parse().expect("an address")]
    );
    let id = visit.id;
    assert!(!desk.is_ready(id), "nobody knows yet");
    assert!(desk.due_checks(now).is_empty(), "it is under way");
    let vitals = Vitals {
        queue: Queue {
            waiting: 4,
            running: 7,
        },
        cache: Some(0.5),
    };
    let checkup = |health: Result<(), String>, vitals| Checkup { id, health, vitals };
    desk.checked(&checkup(Ok(()), Some(Some(vitals))));
    assert!(desk.is_ready(id));
    let said = |desk: &Desk| desk.board.loads().of(id).queue();
    assert_eq!(said(&desk), Some(vitals.queue));
    let failed = || checkup(Err("status 503".into()), None);
    desk.checked(&failed());
    assert!(desk.is_ready(id), "one is none");
    assert_eq!(said(&desk), None, "what it said before says nothing now");
    desk.checked(&failed());
    assert!(!desk.is_ready(id));
    let page = Page::parse(&pages::metrics(&desk));
    assert_eq!(page.sum("srpd_endpoint_ready"), 0.0);
    assert_eq!(page.sum("srpd_health_checks_total"), 3.0);
    assert_eq!(page.sum("srpd_endpoint_reported_waiting"), 4.0);
    assert_eq!(page.sum("srpd_breaker_transitions_total"), 0.0);
    // Who is looked after no longer is ready, and whoever has served is ready at first.
    desk.put_in_force(config(), Vec::new()).expect("valid");
    assert!(desk.is_ready(id));
    let mut checked = config();
    checked.providers[1].health = Some(health());
    desk.put_in_force(checked, Vec::new()).expect("valid");
    assert!(desk.is_ready(id));
    desk.checked(&failed());
    desk.checked(&failed());
    assert!(!desk.is_ready(id));
    // What is drained is left alone.
    desk.drain("vendor-us", "http://127.0.0.1:9121", true)
        .expect("an endpoint");
    assert!(desk.due_checks(Moment(u64::MAX / 2)).is_empty());
}

#[test]
fn an_endpoint_that_was_found_is_not_ready_before_its_first_check() {
    let mut checked = found_everywhere();
    checked.providers[1].health = Some(health());
    let mut desk = desk_of(checked);
    let content = r#"[{"targets": ["10.0.0.1:1"], "labels": {"__metrics_path__": "/stats"}}]"#;
    desk.found(file(content));
    let visits = desk.due_checks(desk.clock.now());
    assert_eq!(visits.len(), 2);
    let visit = &visits[1];
    assert_eq!(visit.authority, "10.0.0.1:1");
    assert_eq!(visit.metrics.as_deref(), Some("/stats"));
    assert!(!desk.is_ready(visit.id));
    let now = desk.clock.now();
    assert_eq!(pages::unready(&desk, now).len(), 0, "the backstop serves");
    desk.checked(&Checkup {
        id: visit.id,
        health: Ok(()),
        vitals: Some(None),
    });
    assert!(desk.is_ready(visit.id));
    desk.found(file("[]"));
    let later = Moment(now.0 + 3_600_000_000);
    assert_eq!(
        desk.due_checks(later).len(),
        0,
        "one is under way, the other gone"
    );
}

fn health() -> Health {
    Health {
        path: "/health".into(),
        metrics: Some("/metrics".into()),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        healthy_after: 2,
        unhealthy_after: 2,
    }
}
