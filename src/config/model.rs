//! What a configuration file becomes: the domain's own types, already checked. Whoever holds a
//! [`Config`] need not ask again whether a name exists, a number is in range or a rule parses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::endpoint::{EndpointUrl, authority};
use super::targets::Pattern;
use crate::base::{KeyDigest, Secret};
use crate::market::{Price, Supply};
use crate::net::{ClientTls, Roots, ServerTls};
use crate::policy::accreditation::AuthorityKey;
use crate::policy::balance::Balance;
use crate::policy::breaker::BreakerConfig;
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::meter::Rate;
use crate::policy::residency::{Groups, Jurisdiction, JurisdictionSet};

/// A whole, valid configuration.
#[derive(Clone)]
pub struct Config {
    /// `[instance]`
    pub instance: Instance,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`, the instance's own; each provider carries its effective ones.
    pub timeouts: Timeouts,
    /// `[retry]`
    pub retry: Retry,
    /// `[market]`
    pub market: Market,
    /// `[ledger]`; none: calls are not recorded.
    pub ledger: Option<Ledger>,
    /// `[otlp]`; none: nothing is told to a collector.
    pub otlp: Option<Otlp>,
    /// `[audit]`; none: nothing is signed.
    pub audit: Option<Audit>,
    /// `[[ledger.sink]]`: where entries go besides.
    pub sinks: Vec<Sink>,
    /// `[log]`
    pub log: Log,
    /// `[dns]`
    pub dns: Dns,
    /// `[[provider]]`, in file order.
    pub providers: Vec<Provider>,
    /// `[[capability]]`, in file order.
    pub capabilities: Vec<Capability>,
    /// `[[key]]`, in file order.
    pub keys: Vec<Key>,
    /// `[[reservation]]`, in file order: together they fit at every instant.
    pub reservations: Vec<Reservation>,
    /// What is valid but deserves a word in the log (an accreditation that expires soon).
    pub warnings: Vec<String>,
}

/// `[instance]`: what and where this instance is.
#[derive(Clone)]
pub struct Instance {
    /// The jurisdiction that this instance stands in.
    pub jurisdiction: Jurisdiction,
    /// Data-plane listeners.
    pub listen: Vec<SocketAddr>,
    /// Admin-plane listener.
    pub admin: SocketAddr,
    /// Which CPUs get a core thread.
    pub cores: Cores,
    /// Which I/O driver the cores run on.
    pub driver: Driver,
    /// What prices are in, for those who read them: an ISO 4217 code.
    pub currency: Option<String>,
    /// Whether responses carry `X-Sovereign-Provider`.
    pub expose_providers: bool,
    /// Named groups of jurisdictions for residency rules.
    pub groups: Groups,
    /// `[instance.tls]`; none: plaintext.
    pub tls: Option<Tls>,
}

/// `[instance.tls]`: what clients are shown, and what they are asked for.
#[derive(Clone)]
pub struct Tls {
    /// Path of the certificate, as written in the file.
    pub certificate: String,
    /// Path of its private key, as written in the file.
    pub private_key: String,
    /// Path of what clients' certificates are verified by, as written in the file; none: clients
    /// show none.
    pub client_ca: Option<String>,
    /// When the certificate ends.
    pub not_after: jiff::Timestamp,
    /// All of it, as connections need it.
    pub server: ServerTls,
}

impl Tls {
    /// Whether the certificate is no longer valid: it is until the end of its last second (RFC
    /// 5280 section 4.1.2.5).
    pub fn has_expired(&self, now: jiff::Timestamp) -> bool {
        now.as_second() > self.not_after.as_second()
    }
}

/// The path of a file of trust anchors, as written in the configuration.
pub type CaFile = String;

/// `instance.cores`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// One thread on every CPU that the process is allowed to run on.
    Auto,
    /// This many threads, on the first allowed CPUs.
    Count(NonZeroU32),
    /// One thread on each of these CPUs.
    Cpus(Vec<usize>),
}

/// `instance.driver`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring, or epoll with a warning where io_uring is denied.
    Auto,
    /// io_uring or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// `[retry]`
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts of one call, repeats included.
    pub max_attempts: NonZeroU32,
    /// Repeats within one provider, as a share of its calls over 10 s.
    pub budget_ratio: f64,
    /// Repeats that a provider always has over 10 s.
    pub budget_min: u32,
}

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Where the segments are.
    pub directory: PathBuf,
    /// How long an entry may be without being on disk.
    pub sync: Duration,
    /// How long a segment is.
    pub segment_bytes: usize,
    /// Days after which a segment is removed; none: never.
    pub keep_days: Option<u32>,
    /// Bytes that segments may have together, above which the oldest are removed; none: as many as
    /// there are.
    pub bytes_max: Option<u64>,
    /// What becomes of calls that can't be recorded.
    pub on_failure: OnFailure,
}

/// `[[ledger.sink]]`: a server that has every entry, too.
#[derive(Clone)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// How many entries and amendments are sent at a time.
    pub batch: usize,
    /// Where the server is, user and password included: a PostgreSQL connection URI, or as
    /// [`NatsServers`](super::nats::NatsServers) reads it.
    pub url: Secret,
    /// Whom the server's certificate is verified by; none: plaintext, within this machine or by
    /// the operator's word.
    pub roots: Option<Roots>,
    /// What it is, and where in it entries go.
    pub target: SinkTarget,
}

/// `ledger.sink.kind`, and the keys that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// `"postgres"`
    Postgres {
        /// The table, with its schema before a point if that was given.
        table: String,
    },
    /// `"nats"`
    Nats {
        /// The stream of JetStream.
        stream: String,
        /// What its subjects begin with.
        subject: String,
    },
}

/// `ledger.on_failure`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused: 503 `overloaded`.
    Stop,
    /// They are served, and counted as lost.
    Serve,
}

/// `[otlp]`: where spans and metrics go.
#[derive(Clone)]
pub struct Otlp {
    /// As written in the file.
    pub endpoint: String,
    /// The same in its parts. Its prefix is what goes in front of `/traces` and `/metrics`.
    pub url: EndpointUrl,
    /// What its certificate is verified by, as written in the file; none: the system's roots.
    pub ca: Option<CaFile>,
    /// For `https://`: whom to expect there, and who vouches for it.
    pub tls: Option<ClientTls>,
    /// Fields that each export bears: names in lower case, and values.
    pub headers: Vec<(String, Secret)>,
    /// The share of calls without a trace of their client's that begin one.
    pub sample: f64,
    /// Calls that are recorded as spans each second, whoever asks for it.
    pub traces_per_second: u32,
    /// Between two exports of metrics.
    pub interval: Duration,
    /// How long an export may take.
    pub timeout: Duration,
}

