//! Bytes to messages and back: HTTP/1.1 as RFC 9112 writes it, and nothing it leaves open.
//!
//! `httparse` splits the lines; what it is lenient about (bare line feeds, empty lines in front,
//! any target that is UTF-8) is refused before or after it. A message whose end two readers could
//! see in two places is an error here, so that no byte of it is sent on. No I/O, no clock, and no
//! allocation: a parsed head borrows the bytes it was read from.

pub mod bad_head;
pub mod chunked;
pub mod encode;
pub mod fields;
pub mod head;
pub mod hop;
pub mod request;
pub mod response;
pub mod traceparent;

mod target;

#[cfg(test)]
mod tests;

pub use bad_head::BadHead;
pub use chunked::{BadChunk, ChunkedDecoder, Decoded};
pub use fields::{Fields, Repeated};
pub use head::{FIELDS_MAX, HeadLimits, HeadSlots, Version};
pub use request::{BadRequest, RequestFraming, RequestHead, parse_request};
pub use response::{BadResponse, ResponseFraming, ResponseHead, parse_response};
pub use traceparent::TraceParent;
