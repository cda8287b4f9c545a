//! Ids for names. An id is given out once: a name that goes away with a reload keeps its id, and
//! has its counters, its breaker and what it has used of its limits back when it returns.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use crate::base::ids::{CAPABILITIES_MAX, ENDPOINTS_MAX, KEYS_MAX, PROVIDERS_MAX};
use crate::base::{CapabilityId, EndpointId, KeyId, ProviderId};
use crate::tables::{Meter, MeterId};
use crate::telemetry::Names;

/// A table of ids is full: one process has seen more names of a kind than it can count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no id is left for {kind} {name:?}: this process has seen {max} different ones, those of \
     earlier configurations included; a restart forgets them"
)]
pub struct RegistryFull {
    /// What kind of name.
    pub kind: &'static str,
    /// Which name.
    pub name: String,
    /// How many ids there are.
    pub max: usize,
}

/// One kind's names.
#[derive(Debug)]
struct Table<K> {
    kind: &'static str,
    max: usize,
    ids: HashMap<K, u16>,
}

impl<K: std::hash::Hash + Eq> Table<K> {
    fn new(kind: &'static str, max: usize) -> Table<K> {
        Table {
            kind,
            max,
            ids: HashMap::new(),
        }
    }

    /// The name's id; `added` runs if it is a new one.
    fn id(&mut self, key: K, name: &str, added: impl FnOnce()) -> Result<u16, RegistryFull> {
        if let Some(id) = self.ids.get(&key) {
            return Ok(*id);
        }
        let next = u16::try_from(self.ids.len()).ok();
        let Some(id) = next.filter(|id| usize::from(*id) < self.max) else {
            return Err(RegistryFull {
                kind: self.kind,
                name: name.to_owned(),
                max: self.max,
            });
        };
        self.ids.insert(key, id);
        added();
        Ok(id)
    }
}

/// Every name that this process has seen, with its id.
#[derive(Debug)]
pub struct Registry {
    names: Arc<Names>,
    providers: Table<String>,
    endpoints: Table<(ProviderId, String)>,
    capabilities: Table<String>,
    keys: Table<String>,
    meters: HashMap<KeyId, MeterId>,
    meter_list: Vec<Arc<Meter>>,
}

impl Registry {
    /// No names yet; those to come are written to `names` too.
    pub fn new(names: Arc<Names>) -> Registry {
        Registry {
            names,
            providers: Table::new("provider", PROVIDERS_MAX),
            endpoints: Table::new("endpoint", ENDPOINTS_MAX),
            capabilities: Table::new("capability", CAPABILITIES_MAX),
            keys: Table::new("key", KEYS_MAX),
            meters: HashMap::new(),
            meter_list: Vec::new(),
        }
    }

    /// The names by id.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// A provider's id.
    ///
    /// # Errors
    /// The table is full.
    pub fn provider(&mut self, name: &str) -> Result<ProviderId, RegistryFull> {
        let added = || self.names.write().providers.push(name.to_owned());
        let id = self.providers.id(name.to_owned(), name, added)?;
        Ok(ProviderId(id))
    }

    /// The id of a provider's endpoint.
    ///
    /// # Errors
    /// The table is full.
    pub fn endpoint(
        &mut self,
        provider: ProviderId,
        url: &str,
    ) -> Result<EndpointId, RegistryFull> {
        let key = (provider, url.to_owned());
        let added = || self.names.write().endpoints.push(key.clone());
        let id = self.endpoints.id(key.clone(), url, added)?;
        Ok(EndpointId(id))
    }

    /// A capability's id.
    ///
    /// # Errors
    /// The table is full.
    pub fn capability(&mut self, name: &str) -> Result<CapabilityId, RegistryFull> {
        let added = || self.names.write().capabilities.push(name.to_owned());
        let id = self.capabilities.id(name.to_owned(), name, added)?;
        Ok(CapabilityId(id))
    }

    /// A client key's id.
    ///
    /// # Errors
    /// The table is full.
    pub fn key(&mut self, name: &str) -> Result<KeyId, RegistryFull> {
        let added = || self.names.write().keys.push(name.to_owned());
        let id = self.keys.id(name.to_owned(), name, added)?;
        Ok(KeyId(id))
    }

    /// Where a key's limits are kept: a new place for a key that never had one.
    pub fn meter(&mut self, key: KeyId) -> MeterId {
        *self.meters.entry(key).or_insert_with(|| {
            self.meter_list.push(Arc::default());
            // There are no more of them than keys, whose ids fit.
            MeterId((self.meter_list.len() - 1) as u16)
        })
    }

    /// Every key's limits, by [`MeterId`].
    pub fn meters(&self) -> &[Arc<Meter>] {
        &self.meter_list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id_and_an_id_its_name() {
        let names = Arc::new(Names::new());
        let mut registry = Registry::new(Arc::clone(&names));
        let first = registry.provider("a").expect("room");
        let second = registry.provider("b").expect("room");
        assert_eq!(registry.provider("a"), Ok(first));
        assert_ne!(first, second);
        let replica = registry.endpoint(first, "http://h").expect("room");
        let other = registry.endpoint(second, "http://h").expect("room");
        assert_ne!(replica, other, "an endpoint belongs to its provider");
        assert_eq!(registry.endpoint(first, "http://h"), Ok(replica));
        let smart = registry.capability("smart").expect("room");
        let acme = registry.key("acme").expect("room");
        let beta = registry.key("beta").expect("room");
        let meters = [acme, beta, acme].map(|key| registry.meter(key));
        assert_eq!(meters, [0, 1, 0].map(MeterId));
        assert_eq!(registry.meters().len(), 2);
        let names = names.read();
        assert_eq!(names.provider(second), "b");
        assert_eq!(names.endpoints[other.index()], (second, "http://h".into()));
        assert_eq!(
            (names.capability(smart), names.key(acme)),
            ("smart", "acme")
        );
    }

    #[test]
    fn a_full_table_says_which_and_keeps_what_it_has() {
        let names = Arc::new(Names::new());
        let mut registry = Registry::new(Arc::clone(&names));
        for number in 0..PROVIDERS_MAX {
            registry.provider(&format!("p{number}")).expect("room");
        }
        let full = registry.provider("one-more").expect_err("full");
        assert!(full.to_string().contains("provider \"one-more\""), "{full}");
        assert!(full.to_string().contains("256"), "{full}");
        assert_eq!(registry.provider("p255"), Ok(ProviderId(255)));
        assert_eq!(names.read().providers.len(), PROVIDERS_MAX);
    }
}
