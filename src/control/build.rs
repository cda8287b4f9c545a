//! A configuration becomes the tables that cores decide by.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

use super::discovery::fleet::Fleet;
use super::discovery::known::{Known, pinned};
use super::market::book::{Booking, BookingError, Origin, Where};
use super::market::store::StoreError;
use super::registry::{Registry, RegistryFull};
use crate::base::{KeyId, ProviderId, Secret};
use crate::config::{self, Allowed, Config, ReservedAt};
use crate::market::{Place, Price};
use crate::policy::balance::hash::hash;
use crate::policy::chain::{Chain, ChainError, Link};
use crate::tables::Routes;
use crate::tables::routes::{
    Capability, CapabilitySet, Endpoint, Key, Keys, Model, Provider, Right, TierMember, Tiers,
};

/// Why a valid configuration can't be put in force.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Too many names over the life of the process.
    #[error(transparent)]
    Full(#[from] RegistryFull),
    /// A chain that can't be one.
    #[error("capability {capability:?}: {error}")]
    Chain {
        /// Whose chain.
        capability: String,
        /// What is wrong with it.
        error: ChainError,
    },
    /// What was booked can't be read.
    #[error(transparent)]
    Bookings(#[from] StoreError),
    /// A booking that doesn't fit into this configuration's capacities, or whose key or provider it
    /// doesn't have.
    #[error("the reservation {origin} was booked, and this configuration can't keep it: {error}")]
    Booked {
        /// Which.
        origin: Origin,
        /// Why not.
        error: BookingError,
    },
    /// A model name that JSON can't hold.
    #[error("provider {provider:?}: its model for {capability:?} is not text: {error}")]
    Model {
        /// Whose model.
        provider: String,
        /// For what.
        capability: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl From<(Booking, BookingError)> for BuildError {
    fn from((booking, error): (Booking, BookingError)) -> BuildError {
        let origin = booking.origin;
        BuildError::Booked { origin, error }
    }
}

/// Builds the tables of a configuration with the endpoints and addresses known now. Endpoints
/// that `left_out` holds for get no calls: they are in no table.
///
/// # Errors
/// See [`BuildError`]; the registry keeps ids that were given out before the error.
pub fn build(
    config: &Config,
    fleet: &Fleet,
    known: &Known,
    left_out: impl Fn(&str, &str) -> bool,
    registry: &mut Registry,
    booked: &[Booking],
) -> Result<Routes, BuildError> {
    let mut providers = Vec::with_capacity(config.providers.len());
    for (position, provider) in config.providers.iter().enumerate() {
        let adder = config.market.adder(&provider.location);
        let endpoints = fleet.of(position).iter();
        let endpoints = endpoints.filter(|it| !left_out(&provider.name, &it.url));
        providers.push(build_provider(
            (provider, adder),
            endpoints,
            registry,
            known,
        )?);
    }
    locate(config, &mut providers);
    let mut capabilities = Vec::with_capacity(config.capabilities.len());
    for capability in &config.capabilities {
        capabilities.push(build_capability(capability, config, registry)?);
    }
    let names = capabilities
        .iter()
        .map(|capability| capability.name.clone());
    let by_name = names.zip(0..).collect();
    let (mut keys, mut rights) = (Keys::default(), Vec::new());
    for (position, key) in config.keys.iter().enumerate() {
        let id = registry.key(&key.name)?;
        let limited = key.requests.is_some() || key.tokens.is_some();
        let places = places(config, position, id, &providers, booked);
        let mine: Vec<Right> = places
            .into_iter()
            .map(|place| Right {
                place,
                reserve: registry.reserve(id, place),
            })
            .collect();
        let right = Key {
            id,
            capabilities: allowed(&key.capabilities),
            residency: key.residency,
            meter: limited.then(|| registry.meter(id)),
            supply: key.supply,
            rights: (rights.len() as u32, mine.len() as u32),
        };
        rights.extend(mine);
        keys.insert(key.sha256, right);
    }
    Ok(Routes {
        keys,
        meters: registry.meters().to_vec(),
        reserves: registry.reserves().to_vec(),
        rights,
        capabilities,
        by_name,
        providers,
        groups: config.instance.groups.clone(),
        limits: config.limits,
        timeouts: config.timeouts,
        max_attempts: config.retry.max_attempts.get(),
        waiting_max: config.market.waiting_max,
        expose_providers: config.instance.expose_providers,
        access_log: config.log.access,
        called: Arc::clone(registry.called()),
        tls: config.instance.tls.as_ref().map(|tls| tls.server.clone()),
    })
}

/// Where a key has reservations, of the file and booked, each place once.
fn places(
    config: &Config,
    key: usize,
    id: KeyId,
    providers: &[Provider],
    booked: &[Booking],
) -> Vec<Where> {
    let of_file = config.reservations.iter().filter(|it| it.key == key);
    let of_file = of_file.filter_map(|it| match it.place {
        ReservedAt::Provider(at) => Some(Place::Provider(providers.get(at)?.id)),
        ReservedAt::Jurisdiction(zone) => Some(Place::Zone(zone)),
    });
    let booked = booked.iter().filter(|it| it.key == id);
    let mut places: Vec<Where> = Vec::new();
    for place in of_file.chain(booked.map(|it| it.reservation.place)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn allowed(capabilities: &Allowed) -> CapabilitySet {
    match capabilities {
        Allowed::All => CapabilitySet::ALL,
        Allowed::Some(positions) => {
            let mut set = CapabilitySet::default();
            // A position fits: ids run out long before.
            let positions = positions.iter().filter_map(|p| u16::try_from(*p).ok());
            positions.for_each(|position| set.insert(position));
            set
        }
    }
}

fn build_provider<'e>(
    (provider, adder): (&config::Provider, Price),
    endpoints: impl Iterator<Item = &'e config::Endpoint>,
    registry: &mut Registry,
    known: &Known,
) -> Result<Provider, BuildError> {
    let id = registry.provider(&provider.name)?;
    let endpoints = endpoints.map(|endpoint| {
        let found = known.addresses(&endpoint.host);
        let (addresses, _) = pinned(provider, found, endpoint.port);
        Ok(Endpoint {
            id: registry.endpoint(id, &endpoint.url)?,
            addresses,
            rank: hash(0, endpoint.url.as_bytes()),
            authority: endpoint.authority().into(),
            prefix: endpoint.prefix.as_str().into(),
            tls: endpoint.tls.clone(),
            calls_max: None,
        })
    });
    let mut endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, RegistryFull>>()?;
    if let (Some(capacity), 2..) = (provider.capacity, endpoints.len()) {
        let part = capacity.get().div_ceil(endpoints.len() as u32);
        endpoints
            .iter_mut()
            .for_each(|endpoint| endpoint.calls_max = NonZeroU32::new(part));
    }
    Ok(Provider {
        id,
        name: provider.name.as_str().into(),
        jurisdiction: provider.jurisdiction,
        endpoints,
        capacity: provider.capacity,
        offer: provider.price + adder,
        api_key: provider.api_key.as_ref().map(field_line),
        timeouts: provider.timeouts,
        breaker: provider.breaker,
        balance: provider.balance,
        location: id,
        tiers: tiers(&provider.tiers).map(Box::new),
    })
}

/// What firm and floating calls are called at a provider, as it is sent.
fn tiers(tiers: &config::Tiers) -> Option<Tiers> {
    let member = match tiers.firm.as_ref().or(tiers.floating.as_ref())? {
        config::Tier::Service(_) => TierMember::ServiceTier,
        config::Tier::Priority(_) => TierMember::Priority,
    };
    let value = |tier: &config::Tier| match tier {
        // Letters, digits and a few signs: nothing that JSON would escape.
        config::Tier::Service(name) => format!("\"{name}\"").into_bytes().into(),
        config::Tier::Priority(number) => number.to_string().into_bytes().into(),
    };
    Some(Tiers {
        member,
        firm: tiers.firm.as_ref().map(value),
        floating: tiers.floating.as_ref().map(value),
    })
}

/// Names each location by the first of its providers that has a capacity.
fn locate(config: &Config, providers: &mut [Provider]) {
    let mut first: HashMap<&str, ProviderId> = HashMap::new();
    for (configured, provider) in config.providers.iter().zip(providers) {
        if provider.capacity.is_some() {
            let location = configured.location.as_str();
            provider.location = *first.entry(location).or_insert(provider.id);
        }
    }
}

/// The credential as the line that is sent (RFC 6750 section 2.1).
fn field_line(key: &Secret) -> Secret {
    const NAME: &[u8] = b"authorization: Bearer ";
    // Of its final size at once: growing would leave pieces of the key behind in freed memory.
    let mut line = Vec::with_capacity(NAME.len() + key.expose().len() + 2);
    line.extend_from_slice(NAME);
    line.extend_from_slice(key.expose());
    line.extend_from_slice(b"\r\n");
    Secret::new(line)
}

fn build_capability(
    capability: &config::Capability,
    config: &Config,
    registry: &mut Registry,
) -> Result<Capability, BuildError> {
    let mut links = Vec::with_capacity(capability.chain.len());
    let mut models = Vec::with_capacity(capability.chain.len());
    for position in &capability.chain {
        let provider = &config.providers[*position];
        // The configuration promises a model for each link.
        let Some(model) = provider.models.get(&capability.name) else {
            continue;
        };
        let quoted = serde_json::to_vec(model).map_err(|error| BuildError::Model {
            provider: provider.name.clone(),
            capability: capability.name.clone(),
            error,
        })?;
        links.push(Link {
            // Ids have run out before positions do.
            provider: *position as u16,
            jurisdiction: provider.jurisdiction,
            backstop: provider.accreditation.is_some(),
        });
        models.push(Model {
            plain: model.as_bytes().into(),
            json: quoted.into(),
        });
    }
    let mut chain = Chain::new(links).map_err(|error| BuildError::Chain {
        capability: capability.name.clone(),
        error,
    })?;
    chain.set_costs(|link| {
        let provider = &config.providers[usize::from(link.provider)];
        (provider.price + config.market.adder(&provider.location)).micros()
    });
    Ok(Capability {
        id: registry.capability(&capability.name)?,
        name: capability.name.as_str().into(),
        residency: capability.residency,
        chain,
        by_merit: capability.order == config::Order::Merit,
        tells_priority: capability.chain.iter().any(|&position| {
            let tiers = &config.providers[position].tiers;
            let tier = tiers.firm.as_ref().or(tiers.floating.as_ref());
            matches!(tier, Some(config::Tier::Priority(_)))
        }),
        models,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::discovery::Source;
    use super::super::discovery::resolver::Answer;
    use super::super::discovery::survey::Found;
    use super::super::testing::{config, provider, routes_of};
    use super::*;
    use crate::base::KeyDigest;
    use crate::policy::residency::{Jurisdiction, JurisdictionSet};
    use crate::tables::MeterId;
    use crate::telemetry::Names;

    fn registry() -> Registry {
        Registry::new(Arc::new(Names::new()))
    }

    #[test]
    fn every_word_of_the_configuration_arrives() {
        let config = config();
        let routes = routes_of(&config, &mut registry()).expect("built");
        let vendor = &routes.providers[1];
        assert_eq!(&*vendor.name, "vendor-us");
        assert_eq!(vendor.jurisdiction.code(), "us");
        let line = vendor.api_key.as_ref().expect("a key");
        assert_eq!(line.expose(), b"authorization: Bearer sk-1\r\n");
        let endpoint = &vendor.endpoints[0];
        assert_eq!(
            endpoint.addresses,
            ["127.0.0.1:9121".parse().expect("address")]
        );
        assert_eq!(
            (&*endpoint.authority, &*endpoint.prefix),
            ("127.0.0.1:9121", "/v2")
        );
        let smart = &routes.capabilities[usize::from(routes.by_name["smart"])];
        let links: Vec<_> = smart
            .chain
            .links()
            .iter()
            .map(|l| (l.provider, l.backstop))
            .collect();
        assert_eq!(links, [(1, false), (0, true)]);
        assert_eq!(&*smart.models[0].json, br#""frontier \"1\"""#);
        assert_eq!(&*smart.models[1].json, br#""aloomu-70b""#);
        let key = &routes.keys[&KeyDigest::from([7; 32])];
        assert!(key.capabilities.contains(0) && !key.capabilities.contains(1));
        let all = &routes.keys[&KeyDigest::from([8; 32])];
        assert!(all.capabilities.contains(1));
        assert_eq!((key.meter, all.meter), (None, Some(MeterId(0))));
        assert_eq!(routes.meters.len(), 1);
        assert_eq!(routes.max_attempts, 3);
        assert!(routes.access_log && !routes.expose_providers);
        let au = Jurisdiction::parse("au").expect("a jurisdiction");
        assert_eq!(routes.capabilities[1].residency, JurisdictionSet::of(au));
    }

    #[test]
    fn ids_outlive_a_reload_that_moves_positions() {
        let mut registry = registry();
        let mut config = config();
        let before = routes_of(&config, &mut registry).expect("built");
        config
            .providers
            .insert(0, provider("new", "nz", "http://127.0.0.1:1"));
        for capability in &mut config.capabilities {
            capability
                .chain
                .iter_mut()
                .for_each(|position| *position += 1);
        }
        let after = routes_of(&config, &mut registry).expect("built");
        assert_eq!(after.providers[1].id, before.providers[0].id);
        let endpoint =
            |routes: &Routes, position: usize| routes.providers[position].endpoints[0].id;
        assert_eq!(endpoint(&after, 1), endpoint(&before, 0));
        assert_ne!(after.providers[0].id, before.providers[0].id);
    }

    #[test]
    fn an_address_outside_the_pinned_ranges_is_left_out() {
        let mut config = config();
        config.providers[0].addresses = vec!["10.0.0.0/8".parse().expect("a range")];
        config.providers[0].endpoints[0].host = "inference.example".into();
        let inside: IpAddr = "10.1.2.3".parse().expect("address");
        let outside: IpAddr = "192.0.2.1".parse().expect("address");
        let mut known = Known::default();
        let answer = Answer {
            records: vec![outside, inside],
            ttl: Duration::ZERO,
        };
        let name = Source::Name("inference.example".into());
        known.take_in(&name, Found::Addresses(answer));
        let (fleet, _) = Fleet::assemble(&config, &known, None);
        let built = build(&config, &fleet, &known, |_, _| false, &mut registry(), &[]);
        let routes = built.expect("built");
        let endpoint = &routes.providers[0].endpoints[0];
        assert_eq!(endpoint.addresses, [(inside, 9101).into()]);
        let [refused] = &fleet.outside(&config, &known)[..] else {
            panic!("one");
        };
        assert_eq!(refused.address, Some(outside));
        let built = build(
            &config,
            &fleet,
            &known,
            |name, _| name == "aloomu",
            &mut registry(),
            &[],
        );
        let routes = built.expect("built");
        assert!(routes.providers[0].endpoints.is_empty(), "left out");
        assert_eq!(routes.providers[1].endpoints.len(), 1);
    }

    #[test]
    fn a_literal_address_outside_the_pinned_ranges_is_left_out_too() {
        let mut config = config();
        config.providers[0].addresses = vec!["10.0.0.0/8".parse().expect("a range")];
        let routes = routes_of(&config, &mut registry()).expect("built");
        assert!(routes.providers[0].endpoints[0].addresses.is_empty());
    }
}
