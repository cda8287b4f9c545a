//! Names and services, by DNS, with their TTL. The office's own runtime waits for the answers: no
//! core and no helper thread does. What isn't in DNS (a name of `/etc/hosts`, or whatever
//! `nsswitch.conf` has) is found too, unless the configuration says which servers to ask.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record};
use hickory_resolver::{Resolver as Dns, TokioResolver};

/// How long one server has for one answer.
const SERVER_WITHIN: Duration = Duration::from_secs(2);

/// Rounds over the servers.
const ROUNDS: usize = 2;

/// Servers that are kept of one service.
const SERVERS_MAX: usize = 256;

/// What is used of an answer that came without a TTL.
const WITHOUT_TTL: Duration = Duration::from_secs(30);

/// What DNS says, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// Addresses or servers.
    pub records: Vec<T>,
    /// The least TTL of the records.
    pub ttl: Duration,
}

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Its name, in lower case.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Asks for names.
pub struct Resolver {
    /// None if the system names no server.
    dns: Option<TokioResolver>,
    /// Whether the C library is asked too.
    system: bool,
}

impl Resolver {
    /// Asks these servers, and `/etc/hosts`; with none given, whatever the system asks. Both
    /// `/etc/hosts` and `/etc/resolv.conf` are read here.
    pub fn new(servers: &[SocketAddr]) -> Resolver {
        let dns = match servers {
            [] => Dns::builder_tokio(),
            _ => {
                let servers = servers.iter().map(server).collect();
                let config = ResolverConfig::from_name_servers(servers);
                let provider = TokioRuntimeProvider::default();
                Ok(Dns::builder_with_config(config, provider))
            }
        };
        let dns = dns.and_then(|mut builder| {
            set(builder.options_mut());
            builder.build()
        });
        if let Err(error) = &dns {
            tracing::debug!(%error, "no DNS server: names are looked up by the C library");
        }
        Resolver {
            dns: dns.ok(),
            system: servers.is_empty(),
        }
    }

    /// A host's addresses, those first that there is a route to.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn addresses(&self, host: &str) -> Result<Answer<IpAddr>, String> {
        let failure = match self.ask(host).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        if !self.system {
            return Err(failure);
        }
        let found = tokio::net::lookup_host((host, 0)).await;
        let addresses = found.map_err(|error| error.to_string())?;
        let mut records: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
        records.dedup();
        match records.is_empty() {
            true => Err(failure),
            false => Ok(Answer {
                records,
                ttl: WITHOUT_TTL,
            }),
        }
    }

    async fn ask(&self, host: &str) -> Result<Answer<IpAddr>, String> {
        let dns = self.dns.as_ref().ok_or("no DNS server")?;
        let found = dns.lookup_ip(host).await.map_err(said)?;
        let mut records: Vec<IpAddr> = found.iter().collect();
        // A machine without IPv6 must not try those addresses first.
        records.sort_by_key(|address| !is_reachable(*address));
        match records.is_empty() {
            true => Err("no address".to_owned()),
            false => Ok(Answer {
                records,
                ttl: least_ttl(found.as_lookup().answers()),
            }),
        }
    }

    /// The servers of a service: those of the best priority. Their weights are not looked at,
    /// since who gets a call is decided by how they do.
    ///
    /// # Errors
    /// Why there is no answer. That the service is said not to be there (RFC 2782: the target is
    /// the root) is one, without servers.
    pub async fn servers(&self, service: &str) -> Result<Answer<Server>, String> {
        let dns = self.dns.as_ref().ok_or("no DNS server")?;
        let found = dns.srv_lookup(format!("{service}.")).await.map_err(said)?;
        let records = found.answers();
        let services: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv),
                _ => None,
            })
            .collect();
        let Some(best) = services.iter().map(|srv| srv.priority).min() else {
            return Err("no server".to_owned());
        };
        let best = services.iter().filter(|srv| srv.priority == best);
        let servers = best.filter(|srv| !srv.target.is_root()).map(|srv| Server {
            host: host(&srv.target.to_ascii()),
            port: srv.port,
        });
        Ok(Answer {
            records: servers.take(SERVERS_MAX).collect(),
            ttl: least_ttl(records),
        })
    }
}

fn set(options: &mut ResolverOpts) {
    options.timeout = SERVER_WITHIN;
    options.attempts = ROUNDS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Who asks knows when an answer has become old.
    options.cache_size = 0;
    options.try_tcp_on_error = true;
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn said(error: NetError) -> String {
    error.to_string()
}

/// As configurations and accreditations write a host: in lower case, without the last dot.
fn host(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn least_ttl(records: &[Record]) -> Duration {
    let least = records.iter().map(|record| record.ttl).min();
    least.map_or(WITHOUT_TTL, |ttl| Duration::from_secs(ttl.into()))
}

/// Whether there is a route to the address: what RFC 6724 section 5 asks first. Nothing is sent.
fn is_reachable(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let socket = UdpSocket::bind((any, 0));
    socket.is_ok_and(|socket| socket.connect((address, 9)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_and_a_failure_is_told() {
        let resolver = Resolver::new(&[]);
        let found = resolver.addresses("localhost").await.expect("an address");
        assert!(found.records.iter().all(IpAddr::is_loopback) && !found.records.is_empty());
        assert!(resolver.addresses("nowhere.invalid").await.is_err());
        assert!(resolver.servers("_a._tcp.nowhere.invalid").await.is_err());
    }

    #[test]
    fn there_is_a_route_to_oneself() {
        assert!(is_reachable(IpAddr::from([127, 0, 0, 1])));
    }
}