impl PartialEq for Otlp {
    fn eq(&self, other: &Otlp) -> bool {
        let values = |it: &Otlp| {
            let trust = it.tls.as_ref().map(ClientTls::trust);
            let (sample, rate) = (it.sample, it.traces_per_second);
            (
                it.endpoint.clone(),
                it.ca.clone(),
                trust,
                sample,
                rate,
                it.interval,
                it.timeout,
            )
        };
        let mut pairs = self.headers.iter().zip(&other.headers);
        values(self) == values(other)
            && self.headers.len() == other.headers.len()
            && pairs.all(|(one, two)| one.0 == two.0 && one.1.expose() == two.1.expose())
    }
}

/// `[audit]`
#[derive(Clone)]
pub struct Audit {
    /// Signs tree heads.
    pub key: AuthorityKey,
    /// Between two heads, if there is anything new.
    pub interval: Duration,
}

impl PartialEq for Audit {
    fn eq(&self, other: &Audit) -> bool {
        self.key.public_key() == other.key.public_key() && self.interval == other.interval
    }
}

/// `[market]`
#[derive(Clone, Debug)]
pub struct Market {
    /// Between two clearings.
    pub interval: Duration,
    /// No floating call costs more.
    pub price_cap: Price,
    /// Calls that may wait for a slot at a location.
    pub waiting_max: u32,
    /// Congestion adders: location, price added for work that lands there.
    pub adders: Vec<(String, Price)>,
    /// Where bookings are kept.
    pub bookings: BookingsFile,
}

/// `market.bookings`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingsFile {
    /// It need not exist: then nothing is booked.
    pub path: PathBuf,
    /// Whether the configuration says so; else it is the usual place, which an instance that books
    /// nothing need not be allowed to look at.
    pub named: bool,
}

