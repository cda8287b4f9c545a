//! Heads of requests, against the grammar; and nothing behind a head changes what it is.

use srpd::http::{HeadLimits, HeadSlots, RequestHead, Version, parse_request};

use crate::dice::Dice;
use crate::plain::head::{self, Verdict};

/// Small enough for the bounds to be met.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 2048,
    fields: 24,
};

/// What became of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Incomplete,
    Refused,
    Accepted(usize),
}

fn outcome(bytes: &[u8]) -> Outcome {
    let mut slots = HeadSlots::new();
    match parse_request(bytes, &LIMITS, &mut slots) {
        Ok(None) => Outcome::Incomplete,
        Ok(Some(head)) => Outcome::Accepted(head.length),
        Err(_) => Outcome::Refused,
    }
}

/// Reads a request's head in two ways.
pub fn run(bytes: &[u8]) {
    let mut slots = HeadSlots::new();
    let ours = parse_request(bytes, &LIMITS, &mut slots);
    match (head::request(bytes, &LIMITS), &ours) {
        (Verdict::Accepted(plain), Ok(Some(head))) => assert_same(&plain, head),
        // What can't become a request may be refused before it ends.
        (Verdict::Incomplete, Ok(None) | Err(_)) | (Verdict::Refused(_), Err(_)) => {}
        (plain, _) => panic!("{plain:?}, but srpd: {:?}", ours.map(|_| ())),
    }
    if let Err(bad) = &ours {
        assert!(matches!(bad.status(), 400 | 431), "{bad:?}");
    }
    assert_front_decides(bytes, outcome);
}

/// Panics unless `outcome` says of the front of `bytes` what it says of all of them.
fn assert_front_decides(bytes: &[u8], outcome: fn(&[u8]) -> Outcome) {
    let all = outcome(bytes);
    let mut dice = Dice::of(bytes);
    for _ in 0..8 {
        let front = dice.below(bytes.len() + 1);
        match (outcome(&bytes[..front]), &all) {
            (Outcome::Refused, Outcome::Refused) | (Outcome::Incomplete, _) => {}
            (early, all) => assert_eq!(&early, all, "the first {front} bytes"),
        }
        if let Outcome::Accepted(length) = all {
            assert_eq!(
                outcome(&bytes[..front]) == Outcome::Incomplete,
                front < length
            );
        }
    }
}

fn assert_same(plain: &head::Request<'_>, head: &RequestHead<'_, '_>) {
    assert_eq!(head.method.as_bytes(), plain.method);
    assert_eq!(head.path, plain.path);
    assert_eq!(head.query, plain.query.as_deref());
    assert_eq!(head.version == Version::Http11, plain.is_http11);
    assert_eq!(head.framing, plain.framing);
    assert_eq!(head.persistent, plain.persistent);
    assert_eq!(head.expect_continue, plain.expect_continue);
    assert_eq!(head.length, plain.length);
    let fields: Vec<_> = head.fields.iter().map(|(n, v)| (n.as_bytes(), v)).collect();
    assert_eq!(fields, plain.fields);
}
