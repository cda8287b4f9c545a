//! Endpoints that get no new calls, by an operator's word. It holds across reloads and live
//! upgrades, also while the endpoint is gone; a restart forgets it.

use std::collections::BTreeSet;

use crate::base::ids::ENDPOINTS_MAX;

/// Endpoints that drain, by the names of their providers and their URLs.
#[derive(Clone, Debug, Default)]
pub struct Drains(BTreeSet<(String, String)>);

/// Why an endpoint can't be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEndpoint {
    /// There is no provider of that name.
    #[error("no such provider")]
    Provider,
    /// The provider has no such endpoint.
    #[error("the provider has no such endpoint; /srp/v1/providers lists those that it has")]
    Endpoint,
    /// So many are draining that no more can be kept in mind.
    #[error("{ENDPOINTS_MAX} endpoints are draining already")]
    Many,
}

impl Drains {
    /// Whether an endpoint gets no new calls.
    pub fn has(&self, provider: &str, endpoint: &str) -> bool {
        // A lookup by borrowed halves of the key would need a type of its own; there are few.
        let mut all = self.0.iter();
        all.any(|(name, url)| name == provider && url == endpoint)
    }

    /// Every endpoint that drains: its provider's name and its URL.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, url)| (name.as_str(), url.as_str()))
    }

    /// Drains an endpoint, or ends that. True if it is a change.
    ///
    /// # Errors
    /// There are too many.
    pub fn set(
        &mut self,
        provider: &str,
        endpoint: &str,
        drain: bool,
    ) -> Result<bool, UnknownEndpoint> {
        let key = (provider.to_owned(), endpoint.to_owned());
        if !drain {
            return Ok(self.0.remove(&key));
        }
        if self.0.len() >= ENDPOINTS_MAX && !self.0.contains(&key) {
            return Err(UnknownEndpoint::Many);
        }
        Ok(self.0.insert(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_drains_until_it_is_told_otherwise() {
        let mut drains = Drains::default();
        assert_eq!(drains.set("fleet", "http://a", true), Ok(true));
        assert_eq!(drains.set("fleet", "http://a", true), Ok(false));
        assert!(drains.has("fleet", "http://a"));
        assert!(!drains.has("other", "http://a") && !drains.has("fleet", "http://b"));
        assert_eq!(drains.set("fleet", "http://b", false), Ok(false));
        assert_eq!(drains.set("fleet", "http://a", false), Ok(true));
        assert!(!drains.has("fleet", "http://a"));
    }

    #[test]
    fn so_many_are_kept_in_mind() {
        let mut drains = Drains::default();
        for number in 0..ENDPOINTS_MAX {
            assert_eq!(drains.set("fleet", &number.to_string(), true), Ok(true));
        }
        let more = drains.set("fleet", "one more", true);
        assert_eq!(more, Err(UnknownEndpoint::Many));
        assert_eq!(drains.set("fleet", "0", true), Ok(false));
    }
}
