//! Heads of responses, against the grammar; and nothing behind a head changes what it is.

use srpd::http::{HeadLimits, HeadSlots, ResponseHead, parse_response};

use crate::dice::Dice;
use crate::plain::head::{self, Verdict};

/// Small enough for the bounds to be met.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 2048,
    fields: 24,
};

/// Reads a response's head in two ways: as the answer to a POST and to a HEAD.
pub fn run(bytes: &[u8]) {
    for was_head in [false, true] {
        let mut slots = HeadSlots::new();
        let ours = parse_response(bytes, &LIMITS, &mut slots, was_head);
        match (head::response(bytes, &LIMITS, was_head), &ours) {
            (Verdict::Accepted(plain), Ok(Some(head))) => {
                assert_same(&plain, head);
                assert_front_decides(bytes, head.length, was_head);
            }
            // What can't become a response may be refused before it ends.
            (Verdict::Incomplete, Ok(None) | Err(_)) | (Verdict::Refused(_), Err(_)) => {}
            (plain, _) => panic!("{plain:?}, but srpd: {:?}", ours.map(|_| ())),
        }
    }
}

/// Panics unless a head is incomplete exactly until its end has come.
fn assert_front_decides(bytes: &[u8], length: usize, was_head: bool) {
    let mut dice = Dice::of(bytes);
    for _ in 0..8 {
        let front = dice.below(bytes.len() + 1);
        let mut slots = HeadSlots::new();
        let early = parse_response(&bytes[..front], &LIMITS, &mut slots, was_head);
        let early = early.map(|head| head.map(|head| head.length));
        let expected = (front >= length).then_some(length);
        assert_eq!(early, Ok(expected), "the first {front} bytes");
    }
}

fn assert_same(plain: &head::Response<'_>, head: &ResponseHead<'_, '_>) {
    assert_eq!(head.status, plain.status);
    assert_eq!(head.framing, plain.framing);
    assert_eq!(head.persistent, plain.persistent);
    assert_eq!(head.is_interim(), plain.status < 200);
    assert_eq!(head.length, plain.length);
    let fields: Vec<_> = head.fields.iter().map(|(n, v)| (n.as_bytes(), v)).collect();
    assert_eq!(fields, plain.fields);
}
