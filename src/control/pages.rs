//! What the admin plane shows, made from the desk.

mod audit;
mod history;
mod ledger;
pub mod market;
mod metrics;
mod otlp;
mod sinks;
pub mod site;

pub use history::history;
pub use metrics::metrics;

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::desk::Desk;
use super::discovery::fleet::Refusal;
use super::discovery::known::pinned;
use super::health::wards::Ward;
use super::ledger::LedgerView;
use crate::base::Moment;
use crate::config;
use crate::openai::error::ErrorCode;
use crate::policy::breaker::Phase;
use crate::tables::Target;
use crate::tables::routes::{Capability, Provider};

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
    reasons.extend(desk.ledger.as_ref().and_then(LedgerView::unready));
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
        && provider.endpoints.iter().any(|endpoint| {
            !endpoint.addresses.is_empty()
                && desk.is_ready(endpoint.id)
                && usable(Target::Endpoint(endpoint.id))
        })
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
    /// Attempts under way.
    in_flight: u64,
    /// Slots of a provider with a capacity.
    capacity: Option<u32>,
    /// What a floating call pays there, per million tokens.
    price: String,
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
    /// How its checks have gone, if there are any.
    health: Option<HealthState<'a>>,
    /// Calls under way; counted only where there is a choice to make.
    in_flight: Option<u32>,
    #[serde(flatten)]
    target: Option<TargetState>,
}

#[derive(Serialize)]
struct HealthState<'a> {
    ready: bool,
    /// What was wrong at the last check.
    trouble: Option<&'a str>,
    waiting: Option<u32>,
    running: Option<u32>,
    /// The share of its KV cache that is in use.
    cache: Option<f64>,
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
    let loads = desk.board.loads();
    let routed = desk.routes.providers.get(position);
    let counted = routed.is_some_and(|provider| provider.endpoints.len() > 1);
    let state = |endpoint: &'a config::Endpoint| {
        let found = desk.supply.known().addresses(&endpoint.host);
        let id = desk.endpoint_id(&provider.name, &endpoint.url);
        EndpointState {
            url: &endpoint.url,
            addresses: pinned(provider, found, endpoint.port).0,
            draining: desk.drains.has(&provider.name, &endpoint.url),
            health: id.and_then(|id| desk.wards.of(id)).map(health_state),
            in_flight: id.filter(|_| counted).map(|id| loads.of(id).outstanding()),
            target: id.map(|id| target_state(desk, Target::Endpoint(id), now)),
        }
    };
    endpoints.map(state).collect()
}

fn health_state(ward: &Ward) -> HealthState<'_> {
    let vitals = ward.vitals.as_ref();
    HealthState {
        ready: ward.is_ready(),
        trouble: ward.trouble.as_deref(),
        waiting: vitals.map(|vitals| vitals.queue.waiting),
        running: vitals.map(|vitals| vitals.queue.running),
        cache: vitals.and_then(|vitals| vitals.cache),
    }
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
                in_flight: desk.sum(|core| core.attempts_in_flight(provider.id)),
                capacity: provider.capacity.map(|it| it.get()),
                price: desk.price_at(provider).to_string(),
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
