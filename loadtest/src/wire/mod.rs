//! What an answer is made of: head, framing, events. Pure: bytes and times are arguments. More
//! lenient than srpd's own parsers, since any server may be measured.

mod answer;
mod body;
mod event;
mod head;

pub use answer::{Answer, Pace, Seen, Sink};
pub use head::{Framing, Head};

/// What is wrong with an answer's bytes, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);