impl Market {
    /// What is added for work at a location.
    pub fn adder(&self, location: &str) -> Price {
        let mut adders = self.adders.iter();
        let adder = adders.find(|(at, _)| at == location);
        adder.map_or(Price::ZERO, |(_, adder)| *adder)
    }
}

/// `[[reservation]]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Whose: index into [`Config::keys`].
    pub key: usize,
    /// Where.
    pub place: ReservedAt,
    /// Calls at the same time.
    pub slots: u32,
    /// The first moment; a whole hour.
    pub from: jiff::Timestamp,
    /// The first moment without it; a whole hour.
    pub until: jiff::Timestamp,
}

/// Where a reservation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedAt {
    /// `reservation.provider`: index into [`Config::providers`].
    Provider(usize),
    /// `reservation.jurisdiction`: at whichever of its providers has room.
    Jurisdiction(Jurisdiction),
}

/// `capability.order`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As the chain has it.
    #[default]
    Listed,
    /// By price.
    Merit,
}

/// `[log]`
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// `json` or `text`.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: tracing::Level,
    /// Whether each call writes a line.
    pub access: bool,
}

/// `[dns]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked, in place of what the system says; empty: the system's.
    pub servers: Vec<SocketAddr>,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[[provider]]`
#[derive(Clone)]
pub struct Provider {
    /// Unique; at most 64 bytes.
    pub name: String,
    /// Where its work happens.
    pub jurisdiction: Jurisdiction,
    /// Its accreditation, if it is its jurisdiction's backstop: verified at load.
    pub accreditation: Option<Accredited>,
    /// The replicas that the file lists.
    pub endpoints: Vec<Endpoint>,
    /// Where more of them are found; with none, there is at least one in the list.
    pub sources: Sources,
    /// What the certificates of its `https://` endpoints are verified by; none: the system's
    /// roots.
    pub ca: Option<CaFile>,
    /// What is in `ca`, or the system's roots: for endpoints that are found later. None if none of
    /// those can be `https://`, or if the system has no roots.
    pub roots: Option<Roots>,
    /// The ranges that its names may resolve to; empty = any.
    pub addresses: Vec<IpNet>,
    /// Capability → the provider's model name.
    pub models: Models,
    /// The credential sent as `Authorization: Bearer`.
    pub api_key: Option<Secret>,
    /// Where the work lands, for locational prices; the jurisdiction's code if it isn't said.
    pub location: String,
    /// Calls that it serves at the same time, all endpoints together; none: unlimited.
    pub capacity: Option<NonZeroU32>,
    /// Per million tokens, before the location's adder.
    pub price: Price,
    /// The instance's time-outs with this provider's overrides.
    pub timeouts: Timeouts,
    /// The instance's breaker figures with this provider's overrides.
    pub breaker: BreakerConfig,
    /// How one of its endpoints is chosen.
    pub balance: Balance,
    /// What firm and floating calls are called there.
    pub tiers: Tiers,
    /// How its endpoints are checked; none: they always count as ready.
    pub health: Option<Health>,
}

/// `provider.tiers`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    /// What a firm call is sent with; none: as the client wrote it.
    pub firm: Option<Tier>,
    /// What a floating call is sent with.
    pub floating: Option<Tier>,
}

/// What a provider calls one of its tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A value of `service_tier`, as OpenAI has it.
    Service(String),
    /// A value of `priority`, as vLLM has it: the lower is served first.
    Priority(i64),
}

/// `provider.health`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What an endpoint is asked for; it is ready if the status is 2xx.
    pub path: String,
    /// Where its metrics are, if nothing else says so; none: they aren't asked for.
    pub metrics: Option<String>,
    /// From one check to the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Checks in a row that an endpoint must pass until it is ready again.
    pub healthy_after: u32,
    /// Checks in a row that it must fail until it isn't ready any more.
    pub unhealthy_after: u32,
}

impl Provider {
    /// Whether an address that one of its names resolved to may be connected to: inside the
    /// pinned ranges, so that DNS can't move a call abroad (SRP section 3).
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.addresses.is_empty() || self.addresses.iter().any(|range| range.contains(&address))
    }
}

