//! What a provider gets: a head of ours, and the client's body with one or two values replaced.
//! A small body is copied behind the head, a large one is sent from where it lies.

use std::ops::Range;
use std::rc::Rc;

use super::settle::Attempt;
use super::tracing::parent_of;
use crate::http::{encode, traceparent};
use crate::net::buffer::{SMALL, TURN};
use crate::net::gather::Piece;
use crate::net::{Buffer, Gather, turn};
use crate::openai::Operation;
use crate::policy::residency::{self, Residency};
use crate::telemetry::otlp::Trace;

/// Messages up to this size are one piece of memory.
const FLAT_BYTES_MAX: usize = SMALL;

/// The client's body, kept until no further attempt can need it.
pub enum Body {
    /// Small: copied into each message.
    Small(Buffer),
    /// Large: shared with the messages in flight.
    Large(Rc<Buffer>),
}

impl Body {
    /// Takes a body over.
    pub fn new(bytes: Buffer) -> Body {
        if bytes.len() <= FLAT_BYTES_MAX / 2 {
            Body::Small(bytes)
        } else {
            Body::Large(Rc::new(bytes))
        }
    }

    /// Lets go of it. A large one's memory is given back in parts, others' turns between them.
    pub async fn release(self) {
        const PART: usize = 16 * TURN;
        if let Body::Large(shared) = self
            && let Ok(mut body) = Rc::try_unwrap(shared)
        {
            while body.shrink(PART) {
                turn::pass().await;
            }
        }
    }

    /// The body as it came.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::Small(buffer) => buffer.readable(),
            Body::Large(buffer) => buffer.readable(),
        }
    }
}

/// One replacement in a body. An empty range inserts.
#[derive(Clone)]
pub struct Edit<'e> {
    /// What is replaced.
    pub at: Range<usize>,
    /// In turn.
    pub by: [&'e [u8]; 3],
}

impl Edit<'_> {
    /// No edit.
    pub const NONE: Edit<'static> = Edit {
        at: 0..0,
        by: [b"", b"", b""],
    };

    fn grows(&self) -> usize {
        self.by.iter().map(|part| part.len()).sum()
    }
}

/// What all attempts of a call share.
pub struct Order<'o> {
    /// What is asked for.
    pub operation: Operation,
    /// The effective residency, for the provider to know.
    pub residency: &'o Residency,
    /// `x-request-id`
    pub request_id: &'o [u8],
    /// The client's field lines that go on.
    pub forwarded: &'o [u8],
    /// The client's body.
    pub body: &'o Body,
    /// If the call is recorded as spans.
    pub trace: Option<Trace>,
}

/// A request, ready to be sent.
pub enum Message {
    /// In one piece.
    Flat(Buffer),
    /// In several.
    Pieces(Gather),
}

/// Writes the request of an attempt. `edits` are in the order of the body and don't overlap.
pub fn compose(order: &Order<'_>, attempt: &Attempt<'_>, edits: &[Edit<'_>]) -> Message {
    let body = order.body.bytes();
    let removed: usize = edits.iter().map(|edit| edit.at.len()).sum();
    let length = body.len() - removed + edits.iter().map(Edit::grows).sum::<usize>();
    let mut buffer = Buffer::small();
    head(buffer.vec(), order, attempt, length);
    match order.body {
        Body::Small(_) => {
            let out = buffer.vec();
            let mut from = 0;
            for edit in edits {
                out.extend_from_slice(&body[from..edit.at.start]);
                edit.by.iter().for_each(|part| out.extend_from_slice(part));
                from = edit.at.end;
            }
            out.extend_from_slice(&body[from..]);
            Message::Flat(buffer)
        }
        Body::Large(shared) => {
            let mut pieces = Vec::with_capacity(2 * edits.len() + 2);
            pieces.push(Piece::Own(0..buffer.len()));
            let mut from = 0;
            for edit in edits {
                pieces.push(Piece::Body(from..edit.at.start));
                let start = buffer.len();
                edit.by.iter().for_each(|part| buffer.extend(part));
                pieces.push(Piece::Own(start..buffer.len()));
                from = edit.at.end;
            }
            pieces.push(Piece::Body(from..body.len()));
            Message::Pieces(Gather::new(buffer, Rc::clone(shared), &pieces))
        }
    }
}

fn head(out: &mut Vec<u8>, order: &Order<'_>, attempt: &Attempt<'_>, length: usize) {
    let (provider, endpoint) = (attempt.provider(), attempt.endpoint());
    encode::request_line(out, "POST", &[&endpoint.prefix, order.operation.path()]);
    encode::checked_field(out, "host", endpoint.authority.as_bytes());
    if let Some(line) = &provider.api_key {
        out.extend_from_slice(line.expose());
    }
    out.extend_from_slice(residency::FIELD_NAME.as_bytes());
    out.extend_from_slice(b": ");
    order.residency.write_field_value(out);
    out.extend_from_slice(encode::CRLF);
    // Without it any coding would be welcome (RFC 9110 section 12.5.3), and none can be read here.
    encode::checked_field(out, "accept-encoding", b"identity");
    encode::checked_field(out, "x-request-id", order.request_id);
    if let Some(trace) = &order.trace {
        let parent = parent_of(trace, attempt.number());
        encode::checked_field(out, traceparent::FIELD_NAME, &parent.to_value());
    }
    out.extend_from_slice(order.forwarded);
    encode::content_length(out, length as u64);
    out.extend_from_slice(encode::CRLF);
}
