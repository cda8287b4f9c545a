//! Event streams: nothing is lost or added, nothing depends on how the bytes were cut, and what a
//! client's parser gets is what the provider sent, less the one event that nobody asked for.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;
use serde_json::value::RawValue;
use srpd::openai::route::Operation;
use srpd::openai::{First, StreamScanner, Sweep, Usage, first_event, inspect_json};

use crate::dice::Dice;
use crate::plain::events::{self, Block};

const OPERATIONS: [Operation; 3] = [
    Operation::ChatCompletions,
    Operation::Responses,
    Operation::AudioSpeech,
];

/// Relays a stream in every way, and for one of them cuts it in every way.
pub fn run(stream: &[u8]) {
    assert_first(stream);
    let mut dice = Dice::of(stream);
    let (chosen, strips) = (dice.below(OPERATIONS.len()), dice.below(2) == 1);
    for (number, operation) in OPERATIONS.into_iter().enumerate() {
        for strip in [false, true] {
            let whole = relay(operation, strip, [stream], usize::MAX);
            assert_whole(operation, strip, stream, &whole);
            if (number, strip) != (chosen, strips) {
                continue;
            }
            for pieces in dice.cuts(stream) {
                let cut = relay(operation, strip, pieces, usize::MAX);
                assert_eq!(cut, whole, "{operation:?} {strip}");
            }
            // With so little room that events are passed on in parts.
            for pieces in dice.cuts(stream) {
                let room = 1 + dice.below(100);
                assert_conserved(stream, &relay(operation, strip, pieces, room));
            }
        }
    }
}

/// What a stream came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: Vec<u8>,
    removed: Option<Range<usize>>,
    usage: Option<Usage>,
    ended: bool,
    failed: bool,
    events: u64,
}

/// Relays a stream that arrives in pieces, by way of a buffer of `room` bytes.
fn relay<'s>(
    operation: Operation,
    strip: bool,
    pieces: impl IntoIterator<Item = &'s [u8]>,
    room: usize,
) -> Outcome {
    let mut scanner = StreamScanner::new(operation, strip);
    let (mut sent, mut removed) = (Vec::new(), None);
    let (mut window, mut passed) = (Vec::new(), 0);
    for piece in pieces {
        window.extend_from_slice(piece);
        let Sweep { complete, remove } = scanner.sweep(&window);
        let gap = remove.clone().unwrap_or(complete..complete);
        sent.extend_from_slice(&window[..gap.start]);
        sent.extend_from_slice(&window[gap.end..complete]);
        if let Some(range) = remove {
            assert_eq!(removed, None, "removed twice");
            removed = Some(passed + range.start..passed + range.end);
        }
        window.drain(..complete);
        passed += complete;
        if window.len() >= room {
            scanner.spill(&window);
            passed += window.len();
            sent.append(&mut window);
        }
    }
    scanner.finish(&window);
    sent.extend_from_slice(&window);
    Outcome {
        sent,
        removed,
        usage: scanner.usage(),
        ended: scanner.ended_cleanly(),
        failed: scanner.failed(),
        events: scanner.next_sequence(),
    }
}

/// What was sent and what was removed are the stream; and a client reads the same events.
fn assert_conserved(stream: &[u8], outcome: &Outcome) {
    let gap = outcome.removed.clone().unwrap_or(0..0);
    let kept = [&stream[..gap.start], &stream[gap.end..]].concat();
    assert_eq!(outcome.sent, kept);
    let mut before = events::all(stream);
    let after = events::all(&outcome.sent);
    if outcome.removed.is_some() {
        let in_front = events::all(&stream[..gap.start]).len();
        let removed = before.remove(in_front);
        assert!(has_no_choices(&removed.data), "{:?}", removed.data);
        assert!(matches!(inspect_json(&removed.data), Ok(Some(_))));
    }
    assert_eq!(after, before);
}

/// Whether the last `choices` of an object is an empty list. What the other members hold need not
/// even be text.
fn has_no_choices(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let members = serde_json::from_str::<HashMap<String, &RawValue>>(&text);
    let choices = members
        .ok()
        .and_then(|members| members.get("choices").copied());
    let choices = choices.map_or("", RawValue::get);
    choices.starts_with('[') && choices[1..].trim_ascii() == "]"
}

fn assert_whole(operation: Operation, strip: bool, stream: &[u8], outcome: &Outcome) {
    assert_conserved(stream, outcome);
    let (complete, tail) = events::blocks(stream);
    let mut ended = stream.to_vec();
    if !tail.is_empty() {
        ended.extend_from_slice(b"\n\n");
    }
    let (blocks, _) = events::blocks(&ended);
    let told: Vec<&Block<'_>> = blocks.iter().filter(|b| !b.event.data.is_empty()).collect();
    assert_eq!(outcome.events, told.len() as u64);
    let done = |block: &&Block<'_>| block.event.data.trim_ascii_end() == b"[DONE]";
    let error = |block: &&Block<'_>| block.event.name == b"error" && !done(block);
    assert!(outcome.failed || !told.iter().any(error), "an error event");
    let chat = operation == Operation::ChatCompletions;
    assert!(chat && strip || outcome.removed.is_none(), "removed");
    if !chat {
        return;
    }
    assert_eq!(outcome.ended, told.iter().any(done));
    // Keys in escapes are found by parsers, and not looked for; and parsers mind what isn't text.
    if stream.contains(&b'\\') || std::str::from_utf8(stream).is_err() {
        return;
    }
    let counts = |block: &&Block<'_>| inspect_json(&block.event.data).ok().flatten();
    assert_eq!(outcome.usage, told.iter().rev().find_map(counts));
    let stray = complete.iter().find(is_plainly_stray);
    if let (true, Some(stray), None) = (strip, stray, &outcome.removed) {
        panic!("kept: {}", stray.bytes.escape_ascii());
    }
}

/// A usage-only event beyond doubt.
fn is_plainly_stray(block: &&Block<'_>) -> bool {
    let Ok(data) = serde_json::from_slice::<Value>(&block.event.data) else {
        return false;
    };
    let empty = data["choices"].as_array().is_some_and(Vec::is_empty);
    let counted = matches!(inspect_json(&block.event.data), Ok(Some(_)));
    empty && counted && data.get("error").is_none()
}

/// The first event is told from the first byte that decides it, and by nothing behind it.
fn assert_first(stream: &[u8]) {
    let first = first_event(stream);
    let (blocks, _) = events::blocks(stream);
    let block = blocks.iter().find(|block| !block.event.data.is_empty());
    match (&first, block) {
        (First::Incomplete, None) => {}
        (First::Event, Some(block)) => assert_ne!(block.event.name, b"error"),
        (First::Error(range), Some(block)) => {
            let shown = &stream[range.clone()];
            assert!(block.event.data_lines > 1 || shown == block.event.data);
        }
        (first, block) => panic!("{first:?}, but {block:?}"),
    }
    let mut dice = Dice::of(stream);
    for _ in 0..4 {
        let front = first_event(&stream[..dice.below(stream.len() + 1)]);
        assert!(front == First::Incomplete || front == first);
    }
}
