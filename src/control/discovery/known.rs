//! What the sources last said. An answer stays until there is a better one: a file that broke, a
//! name server that is away, don't take a fleet out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::resolver::Server;
use super::survey::Found;
use super::{FilePath, Source};
use crate::config;
use crate::config::targets::{Pattern, Target};

/// Addresses that are kept of one name.
pub const ADDRESSES_MAX: usize = 16;

/// Last good answers.
#[derive(Clone, Debug, Default)]
pub struct Known {
    names: HashMap<String, Vec<IpAddr>>,
    services: HashMap<String, Vec<Server>>,
    files: HashMap<Pattern, BTreeMap<FilePath, Vec<Target>>>,
}

impl Known {
    /// What a host is known to resolve to: itself if it is an address, nothing if no lookup has
    /// succeeded yet.
    pub fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match host.parse::<IpAddr>() {
            Ok(literal) => vec![literal],
            Err(_) => self.names.get(host).cloned().unwrap_or_default(),
        }
    }

    /// The servers of a service.
    pub fn servers(&self, service: &str) -> &[Server] {
        self.services.get(service).map_or(&[], Vec::as_slice)
    }

    /// The targets of the files that a pattern stands for, in the order of their paths.
    pub fn targets(&self, pattern: &Pattern) -> impl Iterator<Item = &Target> {
        self.files
            .get(pattern)
            .into_iter()
            .flat_map(|files| files.values().flatten())
    }

    /// The hosts that files and services name.
    pub fn hosts(&self) -> impl Iterator<Item = &String> {
        let targets = self.files.values().flat_map(BTreeMap::values).flatten();
        let servers = self.services.values().flatten();
        let hosts = targets.map(|target| &target.url.host);
        hosts.chain(servers.map(|server| &server.host))
    }

    /// Takes an answer in; true if it says something new. Addresses and servers in another order
    /// (round robin) are nothing new.
    pub fn take_in(&mut self, source: &Source, found: Found) -> bool {
        match (source, found) {
            (Source::Name(host), Found::Addresses(answer)) => {
                let mut addresses = answer.records;
                addresses.truncate(ADDRESSES_MAX);
                renew(&mut self.names, host, addresses)
            }
            (Source::Service(name), Found::Servers(answer)) => {
                renew(&mut self.services, name, answer.records)
            }
            (Source::Files(pattern), Found::Files(files)) => {
                let known = self.files.entry(pattern.clone()).or_default();
                let mut kept = BTreeMap::new();
                for (path, targets) in files {
                    // A broken file leaves what it said before; one that is gone says nothing.
                    let before = known.get(&path);
                    if let Some(targets) = targets.ok().or_else(|| before.cloned()) {
                        kept.insert(path, targets);
                    }
                }
                let changed = *known != kept;
                *known = kept;
                changed
            }
            _ => false,
        }
    }

    /// Forgets what nobody asks for any more.
    pub fn keep(&mut self, wanted: &BTreeSet<Source>) {
        let is_wanted = |source: Source| wanted.contains(&source);
        self.names
            .retain(|host, _| is_wanted(Source::Name(host.clone())));
        self.services
            .retain(|name, _| is_wanted(Source::Service(name.clone())));
        self.files
            .retain(|pattern, _| is_wanted(Source::Files(pattern.clone())));
    }
}

fn renew<T: Clone + Ord>(known: &mut HashMap<String, Vec<T>>, name: &str, found: Vec<T>) -> bool {
    let set = |list: &[T]| list.iter().cloned().collect::<BTreeSet<T>>();
    if known
        .get(name)
        .is_some_and(|known| set(known) == set(&found))
    {
        return false;
    }
    known.insert(name.to_owned(), found);
    true
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::super::testing::provider;
    use super::super::resolver::Answer;
    use super::*;
    use crate::config::targets;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn answer<T>(records: Vec<T>) -> Answer<T> {
        let ttl = Duration::ZERO;
        Answer { records, ttl }
    }

    fn name(known: &mut Known, host: &str, addresses: Vec<IpAddr>) -> bool {
        let found = Found::Addresses(answer(addresses));
        known.take_in(&Source::Name(host.into()), found)
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
        let mut known = Known::default();
        let many: Vec<_> = (0..20).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert!(name(&mut known, "inference.example", many.clone()));
        let kept = known.addresses("inference.example");
        assert_eq!(kept, many[..ADDRESSES_MAX]);
    }

    #[test]
    fn the_same_addresses_in_another_order_are_no_news() {
        let mut known = Known::default();
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(ip);
        assert!(name(&mut known, "h", vec![one, two]));
        assert!(!name(&mut known, "h", vec![two, one]));
        assert_eq!(known.addresses("h"), [one, two]);
        assert!(name(&mut known, "h", vec![two]));
        known.keep(&BTreeSet::new());
        assert!(known.addresses("h").is_empty());
    }

    #[test]
    fn a_broken_file_says_what_it_said_and_one_that_is_gone_says_nothing() {
        let pattern = Pattern::new("fleet/*.json", Path::new("/srv")).expect("a pattern");
        let source = Source::Files(pattern.clone());
        let mut known = Known::default();
        let path = |name: &str| Path::new("/srv/fleet").join(name);
        let file = |name: &str, targets: &str| {
            let parsed = targets::parse(targets.as_bytes());
            (path(name), parsed.map_err(|error| error.to_string()))
        };
        let ports =
            |known: &Known| -> Vec<u16> { known.targets(&pattern).map(|it| it.url.port).collect() };
        let one = r#"[{"targets": ["10.0.0.1:1"]}]"#;
        let two = r#"[{"targets": ["10.0.0.1:2", "10.0.0.1:3"]}]"#;
        let both = vec![file("a.json", one), file("b.json", two)];
        assert!(known.take_in(&source, Found::Files(both)));
        assert_eq!(ports(&known), [1, 2, 3]);
        let torn = vec![file("a.json", &one[..9]), file("b.json", two)];
        assert!(!known.take_in(&source, Found::Files(torn)));
        assert_eq!(ports(&known), [1, 2, 3]);
        let empty = vec![file("a.json", "[]"), file("b.json", two)];
        assert!(known.take_in(&source, Found::Files(empty)));
        assert_eq!(ports(&known), [2, 3]);
        assert!(known.take_in(&source, Found::Files(vec![file("a.json", one)])));
        assert_eq!(ports(&known), [1], "b.json is gone");
    }
}
