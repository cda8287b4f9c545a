//! A small configuration for this room's tests.

use std::num::NonZeroU32;
use std::time::Duration;

use super::build::{BuildError, build};
use super::discovery::fleet::Fleet;
use super::discovery::known::Known;
use super::registry::Registry;
use crate::base::Secret;
use crate::config::*;
use crate::market::{Price, Supply};
use crate::policy::balance::Balance;
use crate::policy::breaker::BreakerConfig;
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::meter::Rate;
use crate::policy::residency::{Groups, Jurisdiction, JurisdictionSet};
use crate::tables::Routes;

pub fn jurisdiction(code: &str) -> Jurisdiction {
    Jurisdiction::parse(code).expect("a jurisdiction")
}

/// The tables of a configuration with the endpoints that it lists.
pub fn routes_of(config: &Config, registry: &mut Registry) -> Result<Routes, BuildError> {
    let known = Known::default();
    let (fleet, _) = Fleet::assemble(config, &known, None);
    build(config, &fleet, &known, |_, _| false, registry, &[])
}

/// A provider at `http://HOST:PORT`, that serves everything.
pub fn provider(name: &str, code: &str, url: &str) -> Provider {
    let authority = url.strip_prefix("http://").expect("a URL");
    let (host, port) = authority.rsplit_once(':').expect("a port");
    Provider {
        name: name.into(),
        jurisdiction: jurisdiction(code),
        accreditation: None,
        endpoints: vec![Endpoint {
            url: url.into(),
            host: host.into(),
            name: host.into(),
            port: port.parse().expect("a port"),
            prefix: "/v1".into(),
            metrics: None,
            tls: None,
        }],
        sources: Default::default(),
        ca: None,
        roots: None,
        addresses: Vec::new(),
        location: code.into(),
        capacity: None,
        price: Price::ZERO,
        models: Models {
            named: [].into(),
            fallback: Some("m".into()),
        },
        api_key: None,
        timeouts: Timeouts::default(),
        breaker: BreakerConfig::default(),
        tiers: Tiers::default(),
        balance: Balance::LeastLoaded,
        health: None,
    }
}

fn capability(name: &str, chain: Vec<usize>, residency: JurisdictionSet) -> Capability {
    Capability {
        name: name.into(),
        chain,
        order: Order::Listed,
        residency,
    }
}

fn key(name: &str, digest: u8, capabilities: Allowed) -> Key {
    Key {
        name: name.into(),
        sha256: [digest; 32].into(),
        capabilities,
        residency: JurisdictionSet::ALL,
        supply: Supply::Floating,
        requests: None,
        tokens: None,
    }
}

fn limits() -> Limits {
    Limits {
        head_bytes: 32_768,
        headers: 100,
        body_bytes: 1 << 26,
        connections_per_core: 20_000,
        pipelined_requests: 16,
        calls_per_core: 10_000,
        memory_bytes: None,
    }
}

/// The backstop `aloomu` in au and `vendor-us`; `smart` tries the vendor first, `sovereign`
/// stays in au. The key `acme` has no limit, `all` may ask 60 times a minute.
pub fn config() -> Config {
    let mut aloomu = provider("aloomu", "au", "http://127.0.0.1:9101");
    aloomu.accreditation = Some(Accredited {
        authority: "au-accreditor".into(),
        hosts: ["127.0.0.1".into()].into(),
        valid_until: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 90),
    });
    aloomu.models.fallback = Some("aloomu-70b".into());
    let mut vendor = provider("vendor-us", "us", "http://127.0.0.1:9121");
    vendor.endpoints[0].prefix = "/v2".into();
    vendor.models.fallback = Some("frontier \"1\"".into());
    vendor.api_key = Some(Secret::new(b"sk-1".to_vec()));
    let au = JurisdictionSet::of(jurisdiction("au"));
    Config {
        instance: Instance {
            jurisdiction: jurisdiction("au"),
            listen: vec!["127.0.0.1:8080".parse().expect("an address")],
            admin: "127.0.0.1:9090".parse().expect("an address"),
            cores: Cores::Auto,
            driver: Driver::Auto,
            currency: None,
            expose_providers: false,
            groups: Groups::new(),
            tls: None,
        },
        limits: limits(),
        timeouts: Timeouts::default(),
        retry: Retry {
            max_attempts: NonZeroU32::new(3).expect("not zero"),
            budget_ratio: 0.2,
            budget_min: 3,
        },
        sinks: Vec::new(),
        market: Market {
            waiting_max: 100,
            interval: Duration::from_secs(300),
            price_cap: Price::MAX,
            adders: Vec::new(),
            bookings: BookingsFile {
                path: "/nowhere/reservations.redb".into(),
                named: false,
            },
        },
        ledger: None,
        otlp: None,
        audit: None,
        log: Log {
            format: LogFormat::Json,
            level: tracing::Level::INFO,
            access: true,
        },
        dns: Dns::default(),
        providers: vec![aloomu, vendor],
        capabilities: vec![
            capability("smart", vec![1, 0], JurisdictionSet::ALL),
            capability("sovereign", vec![0], au),
        ],
        keys: vec![
            key("acme", 7, Allowed::Some(vec![0])),
            Key {
                requests: Rate::new(60),
                ..key("all", 8, Allowed::All)
            },
        ],
        reservations: Vec::new(),
        warnings: Vec::new(),
    }
}
