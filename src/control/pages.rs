//! What the admin plane shows, made from the desk.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use super::breakers::Transitions;
use super::desk::Desk;
use super::discovery::fleet::Refusal;
use super::discovery::known::pinned;
use crate::base::{Moment, ProviderId};
use crate::config;
use crate::openai::error::ErrorCode;
use crate::policy::breaker::Phase;
use crate::tables::routes::{Capability, Provider};
use crate::tables::{EndpointLoad, Limit, Target};
use crate::telemetry::exposition::{Exposition, Kind};
use crate::telemetry::names::NameLists;
use crate::telemetry::report::CoreReport;

/// The name of an error code, for metrics and the access log.
pub fn code_name(index: usize) -> &'static str {
    ErrorCode::ALL.get(index).map_or("?", |code| code.label())
}

/// Why the instance is not ready; empty if it is.
pub fn unready(desk: &Desk, now: Moment) -> Vec<String> {
    let mut reasons = Vec::new();
    if desk.draining() {
        reasons.push("draining".to_owned());
    }
    let deaf = desk
        .cores
        .iter()
        .filter(|core| core.listeners() == 0)
        .count();
    if deaf > 0 && !desk.draining() {
        reasons.push(format!("{deaf} of {} cores don't listen", desk.cores.len()));
    }
    let capabilities = desk.routes.capabilities.iter();
    for capability in capabilities.filter(|capability| !is_served(desk, capability, now)) {
        reasons.push(format!(
            "capability {} has no eligible provider",
            capability.name
        ));
    }
    reasons
}

/// Whether some provider of the chain, inside the capability's floor, could take a call. A
/// half-open one could: counting it out would keep the traffic away that closes it.
fn is_served(desk: &Desk, capability: &Capability, now: Moment) -> bool {
    capability.chain.links().iter().any(|link| {
        let provider = &desk.routes.providers[usize::from(link.provider)];
        capability.residency.contains(link.jurisdiction) && is_eligible(desk, provider, now)
    })
}

fn is_eligible(desk: &Desk, provider: &Provider, now: Moment) -> bool {
    let usable = |target| desk.breakers.is_usable(target, now);
    usable(Target::Provider(provider.id))
        && provider
            .endpoints
            .iter()
            .any(|endpoint| !endpoint.addresses.is_empty() && usable(Target::Endpoint(endpoint.id)))
}

/// `/srp/v1/config`
pub fn config(desk: &Desk) -> String {
    config::effective(&desk.config).to_string()
}

#[derive(Serialize)]
struct ProvidersPage<'a> {
    epoch: u64,
    draining: bool,
    providers: Vec<ProviderState<'a>>,
}

#[derive(Serialize)]
struct ProviderState<'a> {
    name: &'a str,
    jurisdiction: &'static str,
    backstop: bool,
    accreditation_valid_until: Option<String>,
    #[serde(flatten)]
    target: TargetState,
    failovers: u64,
    repeats_left: u32,
    endpoints: Vec<EndpointState<'a>>,
    /// What was found and isn't used.
    refused: Vec<RefusedState<'a>>,
}

#[derive(Serialize)]
struct EndpointState<'a> {
    url: &'a str,
    addresses: Vec<SocketAddr>,
    /// Whether it gets no new calls, by an operator's word.
    draining: bool,
    #[serde(flatten)]
    target: Option<TargetState>,
}

#[derive(Serialize)]
struct RefusedState<'a> {
    endpoint: &'a str,
    address: Option<IpAddr>,
    why: &'a str,
}

#[derive(Serialize)]
struct TargetState {
    breaker: &'static str,
    /// Milliseconds until probing may begin; only while open.
    open_ms: Option<u64>,
    /// Milliseconds of the pause that is left.
    gated_ms: Option<u64>,
    successes: u64,
    failures: u64,
}

fn milliseconds(until: Moment, now: Moment) -> u64 {
    until.micros_since(now).div_ceil(1000)
}

