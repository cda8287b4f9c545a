//! Where calls go.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use rustls::pki_types::ServerName;

use crate::net::Trust;

/// The path below which OpenAI's endpoints are, if a URL has none.
const BASE: &str = "/v1";

/// A server under test.
#[derive(Clone)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// Where it is.
    pub address: SocketAddr,
    /// For the `Host` field.
    pub authority: String,
    /// In front of `/chat/completions`.
    pub base: String,
    /// Whom it is verified by, under which name, if it speaks TLS.
    pub tls: Option<(Trust, ServerName<'static>)>,
}

impl Target {
    /// The server at that URL, its name looked up; of several addresses, the first.
    ///
    /// # Errors
    /// What is wrong with the URL, or why its name has no address.
    pub fn new(option: &str, url: &str, ca: Option<&Path>) -> Result<Target, String> {
        let wrong = |what: &str| {
            format!("{option} {url}: expected http://HOST[:PORT][/BASE] or https://…: {what}")
        };
        let uri: http::Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("the scheme is missing or another")),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| wrong("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("no user and password: --key is the place for a key"));
        }
        if uri.query().is_some() {
            return Err(wrong("no query"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        let address = (host, port)
            .to_socket_addrs()
            .map_err(|error| format!("{option} {url}: {host} has no address: {error}"))?
            .next()
            .ok_or_else(|| format!("{option} {url}: {host} has no address"))?;
        let tls = match is_tls {
            true => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| wrong("no name that a certificate could have"))?;
                Some((Trust::new(ca)?, name))
            }
            false => None,
        };
        let base = uri.path().trim_end_matches('/');
        Ok(Target {
            url: url.to_owned(),
            address,
            authority: authority.as_str().to_owned(),
            base: if base.is_empty() { BASE } else { base }.to_owned(),
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, String> {
        Target::new("--url", url, None)
    }

    #[test]
    fn a_url_has_a_base_or_gets_one() {
        let bare = target("http://127.0.0.1:8080").unwrap();
        assert_eq!((&*bare.base, &*bare.authority), ("/v1", "127.0.0.1:8080"));
        let based = target("http://127.0.0.1/openai/v1/").unwrap();
        assert_eq!((&*based.base, based.address.port()), ("/openai/v1", 80));
        assert_eq!(target("http://[::1]:5").unwrap().address.port(), 5);
    }

    #[test]
    fn what_is_no_target_is_refused_by_its_option() {
        for wrong in [
            "",
            "127.0.0.1:80",
            "ftp://a",
            "http://",
            "http://u:p@127.0.0.1",
            "http://127.0.0.1/?a=b",
        ] {
            let error = target(wrong)
                .err()
                .unwrap_or_else(|| panic!("{wrong} was taken"));
            assert!(error.starts_with("--url "), "{error}");
        }
    }
}
