//! Ids for names. A name that goes away with a reload keeps its id, and has its counters, its
//! breaker and what it has used of its limits back when it returns. Only endpoints may come and go
//! for months: when their ids have run out, that of the one that has been gone for longest is given
//! to another, once nobody can have anything to do with it any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::base::ids::{CAPABILITIES_MAX, ENDPOINTS_MAX, KEYS_MAX, PROVIDERS_MAX};
use crate::base::{CapabilityId, EndpointId, KeyId, Moment, ProviderId};
use crate::market::Place;
use crate::policy::residency::Jurisdiction;
use crate::tables::routes::Called;
use crate::tables::{Meter, MeterId, Reserve, ReserveId};
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

/// Where something is reserved.
type Somewhere = Place<ProviderId, Jurisdiction>;

/// New endpoints that there is to be room for.
const ROOM_MIN: usize = 256;

/// One kind's names.
#[derive(Debug)]
struct Table<K> {
    kind: &'static str,
    max: usize,
    ids: HashMap<K, u16>,
    /// Ids that were given back.
    free: Vec<u16>,
}

impl<K: std::hash::Hash + Eq> Table<K> {
    fn new(kind: &'static str, max: usize) -> Table<K> {
        Table {
            kind,
            max,
            ids: HashMap::new(),
            free: Vec::new(),
        }
    }

    /// Takes an id away from its name.
    fn free(&mut self, id: u16) {
        self.ids.retain(|_, known| *known != id);
        self.free.push(id);
    }

    /// The name's id; `added` is told it if it is a new one.
    fn id(&mut self, key: K, name: &str, added: impl FnOnce(u16)) -> Result<u16, RegistryFull> {
        if let Some(id) = self.ids.get(&key) {
            return Ok(*id);
        }
        // Those that were given back are below all that were never given out.
        let fresh = u16::try_from(self.ids.len() + self.free.len()).ok();
        let fresh = fresh.filter(|id| usize::from(*id) < self.max);
        let Some(id) = fresh.or_else(|| self.free.pop()) else {
            return Err(RegistryFull {
                kind: self.kind,
                name: name.to_owned(),
                max: self.max,
            });
        };
        self.ids.insert(key, id);
        added(id);
        Ok(id)
    }
}

/// Every name that this process has seen, with its id.
#[derive(Debug)]
pub struct Registry {
    names: Arc<Names>,
    called: Arc<Called>,
    providers: Table<String>,
    endpoints: Table<(ProviderId, String)>,
    capabilities: Table<String>,
    keys: Table<String>,
    /// Endpoints that no table has, and since when.
    gone: BTreeMap<EndpointId, Moment>,
    /// Ids that have just been given to others.
    recycled: Vec<EndpointId>,
    meters: HashMap<KeyId, MeterId>,
    meter_list: Vec<Arc<Meter>>,
    reserves: HashMap<(KeyId, Somewhere), ReserveId>,
    reserve_list: Vec<Arc<Reserve>>,
}

impl Registry {
    /// No names yet; those to come are written to `names` too.
    pub fn new(names: Arc<Names>) -> Registry {
        Registry {
            names,
            called: Arc::default(),
            providers: Table::new("provider", PROVIDERS_MAX),
            endpoints: Table::new("endpoint", ENDPOINTS_MAX),
            capabilities: Table::new("capability", CAPABILITIES_MAX),
            keys: Table::new("key", KEYS_MAX),
            gone: BTreeMap::new(),
            recycled: Vec::new(),
            meters: HashMap::new(),
            meter_list: Vec::new(),
            reserves: HashMap::new(),
            reserve_list: Vec::new(),
        }
    }

    /// The names by id.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The names of keys and capabilities, for the tables.
    pub fn called(&self) -> &Arc<Called> {
        &self.called
    }

    /// A provider's id.
    ///
    /// # Errors
    /// The table is full.
    pub fn provider(&mut self, name: &str) -> Result<ProviderId, RegistryFull> {
        let added = |_| self.names.write().providers.push(name.to_owned());
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
        let added = |id| self.names.write().set_endpoint(EndpointId(id), key.clone());
        let id = self.endpoints.id(key.clone(), url, added)?;
        self.gone.remove(&EndpointId(id));
        Ok(EndpointId(id))
    }

    /// The id that a provider's endpoint has, if it has one.
    pub fn known_endpoint(&self, provider: &str, url: &str) -> Option<EndpointId> {
        let provider = ProviderId(*self.providers.ids.get(provider)?);
        let key = (provider, url.to_owned());
        self.endpoints.ids.get(&key).copied().map(EndpointId)
    }

