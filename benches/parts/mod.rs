//! What the benchmarks work on: messages as SDKs and vendors send them, tables of a usual size.

pub mod market;
pub mod steps;

use std::collections::HashMap;
use std::sync::Arc;

use srpd::base::{CapabilityId, EndpointId, KeyDigest, KeyId, Moment, ProviderId};
use srpd::http::{self, ChunkedDecoder, HeadLimits, HeadSlots};
use srpd::ledger::{Attempt, Call};
use srpd::market::{Price, Supply};
use srpd::openai::{self, Operation, StreamScanner};
use srpd::policy::balance::Balance;
use srpd::policy::breaker::{BreakerConfig, Detector};
use srpd::policy::chain::{Chain, Link};
use srpd::policy::limits::{Limits, Timeouts};
use srpd::policy::residency::{Groups, Jurisdiction, JurisdictionSet};
use srpd::tables::routes::{Capability, CapabilitySet, Endpoint, Key, Model, Provider};
use srpd::tables::{Board, Routes, Snapshot, Stage, States, View};
use srpd::telemetry::{AttemptResult, Outcome};

/// The defaults of `[limits]`.
pub const HEAD_LIMITS: HeadLimits = HeadLimits {
    bytes: 32_768,
    fields: 100,
};

/// Runs each step once: what it finds out about the CPU the first time is no part of a call.
fn warm_up() {
    let mut slots = HeadSlots::new();
    let request = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n";
    http::parse_request(request, &HEAD_LIMITS, &mut slots).expect("valid");
    let response = b"HTTP/1.1 204 No Content\r\n\r\n";
    http::parse_response(response, &HEAD_LIMITS, &mut slots, false).expect("valid");
    openai::probe(br#"{"model":"smart","messages":[]}"#).expect("valid");
    openai::inspect_json(br#"{"usage":null}"#).expect("valid");
    StreamScanner::new(Operation::ChatCompletions, true).sweep(b"data: {}\n\n");
    KeyDigest::of(b"a key");
    steps::ledger_entry(&mut [0; 1024], &[ATTEMPT]);
}

/// Room for a head, so that no benchmark counts an allocation that the corridor's buffers save.
const HEAD_ROOM: usize = 16 * 1024;

/// A head as openai-python sends it, and the buffer that the next one is written to.
pub fn request_head() -> (Vec<u8>, Vec<u8>) {
    let head = "POST /v1/chat/completions HTTP/1.1\r\n\
        Host: 127.0.0.1:8080\r\n\
        Accept-Encoding: gzip, deflate\r\n\
        Connection: keep-alive\r\n\
        Accept: application/json\r\n\
        Content-Type: application/json\r\n\
        User-Agent: OpenAI/Python 2.7.1\r\n\
        X-Stainless-Lang: python\r\n\
        X-Stainless-Package-Version: 2.7.1\r\n\
        X-Stainless-OS: Linux\r\n\
        X-Stainless-Arch: x64\r\n\
        X-Stainless-Runtime: CPython\r\n\
        X-Stainless-Runtime-Version: 3.11.7\r\n\
        Authorization: Bearer sk-srp-0123456789abcdefghijklmnopqrstuvwxyzABCD\r\n\
        X-Sovereign-Residency: au-only\r\n\
        X-Stainless-Async: false\r\n\
        x-stainless-retry-count: 0\r\n\
        x-stainless-read-timeout: 600\r\n\
        Content-Length: 1024\r\n\r\n";
    warm_up();
    (head.into(), Vec::with_capacity(HEAD_ROOM))
}

/// A head as a vendor behind a CDN sends it, and the buffer that the next one is written to.
pub fn response_head() -> (Vec<u8>, Vec<u8>) {
    let head = "HTTP/1.1 200 OK\r\n\
        Date: Sun, 22 Nov 2026 04:00:00 GMT\r\n\
        Content-Type: application/json\r\n\
        Content-Length: 1024\r\n\
        Connection: keep-alive\r\n\
        access-control-expose-headers: X-Request-ID\r\n\
        openai-organization: acme-1\r\n\
        openai-processing-ms: 412\r\n\
        openai-version: 2020-10-01\r\n\
        x-ratelimit-limit-requests: 10000\r\n\
        x-ratelimit-limit-tokens: 2000000\r\n\
        x-ratelimit-remaining-requests: 9999\r\n\
        x-ratelimit-remaining-tokens: 1999680\r\n\
        x-ratelimit-reset-requests: 6ms\r\n\
        x-ratelimit-reset-tokens: 9ms\r\n\
        x-request-id: req_0123456789abcdef0123456789abcdef\r\n\
        strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n\
        cf-cache-status: DYNAMIC\r\n\
        Set-Cookie: __cf_bm=abcdef; path=/; HttpOnly; Secure; SameSite=None\r\n\
        Server: cloudflare\r\n\
        CF-RAY: 9a2b3c4d5e6f7a8b-SYD\r\n\r\n";
    warm_up();
    (head.into(), Vec::with_capacity(HEAD_ROOM))
}

/// Code in a JSON string: quotes and line ends escaped, as most long prompts are.
pub const CODE: &str =
    r#"fn main() {\n    let name = \"world\";\n    println!(\"hello, {name}\");\n}\n"#;

/// Prose in a JSON string: hardly anything is escaped.
pub const PROSE: &str = "The harbour was quiet, and the tide was going out past the wharves. ";

fn padded(front: &str, filler: &str, back: &str, bytes: usize) -> Vec<u8> {
    warm_up();
    let mut body = front.to_owned();
    while body.len() + filler.len() + back.len() <= bytes {
        body.push_str(filler);
    }
    let gap = bytes.saturating_sub(body.len() + back.len());
    body.extend(std::iter::repeat_n(' ', gap));
    body.push_str(back);
    body.into_bytes()
}

/// A chat request of so many bytes, nearly all of them in one message.
pub fn chat_request(bytes: usize) -> Vec<u8> {
    padded(
        r#"{"messages":[{"role":"system","content":"You are terse."},{"role":"user","content":""#,
        CODE,
        r#""}],"model":"smart","temperature":0.2,"max_tokens":256,"stream":true}"#,
        bytes,
    )
}

/// A chat request of so many bytes, nearly all of them small members of tools.
pub fn tool_request(bytes: usize) -> Vec<u8> {
    padded(
        r#"{"model":"smart","messages":[{"role":"user","content":"Book it."}],"tools":[{"type":"function"}"#,
        r#",{"type":"function","function":{"name":"book","description":"Books \"it\".","parameters":{"type":"object","properties":{"seats":{"type":"integer","minimum":1},"day":{"type":"string"}},"required":["seats","day"]}}}"#,
        r#"],"stream":true}"#,
        bytes,
    )
}

/// A chat completion of so many bytes, nearly all of them `filler` over and over.
pub fn chat_response(filler: &str, bytes: usize) -> Vec<u8> {
    padded(
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"frontier-1","choices":[{"index":0,"message":{"role":"assistant","content":""#,
        filler,
        r#"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":148,"total_tokens":360,"prompt_tokens_details":{"cached_tokens":0}}}"#,
        bytes,
    )
}

/// A key as clients send it.
pub fn client_key() -> Vec<u8> {
    warm_up();
    b"sk-srp-0123456789abcdefghijklmnopqrstuvwxyzABCD".to_vec()
}

/// A view of a middling instance, and a key that it knows.
pub fn known_key() -> (View, Vec<u8>) {
    (view(), 42_u16.to_be_bytes().to_vec())
}

/// A relay in the middle of a stream, and so many events in hand.
pub fn window(count: usize) -> (Vec<u8>, StreamScanner) {
    let mut scanner = StreamScanner::new(Operation::ChatCompletions, true);
    scanner.sweep(&events(1));
    (events(count), scanner)
}

/// So many events of a chat stream whose usage was asked for.
fn events(count: usize) -> Vec<u8> {
    const EVENT: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
        \"created\":1760000000,\"model\":\"frontier-1\",\"service_tier\":\"default\",\
        \"system_fingerprint\":\"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":\
        {\"content\":\" tide\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";
    EVENT.repeat(count).into_bytes()
}

/// An event in its chunk, and a relay in the middle of a stream.
pub fn event_chunk() -> (Vec<u8>, ChunkedDecoder, StreamScanner) {
    let (event, scanner) = window(1);
    in_its_chunk(&event, scanner)
}

/// The same with the event that says what was used, for a client that didn't ask for it.
pub fn usage_chunk() -> (Vec<u8>, ChunkedDecoder, StreamScanner) {
    const EVENT: &[u8] = b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
        \"created\":1760000000,\"model\":\"frontier-1\",\"service_tier\":\"default\",\
        \"system_fingerprint\":\"fp_0123456789\",\"choices\":[],\"usage\":{\"prompt_tokens\":212,\
        \"completion_tokens\":148,\"total_tokens\":360,\"prompt_tokens_details\":{\"cached_tokens\":0}}}\n\n";
    let (_, scanner) = window(1);
    in_its_chunk(EVENT, scanner)
}

fn in_its_chunk(event: &[u8], scanner: StreamScanner) -> (Vec<u8>, ChunkedDecoder, StreamScanner) {
    let size = format!("{:x}\r\n", event.len());
    let chunk = [size.as_bytes(), event, b"\r\n"].concat();
    let mut decoder = ChunkedDecoder::new();
    decoder.decode(&mut chunk.clone()).expect("well framed");
    (chunk, decoder, scanner)
}

/// What a call asks the tables.
pub struct Asked {
    /// Of its key.
    pub digest: KeyDigest,
    /// Its `model`.
    pub capability: &'static str,
    /// Its `X-Sovereign-Residency`.
    pub residency: Option<&'static str>,
    /// When it came.
    pub now: Moment,
}

/// Keys, capabilities and providers of a middling instance.
const KEYS: u16 = 100;
const CAPABILITIES: [&str; 8] = [
    "smart",
    "fast",
    "sovereign",
    "embed",
    "vision",
    "code",
    "draft",
    "rerank",
];
const COUNTRIES: [&str; 6] = ["us", "us", "de", "nz", "au", "au"];

fn digest(key: u16) -> KeyDigest {
    KeyDigest::of(&key.to_be_bytes())
}

fn jurisdiction(code: &str) -> Jurisdiction {
    Jurisdiction::parse(code).expect("an ISO code")
}

/// A capability with a chain of eight.
const LONG: &str = "long";
const LONG_COUNTRIES: [&str; 8] = ["us", "us", "de", "nz", "gb", "au", "us", "au"];

fn snapshot(routes: Routes) -> Snapshot {
    Snapshot {
        routes: Arc::new(routes),
        states: States::new(),
        stage: Stage::Serving,
    }
}

fn view() -> View {
    warm_up();
    View::new(Arc::new(Board::new(snapshot(routes()), 1)))
}

/// A core's view of an instance with a chain of eight, and a call that asks for it.
pub fn asked_of_a_long_chain(residency: Option<&'static str>) -> (View, Asked) {
    let mut routes = routes();
    let position = u16::try_from(routes.capabilities.len()).expect("few");
    routes.providers = (0..).zip(LONG_COUNTRIES).map(provider).collect();
    let long = capability_of((position, LONG), &LONG_COUNTRIES);
    routes.capabilities.push(long);
    routes.by_name.insert(LONG.into(), position);
    let (_, asked) = asked(residency);
    let asked = Asked {
        capability: LONG,
        ..asked
    };
    (View::new(Arc::new(Board::new(snapshot(routes), 1))), asked)
}

/// The same, of providers each of which is cheaper than the one before it.
pub fn asked_by_merit(residency: Option<&'static str>) -> (View, Asked) {
    let (view, asked) = asked_of_a_long_chain(residency);
    let mut snapshot = view.board().snapshot().as_ref().clone();
    let mut routes = Routes::clone(&snapshot.routes);
    let long = routes.capabilities.last_mut().expect("the long one");
    long.by_merit = true;
    long.chain
        .set_costs(|link| u64::from(u16::MAX - link.provider));
    snapshot.routes = Arc::new(routes);
    (View::new(Arc::new(Board::new(snapshot, 1))), asked)
}

/// What the office has published since a view was refreshed.
#[derive(Clone, Copy)]
pub enum News {
    /// Nothing: what nearly every call finds.
    Nothing,
    /// The same routes, other states.
    States,
    /// A new configuration.
    Routes,
}

/// A view whose board shows something newer.
pub fn published(news: News) -> View {
    let view = view();
    let mut next = Snapshot::clone(&view.board().snapshot());
    match news {
        News::Nothing => return view,
        News::States => {}
        News::Routes => next.routes = Arc::new(routes()),
    }
    view.board().publish(next);
    view
}

/// When [`detector`] has seen its last outcome.
pub const DETECTED: Moment = Moment(20_000_000);
/// When the next of the buckets of its window has begun.
pub const NEXT_BUCKET: Moment = Moment(21_000_000);

/// What a core knows of a target that works and has failed once.
pub fn detector() -> Detector {
    let mut detector = Detector::new(&BreakerConfig::default());
    for second in 1..=20 {
        detector.succeeded(50, Moment(second * 1_000_000));
    }
    detector.failed(DETECTED);
    detector
}

/// A core's view of a middling instance, and a call that asks it.
pub fn asked(residency: Option<&'static str>) -> (View, Asked) {
    let asked = Asked {
        digest: digest(42),
        capability: CAPABILITIES[0],
        residency,
        now: Moment(1_000_000),
    };
    (view(), asked)
}

fn routes() -> Routes {
    let mut groups = Groups::new();
    groups.insert("anz", ["au", "nz"].map(jurisdiction).into_iter().collect());
    Routes {
        keys: (0..KEYS).map(|id| (digest(id), key(id))).collect(),
        meters: Vec::new(),
        reserves: Vec::new(),
        rights: Vec::new(),
        capabilities: (0..).zip(CAPABILITIES).map(capability).collect(),
        by_name: (0..)
            .zip(CAPABILITIES)
            .map(|(position, name)| (name.into(), position))
            .collect::<HashMap<_, _>>(),
        providers: (0..).zip(COUNTRIES).map(provider).collect(),
        groups,
        limits: Limits {
            head_bytes: HEAD_LIMITS.bytes,
            headers: HEAD_LIMITS.fields,
            body_bytes: 64 << 20,
            connections_per_core: 20_000,
            pipelined_requests: 16,
            calls_per_core: 10_000,
            memory_bytes: None,
        },
        timeouts: Timeouts::default(),
        max_attempts: 3,
        waiting_max: 100,
        expose_providers: false,
        access_log: false,
        called: Default::default(),
        tls: None,
    }
}

fn key(id: u16) -> Key {
    Key {
        id: KeyId(id),
        capabilities: CapabilitySet::ALL,
        residency: JurisdictionSet::ALL,
        meter: None,
        supply: Supply::Floating,
        rights: (0, 0),
    }
}

/// Every provider in file order, the backstop last.
fn capability(named: (u16, &str)) -> Capability {
    capability_of(named, &COUNTRIES)
}

fn capability_of((position, name): (u16, &str), countries: &[&str]) -> Capability {
    let links = (0..).zip(countries).map(|(provider, country)| Link {
        provider,
        jurisdiction: jurisdiction(country),
        backstop: usize::from(provider) == countries.len() - 1,
    });
    Capability {
        id: CapabilityId(position),
        name: name.into(),
        residency: JurisdictionSet::ALL,
        by_merit: false,
        tells_priority: false,
        chain: Chain::new(links.collect()).expect("short and without repetition"),
        models: vec![
            Model {
                plain: b"frontier-1".as_slice().into(),
                json: b"\"frontier-1\"".as_slice().into()
            };
            countries.len()
        ],
    }
}

fn provider((position, country): (u16, &str)) -> Provider {
    Provider {
        id: ProviderId(position),
        name: format!("provider-{position}").into(),
        jurisdiction: jurisdiction(country),
        endpoints: vec![Endpoint {
            id: EndpointId(position),
            rank: position.into(),
            calls_max: None,
            addresses: vec![([127, 0, 0, 1], 9101).into()],
            authority: "127.0.0.1:9101".into(),
            prefix: "/v1".into(),
            tls: None,
        }],
        capacity: None,
        offer: Price::ZERO,
        api_key: None,
        timeouts: Timeouts::default(),
        breaker: BreakerConfig::default(),
        balance: Balance::LeastLoaded,
        location: ProviderId(0),
        tiers: None,
    }
}

/// A call as it is recorded.
pub const CALL: Call<&'static str> = Call {
    number: 123_456,
    began_us: 1_790_000_000_000_000,
    total_us: 812_000,
    ttft_us: Some(230_000),
    bytes_in: 1024,
    bytes_out: 1500,
    tokens: Some((180, 150)),
    price: Some(2_400_000),
    firm: false,
    stream: false,
    served: true,
    jurisdiction: Some(*b"au"),
    status: 200,
    outcome: Outcome::Completed,
    code: "",
    request_id: "req-0123456789abcdef0123456789abcdef",
    residency: "au-only,nz-only",
    key: "acme-production",
    capability: "smart",
};

const ATTEMPT: Attempt<&'static str> = Attempt {
    result: Some(AttemptResult::Succeeded),
    status: 200,
    after_us: 35,
    took_us: 811_000,
    provider: "fleet-per",
    endpoint: "fleet-3.per.example:8000",
    jurisdiction: Some(*b"au"),
};

/// Where an entry of so many attempts goes, and these.
pub fn page(attempts: usize) -> (Vec<u8>, Vec<Attempt<&'static str>>) {
    warm_up();
    (vec![0; 4096], vec![ATTEMPT; attempts])
}
