//! `/metrics`: the cores' counters, and what the office knows.

use std::sync::Arc;

use super::super::breakers::Transitions;
use super::super::desk::Desk;
use super::super::health::vitals::Vitals;
use super::{audit, code_name, ledger, market, otlp, sinks, unready};
use crate::base::ProviderId;
use crate::openai::error::ErrorCode;
use crate::policy::breaker::Phase;
use crate::tables::routes::Provider;
use crate::tables::{EndpointLoad, Limit, Target};
use crate::telemetry::exposition::{Exposition, Kind};
use crate::telemetry::names::NameLists;
use crate::telemetry::report::CoreReport;

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
    health_metrics(desk, &names, &mut page);
    provider_metrics(desk, &names, &mut page);
    key_metrics(desk, &mut page);
    certificate_metric(desk, &mut page);
    ready_metric(desk, &mut page);
    market::metrics(desk, &mut page);
    if let Some(view) = &desk.ledger {
        ledger::metrics(view, &mut page);
        sinks::metrics(&view.sinks, &mut page);
        if let Some(view) = &desk.notary {
            audit::metrics(view, &mut page);
        }
    }
    if let Some(view) = &desk.otlp {
        otlp::metrics(view, &mut page);
    }
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

/// Of endpoints that are looked after only.
fn health_metrics(desk: &Desk, names: &NameLists, page: &mut Exposition) {
    let targets = labelled(desk, names);
    let wards: Vec<_> = targets
        .iter()
        .filter_map(|(target, labels)| match target {
            Target::Endpoint(id) => Some((desk.wards.of(*id)?, *labels)),
            Target::Provider(_) => None,
        })
        .collect();
    page.family(
        "srpd_endpoint_ready",
        Kind::Gauge,
        "1 while the endpoint's checks say that it takes calls.",
    );
    for (ward, labels) in &wards {
        page.sample(labels, u64::from(ward.is_ready()));
    }
    page.family(
        "srpd_health_checks_total",
        Kind::Counter,
        "Checks of an endpoint by how they ended.",
    );
    for (ward, [provider, endpoint]) in &wards {
        for (result, count) in [("passed", ward.passed), ("failed", ward.failed)] {
            page.sample(&[*provider, *endpoint, ("result", result)], count);
        }
    }
    type Read = fn(&Vitals) -> Option<f64>;
    let families: [(&'static str, &str, Read); 3] = [
        (
            "srpd_endpoint_reported_waiting",
            "Requests that wait at an endpoint, by its own word.",
            |vitals| Some(vitals.queue.waiting.into()),
        ),
        (
            "srpd_endpoint_reported_running",
            "Requests that an endpoint is answering, by its own word.",
            |vitals| Some(vitals.queue.running.into()),
        ),
        (
            "srpd_endpoint_reported_cache_use",
            "Share of an endpoint's KV cache that is in use, by its own word.",
            |vitals| vitals.cache,
        ),
    ];
    for (family, help, read) in families {
        page.family(family, Kind::Gauge, help);
        for (ward, labels) in &wards {
            if let Some(value) = ward.vitals.as_ref().and_then(read) {
                page.sample_float(labels, value);
            }
        }
    }
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

fn ready_metric(desk: &Desk, page: &mut Exposition) {
    page.single(
        "srpd_ready",
        Kind::Gauge,
        "1 while every capability can be served, as /readyz says.",
        u64::from(unready(desk, desk.clock.now()).is_empty()),
    );
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
    page.family(
        "srpd_core_silence_seconds",
        Kind::Gauge,
        "How long the core's sweeper has had no turn, to the tenth; at timeouts.stall the process ends.",
    );
    for (core, silence) in desk.pulse.silences().enumerate() {
        page.sample_float(&[("core", &core.to_string())], silence.as_secs_f64());
    }
    page.family("srpd_build_info", Kind::Gauge, "The running version.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}
