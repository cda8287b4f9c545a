//! One core's counters. The core that owns them is their only writer, so that counting is a load
//! and a store without a locked instruction; the office reads them and adds the cores up.

use super::counter::Counter;
use super::handshakes::{Handshake, Handshakes};
use super::waits::Waits;
use crate::base::ids::{CAPABILITIES_MAX, ENDPOINTS_MAX, PROVIDERS_MAX};
use crate::base::{CapabilityId, EndpointId, ProviderId};

/// How many error codes can be counted; an index above it is counted under the last.
pub const CODES_MAX: usize = 64;

/// How an attempt ended (SRP section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum AttemptResult {
    /// A clean completion.
    Succeeded,
    /// The provider's own 4xx about the client's request: passed through.
    ClientError,
    /// No connection: refused, unreachable, a failed TLS handshake, or the connect time-out passed.
    Connect,
    /// A time-out before the first byte of the response.
    Timeout,
    /// The connection died before a complete response head.
    Reset,
    /// 408, 498, 500, 502, 503, 504 or 529.
    ServerError,
    /// 429.
    RateLimited,
    /// 402, or `insufficient_quota`.
    QuotaExhausted,
    /// 401 or 403: our credential is at fault.
    Credential,
    /// 404 about the model: our mapping is at fault.
    UnknownModel,
    /// A response that does not parse, or a 2xx body that is not JSON.
    Invalid,
    /// A stream whose first event is an error.
    ErrorEvent,
    /// The response ended before its declared or natural end.
    Truncated,
    /// The response went silent after its first byte.
    Stalled,
    /// The client left.
    Cancelled,
    /// The call's total deadline passed.
    Deadline,
    /// A firm call needed the slot.
    Curtailed,
}

impl AttemptResult {
    /// Every result, in the order of its number.
    pub const ALL: [AttemptResult; 17] = [
        AttemptResult::Succeeded,
        AttemptResult::ClientError,
        AttemptResult::Connect,
        AttemptResult::Timeout,
        AttemptResult::Reset,
        AttemptResult::ServerError,
        AttemptResult::RateLimited,
        AttemptResult::QuotaExhausted,
        AttemptResult::Credential,
        AttemptResult::UnknownModel,
        AttemptResult::Invalid,
        AttemptResult::ErrorEvent,
        AttemptResult::Truncated,
        AttemptResult::Stalled,
        AttemptResult::Cancelled,
        AttemptResult::Deadline,
        AttemptResult::Curtailed,
    ];

    /// The value of the metric's `result` label.
    pub fn label(self) -> &'static str {
        match self {
            AttemptResult::Succeeded => "ok",
            AttemptResult::ClientError => "client_error",
            AttemptResult::Connect => "connect",
            AttemptResult::Timeout => "timeout",
            AttemptResult::Reset => "reset",
            AttemptResult::ServerError => "server_error",
            AttemptResult::RateLimited => "rate_limited",
            AttemptResult::QuotaExhausted => "quota_exhausted",
            AttemptResult::Credential => "credential",
            AttemptResult::UnknownModel => "unknown_model",
            AttemptResult::Invalid => "invalid",
            AttemptResult::ErrorEvent => "error_event",
            AttemptResult::Truncated => "truncated",
            AttemptResult::Stalled => "stalled",
            AttemptResult::Cancelled => "cancelled",
            AttemptResult::Deadline => "deadline",
            AttemptResult::Curtailed => "curtailed",
        }
    }

    /// Whether it says that the target is unwell, and counts against its breakers.
    pub fn is_failure(self) -> bool {
        use AttemptResult::*;
        matches!(
            self,
            Connect | Timeout | Reset | ServerError | Invalid | ErrorEvent | Truncated | Stalled
        )
    }
}

/// The statuses that are counted one by one. A provider's own 4xx passes through unchanged, so
/// that any status may occur: the others are counted by their class, and the label stays bounded.
pub const STATUSES: [&str; 31] = [
    "200", "201", "204", "400", "401", "402", "403", "404", "405", "408", "409", "411", "413",
    "414", "415", "417", "422", "424", "429", "431", "499", "500", "501", "502", "503", "504",
    "505", "2xx", "3xx", "4xx", "5xx",
];

