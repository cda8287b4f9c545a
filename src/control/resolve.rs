//! Names become addresses here, off the cores: `getaddrinfo` blocks for as long as it likes. What
//! a name resolves to is used only inside the ranges that its provider pins, so that DNS can't
//! move a call abroad (SRP section 3).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{self, Config};

/// Addresses that are kept of one name.
pub const ADDRESSES_MAX: usize = 16;

/// How long one lookup may take before it counts as failed.
pub const LOOKUP_WITHIN: Duration = Duration::from_secs(10);

/// Last good addresses by host name.
#[derive(Clone, Debug, Default)]
pub struct Resolved(HashMap<String, Vec<IpAddr>>);

impl Resolved {
    /// What a host is known to resolve to: itself if it is an address, nothing if no lookup has
    /// succeeded yet.
    pub fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match host.parse::<IpAddr>() {
            Ok(literal) => vec![literal],
            Err(_) => self.0.get(host).cloned().unwrap_or_default(),
        }
    }

    /// Whether a lookup has succeeded, or none is needed.
    pub fn is_known(&self, host: &str) -> bool {
        host.parse::<IpAddr>().is_ok() || self.0.contains_key(host)
    }

    /// Takes a lookup's result in; true if it says something new. The same addresses in another
    /// order (round robin) do not.
    pub fn set(&mut self, host: &str, mut addresses: Vec<IpAddr>) -> bool {
        addresses.truncate(ADDRESSES_MAX);
        let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
        let known = self.0.get(host);
        if known.is_some_and(|known| set(known) == set(&addresses)) {
            return false;
        }
        self.0.insert(host.to_owned(), addresses);
        true
    }

    /// Forgets hosts that no endpoint has any more.
    pub fn keep(&mut self, hosts: &BTreeSet<String>) {
        self.0.retain(|host, _| hosts.contains(host));
    }
}

/// The addresses that the provider admits, with the port, and those that it doesn't.
pub fn pinned(
    provider: &config::Provider,
    addresses: Vec<IpAddr>,
    port: u16,
) -> (Vec<SocketAddr>, Vec<IpAddr>) {
    // An IPv4-mapped address reaches the IPv4 host: it is judged, and connected to, as that one.
    let canonical = addresses.iter().map(IpAddr::to_canonical);
    let (inside, outside): (Vec<_>, Vec<_>) = canonical.partition(|it| provider.admits(*it));
    let with_port = |address| SocketAddr::new(address, port);
    (inside.into_iter().map(with_port).collect(), outside)
}

/// The host names of a configuration that need a lookup.
pub fn host_names(config: &Config) -> BTreeSet<String> {
    let endpoints = config.providers.iter().flat_map(|p| &p.endpoints);
    let names = endpoints.filter(|endpoint| endpoint.host.parse::<IpAddr>().is_err());
    names.map(|endpoint| endpoint.host.clone()).collect()
}

/// What the lookups of some names came to.
pub type Lookups = Vec<(String, io::Result<Vec<IpAddr>>)>;

/// Looks names up side by side, in the runtime's bounded pool of helper threads.
pub async fn look_up(hosts: BTreeSet<String>) -> Lookups {
    let mut lookups = JoinSet::new();
    for host in hosts {
        lookups.spawn(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0));
            let result = match tokio::time::timeout(LOOKUP_WITHIN, found).await {
                Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            };
            (host, result)
        });
    }
    lookups.join_all().await
}

#[cfg(test)]
mod tests {
    use super::super::testing::provider;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_mapped_address_is_judged_by_what_it_reaches() {
        let mut fleet = provider("fleet", "au", "http://inference.example:80");
        fleet.addresses = vec!["10.0.0.0/8".parse().expect("a range")];
        let found = ["::ffff:10.0.0.1", "::ffff:192.0.2.1", "10.9.9.9"].map(ip);
        let (inside, outside) = pinned(&fleet, found.to_vec(), 80);
        assert_eq!(
            inside,
            [(ip("10.0.0.1"), 80).into(), (ip("10.9.9.9"), 80).into()]
        );
        assert_eq!(outside, [ip("192.0.2.1")]);
    }

    #[test]
    fn so_many_addresses_are_kept_of_a_name() {
        let mut resolved = Resolved::default();
        let many: Vec<_> = (0..20).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert!(resolved.set("inference.example", many.clone()));
        let kept = resolved.addresses("inference.example");
        assert_eq!(kept, many[..ADDRESSES_MAX]);
    }

    #[test]
    fn the_same_addresses_in_another_order_are_no_news() {
        let mut resolved = Resolved::default();
        assert!(!resolved.is_known("h"));
        assert!(resolved.set("h", vec![ip("10.0.0.1"), ip("10.0.0.2")]));
        assert!(!resolved.set("h", vec![ip("10.0.0.2"), ip("10.0.0.1")]));
        assert_eq!(resolved.addresses("h"), [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert!(resolved.set("h", vec![ip("10.0.0.2")]));
        resolved.keep(&BTreeSet::new());
        assert!(!resolved.is_known("h"));
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_a_failure_is_told() {
        let names = ["localhost", "nowhere.invalid"].map(str::to_owned);
        let mut found = look_up(BTreeSet::from(names)).await;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let addresses = found[0].1.as_ref().expect("localhost is known");
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
        assert!(found[1].1.is_err());
    }
}