fn target_state(desk: &Desk, target: Target, now: Moment) -> TargetState {
    let (breaker, open_ms) = match desk.breakers.phase(target) {
        Phase::Closed => ("closed", None),
        Phase::Open { until } if until > now => ("open", Some(milliseconds(until, now))),
        Phase::Open { .. } => ("half_open", None),
    };
    let gated_until = desk.breakers.gated_until(target);
    TargetState {
        breaker,
        open_ms,
        gated_ms: (gated_until > now).then(|| milliseconds(gated_until, now)),
        successes: desk.successes(target),
        failures: desk.failures(target),
    }
}

fn endpoint_states<'a>(
    desk: &'a Desk,
    position: usize,
    provider: &config::Provider,
    now: Moment,
) -> Vec<EndpointState<'a>> {
    let endpoints = desk.supply.fleet().of(position).iter();
    let state = |endpoint: &'a config::Endpoint| {
        let found = desk.supply.known().addresses(&endpoint.host);
        let id = desk.endpoint_id(&provider.name, &endpoint.url);
        EndpointState {
            url: &endpoint.url,
            addresses: pinned(provider, found, endpoint.port).0,
            draining: desk.drains.has(&provider.name, &endpoint.url),
            target: id.map(|id| target_state(desk, Target::Endpoint(id), now)),
        }
    };
    endpoints.map(state).collect()
}

fn refused_states<'a>(desk: &'a Desk, provider: &config::Provider) -> Vec<RefusedState<'a>> {
    let refused = desk.supply.refused(&provider.name);
    let state = |refusal: &'a Refusal| RefusedState {
        endpoint: &refusal.endpoint,
        address: refusal.address,
        why: &refusal.why,
    };
    refused.map(state).collect()
}

/// `/srp/v1/providers`
pub fn providers(desk: &Desk) -> String {
    let now = desk.clock.now();
    let states = desk.config.providers.iter().zip(&desk.routes.providers);
    let providers = states
        .enumerate()
        .map(|(position, (configured, provider))| {
            let accreditation = configured.accreditation.as_ref();
            ProviderState {
                name: &configured.name,
                jurisdiction: provider.jurisdiction.code(),
                backstop: accreditation.is_some(),
                accreditation_valid_until: accreditation.map(|it| it.valid_until.to_string()),
                target: target_state(desk, Target::Provider(provider.id), now),
                failovers: desk.sum(|core| core.failovers(provider.id)),
                repeats_left: desk.repeats_left(provider.id),
                endpoints: endpoint_states(desk, position, configured, now),
                refused: refused_states(desk, configured),
            }
        });
    let page = ProvidersPage {
        epoch: desk.board.epoch(),
        draining: desk.draining(),
        providers: providers.collect(),
    };
    // Strings, numbers and lists: nothing that JSON can't hold.
    serde_json::to_string(&page).unwrap_or_default()
}

/// `/metrics`
pub fn metrics(desk: &Desk) -> String {
    let names = Arc::clone(desk.names());
    let names = names.read();
    let mut page = Exposition::new();
    CoreReport {
        cores: &desk.cores,
        times: &desk.times,
        names: &names,
        codes: code_name,
        code_count: ErrorCode::COUNT,
    }
    .write(&mut page);
    breaker_metrics(desk, &names, &mut page);
    load_metrics(desk, &names, &mut page);
    provider_metrics(desk, &names, &mut page);
    key_metrics(desk, &mut page);
    certificate_metric(desk, &mut page);
    instance_metrics(desk, &mut page);
    page.finish()
}

/// Each target with its labels; a provider's own have an empty endpoint.
fn labelled<'n>(desk: &Desk, names: &'n NameLists) -> Vec<(Target, [(&'static str, &'n str); 2])> {
    let mut labelled = Vec::new();
    for provider in &desk.routes.providers {
        let name = ("provider", names.provider(provider.id));
        labelled.push((Target::Provider(provider.id), [name, ("endpoint", "")]));
        for endpoint in &provider.endpoints {
            let url = ("endpoint", names.endpoint(endpoint.id));
            labelled.push((Target::Endpoint(endpoint.id), [name, url]));
        }
    }
    labelled
}