/// Where a status is counted: an index into [`STATUSES`].
fn status_slot(status: u16) -> usize {
    match status {
        200 => 0,
        201 => 1,
        204 => 2,
        400..=405 => usize::from(status) - 400 + 3,
        408 => 9,
        409 => 10,
        411 => 11,
        413..=415 => usize::from(status) - 413 + 12,
        417 => 15,
        422 => 16,
        424 => 17,
        429 => 18,
        431 => 19,
        499 => 20,
        500..=505 => usize::from(status) - 500 + 21,
        0..=299 => 27,
        300..=399 => 28,
        406..=499 => 29,
        506.. => 30,
    }
}

#[derive(Debug, Default)]
struct ProviderCounters {
    calls: Counter,
    repeats: Counter,
    failovers: Counter,
    credential_alarms: Counter,
    usage_missing: Counter,
    input_tokens: Counter,
    output_tokens: Counter,
    handshakes: Handshakes,
    results: [Counter; AttemptResult::ALL.len()],
}

#[derive(Debug, Default)]
struct EndpointCounters {
    successes: Counter,
    failures: Counter,
}

#[derive(Debug, Default)]
struct CapabilityCounters {
    statuses: [Counter; STATUSES.len()],
}

/// One core's counters and gauges. Methods that change something are for the core that owns it.
#[derive(Debug)]
pub struct CoreMetrics {
    /// By capability id; the last row is for calls that named none.
    capabilities: Box<[CapabilityCounters]>,
    providers: Box<[ProviderCounters]>,
    endpoints: Box<[EndpointCounters]>,
    rejections: [Counter; CODES_MAX],
    in_flight: Counter,
    connections: Counter,
    connections_total: Counter,
    connections_refused: Counter,
    connections_shed: Counter,
    listeners: Counter,
    handshakes: Handshakes,
    pool_opened: Counter,
    pool_reused: Counter,
    pool_evicted: Counter,
    pool_idle: Counter,
    facts_lost: Counter,
    access_lost: Counter,
    panics: Counter,
    ticks: Counter,
    /// Calls that waited for a slot.
    pub waits: Waits,
}

fn table<T: Default>(length: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(length).collect()
}

impl CoreMetrics {
    /// All zero; about 170 KB, whatever is configured.
    pub fn new() -> CoreMetrics {
        CoreMetrics {
            capabilities: table(CAPABILITIES_MAX + 1),
            providers: table(PROVIDERS_MAX),
            endpoints: table(ENDPOINTS_MAX),
            rejections: std::array::from_fn(|_| Counter::default()),
            in_flight: Counter::default(),
            connections: Counter::default(),
            connections_total: Counter::default(),
            connections_refused: Counter::default(),
            connections_shed: Counter::default(),
            listeners: Counter::default(),
            handshakes: Handshakes::default(),
            pool_opened: Counter::default(),
            pool_reused: Counter::default(),
            pool_evicted: Counter::default(),
            pool_idle: Counter::default(),
            facts_lost: Counter::default(),
            access_lost: Counter::default(),
            panics: Counter::default(),
            ticks: Counter::default(),
            waits: Waits::default(),
        }
    }

    /// A request has been read as far as its head.
    #[inline]
    pub fn call_started(&self) {
        self.in_flight.add(1);
    }

    /// The call has ended. `status` is what the client was sent, 499 if it left before that.
    #[inline]
    pub fn call_finished(&self, capability: Option<CapabilityId>, status: u16) {
        self.in_flight.take(1);
        let row = capability.map_or(CAPABILITIES_MAX, CapabilityId::index);
        self.capabilities[row].statuses[status_slot(status)].add(1);
    }

    /// An attempt begins; `repeat` if the provider has had this call before.
    #[inline]
    pub fn attempt_started(&self, provider: ProviderId, repeat: bool) {
        let provider = &self.providers[provider.index()];
        if repeat {
            provider.repeats.add(1);
        } else {
            provider.calls.add(1);
        }
    }

