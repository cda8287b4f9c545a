//! The steps of a call that are measured, once for both kinds of benchmark: what is done, without what
//! it is done with.

use std::hint::black_box;

use srpd::base::{KeyDigest, Moment};
use srpd::http::{self, ChunkedDecoder, HeadSlots};
use srpd::ledger::frame::{self, Kind, Written};
use srpd::ledger::{Attempt, entry};
use srpd::market::Price;
use srpd::market::occupancy::Share;
use srpd::openai::{self, StreamScanner};
use srpd::policy::breaker::Detector;
use srpd::policy::residency::{self, Residency};
use srpd::tables::View;

use super::market::{CAPACITY, PROVIDER, Slots};
use super::{Asked, HEAD_LIMITS};

/// A client's head, read and written again for the provider.
#[inline(always)]
pub fn request_head(bytes: &[u8], out: &mut Vec<u8>) {
    let mut slots = HeadSlots::new();
    let head = http::parse_request(black_box(bytes), &HEAD_LIMITS, &mut slots);
    let head = head.expect("valid").expect("complete");
    http::hop::forward_request_fields(&head.fields, out);
    black_box((head.framing, head.persistent));
}

/// A provider's head, read and written again for the client.
#[inline(always)]
pub fn response_head(bytes: &[u8], out: &mut Vec<u8>) {
    let mut slots = HeadSlots::new();
    let head = http::parse_response(black_box(bytes), &HEAD_LIMITS, &mut slots, false);
    let head = head.expect("valid").expect("complete");
    http::hop::forward_response_fields(&head.fields, out);
    black_box((head.framing, head.persistent));
}

/// What routing needs to know of a body.
#[inline(always)]
pub fn body_probe(body: &[u8]) {
    let probe = openai::probe(black_box(body)).expect("valid");
    black_box((probe.model, probe.stream));
}

/// Whose key it is.
#[inline(always)]
pub fn key_lookup(view: &View, key: &[u8]) {
    let digest = KeyDigest::of(black_box(key));
    black_box(view.routes().keys.get(&digest)).expect("a known key");
}

/// From a key's digest, a capability's name and a residency field to the first candidate.
#[inline(always)]
pub fn routing(view: &mut View, asked: &Asked) {
    view.refresh();
    let routes = black_box(&*view).routes();
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

/// A chain from its first candidate to its last: each fails, and the next one is taken.
#[inline(always)]
pub fn chain_to_its_end(view: &View, asked: &Asked) -> usize {
    let routes = black_box(view).routes();
    let capability = &routes.capabilities[usize::from(routes.by_name[asked.capability])];
    let field = asked.residency.map(|rules| {
        residency::parse_rules(rules.as_bytes(), &routes.groups).expect("valid rules")
    });
    let everywhere = capability.residency;
    let residency = Residency::effective(field, everywhere, everywhere);
    let attempts_max = capability.chain.links().len() as u32;
    let itinerary = capability.chain.within(&residency, attempts_max);
    let mut itinerary = itinerary.expect("somebody inside");
    itinerary.order_by_merit(capability.by_merit);
    let mut taken = 0;
    while let Some((candidate, ())) = itinerary.next(|candidate| {
        let provider = &routes.providers[usize::from(candidate.provider())];
        (view.states().provider(provider.id).gated_until <= asked.now).then_some(())
    }) {
        black_box(candidate.link());
        taken += 1;
    }
    taken
}

/// A floating call takes an idle slot, and gives it back.
#[inline(always)]
pub fn floating_slot(slots: &Slots, bid: Price) {
    let counter = black_box(slots).counter();
    drop(black_box(counter.floating(PROVIDER, CAPACITY, bid)).expect("an idle slot"));
}

/// A firm call takes one of its reservation, and gives it back.
#[inline(always)]
pub fn firm_slot(slots: &Slots) {
    let counter = black_box(slots).counter();
    let taken = counter.firm(PROVIDER, CAPACITY, Share::Own, &slots.reserve);
    drop(black_box(taken).expect("reserved"));
}

/// What a core notes of a call that went well.
#[inline(always)]
pub fn breaker_success(detector: &mut Detector, now: Moment) {
    black_box(detector).succeeded(1, black_box(now));
}

/// What a core notes of a call that failed, and whether that trips the breaker.
#[inline(always)]
pub fn breaker_failure(detector: &mut Detector, now: Moment) {
    black_box(black_box(detector).failed(black_box(now)));
}

/// One event of a stream on its way: out of its chunk, swept, and a size written for the next one.
#[inline(always)]
pub fn stream_relay(chunk: &mut [u8], decoder: &mut ChunkedDecoder, scanner: &mut StreamScanner) {
    let decoded = decoder.decode(black_box(&mut *chunk)).expect("well framed");
    let sweep = scanner.sweep(&chunk[decoded.payload]);
    let mut room = [0; http::encode::CHUNK_SIZE_ROOM];
    black_box(http::encode::write_chunk_size(sweep.complete, &mut room));
}

/// Whether a whole response parses, and what it says it used.
#[inline(always)]
pub fn usage_inspection(body: &[u8]) {
    let usage = openai::inspect_json(black_box(body)).expect("valid JSON");
    black_box(usage.expect("a usage"));
}

/// A call's entry, written where its segment is mapped.
#[inline(always)]
pub fn ledger_entry(page: &mut [u8], attempts: &[Attempt<&str>]) -> Option<Written> {
    let call = black_box(super::CALL);
    frame::write(black_box(page), 7, |pen| {
        entry::encode(pen, Kind::Entry, &call, attempts.iter().copied())
    })
}
