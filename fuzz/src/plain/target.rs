//! Request targets (RFC 9112 section 3.2) and hosts (RFC 3986 section 3.2.2).

/// A target, taken apart.
#[derive(Debug)]
pub struct Target {
    pub path: String,
    pub query: Option<String>,
    pub authority: Option<String>,
}

/// Takes a target apart; `None` if it is none that a server without tunnels has a use for.
pub fn parse(method: &[u8], target: &[u8]) -> Option<Target> {
    if method == b"CONNECT" {
        return None;
    }
    let target = std::str::from_utf8(target).ok()?;
    if target == "*" && method == b"OPTIONS" {
        return Some(Target {
            path: "*".to_owned(),
            query: None,
            authority: None,
        });
    }
    let (authority, rest) = if target.starts_with('/') {
        (None, target)
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if !is_authority(authority) {
            return None;
        }
        (Some(authority.to_owned()), rest)
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if !is_encoded(path, "/:@") || !is_encoded(query.unwrap_or(""), "/:@?[]") {
        return None;
    }
    Some(Target {
        path: if path.is_empty() { "/" } else { path }.to_owned(),
        query: query.map(str::to_owned),
        authority,
    })
}

/// Whether it is a host that is not empty, with an optional port and no user.
pub fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            if !address.chars().all(|c| is_plain(c) || c == ':') {
                return false;
            }
            (address, port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            if !host.chars().all(|c| is_plain(c) || c == '%') {
                return false;
            }
            (host, port)
        }
    };
    let port_fits = match port.strip_prefix(':') {
        Some(digits) => digits.chars().all(|c| c.is_ascii_digit()),
        None => port.is_empty(),
    };
    !host.is_empty() && port_fits
}

fn is_encoded(text: &str, more: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let fits = match c {
            '%' => {
                let mut hex = || chars.next().is_some_and(|c| c.is_ascii_hexdigit());
                hex() && hex()
            }
            _ => is_plain(c) || more.contains(c),
        };
        if !fits {
            return false;
        }
    }
    true
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c)
}
