//! What the configuration means for a call: keys, capabilities, chains, providers. Built by the
//! office from a checked [`Config`](crate::config::Config), copied by each core.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::market::{Reserve, ReserveId};
use super::meter::{Meter, MeterId};
use super::scatter::Scatter;
use crate::base::{CapabilityId, EndpointId, KeyDigest, KeyId, ProviderId, Secret};
use crate::market::{Place, Price, Supply};
use crate::net::{ClientTls, ServerTls};
use crate::policy::balance::Balance;
use crate::policy::breaker::BreakerConfig;
use crate::policy::chain::Chain;
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::residency::{Groups, Jurisdiction, JurisdictionSet};

/// The tables of one configuration.
#[derive(Clone)]
pub struct Routes {
    /// Client keys.
    pub keys: Keys,
    /// What the cores share about the limits of keys, by [`MeterId`]. Only grows from one
    /// configuration to the next.
    pub meters: Vec<Arc<Meter>>,
    /// What the cores share of keys' reservations, by [`ReserveId`]. Only grows, as `meters` does.
    pub reserves: Vec<Arc<Reserve>>,
    /// Where keys have reservations; each [`Key`] has a part of it.
    pub rights: Vec<Right>,
    /// Capabilities, in file order.
    pub capabilities: Vec<Capability>,
    /// Position in `capabilities`, by name.
    pub by_name: HashMap<Box<str>, u16>,
    /// Providers, in file order; a chain's links index it.
    pub providers: Vec<Provider>,
    /// Names for residency rules.
    pub groups: Groups,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]` of the instance.
    pub timeouts: Timeouts,
    /// `retry.max_attempts`
    pub max_attempts: u32,
    /// `market.waiting_max`
    pub waiting_max: u32,
    /// `instance.expose_providers`
    pub expose_providers: bool,
    /// `log.access`
    pub access_log: bool,
    /// What keys and capabilities are called, those of earlier configurations included.
    pub called: Arc<Called>,
    /// `[instance.tls]`: what new client connections begin with; none: plaintext.
    pub tls: Option<ServerTls>,
}

/// Names by id, for what is written by name. None is taken away.
#[derive(Clone, Debug, Default)]
pub struct Called {
    /// Keys.
    pub keys: Vec<Box<str>>,
    /// Capabilities.
    pub capabilities: Vec<Box<str>>,
}

impl Called {
    /// A key's name; nothing if the id is nobody's.
    pub fn key(&self, id: KeyId) -> &str {
        self.keys.get(id.index()).map_or("", |name| name)
    }

    /// A capability's name; nothing if the id is nobody's.
    pub fn capability(&self, id: CapabilityId) -> &str {
        self.capabilities.get(id.index()).map_or("", |name| name)
    }
}

/// Client keys by digest. How long a look-up takes tells nobody a digest: where a digest lies
/// depends on a random number of this process, and the entry that is found there is compared as
/// [`KeyDigest`]s are, in a time that doesn't depend on them.
pub type Keys = HashMap<KeyDigest, Key, Scatter>;

/// A client key's rights.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Positions in [`Routes::capabilities`] that it may ask for, as a bit set.
    pub capabilities: CapabilitySet,
    /// Its residency floor.
    pub residency: JurisdictionSet,
    /// Where its limits are, if it has one.
    pub meter: Option<MeterId>,
    /// What its calls are if they don't say.
    pub supply: Supply,
    /// Its part of [`Routes::rights`]: the first, and how many.
    pub rights: (u32, u32),
}

/// That a key has reserved slots somewhere, in this hour or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Where.
    pub place: Place<ProviderId, Jurisdiction>,
    /// How many, and how many are in use.
    pub reserve: ReserveId,
}

impl Routes {
    /// Where the key has reservations.
    #[inline]
    pub fn rights_of(&self, key: &Key) -> &[Right] {
        let (first, count) = (key.rights.0 as usize, key.rights.1 as usize);
        self.rights.get(first..first + count).unwrap_or_default()
    }
}

/// A set of positions in [`Routes::capabilities`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet([u64; 4]);

impl CapabilitySet {
    /// Every capability, now and later.
    pub const ALL: CapabilitySet = CapabilitySet([u64::MAX; 4]);

    /// Adds a position below [`CAPABILITIES_MAX`](crate::base::ids::CAPABILITIES_MAX).
    pub fn insert(&mut self, position: u16) {
        self.0[usize::from(position >> 6) & 3] |= 1 << (position & 63);
    }

    /// Whether the position is in the set.
    #[inline]
    pub fn contains(&self, position: u16) -> bool {
        self.0[usize::from(position >> 6) & 3] >> (position & 63) & 1 == 1
    }
}

/// A capability.
#[derive(Clone, Debug)]
pub struct Capability {
    /// Its id.
    pub id: CapabilityId,
    /// What clients call it.
    pub name: Box<str>,
    /// Its residency floor.
    pub residency: JurisdictionSet,
    /// Who serves it, in order, the backstops last. A link's `provider` indexes
    /// [`Routes::providers`].
    pub chain: Chain,
    /// Whether firm calls go along the chain by price, as floating ones do.
    pub by_merit: bool,
    /// Whether a provider of the chain is told a call's `priority`.
    pub tells_priority: bool,
    /// For each link of the chain, the provider's name for the model.
    pub models: Vec<Model>,
}

/// What replaces the client's `model` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// In a form: as it is.
    pub plain: Box<[u8]>,
    /// In JSON: as a string with its quotes.
    pub json: Box<[u8]>,
}

/// A provider.
#[derive(Clone)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// Its name, for `X-Sovereign-Provider`.
    pub name: Box<str>,
    /// Where it is.
    pub jurisdiction: Jurisdiction,
    /// Its replicas.
    pub endpoints: Vec<Endpoint>,
    /// Calls that it serves at the same time; none: as many as come.
    pub capacity: Option<NonZeroU32>,
    /// What work costs there, with the adder of its location.
    pub offer: Price,
    /// Sent as `Authorization: Bearer`; kept as the whole field line.
    pub api_key: Option<Secret>,
    /// Its time-outs.
    pub timeouts: Timeouts,
    /// Its breakers' figures.
    pub breaker: BreakerConfig,
    /// How one of its endpoints is chosen.
    pub balance: Balance,
    /// The first provider with a capacity at the same location, which stands for all of them where
    /// locations are counted. Itself if it has none.
    pub location: ProviderId,
    /// What firm and floating calls are called there, if it wants to know.
    pub tiers: Option<Box<Tiers>>,
}

/// What firm and floating calls are called at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// The member that says so.
    pub member: TierMember,
    /// Its value for a firm call, as JSON; none: as the client wrote it.
    pub firm: Option<Box<[u8]>>,
    /// Its value for a floating call.
    pub floating: Option<Box<[u8]>>,
}

/// In which member of a request a provider is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierMember {
    /// OpenAI's `service_tier`.
    ServiceTier,
    /// vLLM's `priority`.
    Priority,
}

/// An endpoint of a provider.
#[derive(Clone)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where to connect: the literal address, or what its name resolved to inside the pinned
    /// ranges. Empty while nothing is known: then it is not available.
    pub addresses: Vec<SocketAddr>,
    /// A hash of its URL, by which all cores and instances prefer the same endpoint for the same
    /// conversation.
    pub rank: u64,
    /// Its part of the provider's capacity, if that has one and there are several endpoints.
    pub calls_max: Option<NonZeroU32>,
    /// The `Host` field value.
    pub authority: Box<str>,
    /// What goes in front of `/chat/completions`.
    pub prefix: Box<str>,
    /// What connections to it begin with; none: plaintext.
    pub tls: Option<ClientTls>,
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::base::ids::CAPABILITIES_MAX;

    #[test]
    fn a_capability_set_holds_what_was_put_in_and_nothing_else() {
        for position in 0..CAPABILITIES_MAX as u16 {
            let mut set = CapabilitySet::default();
            set.insert(position);
            let held = (0..CAPABILITIES_MAX as u16).filter(|&at| set.contains(at));
            assert_eq!(held.collect::<Vec<_>>(), [position]);
            assert!(CapabilitySet::ALL.contains(position));
        }
    }

    #[test]
    fn a_key_is_found_by_its_digest_and_no_other() {
        let digest = |id: u16| KeyDigest::of(&id.to_be_bytes());
        let key = |id| Key {
            id: KeyId(id),
            capabilities: CapabilitySet::ALL,
            residency: JurisdictionSet::ALL,
            meter: None,
            supply: Supply::Floating,
            rights: (0, 0),
        };
        let keys: Keys = (0..1000).map(|id| (digest(id), key(id))).collect();
        let found = |id| keys.get(&digest(id)).map(|key| key.id.0);
        assert!((0..1000).all(|id| found(id) == Some(id)));
        assert!((1000..2000).all(|id| found(id).is_none()));
        // All but one bit of what the table looks at first.
        let mut near: [u8; 32] = Sha256::digest(7u16.to_be_bytes()).into();
        assert!(keys.contains_key(&KeyDigest::from(near)));
        near[31] ^= 1;
        assert!(!keys.contains_key(&KeyDigest::from(near)));
    }
}
