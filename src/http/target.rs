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
    let clean =
        all_encoded(path, is_path_byte) && query.is_none_or(|q| all_encoded(q, is_query_byte));
    clean.then_some(Target {
        path: if path.is_empty() { "/" } else { path },
        query,
        authority,
    })
}

/// Every byte is allowed as it is, or part of a percent-encoding.
#[inline]
fn all_encoded(text: &str, allowed: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, &byte)| {
        allowed(byte)
            || byte == b'%'
                && matches!(bytes.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// `unreserved` and `sub-delims` of RFC 3986, which hosts, paths and queries have in common.
#[inline]
fn is_plain_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// `pchar` and `/` (RFC 3986 section 3.3).
#[inline]
fn is_path_byte(byte: u8) -> bool {
    is_plain_byte(byte) || matches!(byte, b'/' | b':' | b'@')
}

/// A query's bytes (RFC 3986 section 3.4), and the square brackets that OpenAI's own clients
/// write bare in `include[]=`.
#[inline]
fn is_query_byte(byte: u8) -> bool {
    is_path_byte(byte) || matches!(byte, b'?' | b'[' | b']')
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
            let literal = |byte: &u8| is_plain_byte(*byte) || *byte == b':';
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
    let named = |byte: &u8| is_plain_byte(*byte) || matches!(byte, b'%' | b':');
    !host.is_empty() && host.iter().all(named) && port.iter().all(u8::is_ascii_digit)
}