    /// An attempt has ended. A success is also what the office's breakers learn of it.
    #[inline]
    pub fn attempt(&self, provider: ProviderId, endpoint: EndpointId, result: AttemptResult) {
        self.providers[provider.index()].results[result as usize].add(1);
        let endpoint = &self.endpoints[endpoint.index()];
        if result == AttemptResult::Succeeded {
            endpoint.successes.add(1);
        } else if result.is_failure() {
            endpoint.failures.add(1);
        }
    }

    /// A call went on from this provider to the next candidate.
    pub fn failover(&self, from: ProviderId) {
        self.providers[from.index()].failovers.add(1);
    }

    /// The provider refused our credential or our model name.
    pub fn credential_alarm(&self, provider: ProviderId) {
        self.providers[provider.index()].credential_alarms.add(1);
    }

    /// What the provider's `usage` said.
    #[inline]
    pub fn tokens(&self, provider: ProviderId, input: u64, output: u64) {
        let provider = &self.providers[provider.index()];
        provider.input_tokens.add(input);
        provider.output_tokens.add(output);
    }

    /// A success whose response carried no `usage`.
    pub fn usage_missing(&self, provider: ProviderId) {
        self.providers[provider.index()].usage_missing.add(1);
    }

    /// The proxy answered with an error of its own; the index is the error code's.
    pub fn rejected(&self, code: usize) {
        self.rejections[code.min(CODES_MAX - 1)].add(1);
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        self.connections.add(1);
        self.connections_total.add(1);
    }

    /// A client connection was closed.
    pub fn connection_closed(&self) {
        self.connections.take(1);
    }

    /// A client connection was closed at accept: there was no room, and nobody was idle.
    pub fn connection_refused(&self) {
        self.connections_refused.add(1);
    }

    /// So many idle client connections were closed to make room.
    pub fn connections_shed(&self, count: usize) {
        self.connections_shed.add(count as u64);
    }

    /// The core accepts connections on one more socket.
    pub fn listener_opened(&self) {
        self.listeners.add(1);
    }

    /// The core has stopped accepting on one socket: a drain waits for all of them.
    pub fn listener_closed(&self) {
        self.listeners.take(1);
    }

    /// A TLS handshake with a client has ended.
    pub fn client_handshake(&self, result: Handshake) {
        self.handshakes.add(result);
    }

    /// A TLS handshake with an endpoint of the provider has ended.
    pub fn provider_handshake(&self, provider: ProviderId, result: Handshake) {
        self.providers[provider.index()].handshakes.add(result);
    }

    /// A new connection to an endpoint.
    pub fn pool_opened(&self) {
        self.pool_opened.add(1);
    }

    /// An attempt took an idle connection.
    pub fn pool_reused(&self) {
        self.pool_reused.add(1);
    }

    /// An idle connection was closed by either side.
    pub fn pool_evicted(&self) {
        self.pool_evicted.add(1);
    }

    /// How many connections to endpoints are idle now.
    pub fn set_pool_idle(&self, idle: usize) {
        self.pool_idle.set(idle as u64);
    }

    /// A fact did not fit into the office's channel.
    pub fn facts_lost(&self) {
        self.facts_lost.add(1);
    }

    /// An access record did not fit into the ring.
    pub fn access_lost(&self) {
        self.access_lost.add(1);
    }

    /// A call panicked, and was ended.
    pub fn panicked(&self) {
        self.panics.add(1);
    }

    /// The core's sweeper has had its turn: the core is alive.
    pub fn ticked(&self) {
        self.ticks.add(1);
    }
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What the office reads.
impl CoreMetrics {
    /// Calls of a capability that ended with a status; `status` indexes [`STATUSES`].
    pub fn calls_by_status(&self, capability: Option<CapabilityId>, status: usize) -> u64 {
        let row = capability.map_or(CAPABILITIES_MAX, CapabilityId::index);
        self.capabilities[row].statuses[status].get()
    }

    /// Attempts at a provider that ended so.
    pub fn attempts(&self, provider: ProviderId, result: AttemptResult) -> u64 {
        self.providers[provider.index()].results[result as usize].get()
    }

    /// Clean completions at a provider.
    pub fn provider_successes(&self, provider: ProviderId) -> u64 {
        self.attempts(provider, AttemptResult::Succeeded)
    }

