//! The configuration as it is in force, for `/srp/v1/config`: defaults filled in, chains closed,
//! secrets left out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::model::{
    Allowed, Audit, Capability, Config, Cores, Driver, Key, Ledger, LogFormat, Market, Models,
    OnFailure, Order, Otlp, Provider, Reservation, ReservedAt, Sink, SinkTarget, Tier, Tls,
};
use crate::market::Supply;
use crate::policy::balance::Balance;
use crate::policy::breaker::BreakerConfig;
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::meter::Rate;
use crate::policy::residency::JurisdictionSet;

/// The effective configuration. Of a credential it says only that there is one; of a client key
/// neither itself nor its digest.
pub fn effective(config: &Config) -> Value {
    let retry = &config.retry;
    let all = |from: &[Provider]| from.iter().map(provider).collect::<Vec<_>>();
    json!({
        "instance": instance(config),
        "limits": limits(&config.limits),
        "timeouts": timeouts(&config.timeouts),
        "retry": {
            "max_attempts": retry.max_attempts,
            "budget_ratio": retry.budget_ratio,
            "budget_min": retry.budget_min,
        },
        "market": market(&config.market),
        "ledger": config.ledger.as_ref().map(|it| ledger(it, &config.sinks)),
        "otlp": config.otlp.as_ref().map(otlp),
        "audit": config.audit.as_ref().map(audit),
        "log": {
            "format": match config.log.format {
                LogFormat::Json => "json",
                LogFormat::Text => "text",
            },
            "level": config.log.level.as_str().to_ascii_lowercase(),
            "access": config.log.access,
        },
        "dns": { "servers": config.dns.servers },
        "provider": all(&config.providers),
        "capability": config.capabilities.iter().map(|it| capability(it, config)).collect::<Vec<_>>(),
        "key": config.keys.iter().map(|it| key(it, config)).collect::<Vec<_>>(),
        "reservation": config.reservations.iter().map(|it| reservation(it, config)).collect::<Vec<_>>(),
        "warnings": config.warnings,
    })
}

fn instance(config: &Config) -> Value {
    let instance = &config.instance;
    let groups: BTreeMap<&str, Value> = instance
        .groups
        .iter()
        .map(|(name, set)| (name, codes(&set)))
        .collect();
    json!({
        "jurisdiction": instance.jurisdiction.code(),
        "listen": instance.listen,
        "admin": instance.admin,
        "cores": match &instance.cores {
            Cores::Auto => json!("auto"),
            Cores::Count(count) => json!(count),
            Cores::Cpus(cpus) => json!(cpus),
        },
        "driver": match instance.driver {
            Driver::Auto => "auto",
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        },
        "currency": instance.currency,
        "expose_providers": instance.expose_providers,
        "groups": groups,
        "tls": instance.tls.as_ref().map(tls),
    })
}

/// Where its parts lie; nothing of what they hold but the certificate's end.
fn tls(tls: &Tls) -> Value {
    json!({
        "certificate": tls.certificate,
        "private_key": tls.private_key,
        "client_ca": tls.client_ca,
        "not_after": tls.not_after.to_string(),
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "head_bytes": limits.head_bytes,
        "headers": limits.headers,
        "body_bytes": limits.body_bytes,
        "connections_per_core": limits.connections_per_core,
        "pipelined_requests": limits.pipelined_requests,
        "calls_per_core": limits.calls_per_core,
        "memory_bytes": limits.memory_bytes.map_or(json!("auto"), |bytes| json!(bytes)),
    })
}

fn timeouts(timeouts: &Timeouts) -> Value {
    json!({
        "head": duration(timeouts.head),
        "body": duration(timeouts.body),
        "connect": duration(timeouts.connect),
        "first_byte": duration(timeouts.first_byte),
        "stream_idle": duration(timeouts.stream_idle),
        "call": duration(timeouts.call),
        "keep_alive": duration(timeouts.keep_alive),
        "drain": duration(timeouts.drain),
        "stall": duration(timeouts.stall),
    })
}

