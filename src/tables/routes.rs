//! What the configuration means for a call: keys, capabilities, chains, providers. Built by the
//! office from a checked [`Config`](crate::config::Config), copied by each core.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;

use crate::base::{CapabilityId, EndpointId, KeyId, ProviderId, Secret};
use crate::policy::breaker::BreakerConfig;
use crate::policy::chain::Chain;
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::residency::{Groups, Jurisdiction, JurisdictionSet};

/// The tables of one configuration.
#[derive(Clone)]
pub struct Routes {
    /// Client keys by SHA-256 digest.
    pub keys: HashMap<Digest, Key, BuildHasherDefault<DigestHasher>>,
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
    /// `instance.expose_providers`
    pub expose_providers: bool,
    /// `log.access`
    pub access_log: bool,
}

/// SHA-256 of a client key.
pub type Digest = [u8; 32];

/// A digest is already uniformly distributed: its first eight bytes are hash enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// A client key's rights.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Positions in [`Routes::capabilities`] that it may ask for, as a bit set.
    pub capabilities: CapabilitySet,
    /// Its residency floor.
    pub residency: JurisdictionSet,
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
    /// Sent as `Authorization: Bearer`; kept as the whole field line.
    pub api_key: Option<Secret>,
    /// Its time-outs.
    pub timeouts: Timeouts,
    /// Its breakers' figures.
    pub breaker: BreakerConfig,
}

/// An endpoint of a provider.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where to connect: the literal address, or what its name resolved to inside the pinned
    /// ranges. Empty while nothing is known: then it is not available.
    pub addresses: Vec<SocketAddr>,
    /// The `Host` field value.
    pub authority: Box<str>,
    /// What goes in front of `/chat/completions`.
    pub prefix: Box<str>,
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

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
    fn a_digest_is_hashed_by_its_first_bytes() {
        let hash = |digest: Digest| BuildHasherDefault::<DigestHasher>::default().hash_one(digest);
        let mut digest = [7; 32];
        assert_eq!(hash(digest), u64::from_ne_bytes([7; 8]));
        digest[0] = 8;
        assert_ne!(hash(digest), hash([7; 32]));
    }
}
