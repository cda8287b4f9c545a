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
use srpd::base::{KeyDigest, Moment};
use srpd::http::ChunkedDecoder;
use srpd::ledger::Attempt;
use srpd::market::Price;
use srpd::openai::StreamScanner;
use srpd::policy::breaker::Detector;
use srpd::tables::View;

use parts::market::Slots;
use parts::{Asked, News, steps};

// What comes in is given back, so that no benchmark counts what it costs to free it.

#[library_benchmark]
#[bench::openai_python(parts::request_head())]
fn request_head((bytes, mut out): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    steps::request_head(&bytes, &mut out);
    (bytes, out)
}

#[library_benchmark]
#[bench::vendor(parts::response_head())]
fn response_head((bytes, mut out): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    steps::response_head(&bytes, &mut out);
    (bytes, out)
}

#[library_benchmark]
#[bench::chat_1k(parts::chat_request(1024))]
#[bench::chat_16k(parts::chat_request(16 * 1024))]
#[bench::chat_256k(parts::chat_request(256 * 1024))]
#[bench::chat_256k_tools(parts::tool_request(256 * 1024))]
fn body_probe(body: Vec<u8>) -> Vec<u8> {
    steps::body_probe(&body);
    body
}

#[library_benchmark]
#[bench::bearer(parts::client_key())]
fn key_digest(key: Vec<u8>) -> (Vec<u8>, KeyDigest) {
    let digest = KeyDigest::of(black_box(&key));
    (key, digest)
}

// The digest, and the key among a hundred.
#[library_benchmark]
#[bench::of_100(parts::known_key())]
fn key_lookup((view, key): (View, Vec<u8>)) -> (View, Vec<u8>) {
    steps::key_lookup(&view, &key);
    (view, key)
}

#[library_benchmark]
#[bench::plain(parts::asked(None))]
#[bench::au_and_nz_only(parts::asked(Some("au-only,nz-only")))]
fn routing((mut view, asked): (View, Asked)) -> (View, Asked) {
    steps::routing(&mut view, &asked);
    (view, asked)
}

#[library_benchmark]
#[bench::everywhere(parts::asked_of_a_long_chain(None))]
#[bench::au_and_nz_only(parts::asked_of_a_long_chain(Some("au-only,nz-only")))]
fn chain_of_8((view, asked): (View, Asked)) -> (View, Asked) {
    black_box(steps::chain_to_its_end(&view, &asked));
    (view, asked)
}

// Each link is cheaper than the one before it.
#[library_benchmark]
#[bench::everywhere(parts::asked_by_merit(None))]
#[bench::au_and_nz_only(parts::asked_by_merit(Some("au-only,nz-only")))]
fn merit_of_8((view, asked): (View, Asked)) -> (View, Asked) {
    black_box(steps::chain_to_its_end(&view, &asked));
    (view, asked)
}

// What a slot adds to a call.
#[library_benchmark]
#[bench::beside_0(Slots::with(0))]
#[bench::beside_50(Slots::with(50))]
fn floating_slot(slots: Slots) -> Slots {
    steps::floating_slot(&slots, Price::MAX);
    slots
}

#[library_benchmark]
#[bench::beside_50(Slots::with(50))]
fn firm_slot(slots: Slots) -> Slots {
    steps::firm_slot(&slots);
    slots
}

#[library_benchmark]
#[bench::same_bucket(parts::detector(), parts::DETECTED)]
#[bench::next_bucket(parts::detector(), parts::NEXT_BUCKET)]
fn breaker_success(mut detector: Detector, now: Moment) -> Detector {
    steps::breaker_success(&mut detector, now);
    detector
}

#[library_benchmark]
#[bench::same_bucket(parts::detector(), parts::DETECTED)]
fn breaker_failure(mut detector: Detector, now: Moment) -> Detector {
    steps::breaker_failure(&mut detector, now);
    detector
}

// A core takes over what the office has published: nothing, a breaker's state, a configuration.
#[library_benchmark]
#[bench::unchanged(parts::published(News::Nothing))]
#[bench::states(parts::published(News::States))]
#[bench::routes(parts::published(News::Routes))]
fn table_refresh(mut view: View) -> View {
    black_box(view.refresh());
    view
}

#[library_benchmark]
#[bench::one_event(parts::event_chunk())]
#[bench::usage_event(parts::usage_chunk())]
fn stream_relay(
    (mut chunk, mut decoder, mut scanner): (Vec<u8>, ChunkedDecoder, StreamScanner),
) -> (Vec<u8>, ChunkedDecoder, StreamScanner) {
    steps::stream_relay(&mut chunk, &mut decoder, &mut scanner);
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

#[library_benchmark]
#[bench::prose_1k(parts::chat_response(parts::PROSE, 1024))]
#[bench::code_1k(parts::chat_response(parts::CODE, 1024))]
fn usage_inspection(body: Vec<u8>) -> Vec<u8> {
    steps::usage_inspection(&body);
    body
}

#[library_benchmark]
#[bench::one_attempt(parts::page(1))]
#[bench::three_attempts(parts::page(3))]
fn ledger_entry((mut page, attempts): (Vec<u8>, Vec<Attempt<&'static str>>)) -> Vec<u8> {
    black_box(steps::ledger_entry(&mut page, &attempts));
    page
}

library_benchmark_group!(name = heads, benchmarks = [request_head, response_head]);
library_benchmark_group!(
    name = routes,
    benchmarks = [
        body_probe, key_digest, key_lookup, routing, chain_of_8, merit_of_8
    ]
);
library_benchmark_group!(name = market, benchmarks = [floating_slot, firm_slot]);
library_benchmark_group!(
    name = state,
    benchmarks = [
        breaker_success,
        breaker_failure,
        table_refresh,
        ledger_entry
    ]
);
library_benchmark_group!(
    name = relay,
    benchmarks = [stream_relay, stream_sweep, usage_inspection]
);
main!(
    library_benchmark_groups = heads,
    routes,
    market,
    state,
    relay
);
