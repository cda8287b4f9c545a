//! How long the steps of a call take on this machine, for people: `cargo bench --bench durations`. What
//! CI holds is instructions.rs, which counts the same steps.

mod parts;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use srpd::base::KeyDigest;
use srpd::market::Price;

use parts::market::Slots;
use parts::{News, steps};

fn heads(c: &mut Criterion) {
    let (request, mut out) = parts::request_head();
    c.bench_function("request_head", |b| {
        b.iter(|| {
            out.clear();
            steps::request_head(&request, &mut out);
        });
    });
    let (response, mut out) = parts::response_head();
    c.bench_function("response_head", |b| {
        b.iter(|| {
            out.clear();
            steps::response_head(&response, &mut out);
        });
    });
}

fn bodies(c: &mut Criterion) {
    let mut group = c.benchmark_group("body_probe");
    for (name, body) in [
        ("chat_1k", parts::chat_request(1024)),
        ("chat_16k", parts::chat_request(16 * 1024)),
        ("chat_256k", parts::chat_request(256 * 1024)),
        ("chat_256k_tools", parts::tool_request(256 * 1024)),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| steps::body_probe(&body)));
    }
    group.finish();
    for (name, filler) in [("prose_1k", parts::PROSE), ("code_1k", parts::CODE)] {
        let body = parts::chat_response(filler, 1024);
        c.bench_function(&format!("usage_inspection/{name}"), |b| {
            b.iter(|| steps::usage_inspection(&body));
        });
    }
}

fn routes(c: &mut Criterion) {
    let key = parts::client_key();
    c.bench_function("key_digest/bearer", |b| {
        b.iter(|| KeyDigest::of(black_box(&key)));
    });
    let (view, key) = parts::known_key();
    c.bench_function("key_lookup/of_100", |b| {
        b.iter(|| steps::key_lookup(&view, &key));
    });
    for (name, rules) in [("plain", None), ("au_and_nz_only", Some("au-only,nz-only"))] {
        let (mut view, asked) = parts::asked(rules);
        c.bench_function(&format!("routing/{name}"), |b| {
            b.iter(|| steps::routing(&mut view, &asked));
        });
        let (view, asked) = parts::asked_of_a_long_chain(rules);
        c.bench_function(&format!("chain_of_8/{name}"), |b| {
            b.iter(|| steps::chain_to_its_end(&view, &asked));
        });
        let (view, asked) = parts::asked_by_merit(rules);
        c.bench_function(&format!("merit_of_8/{name}"), |b| {
            b.iter(|| steps::chain_to_its_end(&view, &asked));
        });
    }
}

fn market(c: &mut Criterion) {
    for others in [0, 50] {
        let slots = Slots::with(others);
        c.bench_function(&format!("floating_slot/beside_{others}"), |b| {
            b.iter(|| steps::floating_slot(&slots, Price::MAX));
        });
    }
    let slots = Slots::with(50);
    c.bench_function("firm_slot/beside_50", |b| {
        b.iter(|| steps::firm_slot(&slots));
    });
}

fn state(c: &mut Criterion) {
    let mut detector = parts::detector();
    c.bench_function("breaker_success/same_bucket", |b| {
        b.iter(|| steps::breaker_success(&mut detector, parts::DETECTED));
    });
    c.bench_function("breaker_success/next_bucket", |b| {
        b.iter_batched_ref(
            parts::detector,
            |detector| steps::breaker_success(detector, parts::NEXT_BUCKET),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("breaker_failure", |b| {
        b.iter(|| steps::breaker_failure(&mut detector, parts::DETECTED));
    });
    for (name, attempts) in [("one_attempt", 1), ("three_attempts", 3)] {
        let (mut page, attempts) = parts::page(attempts);
        c.bench_function(&format!("ledger_entry/{name}"), |b| {
            b.iter(|| steps::ledger_entry(&mut page, &attempts));
        });
    }
    for (name, news) in [
        ("unchanged", News::Nothing),
        ("states", News::States),
        ("routes", News::Routes),
    ] {
        c.bench_function(&format!("table_refresh/{name}"), |b| {
            b.iter_batched_ref(
                || parts::published(news),
                |view| black_box(view.refresh()),
                BatchSize::SmallInput,
            );
        });
    }
}

fn relay(c: &mut Criterion) {
    for (name, made) in [
        ("one_event", parts::event_chunk as fn() -> _),
        ("usage_event", parts::usage_chunk),
    ] {
        // Decoding moves the payload within the buffer: each time takes a fresh one.
        c.bench_function(&format!("stream_relay/{name}"), |b| {
            b.iter_batched_ref(
                made,
                |(chunk, decoder, scanner)| steps::stream_relay(chunk, decoder, scanner),
                BatchSize::SmallInput,
            );
        });
    }
    let mut group = c.benchmark_group("stream_sweep");
    group.throughput(Throughput::Elements(64));
    group.bench_function("events_64", |b| {
        b.iter_batched_ref(
            || parts::window(64),
            |(window, scanner)| black_box(scanner.sweep(black_box(window))),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(durations, heads, bodies, routes, market, state, relay);
criterion_main!(durations);
