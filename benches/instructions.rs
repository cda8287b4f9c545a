//! Instructions that the steps of a call cost, counted by callgrind: the same on every machine with
//! the same compiler, so that `perf/check` can hold them against `perf/budgets.toml`.
//!
//! Callgrind's CPU has AVX2 and carry-less multiplication, but neither AVX-512 nor SHA
//! instructions: the digest of a key costs several times less on a real one.

#![expect(
    missing_docs,
    reason = "gungraun's macros make public items of the benchmarks"
)]

mod parts;

use std::hint::black_box;

use gungraun::prelude::*;
use srpd::base::KeyDigest;
use srpd::http::{self, ChunkedDecoder, HeadSlots};
use srpd::openai::{self, StreamScanner};
use srpd::policy::residency::{self, Residency};
use srpd::tables::View;

use parts::{Asked, HEAD_LIMITS};

// A client's head, read and written again for the provider.
#[library_benchmark]
#[bench::openai_python(parts::request_head())]
fn request_head((bytes, mut out): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    {
        let mut slots = HeadSlots::new();
        let head = http::parse_request(black_box(&bytes), &HEAD_LIMITS, &mut slots);
        let head = head.expect("valid").expect("complete");
        http::hop::forward_request_fields(&head.fields, &mut out);
        black_box((head.framing, head.persistent));
    }
    (bytes, out)
}

// A provider's head, read and written again for the client.
#[library_benchmark]
#[bench::vendor(parts::response_head())]
fn response_head((bytes, mut out): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    {
        let mut slots = HeadSlots::new();
        let head = http::parse_response(black_box(&bytes), &HEAD_LIMITS, &mut slots, false);
        let head = head.expect("valid").expect("complete");
        http::hop::forward_response_fields(&head.fields, &mut out);
        black_box((head.framing, head.persistent));
    }
    (bytes, out)
}

// What routing needs to know of a body.
#[library_benchmark]
#[bench::chat_1k(parts::chat_request(1024))]
#[bench::chat_256k(parts::chat_request(256 * 1024))]
#[bench::chat_256k_tools(parts::tool_request(256 * 1024))]
fn body_probe(body: Vec<u8>) -> Vec<u8> {
    {
        let probe = openai::probe(black_box(&body)).expect("valid");
        black_box((probe.model, probe.stream));
    }
    body
}

// The digest that a key is looked up by.
#[library_benchmark]
#[bench::bearer(parts::client_key())]
fn key_digest(key: Vec<u8>) -> (Vec<u8>, KeyDigest) {
    let digest = KeyDigest::of(black_box(&key));
    (key, digest)
}

// From a key's digest, a capability's name and a residency field to the first candidate.
#[library_benchmark]
#[bench::plain(parts::asked(None))]
#[bench::au_and_nz_only(parts::asked(Some("au-only,nz-only")))]
fn routing((mut view, asked): (View, Asked)) -> (View, Asked) {
    {
        view.refresh();
        let routes = black_box(&view).routes();
        let key = routes.keys.get(&asked.digest).expect("a known key");
        let position = *routes.by_name.get(asked.capability).expect("a known name");
        assert!(key.capabilities.contains(position));
        let capability = &routes.capabilities[usize::from(position)];
        let field = asked.residency.map(|rules| {
            residency::parse_rules(rules.as_bytes(), &routes.groups).expect("valid rules")
        });
        let residency = Residency::effective(field, key.residency, capability.residency);
        let itinerary = capability.chain.within(&residency, routes.max_attempts);
        let mut itinerary = itinerary.expect("somebody inside");
        let candidate = itinerary.next(|candidate| {
            let provider = &routes.providers[usize::from(candidate.provider())];
            (view.states().provider(provider.id).gated_until <= asked.now).then_some(())
        });
        let (candidate, ()) = candidate.expect("a candidate");
        black_box(candidate.link());
    }
    (view, asked)
}

// One event of a stream on its way: out of its chunk, swept, and a size written for the next one.
#[library_benchmark]
#[bench::one_event(parts::event_chunk())]
fn stream_relay(
    (mut chunk, mut decoder, mut scanner): (Vec<u8>, ChunkedDecoder, StreamScanner),
) -> (Vec<u8>, ChunkedDecoder, StreamScanner) {
    {
        let decoded = decoder.decode(black_box(&mut chunk)).expect("well framed");
        let sweep = scanner.sweep(&chunk[decoded.payload]);
        let mut room = [0; http::encode::CHUNK_SIZE_ROOM];
        black_box(http::encode::write_chunk_size(sweep.complete, &mut room));
    }
    (chunk, decoder, scanner)
}

// The sweep alone.
#[library_benchmark]
#[bench::one_event(parts::window(1))]
#[bench::events_64(parts::window(64))]
fn stream_sweep((window, mut scanner): (Vec<u8>, StreamScanner)) -> (Vec<u8>, StreamScanner) {
    black_box(scanner.sweep(black_box(&window)));
    (window, scanner)
}

// Whether a whole response parses, and what it says it used.
#[library_benchmark]
#[bench::prose_1k(parts::chat_response(parts::PROSE, 1024))]
#[bench::code_1k(parts::chat_response(parts::CODE, 1024))]
fn usage_inspection(body: Vec<u8>) -> Vec<u8> {
    let usage = openai::inspect_json(black_box(&body)).expect("valid JSON");
    black_box(usage.expect("a usage"));
    body
}

library_benchmark_group!(name = heads, benchmarks = [request_head, response_head]);
library_benchmark_group!(
    name = routes,
    benchmarks = [body_probe, key_digest, routing]
);
library_benchmark_group!(
    name = relay,
    benchmarks = [stream_relay, stream_sweep, usage_inspection]
);
main!(library_benchmark_groups = heads, routes, relay);
