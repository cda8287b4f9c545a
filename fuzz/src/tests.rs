//! The corpus through every target, without a fuzzer; and that what the targets lean on is able
//! to disagree.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::TARGETS;
use crate::peers::{self, After, Message, Reading, Side};

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))
}

#[test]
fn the_corpus_holds() {
    let mut size = 0;
    for (name, target) in TARGETS {
        let files = fs::read_dir(corpus().join(name)).expect(name);
        let mut count = 0;
        for file in files {
            let bytes = fs::read(file.expect("a file").path()).expect("its bytes");
            size += bytes.len();
            count += 1;
            target(&bytes);
        }
        assert!(count > 0, "{name} has no input");
    }
    assert!(size < 300_000, "{size} bytes are too many for a repository");
}

#[test]
fn every_corpus_is_a_targets() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let entries = fs::read_dir(corpus()).expect("the corpus");
    let found: BTreeSet<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(found, names);
}

#[test]
fn the_example_is_a_configuration() {
    let example = include_str!("../../docs/srpd.example.toml");
    if let Err(errors) = crate::targets::configuration::read(example) {
        panic!("{errors}");
    }
}

type Peer = fn(&[u8]) -> Reading;

const REQUESTS: [Peer; 3] = [
    |bytes| peers::milo::read(Side::Requests, bytes),
    |bytes| peers::node::read(Side::Requests, bytes),
    peers::server::read,
];

const RESPONSES: [Peer; 2] = [
    |bytes| peers::milo::read(Side::Responses, bytes),
    |bytes| peers::node::read(Side::Responses, bytes),
];

fn message(kind: &str, target: &str, body: &str) -> Message {
    Message {
        kind: kind.to_owned(),
        target: target.to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

#[test]
fn peers_read_what_is_ordinary() {
    let requests = b"POST /v1/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}\
        PUT /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        2;a=b\r\nhi\r\n1\r\n!\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let expected = [
        message("POST", "/v1/x?y", "{}"),
        message("PUT", "/z", "hi!"),
        message("GET", "/", ""),
    ];
    for peer in REQUESTS {
        assert_eq!(peer(requests).messages, expected);
    }
    let responses = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
        HTTP/1.1 200 OK\r\n\r\nto the end";
    let expected = [
        message("100", "", ""),
        message("200", "", "ok"),
        message("200", "", "hi"),
        message("200", "", "to the end"),
    ];
    for peer in RESPONSES {
        assert_eq!(peer(responses).messages, expected);
    }
}

#[test]
fn peers_tell_what_is_cut_from_what_is_wrong() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (rest, after) in [
        ("Content-Length: 3\r\n\r\n{}", After::Waiting),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
            After::Waiting,
        ),
        ("Content-Length: x\r\n\r\n{}", After::Over),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            After::Over,
        ),
        ("Transfer-Encoding: chunked\r\n\r\nz\r\n", After::Over),
    ] {
        for (number, peer) in REQUESTS.iter().enumerate() {
            let reading = peer(format!("{head}{rest}").as_bytes());
            assert_eq!(reading.messages, [], "peer {number}: {rest:?}");
            assert_eq!(reading.after, after, "peer {number}: {rest:?}");
        }
    }
}

/// What a peer that reads so much in place of one message gets to hear.
fn complaint(messages: Vec<Message>, after: After) -> bool {
    let theirs = Reading { messages, after };
    let ours = [message("GET", "/", "a")];
    std::panic::catch_unwind(|| peers::assert_agreed("a peer", &ours, &theirs)).is_err()
}

#[test]
fn another_reading_is_complained_about() {
    let same = || message("GET", "/", "a");
    assert!(!complaint(vec![same()], After::Waiting));
    assert!(!complaint(vec![], After::Over));
    assert!(complaint(vec![], After::Waiting));
    assert!(complaint(vec![message("GET", "/", "b")], After::Over));
    assert!(complaint(vec![message("GET", "/b", "a")], After::Over));
    assert!(complaint(vec![same(), same()], After::Over));
}