    /// Notes which endpoints the tables have. When room for new ones runs short, the ids of those
    /// that have been gone for `rest` are set free, the longest gone first.
    pub fn keep_endpoints(&mut self, used: &BTreeSet<EndpointId>, now: Moment, rest: Duration) {
        for &id in self.endpoints.ids.values() {
            let id = EndpointId(id);
            if used.contains(&id) {
                self.gone.remove(&id);
            } else {
                self.gone.entry(id).or_insert(now);
            }
        }
        let room = self.endpoints.max - self.endpoints.ids.len();
        let mut rested: Vec<(Moment, EndpointId)> = self
            .gone
            .iter()
            .filter(|&(_, &since)| now.since(since) >= rest)
            .map(|(&id, &since)| (since, id))
            .collect();
        rested.sort_unstable();
        for (_, id) in rested.into_iter().take(ROOM_MIN.saturating_sub(room)) {
            self.gone.remove(&id);
            self.endpoints.free(id.0);
            self.recycled.push(id);
        }
    }

    /// The ids that were set free since this was last asked: whatever is kept by them is to be
    /// forgotten, before they are published under another name.
    pub fn take_recycled(&mut self) -> Vec<EndpointId> {
        std::mem::take(&mut self.recycled)
    }

    /// A capability's id.
    ///
    /// # Errors
    /// The table is full.
    pub fn capability(&mut self, name: &str) -> Result<CapabilityId, RegistryFull> {
        let added = |_| {
            self.names.write().capabilities.push(name.to_owned());
            Arc::make_mut(&mut self.called)
                .capabilities
                .push(name.into());
        };
        let id = self.capabilities.id(name.to_owned(), name, added)?;
        Ok(CapabilityId(id))
    }

    /// A client key's id.
    ///
    /// # Errors
    /// The table is full.
    pub fn key(&mut self, name: &str) -> Result<KeyId, RegistryFull> {
        let added = |_| {
            self.names.write().keys.push(name.to_owned());
            Arc::make_mut(&mut self.called).keys.push(name.into());
        };
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

    /// Where it is kept what a key has reserved at a place, and what of it is in use: a new place
    /// for what was never reserved.
    pub fn reserve(&mut self, key: KeyId, at: Somewhere) -> ReserveId {
        *self.reserves.entry((key, at)).or_insert_with(|| {
            self.reserve_list.push(Arc::default());
            // Keys and places, each 16 bits at most, and far fewer that ever met.
            ReserveId((self.reserve_list.len() - 1) as u32)
        })
    }

    /// Every reserve, by [`ReserveId`].
    pub fn reserves(&self) -> &[Arc<Reserve>] {
        &self.reserve_list
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

    fn used(ids: &[EndpointId]) -> BTreeSet<EndpointId> {
        ids.iter().copied().collect()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn hours(count: u64) -> Moment {
        Moment(count * 3_600_000_000)
    }

    #[test]
    fn an_endpoint_that_returns_while_there_is_room_has_its_id_back() {
        let mut registry = Registry::new(Arc::new(Names::new()));
        let fleet = registry.provider("fleet").expect("room");
        let first = registry.endpoint(fleet, "http://a").expect("room");
        registry.keep_endpoints(&used(&[]), hours(0), HOUR);
        registry.keep_endpoints(&used(&[]), hours(99), HOUR);
        assert_eq!(registry.take_recycled(), []);
        assert_eq!(registry.endpoint(fleet, "http://a"), Ok(first));
        assert_eq!(registry.known_endpoint("fleet", "http://a"), Some(first));
        assert_eq!(registry.known_endpoint("other", "http://a"), None);
    }

    #[test]
    fn ids_are_given_to_others_when_they_have_rested_the_longest_gone_first() {
        let names = Arc::new(Names::new());
        let mut registry = Registry::new(Arc::clone(&names));
        let fleet = registry.provider("fleet").expect("room");
        let mut all = Vec::new();
        for number in 0..ENDPOINTS_MAX {
            let id = registry.endpoint(fleet, &format!("http://{number}"));
            all.push(id.expect("room"));
        }
        assert!(registry.endpoint(fleet, "http://one-more").is_err());
        // The first half has gone, one of it an hour later than the others.
        let (gone, stay) = all.split_at(ENDPOINTS_MAX / 2);
        registry.keep_endpoints(&used(&[stay, &gone[..1]].concat()), hours(0), HOUR);
        registry.keep_endpoints(&used(stay), hours(1), HOUR + HOUR);
        assert_eq!(
            registry.take_recycled(),
            [],
            "nobody has rested for two hours"
        );
        assert!(registry.endpoint(fleet, "http://one-more").is_err());
        registry.keep_endpoints(&used(stay), hours(2), HOUR + HOUR);
        let recycled = registry.take_recycled();
        assert_eq!(recycled.len(), ROOM_MIN);
        assert!(recycled.iter().all(|id| gone[1..].contains(id)));
        let new = registry.endpoint(fleet, "http://one-more").expect("room");
        assert!(recycled.contains(&new));
        assert_eq!(names.read().endpoint(new), "http://one-more");
        assert_eq!(names.read().endpoints.len(), ENDPOINTS_MAX);
        let back = registry.endpoint(fleet, "http://0").expect("room");
        assert_eq!(back, gone[0], "it has not rested yet");
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