/// Where a provider's endpoints are found, beside those that are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files of targets.
    pub files: Vec<Pattern>,
    /// Names of which each address is an endpoint.
    pub names: Vec<DnsName>,
    /// Services whose servers are endpoints.
    pub services: Vec<Service>,
}

impl Sources {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.names.is_empty() && self.services.is_empty()
    }
}

/// A name of which each address is an endpoint: `dns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName {
    /// As written in the file.
    pub written: String,
    /// The same in its parts.
    pub url: EndpointUrl,
}

/// A service whose servers are endpoints (RFC 2782): `srv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As written in the file.
    pub written: String,
    /// Whether its servers speak TLS.
    pub https: bool,
    /// What is asked for: `_vllm._tcp.fleet.example`.
    pub name: String,
    /// What its servers are addressed as, and what their certificates must bear (RFC 6125 section
    /// 6.2.1): `fleet.example`. A server's own name comes from DNS, and is worth as much.
    pub domain: String,
    /// What goes in front of `/chat/completions`.
    pub prefix: String,
}

/// What a verified accreditation says.
#[derive(Clone, Debug)]
pub struct Accredited {
    /// The `[[authority]]` whose key signed it.
    pub authority: String,
    /// The hosts that it covers, in lower case.
    pub hosts: BTreeSet<String>,
    /// RFC 3339; after it the accreditation is worth nothing.
    pub valid_until: jiff::Timestamp,
}

/// One replica: `http://HOST[:PORT][/PREFIX]`, or with `https://`.
#[derive(Clone)]
pub struct Endpoint {
    /// As written in the file, or as it was found; with the provider's name, its identity across
    /// reloads.
    pub url: String,
    /// Where it is, without brackets: a DNS name or an IP literal.
    pub host: String,
    /// What it is addressed as, and what its certificate must bear: HOST, or the domain of the
    /// service that it was found for.
    pub name: String,
    /// TCP port.
    pub port: u16,
    /// What goes in front of `/chat/completions`: `/v1`, or the URL's own path.
    pub prefix: String,
    /// Where its metrics are, if the source says so.
    pub metrics: Option<String>,
    /// For `https://`: whom to expect there, and who vouches for it.
    pub tls: Option<ClientTls>,
}

impl Endpoint {
    /// The `Host` field value (RFC 9112 section 3.2): brackets around IPv6, no port if it is the
    /// scheme's own.
    pub fn authority(&self) -> String {
        authority(self.tls.is_some(), &self.name, self.port)
    }
}

/// `provider.models`
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// Named capabilities.
    pub named: std::collections::BTreeMap<String, String>,
    /// `"*"`: every other capability.
    pub fallback: Option<String>,
}

impl Models {
    /// The provider's model for a capability, if it serves it.
    pub fn get(&self, capability: &str) -> Option<&str> {
        self.named
            .get(capability)
            .or(self.fallback.as_ref())
            .map(String::as_str)
    }
}

/// `[[capability]]`
#[derive(Clone, Debug)]
pub struct Capability {
    /// What clients put in `model`; at most 64 bytes.
    pub name: String,
    /// Indices into [`Config::providers`], in order, the backstops appended (SRP section 4).
    /// Each serves this capability: [`Models::get`] answers for it.
    pub chain: Vec<usize>,
    /// In which order firm calls go along the chain; floating ones go by price.
    pub order: Order,
    /// The residency floor; [`JurisdictionSet::ALL`] if none.
    pub residency: JurisdictionSet,
}

/// `[[key]]`
#[derive(Clone)]
pub struct Key {
    /// Unique; at most 64 bytes.
    pub name: String,
    /// SHA-256 of the key's bytes.
    pub sha256: KeyDigest,
    /// What it may ask for.
    pub capabilities: Allowed,
    /// The residency floor; [`JurisdictionSet::ALL`] if none.
    pub residency: JurisdictionSet,
    /// What its calls are if they don't say.
    pub supply: Supply,
    /// `key.requests_per_minute`
    pub requests: Option<Rate>,
    /// `key.tokens_per_minute`
    pub tokens: Option<Rate>,
}

/// `key.capabilities`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// `["*"]`
    All,
    /// Indices into [`Config::capabilities`].
    Some(Vec<usize>),
}

/// Where a configuration came from, for messages and reloads.
pub type ConfigPath = PathBuf;
