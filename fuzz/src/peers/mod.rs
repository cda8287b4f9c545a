//! Other people's readings of HTTP/1.1. What srpd takes for one message, none of them may take
//! for another: each reads it the same way, or refuses it.
//!
//! - `milo`: a strict parser by the authors of Node's, in Rust;
//! - `node`: the parser that Node had before (nodejs/http-parser 2.7, in C), strict mode;
//! - `server`: hyper's server. It splits lines as srpd does, with httparse, but decides by itself
//!   where a message ends.

pub mod milo;
pub mod node;
pub mod server;

/// One message as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The method of a request; the status of a response.
    pub kind: String,
    /// The target of a request as it was written; empty for a response.
    pub target: String,
    /// The body without its framing.
    pub body: Vec<u8>,
}

/// What a reader makes of bytes behind the last whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It refuses them, or reads no further.
    Over,
    /// It waits for what completes a message, or has seen none of a next one.
    Waiting,
}

/// A side of a connection as a reader sees it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Whole messages, in order.
    pub messages: Vec<Message>,
    /// The rest.
    pub after: After,
}

/// Which side of a connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What a client sends.
    Requests,
    /// What a server sends.
    Responses,
}

/// Panics unless a peer reads `messages` out of `bytes`, which end with the last of them, or
/// refuses one of them.
pub fn assert_agreed(peer: &str, ours: &[Message], theirs: &Reading) {
    let read = theirs.messages.len();
    assert!(
        read <= ours.len(),
        "{peer} sees {read} messages in {} of ours: {:?}",
        ours.len(),
        theirs.messages
    );
    for (ours, theirs) in ours.iter().zip(&theirs.messages) {
        assert_eq!(theirs, ours, "{peer} reads another message");
    }
    assert!(
        read == ours.len() || theirs.after == After::Over,
        "{peer} waits for more of what is whole: {} of {} messages",
        read,
        ours.len()
    );
}