fn ledger(ledger: &Ledger, sinks: &[Sink]) -> Value {
    json!({
        "directory": ledger.directory,
        "sync": duration(ledger.sync),
        "segment_bytes": ledger.segment_bytes,
        "keep_days": ledger.keep_days,
        "bytes_max": ledger.bytes_max,
        "on_failure": match ledger.on_failure {
            OnFailure::Stop => "stop",
            OnFailure::Serve => "serve",
        },
        "sink": sinks.iter().map(sink).collect::<Vec<_>>(),
    })
}

/// Without its URL, which has a password.
fn sink(sink: &Sink) -> Value {
    let mut shown = json!({
        "name": sink.name,
        "batch": sink.batch,
        "tls": sink.roots.is_some(),
    });
    match &sink.target {
        SinkTarget::Postgres { table } => {
            shown["kind"] = json!("postgres");
            shown["table"] = json!(table);
        }
        SinkTarget::Nats { stream, subject } => {
            shown["kind"] = json!("nats");
            shown["stream"] = json!(stream);
            shown["subject"] = json!(subject);
        }
    }
    shown
}

/// Of what the headers hold it says only that there is something.
fn otlp(otlp: &Otlp) -> Value {
    let headers = otlp.headers.iter().map(|(name, _)| (name.as_str(), "set"));
    json!({
        "endpoint": otlp.endpoint,
        "ca": otlp.ca,
        "headers": headers.collect::<BTreeMap<_, _>>(),
        "sample": otlp.sample,
        "traces_per_second": otlp.traces_per_second,
        "interval": duration(otlp.interval),
        "timeout": duration(otlp.timeout),
    })
}

/// Of the key, what anybody may have: its public half.
fn audit(audit: &Audit) -> Value {
    json!({
        "public_key": audit.key.public_key().encode().ok(),
        "interval": duration(audit.interval),
    })
}

/// Prices as texts: JSON's numbers would be read as binary fractions.
fn market(market: &Market) -> Value {
    let adders = market.adders.iter();
    let adders = adders.map(|(at, adder)| (at.as_str(), adder.to_string()));
    json!({
        "interval": duration(market.interval),
        "waiting_max": market.waiting_max,
        "price_cap": market.price_cap.to_string(),
        "adders": adders.collect::<BTreeMap<_, _>>(),
        "bookings": market.bookings.path.to_string_lossy(),
    })
}

fn reservation(reservation: &Reservation, config: &Config) -> Value {
    let (provider, jurisdiction) = match reservation.place {
        ReservedAt::Provider(position) => (Some(&config.providers[position].name), None),
        ReservedAt::Jurisdiction(jurisdiction) => (None, Some(jurisdiction.code())),
    };
    json!({
        "key": config.keys[reservation.key].name,
        "provider": provider,
        "jurisdiction": jurisdiction,
        "slots": reservation.slots,
        "from": reservation.from.to_string(),
        "until": reservation.until.to_string(),
    })
}

/// Those that a provider can have of its own.
fn provider_timeouts(timeouts: &Timeouts) -> Value {
    json!({
        "connect": duration(timeouts.connect),
        "first_byte": duration(timeouts.first_byte),
        "stream_idle": duration(timeouts.stream_idle),
        "keep_alive": duration(timeouts.keep_alive),
    })
}

fn breaker(breaker: &BreakerConfig) -> Value {
    json!({
        "consecutive_failures": breaker.consecutive_failures,
        "failure_ratio": breaker.failure_ratio,
        "ratio_window": duration(breaker.ratio_window),
        "ratio_min_calls": breaker.ratio_min_calls,
        "open": duration(breaker.open),
        "open_max": duration(breaker.open_max),
        "open_jitter": breaker.open_jitter,
        "close_after": breaker.close_after,
        "rate_limit_gate": duration(breaker.rate_limit_gate),
        "quota_gate": duration(breaker.quota_gate),
    })
}