    /// Attempts that count against the provider's breaker.
    pub fn provider_failures(&self, provider: ProviderId) -> u64 {
        AttemptResult::ALL
            .iter()
            .filter(|result| result.is_failure())
            .map(|result| self.attempts(provider, *result))
            .sum()
    }

    /// Clean completions at an endpoint.
    pub fn endpoint_successes(&self, endpoint: EndpointId) -> u64 {
        self.endpoints[endpoint.index()].successes.get()
    }

    /// Attempts that count against the endpoint's breaker.
    pub fn endpoint_failures(&self, endpoint: EndpointId) -> u64 {
        self.endpoints[endpoint.index()].failures.get()
    }

    /// Calls that came to a provider, repeats left out: what its repeat budget is a share of.
    pub fn calls(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].calls.get()
    }

    /// Attempts at a provider that have ended, however they did.
    pub fn attempts_ended(&self, provider: ProviderId) -> u64 {
        let results = &self.providers[provider.index()].results;
        results.iter().map(Counter::get).sum()
    }

    /// Attempts at a provider that are under way. Each begins once and ends once; one that ends
    /// while this is read may still be counted.
    pub fn attempts_in_flight(&self, provider: ProviderId) -> u64 {
        let ended = self.attempts_ended(provider);
        let begun = self.calls(provider) + self.repeats(provider);
        begun.saturating_sub(ended)
    }

    /// Repeats that a provider has seen.
    pub fn repeats(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].repeats.get()
    }

    /// Calls that went on from a provider.
    pub fn failovers(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].failovers.get()
    }

    /// Refusals of our credential or mapping.
    pub fn credential_alarms(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].credential_alarms.get()
    }

    /// Successes without usage.
    pub fn usages_missing(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].usage_missing.get()
    }

    /// Input tokens that a provider reported.
    pub fn input_tokens(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].input_tokens.get()
    }

    /// Output tokens that a provider reported.
    pub fn output_tokens(&self, provider: ProviderId) -> u64 {
        self.providers[provider.index()].output_tokens.get()
    }

    /// Errors of our own with this code; 0 for an index out of range.
    pub fn rejections(&self, code: usize) -> u64 {
        self.rejections.get(code).map_or(0, Counter::get)
    }

    /// Calls begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// Client connections open.
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// Client connections ever accepted.
    pub fn connections_total(&self) -> u64 {
        self.connections_total.get()
    }

    /// Client connections closed at accept.
    pub fn connections_refused(&self) -> u64 {
        self.connections_refused.get()
    }

    /// Idle client connections closed to make room.
    pub fn connections_shed_total(&self) -> u64 {
        self.connections_shed.get()
    }

    /// Sockets that the core accepts on.
    pub fn listeners(&self) -> u64 {
        self.listeners.get()
    }

    /// TLS handshakes with clients that ended so.
    pub fn client_handshakes(&self, result: Handshake) -> u64 {
        self.handshakes.get(result)
    }

    /// TLS handshakes with the provider's endpoints that ended so.
    pub fn provider_handshakes(&self, provider: ProviderId, result: Handshake) -> u64 {
        self.providers[provider.index()].handshakes.get(result)
    }

    /// Connections to endpoints: opened, reused and evicted since the start, idle now.
    pub fn pool(&self) -> Pool {
        Pool {
            opened: self.pool_opened.get(),
            reused: self.pool_reused.get(),
            evicted: self.pool_evicted.get(),
            idle: self.pool_idle.get(),
        }
    }

    /// Facts that did not reach the office.
    pub fn facts_lost_total(&self) -> u64 {
        self.facts_lost.get()
    }

    /// Access records that did not reach the log.
    pub fn access_lost_total(&self) -> u64 {
        self.access_lost.get()
    }

    /// Calls that panicked.
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Turns that the core's sweeper has had.
    pub fn ticks(&self) -> u64 {
        self.ticks.get()
    }
}

/// A core's upstream connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Opened since the start.
    pub opened: u64,
    /// Attempts that took an idle one.
    pub reused: u64,
    /// Idle ones that were closed.
    pub evicted: u64,
    /// Idle now.
    pub idle: u64,
}

#[cfg(test)]
mod tests;
