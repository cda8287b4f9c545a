//! Event streams in every line ending, cut at every byte.

use proptest::prelude::*;

use super::*;

const CHAT: Operation = Operation::ChatCompletions;
const DELTA: &str = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}"#;
const USAGE_ONLY: &str =
    r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#;

/// What a stream came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What the client gets.
    sent: Vec<u8>,
    removed: Option<Range<usize>>,
    usage: Option<Usage>,
    ended: bool,
    failed: bool,
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
        match remove {
            Some(range) => {
                sent.extend_from_slice(&window[..range.start]);
                sent.extend_from_slice(&window[range.end..complete]);
                let range = passed + range.start..passed + range.end;
                assert_eq!(removed.replace(range), None, "removed twice");
            }
            None => sent.extend_from_slice(&window[..complete]),
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
    }
}

fn whole(operation: Operation, strip: bool, stream: &str) -> Outcome {
    relay(operation, strip, [stream.as_bytes()], usize::MAX)
}

/// The pieces of a stream that is cut at the given places.
fn cut<'s>(stream: &'s [u8], places: &[prop::sample::Index]) -> Vec<&'s [u8]> {
    let mut places: Vec<_> = places.iter().map(|i| i.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &stream[pair[0]..pair[1]])
        .collect()
}

type Lines = Vec<&'static str>;

