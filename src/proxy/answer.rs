//! The head of what a client gets: a status, the provider's few fields that pass, and ours.

use super::core::Core;
use super::leases::Allowance;
use super::settle::Settlement;
use crate::http::{Version, encode};
use crate::market::Price;
use crate::openai::ratelimit::{self, Wait};

/// How a response is to be framed for one client.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// What the client speaks.
    pub version: Version,
    /// Whether the connection goes on after the response.
    pub persistent: bool,
    /// The request was HEAD: no body.
    pub head_only: bool,
}

impl Manner {
    /// The same, with no request to follow if the instance has begun to go down meanwhile.
    pub fn by_now(self, core: &Core) -> Manner {
        Manner {
            persistent: self.persistent && !core.draining(),
            ..self
        }
    }
}

/// How a body is delimited on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimited {
    /// It can't have one: 204.
    Nothing,
    /// By its length.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the connection's end: to HTTP/1.0.
    Close,
}

/// The fields that every response has (SRP section 9, and RFC 9110 section 6.6.1). `took_ms` on
/// non-streams.
pub fn stamp(out: &mut Vec<u8>, settlement: &Settlement<'_>, took_ms: Option<u64>) {
    let record = settlement.record();
    encode::checked_field(out, "date", &settlement.date());
    encode::checked_field(out, "x-request-id", record.request_id.as_bytes());
    let mut digits = itoa::Buffer::new();
    if let Some(took_ms) = took_ms {
        encode::checked_field(
            out,
            "openai-processing-ms",
            digits.format(took_ms).as_bytes(),
        );
    }
    if let Some(jurisdiction) = record.jurisdiction {
        encode::checked_field(out, "x-sovereign-jurisdiction", &jurisdiction);
    }
    let supply: &[u8] = if record.firm { b"firm" } else { b"floating" };
    encode::checked_field(out, "x-sovereign-supply", supply);
    if let Some(price) = record.price.and_then(Price::from_micros) {
        price_field(out, price);
    }
    encode::checked_field(
        out,
        "x-sovereign-attempts",
        digits.format(record.attempts).as_bytes(),
    );
    settlement.receipt(out);
    if let Some(allowance) = settlement.allowance() {
        limits(out, &allowance);
    }
}

/// What a million tokens cost, as [`Price`] shows it, without a formatter's detour.
fn price_field(out: &mut Vec<u8>, price: Price) {
    encode::checked_field(out, "x-sovereign-price", price.text().as_bytes());
}

/// How a key's limits stand: what it has no limit of isn't mentioned.
fn limits(out: &mut Vec<u8>, allowance: &Allowance) {
    for (names, standing) in [
        (ratelimit::REQUESTS, allowance.requests),
        (ratelimit::TOKENS, allowance.tokens),
    ] {
        let Some(standing) = standing else { continue };
        let [limit, remaining, reset] = names;
        let mut digits = itoa::Buffer::new();
        encode::checked_field(out, limit, digits.format(standing.limit).as_bytes());
        encode::checked_field(out, remaining, digits.format(standing.left).as_bytes());
        encode::checked_field(out, reset, Wait::new(standing.reset).as_bytes());
    }
}

/// The fields that say how the connection goes on.
pub fn connection(out: &mut Vec<u8>, manner: Manner) {
    if !manner.persistent {
        encode::checked_field(out, "connection", b"close");
    }
}

/// The fields that say where the body ends.
pub fn framing(out: &mut Vec<u8>, delimited: Delimited) {
    match delimited {
        Delimited::Length(length) => encode::content_length(out, length),
        Delimited::Chunked => encode::transfer_chunked(out),
        Delimited::Nothing | Delimited::Close => {}
    }
}
