//! What srpd takes for responses, other parsers take for the same responses, or for none.
//!
//! Some differences are known and allowed. milo gives a 205 no body, as RFC 9110 section 15.3.6
//! asks servers for; srpd reads one without a length to the end of the connection, as RFC 9112
//! section 6.3 has it. Nothing can follow it on that connection, so nothing can be smuggled.
//! Node's old parser waits for the body of a 304 that has a length; section 6.3 says there is
//! none, and srpd does not use a connection again on which one comes all the same. To Node's old
//! parser any response with `Upgrade` switches protocols; RFC 9110 section 7.8 says only a 101
//! does, which srpd refuses. Nor does it know `chunked` with white space behind it: see
//! `request_peers`.

use srpd::http::{
    ChunkedDecoder, HeadLimits, HeadSlots, ResponseFraming, ResponseHead, parse_response,
};

use crate::peers::{self, Message, Side};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 * 1024,
    fields: 128,
};

/// A server's side of a connection as srpd reads it.
struct Ours {
    messages: Vec<Message>,
    end: usize,
    /// A 205 went on to the end of the connection.
    reset_content: bool,
    /// A 304 declared a body, or something else offered an upgrade.
    beyond_node: bool,
}

/// Reads on until something is refused, the connection has no future, or bytes run out.
fn ours(bytes: &[u8]) -> Ours {
    let mut ours = Ours {
        messages: Vec::new(),
        end: 0,
        reset_content: false,
        beyond_node: false,
    };
    while ours.end < bytes.len() {
        let rest = &bytes[ours.end..];
        let mut slots = HeadSlots::new();
        let Ok(Some(head)) = parse_response(rest, &LIMITS, &mut slots, false) else {
            break;
        };
        let Some((body, length)) = body(&head, &rest[head.length..]) else {
            break;
        };
        ours.messages.push(Message {
            kind: head.status.to_string(),
            target: String::new(),
            body,
        });
        ours.end += head.length + length;
        ours.reset_content |= head.status == 205 && head.framing == ResponseFraming::UntilClose;
        let has = |name: &str| head.fields.get_all(name).next().is_some();
        ours.beyond_node |= has("upgrade")
            || head.status == 304 && (has("content-length") || has("transfer-encoding"));
        if !head.persistent {
            break;
        }
    }
    ours
}

/// The body and its length on the wire; `None` if it is not all there, or broken.
fn body(head: &ResponseHead<'_, '_>, rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    match head.framing {
        ResponseFraming::None => Some((Vec::new(), 0)),
        ResponseFraming::UntilClose => Some((rest.to_vec(), rest.len())),
        ResponseFraming::Length(length) => {
            let length = usize::try_from(length).ok()?;
            Some((rest.get(..length)?.to_vec(), length))
        }
        ResponseFraming::Chunked => {
            let mut copy = rest.to_vec();
            let read = ChunkedDecoder::new().decode(&mut copy).ok()?;
            read.done
                .then(|| (copy[read.payload].to_vec(), read.consumed))
        }
    }
}

/// Reads with srpd and with both peers.
pub fn run(bytes: &[u8]) {
    let ours = ours(bytes);
    let whole = &bytes[..ours.end];
    if !ours.reset_content && !peers::milo::stumbles_over(whole) {
        let milo = peers::milo::read(Side::Responses, whole);
        peers::assert_agreed("milo", &ours.messages, &milo);
    }
    if !ours.beyond_node && !peers::node::misses_coding(whole) {
        let node = peers::node::read(Side::Responses, whole);
        peers::assert_agreed("node", &ours.messages, &node);
    }
}