fn provider(provider: &Provider) -> Value {
    json!({
        "name": provider.name,
        "jurisdiction": provider.jurisdiction.code(),
        "location": provider.location,
        "capacity": provider.capacity,
        "price": provider.price.to_string(),
        "accreditation": provider.accreditation.as_ref().map(|accredited| json!({
            "authority": accredited.authority,
            "valid_until": accredited.valid_until.to_string(),
        })),
        "endpoints": endpoints(provider),
        "ca": provider.ca,
        "addresses": provider.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "models": models(&provider.models),
        "api_key": provider.api_key.as_ref().map(|_| "set"),
        "timeouts": provider_timeouts(&provider.timeouts),
        "breaker": breaker(&provider.breaker),
        "balance": match provider.balance {
            Balance::LeastLoaded => "least_loaded",
            Balance::Prefix => "prefix",
        },
        "tiers": json!({
            "firm": provider.tiers.firm.as_ref().map(tier),
            "floating": provider.tiers.floating.as_ref().map(tier),
        }),
        "health": provider.health.as_ref().map(|health| json!({
            "path": health.path,
            "metrics": health.metrics.as_ref().map_or(json!(false), |path| json!(path)),
            "interval": duration(health.interval),
            "timeout": duration(health.timeout),
            "healthy_after": health.healthy_after,
            "unhealthy_after": health.unhealthy_after,
        })),
    })
}

fn tier(tier: &Tier) -> Value {
    match tier {
        Tier::Service(name) => json!(name),
        Tier::Priority(number) => json!(number),
    }
}

/// Where they come from. Those that were found are on the page of the providers.
fn endpoints(provider: &Provider) -> Value {
    let urls: Vec<&str> = provider.endpoints.iter().map(|it| &*it.url).collect();
    let sources = &provider.sources;
    if sources.is_empty() {
        return json!(urls);
    }
    let files = sources.files.iter().map(|it| &it.written);
    let names = sources.names.iter().map(|it| &it.written);
    let services = sources.services.iter().map(|it| &it.written);
    json!({
        "urls": urls,
        "files": files.collect::<Vec<_>>(),
        "dns": names.collect::<Vec<_>>(),
        "srv": services.collect::<Vec<_>>(),
    })
}

fn models(models: &Models) -> BTreeMap<&str, &str> {
    let fallback = models.fallback.iter().map(|model| ("*", model.as_str()));
    let named = models.named.iter();
    let named = named.map(|(capability, model)| (capability.as_str(), model.as_str()));
    named.chain(fallback).collect()
}

fn capability(capability: &Capability, config: &Config) -> Value {
    let chain: Vec<&str> = capability
        .chain
        .iter()
        .map(|&position| config.providers[position].name.as_str())
        .collect();
    json!({
        "name": capability.name,
        "chain": chain,
        "order": match capability.order {
            Order::Listed => "listed",
            Order::Merit => "merit",
        },
        "residency": residency(&capability.residency),
    })
}

fn key(key: &Key, config: &Config) -> Value {
    let capabilities: Vec<&str> = match &key.capabilities {
        Allowed::All => vec!["*"],
        Allowed::Some(positions) => positions
            .iter()
            .map(|&position| config.capabilities[position].name.as_str())
            .collect(),
    };
    json!({
        "name": key.name,
        "capabilities": capabilities,
        "residency": residency(&key.residency),
        "supply": match key.supply {
            Supply::Firm => "firm",
            Supply::Floating => "floating",
        },
        "requests_per_minute": key.requests.map(Rate::per_minute),
        "tokens_per_minute": key.tokens.map(Rate::per_minute),
    })
}

fn residency(floor: &JurisdictionSet) -> String {
    if floor.is_all() {
        return "any".to_owned();
    }
    let rules: Vec<String> = floor.iter().map(|it| format!("{it}-only")).collect();
    rules.join(",")
}

fn codes(set: &JurisdictionSet) -> Value {
    set.iter().map(|it| Value::from(it.code())).collect()
}

/// As the file would have it: `"1m 30s"` reads back.
fn duration(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map(|signed| format!("{signed:#}"))
        .unwrap_or_else(|_| format!("{duration:?}"))
}