fn breaker_metrics(desk: &Desk, names: &NameLists, page: &mut Exposition) {
    let now = desk.clock.now();
    let targets = labelled(desk, names);
    page.family(
        "srpd_breaker_state",
        Kind::Gauge,
        "0 closed, 1 half-open, 2 open; without endpoint: the provider's own.",
    );
    for (target, labels) in &targets {
        let state = match desk.breakers.phase(*target) {
            Phase::Closed => 0,
            Phase::Open { until } if until > now => 2,
            Phase::Open { .. } => 1,
        };
        page.sample(labels, state);
    }
    page.family(
        "srpd_breaker_transitions_total",
        Kind::Counter,
        "Transitions of breakers by what they became.",
    );
    for (target, [provider, endpoint]) in &targets {
        let Transitions {
            opened,
            reopened,
            closed,
        } = desk.breakers.transitions(*target);
        for (to, count) in [("open", opened), ("reopened", reopened), ("closed", closed)] {
            page.sample(&[*provider, *endpoint, ("to", to)], count);
        }
    }
    page.family(
        "srpd_gated",
        Kind::Gauge,
        "1 while the target has asked for a pause (429, quota).",
    );
    for (target, labels) in &targets {
        page.sample(labels, u64::from(desk.breakers.gated_until(*target) > now));
    }
}

/// What is balanced by: of providers with several endpoints only, since others aren't counted.
fn load_metrics(desk: &Desk, names: &NameLists, page: &mut Exposition) {
    let now = desk.clock.now();
    let loads = desk.board.loads();
    let shared = |provider: &&Provider| provider.endpoints.len() > 1;
    let balanced: Vec<_> = desk
        .routes
        .providers
        .iter()
        .filter(shared)
        .flat_map(|provider| provider.endpoints.iter().map(|it| (provider.id, it.id)))
        .collect();
    let mut family = |name, help, value: &dyn Fn(&EndpointLoad) -> f64| {
        page.family(name, Kind::Gauge, help);
        for &(provider, endpoint) in &balanced {
            let labels = [
                ("provider", names.provider(provider)),
                ("endpoint", names.endpoint(endpoint)),
            ];
            page.sample_float(&labels, value(loads.of(endpoint)));
        }
    };
    family(
        "srpd_endpoint_calls",
        "Calls under way at an endpoint.",
        &|load| f64::from(load.outstanding()),
    );
    family(
        "srpd_endpoint_calls_awaiting",
        "Calls under way at an endpoint that have no first token yet.",
        &|load| f64::from(load.awaiting()),
    );
    family(
        "srpd_endpoint_pace_seconds",
        "Time to an endpoint's first tokens lately, failures counted as slow.",
        &|load| {
            let pace = load.pace();
            f64::from(pace.micros(now).unwrap_or(0.0) * pace.slowed(now)) / 1e6
        },
    );
}

fn provider_metrics(desk: &Desk, names: &NameLists, page: &mut Exposition) {
    let each = |page: &mut Exposition, value: &dyn Fn(ProviderId) -> u64| {
        for provider in &desk.routes.providers {
            let labels = [("provider", names.provider(provider.id))];
            page.sample(&labels, value(provider.id));
        }
    };
    page.family(
        "srpd_repeats_left",
        Kind::Gauge,
        "Repeats that the provider's budget still allows.",
    );
    each(page, &|id| u64::from(desk.repeats_left(id)));
    page.family(
        "srpd_address_refused_total",
        Kind::Counter,
        "Addresses outside the provider's pinned ranges, each time that a lookup gave them.",
    );
    each(page, &|id| desk.supply.seen_outside(names.provider(id)));
    supply_metrics(desk, page);
    page.family(
        "srpd_accreditation_expires_seconds",
        Kind::Gauge,
        "Seconds until the backstop's accreditation expires; negative after it.",
    );
    let wall = jiff::Timestamp::now();
    for provider in &desk.config.providers {
        if let Some(accreditation) = &provider.accreditation {
            let left = accreditation.valid_until.duration_since(wall).as_secs();
            page.sample_float(&[("provider", &provider.name)], left as f64);
        }
    }
}

