//! Conversations: what one side of a connection sends, and what is read from it. A row's text
//! has `⏎` for CR LF; its verdict lists the messages, then `…` (more is needed) or the error.

mod chunks;
mod forwarding;
mod properties;
mod requests;
mod responses;
mod writing;

use super::*;

pub(super) const LIMITS: HeadLimits = HeadLimits {
    bytes: 600,
    fields: 12,
};

/// The bytes that a row's text stands for.
pub(super) fn wire(text: &str) -> Vec<u8> {
    text.replace('⏎', "\r\n").into_bytes()
}

/// One request head in a line, or what became of it; `0` if nothing more can be read.
pub(super) fn describe_request(bytes: &[u8]) -> (String, RequestFraming, usize) {
    let mut slots = HeadSlots::new();
    match parse_request(bytes, &LIMITS, &mut slots) {
        Ok(None) => ("…".to_owned(), RequestFraming::None, 0),
        Err(bad) => (format!("{bad:?} {}", bad.status()), RequestFraming::None, 0),
        Ok(Some(head)) => {
            let query = head.query.map(|q| format!("?{q}")).unwrap_or_default();
            let mut line = format!("{} {}{query} {:?}", head.method, head.path, head.framing);
            for (word, said) in [
                (" 1.0", head.version == Version::Http10),
                (" close", !head.persistent),
                (" expects", head.expect_continue),
            ] {
                line.push_str(if said { word } else { "" });
            }
            (line, head.framing, head.length)
        }
    }
}

/// One response head in a line, or what became of it; `0` if nothing more can be read.
pub(super) fn describe_response(bytes: &[u8], was_head: bool) -> (String, ResponseFraming, usize) {
    let mut slots = HeadSlots::new();
    match parse_response(bytes, &LIMITS, &mut slots, was_head) {
        Ok(None) => ("…".to_owned(), ResponseFraming::None, 0),
        Err(bad) => (format!("{bad:?}"), ResponseFraming::None, 0),
        Ok(Some(head)) => {
            let end = if head.persistent { "" } else { " close" };
            let line = format!("{} {:?}{end}", head.status, head.framing);
            (line, head.framing, head.length)
        }
    }
}

/// Takes a chunked body off the front of `bytes`.
pub(super) fn take_chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), BadChunk> {
    let mut copy = bytes.to_vec();
    let decoded = ChunkedDecoder::new().decode(&mut copy)?;
    Ok((
        copy[decoded.payload].to_vec(),
        decoded.consumed,
        decoded.done,
    ))
}
