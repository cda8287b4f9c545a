//! What srpd takes for requests, other parsers take for the same requests, or for none.
//!
//! One difference is known and allowed: Node's old parser does not know `chunked` again if white
//! space follows it, which RFC 9110 section 5.5 says is no part of a value. It then sees no body,
//! and in its place a size line, which it refuses as a request: nothing can be smuggled.

use srpd::http::{
    ChunkedDecoder, HeadLimits, HeadSlots, RequestFraming, RequestHead, parse_request,
};

use crate::peers::{self, Message, Side};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 * 1024,
    fields: 128,
};

/// A client's side of a connection as srpd reads it.
struct Ours {
    messages: Vec<Message>,
    /// The end of the last of them.
    end: usize,
    /// A head was taken whose body is not all there.
    cut: bool,
}

/// Reads on until something is refused, the client may send no more, or bytes run out.
fn ours(bytes: &[u8]) -> Ours {
    let mut ours = Ours {
        messages: Vec::new(),
        end: 0,
        cut: false,
    };
    while ours.end < bytes.len() {
        let rest = &bytes[ours.end..];
        let mut slots = HeadSlots::new();
        let Ok(Some(head)) = parse_request(rest, &LIMITS, &mut slots) else {
            break;
        };
        match body(&head, &rest[head.length..]) {
            Body::Whole(body, length) => {
                ours.messages.push(message(&head, body));
                ours.end += head.length + length;
            }
            Body::Cut => {
                ours.cut = true;
                break;
            }
            Body::Broken => break,
        }
        if !head.persistent {
            break;
        }
    }
    ours
}

enum Body {
    Whole(Vec<u8>, usize),
    Cut,
    Broken,
}

fn body(head: &RequestHead<'_, '_>, rest: &[u8]) -> Body {
    match head.framing {
        RequestFraming::None => Body::Whole(Vec::new(), 0),
        RequestFraming::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            match rest.get(..length) {
                Some(body) => Body::Whole(body.to_vec(), length),
                None => Body::Cut,
            }
        }
        RequestFraming::Chunked => {
            let mut copy = rest.to_vec();
            match ChunkedDecoder::new().decode(&mut copy) {
                Ok(read) if read.done => Body::Whole(copy[read.payload].to_vec(), read.consumed),
                Ok(_) => Body::Cut,
                Err(_) => Body::Broken,
            }
        }
    }
}

fn message(head: &RequestHead<'_, '_>, body: Vec<u8>) -> Message {
    let query = head.query.map(|query| format!("?{query}"));
    Message {
        kind: head.method.to_owned(),
        target: format!("{}{}", head.path, query.unwrap_or_default()),
        body,
    }
}

/// The same message, its target reduced to path and query as srpd does it (RFC 9112 section 3.2.2).
fn reduced(mut message: Message) -> Message {
    if let Some((scheme, rest)) = message.target.split_once("://")
        && !scheme.contains('/')
    {
        let start = rest.find(['/', '?']).unwrap_or(rest.len());
        let slash = if rest[start..].starts_with('/') {
            ""
        } else {
            "/"
        };
        message.target = format!("{slash}{}", &rest[start..]);
    }
    message
}

/// Reads with srpd and with all peers.
pub fn run(bytes: &[u8]) {
    let ours = ours(bytes);
    let whole = &bytes[..ours.end];
    let skipped = [
        ("node", peers::node::misses_coding(bytes)),
        ("milo", peers::milo::stumbles_over(bytes)),
    ];
    for (peer, read) in PEERS {
        if skipped.contains(&(peer, true)) {
            continue;
        }
        let reduce = |mut reading: peers::Reading| {
            reading.messages = reading.messages.into_iter().map(reduced).collect();
            reading
        };
        peers::assert_agreed(peer, &ours.messages, &reduce(read(whole)));
        // Where srpd waits for the rest of a body, nobody has seen its end.
        if ours.cut {
            let all = reduce(read(bytes));
            assert!(
                all.messages.len() <= ours.messages.len(),
                "{peer} sees the end of what srpd waits for: {:?}",
                all.messages
            );
        }
    }
}

type Peer = (&'static str, fn(&[u8]) -> peers::Reading);

const PEERS: [Peer; 3] = [
    ("milo", |bytes| peers::milo::read(Side::Requests, bytes)),
    ("node", |bytes| peers::node::read(Side::Requests, bytes)),
    ("hyper", peers::server::read),
];
