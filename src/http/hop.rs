//! Which fields go on: to a provider all but a list, to a client none but a list.

use super::fields::Fields;
use super::traceparent;

/// Appends the fields of a request that a provider gets: those of the client's that are end to end
/// and say nothing about who and where it is. Left out are what `Connection` nominates, what
/// belongs to one connection or is written anew (RFC 9110 section 7.6.1), the client's
/// credentials, its addresses as other proxies report them, and all of `X-Sovereign-*`.
#[inline]
pub fn forward_request_fields(fields: &Fields<'_, '_>, out: &mut Vec<u8>) {
    fields.copy_to(out, |name| !is_kept_from_provider(name));
}

/// The same for a request that a trace is recorded of: its `traceparent` is written anew, and
/// `tracestate` goes on if the client's trace does.
pub fn forward_traced_fields(fields: &Fields<'_, '_>, keep_state: bool, out: &mut Vec<u8>) {
    let is = |name: &str, field: &str| is_folded(name.as_bytes(), field.as_bytes());
    fields.copy_to(out, |name| {
        let kept = is(name, traceparent::FIELD_NAME)
            || (!keep_state && is(name, traceparent::STATE_FIELD_NAME));
        !kept && !is_kept_from_provider(name)
    });
}

/// Appends the fields of a provider's response that the client gets: what it needs to read the
/// body, to cache it and to come back, and nothing that tells whose it is.
#[inline]
pub fn forward_response_fields(fields: &Fields<'_, '_>, out: &mut Vec<u8>) {
    fields.copy_to(out, is_shown_to_client);
}

/// The only fields of a provider's that a client gets.
#[inline]
fn is_shown_to_client(name: &str) -> bool {
    let is = |shown: &str| name.eq_ignore_ascii_case(shown);
    match name.len() {
        11 => is("retry-after"),
        12 => is("content-type"),
        13 => is("cache-control"),
        14 => is("retry-after-ms"),
        16 => is("content-encoding") || is("content-language"),
        19 => is("content-disposition"),
        _ => false,
    }
}

/// Judges a name as if it were in lower case with `-` for `_`: behind a CGI-like gateway both are
/// one field.
// Left to itself it ends up out of line now that it is asked in two places.
#[inline(always)]
fn is_kept_from_provider(name: &str) -> bool {
    let name = name.as_bytes();
    own_or_private(name.len())
        .iter()
        .any(|kept| is_folded(name, kept))
        || is_of_kept_family(name)
}

/// Whole families of names that no provider gets.
#[inline]
fn is_of_kept_family(name: &[u8]) -> bool {
    let begins = |family: &[u8]| {
        name.get(..family.len())
            .is_some_and(|start| is_folded(start, family))
    };
    match name.first() {
        Some(b'x' | b'X') => {
            begins(b"x-sovereign-") || begins(b"x-forwarded-") || begins(b"x-original-")
        }
        Some(b'p' | b'P') => begins(b"proxy-"),
        Some(b'c' | b'C') => begins(b"cf-"),
        _ => false,
    }
}

/// Whether a name reads `kept` when folded. Compares from the end, where names of one length
/// differ most.
#[inline]
fn is_folded(name: &[u8], kept: &[u8]) -> bool {
    let same = |(&from, &kept): (&u8, &u8)| {
        from == kept || from.to_ascii_lowercase() == kept || (from == b'_' && kept == b'-')
    };
    name.len() == kept.len() && name.iter().zip(kept).rev().all(same)
}

/// Single names that no provider gets, by their length: what is one connection's own or written
/// anew, credentials and accounts, and where the client is.
#[inline]
fn own_or_private(length: usize) -> &'static [&'static [u8]] {
    match length {
        2 => &[b"te"],
        3 => &[b"via"],
        4 => &[b"host"],
        6 => &[b"expect", b"cookie"],
        7 => &[b"trailer", b"upgrade", b"api-key"],
        9 => &[b"forwarded", b"x-api-key", b"x-real-ip"],
        10 => &[b"connection", b"keep-alive"],
        11 => &[b"x-client-ip"],
        12 => &[b"x-request-id", b"x-auth-token"],
        13 => &[b"authorization"],
        14 => &[
            b"content-length",
            b"http2-settings",
            b"x-goog-api-key",
            b"openai-project",
            b"true-client-ip",
            b"x-access-token",
        ],
        15 => &[b"accept-encoding"],
        17 => &[b"transfer-encoding"],
        19 => &[b"openai-organization", b"x-cluster-client-ip"],
        25 => &[b"ocp-apim-subscription-key"],
        _ => &[],
    }
}
