//! Which fields go on: to a provider all but a list, to a client none but a list.

use super::encode::checked_field;
use super::fields::Fields;

/// Of a longer name only the beginning is looked at: it can be of a family, and nothing else.
const NAME_MAX: usize = 40;

/// Appends the fields of a request that a provider gets: those of the client's that are end to end
/// and say nothing about who and where it is. Left out are what `Connection` nominates, what
/// belongs to one connection or is written anew (RFC 9110 section 7.6.1), the client's
/// credentials, its addresses as other proxies report them, and all of `X-Sovereign-*`.
#[inline]
pub fn forward_request_fields(fields: &Fields<'_, '_>, out: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        if !is_kept_from_provider(name) && !fields.nominated(name) {
            checked_field(out, name, value);
        }
    }
}

/// Appends the fields of a provider's response that the client gets: what it needs to read the
/// body, to cache it and to come back, and nothing that tells whose it is.
#[inline]
pub fn forward_response_fields(fields: &Fields<'_, '_>, out: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        let passed = SHOWN_TO_CLIENT
            .iter()
            .any(|shown| name.eq_ignore_ascii_case(shown));
        if passed && !fields.nominated(name) {
            checked_field(out, name, value);
        }
    }
}

/// The only fields of a provider's that a client gets.
const SHOWN_TO_CLIENT: [&str; 7] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "retry-after",
    "retry-after-ms",
];

/// Whole families of names that no provider gets.
const KEPT_FAMILIES: [&[u8]; 5] = [
    b"x-sovereign-",
    b"x-forwarded-",
    b"proxy-",
    b"cf-",
    b"x-original-",
];

/// Judges a name in lower case with `-` for `_`: behind a CGI-like gateway both are one field.
#[inline]
fn is_kept_from_provider(name: &str) -> bool {
    let mut room = [0; NAME_MAX];
    for (to, from) in room.iter_mut().zip(name.bytes()) {
        *to = match from {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
    }
    let folded = &room[..name.len().min(NAME_MAX)];
    is_own_or_private(folded)
        || KEPT_FAMILIES
            .iter()
            .any(|family| folded.starts_with(family))
}

#[inline]
fn is_own_or_private(name: &[u8]) -> bool {
    matches!(
        name,
        // One connection's own, or written anew.
        b"connection"
            | b"keep-alive"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
            | b"http2-settings"
            | b"host"
            | b"content-length"
            | b"expect"
            | b"accept-encoding"
            | b"via"
            | b"x-request-id"
            // Credentials and accounts.
            | b"authorization"
            | b"cookie"
            | b"api-key"
            | b"x-api-key"
            | b"x-goog-api-key"
            | b"openai-organization"
            | b"openai-project"
            // Where the client is.
            | b"forwarded"
            | b"x-real-ip"
            | b"x-client-ip"
            | b"x-cluster-client-ip"
            | b"true-client-ip"
    )
}
