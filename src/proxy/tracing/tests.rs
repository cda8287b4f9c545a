//! Which calls are recorded.

use super::super::settle::Settlement;
use super::super::testing::Bench;
use super::*;
use crate::http::{HeadLimits, HeadSlots, parse_request};
use crate::telemetry::{InlineText, Outcome, otlp};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1024,
    fields: 16,
};

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

fn tracing(share: f64, per_second: f64) -> Tracing {
    Tracing::new(otlp::link(Sampling { share, per_second }).0)
}

/// What becomes of a request with these field lines.
fn begin(tracing: &Tracing, lines: &str, now: Moment) -> Option<Trace> {
    let text = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
    let mut slots = HeadSlots::new();
    let head = parse_request(text.as_bytes(), &LIMITS, &mut slots);
    let head = head.expect("a request").expect("all of it");
    tracing.begin(&head.fields, &mut Prng::new(7), now)
}

const NOW: Moment = Moment(1_000_000);

#[test]
fn a_clients_trace_goes_on_if_the_client_records_it() {
    // Its word is obeyed whatever our own share is.
    for share in [0.0, 1.0] {
        let watcher = tracing(share, 10.0);
        let trace = begin(&watcher, PARENT, NOW).expect("a trace");
        assert_eq!(trace.id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(trace.parent, 0x00f0_67aa_0ba9_02b7);
        let told = parent_of(&trace, 0);
        assert_eq!(told.trace, trace.id);
        assert!(told.sampled && !told.random);
        assert_ne!(told.parent, parent_of(&trace, 1).parent);
        let unsampled = PARENT.replace("-01\r", "-00\r");
        assert_eq!(begin(&watcher, &unsampled, NOW), None);
    }
}

#[test]
fn what_is_malformed_or_there_twice_is_as_if_it_were_not_there() {
    let broken = PARENT.replace("-01\r", "-0\r");
    let twice = PARENT.repeat(2);
    for lines in ["", &broken, &twice] {
        assert_eq!(begin(&tracing(0.0, 10.0), lines, NOW), None);
        let trace = begin(&tracing(1.0, 10.0), lines, NOW).expect("a trace of our own");
        assert_eq!(trace.parent, 0);
        assert!(trace.random && trace.id >> 64 != 0);
    }
}

#[test]
fn a_share_of_the_others_begins_one() {
    let watcher = tracing(0.25, 1e6);
    let mut prng = Prng::new(3);
    let mut slots = HeadSlots::new();
    let text = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = parse_request(text, &LIMITS, &mut slots);
    let head = head.expect("a request").expect("all of it");
    let mut begin = || watcher.begin(&head.fields, &mut prng, NOW).is_some();
    let begun = (0..10_000).filter(|_| begin()).count();
    assert!((2300..2700).contains(&begun), "{begun}");
}

#[test]
fn above_the_bound_on_their_rate_none_is_recorded_and_they_are_counted() {
    let watcher = tracing(1.0, 5.0);
    let begun = |count: usize, now: Moment| {
        let begun = (0..count).filter(|_| begin(&watcher, PARENT, now).is_some());
        begun.count()
    };
    assert_eq!(begun(20, NOW), 5);
    assert_eq!(watcher.tally.capped.get(), 15);
    assert_eq!(begun(20, NOW + Duration::from_millis(400)), 2);
    assert_eq!(begun(20, NOW + Duration::from_secs(60)), 5);
}

#[test]
fn records_that_find_no_room_are_counted() {
    let bench = Bench::watched(Sampling {
        share: 0.0,
        per_second: 1.0,
    });
    let tracing = bench.core.tracing.as_ref().expect("watched");
    for _ in 0..otlp::RING_RECORDS + 3 {
        let mut settlement = Settlement::open(&bench.core, InlineText::new(b"r"), false);
        settlement.observed("chat", None);
        settlement.settle(Outcome::Completed);
    }
    assert_eq!(tracing.tally.lost.get(), 3);
}