fn supply_metrics(desk: &Desk, page: &mut Exposition) {
    let providers = || desk.config.providers.iter().zip(&desk.routes.providers);
    page.family(
        "srpd_endpoints",
        Kind::Gauge,
        "Endpoints that may get calls: those that drain are left out.",
    );
    for (configured, provider) in providers() {
        let labels = [("provider", configured.name.as_str())];
        page.sample(&labels, provider.endpoints.len() as u64);
    }
    page.family(
        "srpd_endpoints_draining",
        Kind::Gauge,
        "Endpoints that get no new calls, by an operator's word.",
    );
    for (configured, _) in providers() {
        let draining = desk
            .drains
            .iter()
            .filter(|(name, _)| *name == configured.name);
        let labels = [("provider", configured.name.as_str())];
        page.sample(&labels, draining.count() as u64);
    }
    page.family(
        "srpd_endpoints_refused",
        Kind::Gauge,
        "Endpoints and addresses that were found and must not be used: outside of the pinned \
         ranges, not accredited, too many.",
    );
    for (configured, _) in providers() {
        let refused = desk.supply.refused(&configured.name).count();
        page.sample(&[("provider", configured.name.as_str())], refused as u64);
    }
    page.family(
        "srpd_source_failing",
        Kind::Gauge,
        "1 for each file, service or name that can't be read now; what it said before stays.",
    );
    for (kind, source, _) in desk.supply.failing() {
        page.sample(&[("kind", kind), ("source", source)], 1);
    }
}

fn key_metrics(desk: &Desk, page: &mut Exposition) {
    page.family(
        "srpd_rate_limited_total",
        Kind::Counter,
        "Calls that a key's own limit has refused.",
    );
    for key in &desk.config.keys {
        let Some(meter) = desk.meter(key) else {
            continue;
        };
        for (limit, label, rate) in [
            (Limit::Requests, "requests", key.requests),
            (Limit::Tokens, "tokens", key.tokens),
        ] {
            if rate.is_some() {
                let labels = [("key", key.name.as_str()), ("limit", label)];
                page.sample(&labels, meter.refused(limit));
            }
        }
    }
}

/// As a point in time, which Prometheus' own tools for certificates expect.
fn certificate_metric(desk: &Desk, page: &mut Exposition) {
    if let Some(tls) = &desk.config.instance.tls {
        page.family(
            "srpd_tls_certificate_not_after_seconds",
            Kind::Gauge,
            "When the certificate that clients are shown expires, in seconds since the epoch.",
        );
        page.sample_float(&[], tls.not_after.as_second() as f64);
    }
}

fn instance_metrics(desk: &Desk, page: &mut Exposition) {
    let counts = &desk.counts;
    let listening = desk.cores.iter().filter(|core| core.listeners() > 0);
    let figures: [(&'static str, Kind, &str, u64); 8] = [
        (
            "srpd_epoch",
            Kind::Gauge,
            "Number of the newest tables.",
            desk.board.epoch(),
        ),
        (
            "srpd_config_reloads_total",
            Kind::Counter,
            "Reloads that took effect.",
            counts.reloads,
        ),
        (
            "srpd_config_reload_failures_total",
            Kind::Counter,
            "Reloads that were refused.",
            counts.reload_failures,
        ),
        (
            "srpd_config_last_reload_successful",
            Kind::Gauge,
            "0 if the last reload was refused.",
            u64::from(!counts.last_reload_refused),
        ),
        (
            "srpd_lookup_failures_total",
            Kind::Counter,
            "Endpoint names that could not be resolved.",
            desk.supply.failures("name") + desk.supply.failures("service"),
        ),
        (
            "srpd_draining",
            Kind::Gauge,
            "1 while the instance is going down.",
            u64::from(desk.draining()),
        ),
        (
            "srpd_cores",
            Kind::Gauge,
            "Cores of the data plane.",
            desk.cores.len() as u64,
        ),
        (
            "srpd_cores_listening",
            Kind::Gauge,
            "Cores that accept connections.",
            listening.count() as u64,
        ),
    ];
    for (name, kind, help, value) in figures {
        page.single(name, kind, help, value);
    }
    page.family("srpd_build_info", Kind::Gauge, "The running version.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}
