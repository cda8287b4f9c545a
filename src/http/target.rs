//! The request target (RFC 9112 section 3.2), reduced to path and query.

/// Path and query of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// Begins with `/`, or is `*`.
    pub path: &'b str,
    pub query: Option<&'b str>,
    /// The authority, if the target was in absolute form.
    pub authority: Option<&'b str>,
}

/// Reads a target in origin form, absolute form (`http` and `https`) or, for `OPTIONS`, asterisk
/// form. There are no tunnels here, so authority form is none of them, and `CONNECT` has no other:
/// what follows it is a tunnel's to some readers, and a body to others. `None` if it is not valid.
#[inline]
pub(super) fn parse<'b>(method: &str, target: &'b str) -> Option<Target<'b>> {
    if method == "CONNECT" {
        return None;
    }
    if target.starts_with('/') {
        return path_and_query(target, None);
    }
    if target == "*" {
        return (method == "OPTIONS").then_some(Target {
            path: target,
            query: None,
            authority: None,
        });
    }
    absolute(target)
}

fn absolute(target: &str) -> Option<Target<'_>> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if !is_host(authority.as_bytes()) {
        return None;
    }
    path_and_query(rest, Some(authority))
}

#[inline]
fn path_and_query<'b>(rest: &'b str, authority: Option<&'b str>) -> Option<Target<'b>> {
    let (path, query) = match memchr::memchr(b'?', rest.as_bytes()) {
        Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
        None => (rest, None),
    };
    let clean = all_encoded(path, PATH) && query.is_none_or(|query| all_encoded(query, QUERY));
    clean.then_some(Target {
        path: if path.is_empty() { "/" } else { path },
        query,
        authority,
    })
}

/// Every byte is allowed as it is, or part of a percent-encoding.
#[inline]
fn all_encoded(text: &str, allowed: u8) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, &byte)| {
        is_of(byte, allowed)
            || byte == b'%'
                && matches!(bytes.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// `unreserved` and `sub-delims` of RFC 3986, which hosts, paths and queries have in common.
const PLAIN: u8 = 1;
/// `pchar` and `/` (RFC 3986 section 3.3).
const PATH: u8 = 2;
/// A query's bytes (RFC 3986 section 3.4), and the square brackets that OpenAI's own clients
/// write bare in `include[]=`.
const QUERY: u8 = 4;

/// What each byte may stand in: read from a table, since the ranges would be compared one by one.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                PLAIN | PATH | QUERY
            }
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {
                PLAIN | PATH | QUERY
            }
            b'/' | b':' | b'@' => PATH | QUERY,
            b'?' | b'[' | b']' => QUERY,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

#[inline]
fn is_of(byte: u8, kind: u8) -> bool {
    KINDS[usize::from(byte)] & kind != 0
}

/// `uri-host [ ":" port ]` with a host that is not empty and no user information (RFC 9110
/// sections 4.2.1 and 4.2.4).
#[inline]
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else {
                return false;
            };
            let (inside, after) = (&rest[..end], &rest[end + 1..]);
            let literal = |byte: &u8| is_of(*byte, PLAIN) || *byte == b':';
            if !inside.iter().all(literal) {
                return false;
            }
            match after {
                [] => (inside, &[][..]),
                [b':', port @ ..] => (inside, port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', value) {
            Some(colon) => (&value[..colon], &value[colon + 1..]),
            None => (value, &[][..]),
        },
    };
    let named = |byte: &u8| is_of(*byte, PLAIN) || matches!(byte, b'%' | b':');
    !host.is_empty() && host.iter().all(named) && port.iter().all(u8::is_ascii_digit)
}