fn chat_event() -> impl Strategy<Value = Lines> {
    prop::sample::select(vec![
        vec![r#"data: {"choices":[{"delta":{"content":"x"}}],"usage":null}"#],
        vec![r#"data: {"choices":[{"delta":{"content":"y"}}]}"#],
        vec![r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#],
        vec![
            "data: {",
            r#"data:"choices": [ ],"#,
            ": x",
            r#"data: "usage":{"prompt_tokens":3}}"#,
        ],
        vec![r#"data: {"choices":[{}],"usage":{"prompt_tokens":4,"completion_tokens":4}}"#],
        vec!["data: [DONE]"],
        vec![": ping"],
        vec![],
        vec!["id: 4", "retry: 5"],
        vec!["data:"],
    ])
}

fn responses_event() -> impl Strategy<Value = Lines> {
    prop::sample::select(vec![
        vec![
            "event: response.created",
            r#"data: {"type":"response.created","response":{"error":null,"usage":null}}"#,
        ],
        vec![
            "event: response.completed",
            r#"data: {"type":"response.completed","response":{"usage":{"input_tokens":8}}}"#,
        ],
        vec![r#"data: {"type":"response.incomplete","response":{"usage":{"output_tokens":9}}}"#],
        vec![": ping"],
        vec!["data: {}"],
    ])
}

fn failure() -> impl Strategy<Value = Lines> {
    prop_oneof![
        Just(vec![r#"data: {"error":{"message":"no"}}"#]),
        Just(vec!["event: error", r#"data: {"type":"error","code":"x"}"#]),
        Just(vec![
            r#"data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}"#
        ]),
    ]
}

/// A stream whose lines end in fewer than `most_ends` ways in turn. With several, a CR and the LF
/// of the next, blank line may become one end.
fn stream(event: impl Strategy<Value = Lines>, most_ends: usize) -> impl Strategy<Value = String> {
    let end = || prop::sample::select(&["\n", "\r\n", "\r"][..]);
    let ends = prop::collection::vec(end(), 1..most_ends);
    (
        prop::collection::vec(event, 0..8),
        ends,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(events, ends, mark, blank)| {
            let mut stream = String::from(if mark { "\u{feff}" } else { "" });
            let mut ends = ends.iter().cycle();
            let mut lines: Vec<&str> = Vec::new();
            for event in events {
                lines.extend(event);
                lines.push("");
            }
            if !blank {
                lines.pop();
            }
            for line in lines {
                stream.push_str(line);
                stream.push_str(ends.next().unwrap());
            }
            stream
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop::sample::select(&[CHAT, Operation::Responses, Operation::AudioSpeech][..])
}

fn places() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn cuts_change_nothing(
        stream in stream(prop_oneof![6 => chat_event(), 3 => responses_event(), 1 => failure()], 9),
        operation in operation(),
        strip: bool,
        places in places(),
    ) {
        let expected = whole(operation, strip, &stream);
        let pieces = cut(stream.as_bytes(), &places);
        prop_assert_eq!(relay(operation, strip, pieces, usize::MAX), expected);
        let bytes = stream.as_bytes().chunks(1);
        prop_assert_eq!(relay(operation, strip, bytes, usize::MAX), whole(operation, strip, &stream));
    }

    #[test]
    fn cuts_of_any_bytes_change_nothing(
        stream in prop::collection::vec(
            prop::sample::select(b"\r\n\r\n\r\n: data{}\"usage[DONE]\xef\xbb\xbf".as_slice()), 0..120),
        places in places(),
    ) {
        let expected = relay(CHAT, true, [stream.as_slice()], usize::MAX);
        prop_assert_eq!(relay(CHAT, true, cut(&stream, &places), usize::MAX), expected);
    }

    #[test]
    fn want_of_room_loses_nothing(
        chat in stream(chat_event(), 2),
        responses in stream(responses_event(), 2),
        room in 20..100_usize,
        places in places(),
    ) {
        for (operation, stream) in [(CHAT, chat), (Operation::Responses, responses)] {
            let expected = whole(operation, false, &stream);
            let pieces = cut(stream.as_bytes(), &places);
            prop_assert_eq!(relay(operation, false, pieces, room), expected);
        }
    }

    /// The first event is the same whenever it is complete.
    #[test]
    fn the_first_event_is_found_as_it_comes(
        stream in stream(prop_oneof![chat_event(), failure()], 9),
        place: prop::sample::Index,
    ) {
        let early = first_event(&stream.as_bytes()[..place.index(stream.len() + 1)]);
        if early != First::Incomplete {
            prop_assert_eq!(early, first_event(stream.as_bytes()));
        }
    }
}

#[test]
fn usage_is_read_and_removed_for_who_did_not_ask() {
    for end in ["\n", "\r\n", "\r"] {
        let head = format!(": hello{end}{end}data: {DELTA}{end}{end}");
        let extra = format!("data: {USAGE_ONLY}{end}{end}");
        let tail = format!("data: [DONE]{end}{end}");
        let stream = [&*head, &extra, &tail].concat();
        for operation in [CHAT, Operation::Completions] {
            let stripped = whole(operation, true, &stream);
            assert_eq!(stripped.sent, [head.as_bytes(), tail.as_bytes()].concat());
            assert_eq!(stripped.removed, Some(head.len()..head.len() + extra.len()));
            let kept = whole(operation, false, &stream);
            assert_eq!(
                (kept.sent, kept.removed),
                (stream.clone().into_bytes(), None)
            );
            for (usage, ended, failed) in [
                (stripped.usage, stripped.ended, stripped.failed),
                (kept.usage, kept.ended, kept.failed),
            ] {
                assert_eq!(
                    usage,
                    Some(Usage {
                        input: 7,
                        output: 5
                    })
                );
                assert!(ended && !failed);
            }
        }
    }
}

#[test]
fn an_event_with_more_than_usage_stays() {
    for data in [
        r#"{"choices":[],"prompt_filter_results":[],"usage":null}"#,
        r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"choices":[{"delta":{"content":"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}"}}]}"#,
        r#"{"choices":[],"x":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":1},"error":{"message":"no"}}"#,
    ] {
        let stream = format!("data: {data}\n\n");
        assert_eq!(whole(CHAT, true, &stream).removed, None, "{data}");
    }
    let twice = format!("data: {USAGE_ONLY}\n\n").repeat(2);
    assert_eq!(whole(CHAT, true, &twice).sent.len(), twice.len() / 2);
}

#[test]
fn an_end_is_clean_only_if_the_stream_says_so() {
    let delta = format!("data: {DELTA}\n\n");
    assert!(!whole(CHAT, false, "").ended);
    assert!(!whole(CHAT, false, &delta).ended);
    assert!(!whole(CHAT, false, "data: \"[DONE]\"\n\n").ended);
    assert!(!whole(CHAT, false, ": [DONE]\n\n").ended);
    assert!(whole(CHAT, false, &format!("{delta}data:[DONE]\n\n")).ended);
    assert!(whole(CHAT, false, &format!("{delta}data: [DONE]")).ended);
    assert!(!whole(Operation::Responses, false, "data: [DONE]\n\n").ended);
    assert!(whole(Operation::AudioSpeech, false, "").ended);
    for (kind, ended) in [
        ("response.completed", true),
        ("response.incomplete", true),
        ("response.failed", true),
        ("error", true),
        ("response.output_text.done", false),
    ] {
        let data = format!("data: {{\"sequence_number\":1,\"type\":\"{kind}\"}}\n\n");
        let named = format!("event: {kind}\n{data}");
        assert_eq!(
            whole(Operation::Responses, false, &data).ended,
            ended,
            "{kind}"
        );
        assert_eq!(
            whole(Operation::Responses, false, &named).ended,
            ended,
            "{kind}"
        );
        let misnamed = format!("event: message\n{data}");
        assert_eq!(
            whole(Operation::Responses, false, &misnamed).ended,
            ended,
            "{kind}"
        );
        let broken = format!("event: {kind}\ndata: {{\n\n");
        assert!(!whole(Operation::Responses, false, &broken).ended, "{kind}");
    }
}

#[test]
fn a_failure_inside_is_seen() {
    let cases = [
        (CHAT, r#"{"error":{"message":"no"}}"#, true),
        (
            CHAT,
            r#"{"id":"x","choices":[],"error":{"code":502}}"#,
            true,
        ),
        (CHAT, r#"{"error":"overloaded"}"#, true),
        (CHAT, r#"{"error":null,"choices":[]}"#, false),
        (CHAT, r#"{"error":{ },"choices":[]}"#, false),
        (
            CHAT,
            r#"{"choices":[{"delta":{"content":"\"error\":1"}}]}"#,
            false,
        ),
        (CHAT, r#"{"choices":[{"error":{"message":"no"}}]}"#, false),
        (
            Operation::Responses,
            r#"{"type":"error","code":"server_error"}"#,
            true,
        ),
        (
            Operation::Responses,
            r#"{"type":"error","error":{"code":"x"}}"#,
            true,
        ),
        (
            Operation::Responses,
            r#"{"type":"response.completed","response":{"error":null}}"#,
            false,
        ),
        (
            Operation::Responses,
            r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#,
            true,
        ),
        (
            Operation::Responses,
            r#"{"type":"response.failed","response":{"error":{"code":"invalid_prompt"}}}"#,
            false,
        ),
    ];
    for (operation, data, failed) in cases {
        let stream = format!("data: {data}\n\n");
        assert_eq!(whole(operation, false, &stream).failed, failed, "{data}");
    }
    assert!(whole(CHAT, false, "event: error\ndata: out of memory\n\n").failed);
}

#[test]
fn the_first_event_tells_an_error_from_an_answer() {
    let stream = "\u{feff}: waiting\n\n\r\nid: 1\n\ndata:\n\ndata: {\"error\":{\"code\":1}}\n\n";
    let data = stream.find('{').unwrap()..stream.len() - 2;
    assert_eq!(first_event(stream.as_bytes()), First::Error(data));
    for (stream, first) in [
        ("", First::Incomplete),
        (": one\n\n: two\n\n", First::Incomplete),
        ("data: {}\n", First::Incomplete),
        ("data: {}\r\n\r", First::Incomplete),
        ("data: {}\n\n", First::Event),
        ("data: [DONE]\n\n", First::Event),
        ("data: {\"error\":null}\n\n", First::Event),
        (
            "data: {\"type\":\"error\",\"code\":\"x\"}\n\n",
            First::Error(6..33),
        ),
        ("event: error\ndata: oh\n\n", First::Error(19..21)),
        ("data: {\"error\":\ndata: 1}\n\n", First::Error(6..24)),
        (
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\n",
            First::Event,
        ),
    ] {
        assert_eq!(first_event(stream.as_bytes()), first, "{stream:?}");
    }
}

#[test]
fn a_long_terminal_event_is_read_in_pieces() {
    let text = "lorem ipsum ".repeat(20_000);
    for name in ["", "event: response.completed\r\n"] {
        let stream = format!(
            "{name}data: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{text}\",\
             \"usage\":{{\"input_tokens\":70,\"output_tokens\":50}}}}}}\r\n\r\n"
        );
        for size in [1000, 1460, 16_384] {
            let outcome = relay(
                Operation::Responses,
                false,
                stream.as_bytes().chunks(size),
                8192,
            );
            assert_eq!(
                outcome.usage,
                Some(Usage {
                    input: 70,
                    output: 50
                })
            );
            assert!(outcome.ended && !outcome.failed);
            assert_eq!(outcome.sent, stream.as_bytes());
        }
    }
}
