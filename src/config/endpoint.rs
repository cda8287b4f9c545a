//! URLs of endpoints.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a URL.
pub const URL_BYTES_MAX: usize = 512;

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http(s)://HOST[:PORT][/PREFIX] in at most {URL_BYTES_MAX} bytes: {0}")]
pub struct EndpointError(pub(super) &'static str);

/// An endpoint's URL, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl {
    /// Whether it is `https://`.
    pub https: bool,
    /// Host without brackets: a DNS name or an IP literal. It is what an accreditation names.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The path, or `/v1`.
    pub prefix: String,
}

impl EndpointUrl {
    /// The URL in its shortest form: what an endpoint that was found is called.
    pub fn canonical(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let prefix = match self.prefix.as_str() {
            "/v1" => "",
            prefix => prefix,
        };
        let authority = authority(self.https, &self.host, self.port);
        format!("{scheme}://{authority}{prefix}")
    }
}

/// A host and a port as a URL has them: brackets around IPv6, no port if it is the scheme's own.
pub fn authority(https: bool, host: &str, port: u16) -> String {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    if port == default_port(https) {
        host
    } else {
        format!("{host}:{port}")
    }
}

/// The port of a URL without one (RFC 9110 sections 4.2.1 and 4.2.2).
pub fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// Reads `http://HOST[:PORT][/PREFIX]`, or the same with `https://`.
///
/// # Errors
/// Whatever else it is. User names, queries and fragments have no meaning here.
pub fn parse_endpoint(url: &str) -> Result<EndpointUrl, EndpointError> {
    let error = EndpointError;
    if url.len() > URL_BYTES_MAX {
        return Err(error("longer than that"));
    }
    if url.contains('#') {
        return Err(error("a fragment is never sent"));
    }
    let parsed: http::Uri = url.parse().map_err(|_| error("not a URL"))?;
    let https = match parsed.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(error("the scheme is missing or another one")),
    };
    let authority = parsed.authority().ok_or(error("the host is missing"))?;
    if authority.as_str().contains('@') {
        return Err(error("credentials belong in `api_key`"));
    }
    if parsed.query().is_some() {
        return Err(error("a query can't be a prefix"));
    }
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => default_port(https),
        Some(after) => port(after).ok_or(error("the port is not a number from 1 to 65535"))?,
        None => return Err(error("not a URL")),
    };
    let prefix = match parsed.path().trim_end_matches('/') {
        "" => "/v1",
        path if path.is_ascii() => path,
        _ => return Err(error("the path is not ASCII")),
    };
    Ok(EndpointUrl {
        https,
        host: host(authority.host())?,
        port,
        prefix: prefix.to_owned(),
    })
}

fn port(after_host: &str) -> Option<u16> {
    let digits = after_host.strip_prefix(':')?;
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = only_digits.then(|| digits.parse::<u16>().ok()).flatten();
    port.filter(|&port| port != 0)
}

/// A DNS name in lower case, or an IP literal in its usual form. What merely looks like an
/// address (`127.1`, `0x7f000001`) is refused: resolvers don't agree on it.
fn host(text: &str) -> Result<String, EndpointError> {
    let error = EndpointError;
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let address = inner.parse::<Ipv6Addr>();
        return address
            .map(|address| address.to_string())
            .map_err(|_| error("what is in brackets is not an IPv6 address"));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(address.to_string());
    }
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let is_dns = text.len() <= 253 && labels.clone().all(is_label);
    let last_is_number = labels
        .next_back()
        .is_some_and(|label| label.starts_with(|first: char| first.is_ascii_digit()));
    if !is_dns || last_is_number {
        return Err(error("the host is neither a DNS name nor an IP address"));
    }
    Ok(text.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    // Underscores are no host names (RFC 1123), but common inside clusters.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, u16, String) {
        let endpoint = parse_endpoint(url).unwrap();
        (endpoint.host, endpoint.port, endpoint.prefix)
    }

    #[test]
    fn a_path_stands_in_for_v1() {
        let expected = |host: &str, port, prefix: &str| (host.into(), port, prefix.into());
        assert_eq!(parts("http://a.example"), expected("a.example", 80, "/v1"));
        assert_eq!(parts("http://A.example/"), expected("a.example", 80, "/v1"));
        assert_eq!(
            parts("http://127.0.0.1:9121/openai/v1/"),
            expected("127.0.0.1", 9121, "/openai/v1")
        );
        assert_eq!(parts("http://[0::1]:81"), expected("::1", 81, "/v1"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let refused = [
            "",
            "a.example",
            "a.example:80",
            "//a.example",
            "/v1",
            "ftp://a.example",
            "http://",
            "http://:80",
            "http://a.example:",
            "http://a.example:0",
            "http://a.example:65536",
            "http://user:password@a.example",
            "http://a.example/v1?key=1",
            "http://a.example/v1#here",
            "http://a.example/v1 HTTP/1.1",
            "http://a.example/\r\nX: y",
            "http://a..example",
            "http://-a.example",
            "http://127.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://1.2.3.4.5",
            "http://[::1%25eth0]",
            "http://[127.0.0.1]",
            "http://ä.example",
            "http://a.example/ä",
        ];
        for url in refused {
            let parsed = parse_endpoint(url);
            assert!(parsed.is_err(), "{url}: {parsed:?}");
            let parsed = parse_endpoint(&url.replacen("http://", "https://", 1));
            assert!(parsed.is_err(), "{url}: {parsed:?}");
        }
    }

    #[test]
    fn a_scheme_is_written_in_either_case_and_has_a_port_of_its_own() {
        let scheme = |url: &str| {
            let endpoint = parse_endpoint(url).unwrap();
            (endpoint.https, endpoint.port)
        };
        assert_eq!(scheme("http://a.example"), (false, 80));
        assert_eq!(scheme("https://a.example"), (true, 443));
        assert_eq!(scheme("HTTPS://[::1]/v1"), (true, 443));
        assert_eq!(scheme("https://a.example:80"), (true, 80));
        assert_eq!(scheme("http://a.example:443"), (false, 443));
    }
}
