//! Ids back to names, for those who write lines: the log thread and the admin plane. The office
//! adds names when it loads a configuration; none is taken away, but an endpoint's may be replaced
//! by another's long after it has gone.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::base::{CapabilityId, EndpointId, KeyId, ProviderId};

/// The text of an error code by its index ([`crate::openai`]'s; a lower room can't import it).
pub type CodeNames = fn(usize) -> &'static str;

/// Names by id.
#[derive(Clone, Debug, Default)]
pub struct NameLists {
    /// Provider names.
    pub providers: Vec<String>,
    /// For each endpoint, its provider and its URL.
    pub endpoints: Vec<(ProviderId, String)>,
    /// Capability names.
    pub capabilities: Vec<String>,
    /// Key names.
    pub keys: Vec<String>,
}

impl NameLists {
    /// A provider's name; `?` if the id was never given out.
    pub fn provider(&self, id: ProviderId) -> &str {
        self.providers.get(id.index()).map_or("?", String::as_str)
    }

    /// An endpoint's URL; `?` if the id was never given out.
    pub fn endpoint(&self, id: EndpointId) -> &str {
        self.endpoints
            .get(id.index())
            .map_or("?", |(_, url)| url.as_str())
    }

    /// Names an endpoint: a new one, or one in the place of another that is gone.
    pub fn set_endpoint(&mut self, id: EndpointId, name: (ProviderId, String)) {
        match self.endpoints.get_mut(id.index()) {
            Some(place) => *place = name,
            None => self.endpoints.push(name),
        }
    }

    /// A capability's name; `?` if the id was never given out.
    pub fn capability(&self, id: CapabilityId) -> &str {
        self.capabilities
            .get(id.index())
            .map_or("?", String::as_str)
    }

    /// A key's name; `?` if the id was never given out.
    pub fn key(&self, id: KeyId) -> &str {
        self.keys.get(id.index()).map_or("?", String::as_str)
    }
}

/// The names, shared between the office (which adds) and the writers of lines. No core reads it.
#[derive(Debug, Default)]
pub struct Names(RwLock<NameLists>);

impl Names {
    /// No names yet.
    pub fn new() -> Names {
        Names::default()
    }

    /// The names, held for a batch of lines.
    pub fn read(&self) -> RwLockReadGuard<'_, NameLists> {
        self.0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The names, to be added to by the office.
    pub fn write(&self) -> RwLockWriteGuard<'_, NameLists> {
        self.0
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
