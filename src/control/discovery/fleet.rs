//! Which endpoints each provider has: those that the configuration lists, and those that were
//! found and that the provider may have. A function of the configuration and the last good
//! answers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Source;
use super::known::{Known, pinned};
use crate::base::ids::ENDPOINTS_MAX;
use crate::config::endpoint::EndpointUrl;
use crate::config::sources::Found;
use crate::config::{Config, Endpoint, Provider};

/// Every provider's endpoints, by the provider's position in the configuration.
#[derive(Clone, Default)]
pub struct Fleet {
    providers: Vec<Vec<Endpoint>>,
}

/// Something that was found and isn't used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The provider's name.
    pub provider: String,
    /// The endpoint that it would be, or is an address of.
    pub endpoint: String,
    /// The address, if it is about one that a name resolved to.
    pub address: Option<IpAddr>,
    /// Why it isn't used.
    pub why: String,
}

impl Fleet {
    /// The endpoints of the provider at this position.
    pub fn of(&self, position: usize) -> &[Endpoint] {
        self.providers.get(position).map_or(&[], Vec::as_slice)
    }

    /// Every endpoint with its provider's position.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let each = |(position, endpoints): (usize, &'_ Vec<Endpoint>)| (position, endpoints.len());
        let sizes = self.providers.iter().enumerate().map(each);
        sizes
            .flat_map(|(position, count)| (0..count).map(move |at| (position, at)))
            .filter_map(|(position, at)| Some((position, self.providers.get(position)?.get(at)?)))
    }

    /// Puts the endpoints together. `before` are those of the same configuration: what stays is
    /// taken over from it, with the TLS sessions that it has.
    pub fn assemble(
        config: &Config,
        known: &Known,
        before: Option<&Fleet>,
    ) -> (Fleet, Vec<Refusal>) {
        let mut refusals = Vec::new();
        let mut room = ENDPOINTS_MAX;
        for provider in &config.providers {
            room = room.saturating_sub(provider.endpoints.len());
        }
        let mut providers = Vec::with_capacity(config.providers.len());
        for (position, provider) in config.providers.iter().enumerate() {
            let mut gathering = Gathering {
                provider,
                before: before.map_or(&[], |fleet| fleet.of(position)),
                places: provider.endpoints.iter().map(place).collect(),
                endpoints: provider.endpoints.clone(),
                room,
                refusals: &mut refusals,
            };
            gathering.gather(known);
            room = gathering.room;
            providers.push(gathering.endpoints);
        }
        (Fleet { providers }, refusals)
    }

    /// What has to be looked at for these endpoints, and to find others.
    pub fn wanted(&self, config: &Config) -> BTreeSet<Source> {
        let mut wanted = BTreeSet::new();
        for provider in &config.providers {
            let sources = &provider.sources;
            wanted.extend(sources.files.iter().cloned().map(Source::Files));
            let services = sources.services.iter();
            wanted.extend(services.map(|it| Source::Service(it.name.clone())));
            let names = sources.names.iter();
            wanted.extend(names.map(|it| Source::Name(it.url.host.clone())));
        }
        let hosts = self.all().map(|(_, endpoint)| &endpoint.host);
        let names = hosts.filter(|host| host.parse::<IpAddr>().is_err());
        wanted.extend(names.map(|host| Source::Name(host.clone())));
        wanted
    }

    /// The addresses that names resolved to and that their providers don't admit.
    pub fn outside(&self, config: &Config, known: &Known) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for (position, endpoint) in self.all() {
            let Some(provider) = config.providers.get(position) else {
                continue;
            };
            let found = known.addresses(&endpoint.host);
            let (_, outside) = pinned(provider, found, endpoint.port);
            refusals.extend(outside.into_iter().map(|address| Refusal {
                provider: provider.name.clone(),
                endpoint: endpoint.url.clone(),
                address: Some(address),
                why: "address outside the provider's pinned ranges".to_owned(),
            }));
        }
        refusals
    }
}

/// What makes two endpoints of a provider the same.
fn place(endpoint: &Endpoint) -> (String, u16, String) {
    (
        endpoint.host.clone(),
        endpoint.port,
        endpoint.prefix.clone(),
    )
}

/// One provider's endpoints in the making.
struct Gathering<'g> {
    provider: &'g Provider,
    before: &'g [Endpoint],
    places: BTreeSet<(String, u16, String)>,
    endpoints: Vec<Endpoint>,
    /// How many more there may be, of all providers together.
    room: usize,
    refusals: &'g mut Vec<Refusal>,
}

impl Gathering<'_> {
    fn gather(&mut self, known: &Known) {
        let sources = &self.provider.sources;
        for pattern in &sources.files {
            for target in known.targets(pattern) {
                self.add(Found {
                    name: target.url.host.clone(),
                    vouched: target.url.host.clone(),
                    url: target.url.clone(),
                    metrics: target.metrics.clone(),
                });
            }
        }
        for named in &sources.names {
            for address in known.addresses(&named.url.host) {
                self.add(Found {
                    url: EndpointUrl {
                        host: address.to_canonical().to_string(),
                        ..named.url.clone()
                    },
                    name: named.url.host.clone(),
                    vouched: named.url.host.clone(),
                    metrics: None,
                });
            }
        }
        for service in &sources.services {
            for server in known.servers(&service.name) {
                self.add(Found {
                    url: EndpointUrl {
                        https: service.https,
                        host: server.host.clone(),
                        port: server.port,
                        prefix: service.prefix.clone(),
                    },
                    name: service.domain.clone(),
                    vouched: server.host.clone(),
                    metrics: None,
                });
            }
        }
    }

    fn add(&mut self, found: Found) {
        let place = (
            found.url.host.clone(),
            found.url.port,
            found.url.prefix.clone(),
        );
        if self.places.contains(&place) {
            return;
        }
        let url = found.url.canonical();
        let refused = |why: String| Refusal {
            provider: self.provider.name.clone(),
            endpoint: url.clone(),
            address: None,
            why,
        };
        if self.room == 0 {
            let why = format!("there are {ENDPOINTS_MAX} endpoints already");
            self.refusals.push(refused(why));
            return;
        }
        let same = self
            .before
            .iter()
            .find(|it| it.url == url && it.name == found.name && it.metrics == found.metrics);
        // Nothing in it depends on anything but the configuration, which is the same.
        let admitted = same.cloned().map_or_else(|| self.provider.admit(found), Ok);
        match admitted {
            Ok(endpoint) => {
                self.places.insert(place);
                self.endpoints.push(endpoint);
                self.room -= 1;
            }
            Err(error) => self.refusals.push(refused(error.to_string())),
        }
    }
}
