//! Where the servers of a NATS sink are: `nats://USER:PASSWORD@HOST:PORT`, as its own clients have it,
//! or `nats://TOKEN@HOST:PORT`, several of one cluster with commas between.

use std::net::IpAddr;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use crate::base::Secret;

/// Servers of one cluster, and who srpd is to them.
pub struct NatsServers {
    /// Where they are. No secret is in it: the client library may say it.
    pub addresses: Vec<ServerAddr>,
    /// Who srpd is.
    pub login: Option<NatsLogin>,
    /// Whether they are reached over TLS: as the URL says, else wherever a password would leave
    /// this machine.
    pub secured: bool,
}

/// Who srpd is to a server.
#[derive(Clone, PartialEq, Eq)]
pub enum NatsLogin {
    /// A user with a password.
    User(String, String),
    /// A token.
    Token(String),
}

impl NatsServers {
    /// Reads a URL. None if it is none.
    pub fn parse(url: &Secret) -> Option<NatsServers> {
        let text = str::from_utf8(url.expose()).ok()?;
        let (servers, query) = match text.split_once('?') {
            None => (text, None),
            Some((servers, query)) => (servers, Some(query)),
        };
        let (scheme, servers) = servers.split_once("://")?;
        let prefix = format!("{scheme}://");
        let (mut addresses, mut login) = (Vec::new(), None);
        for server in servers.split(',') {
            let server = server.strip_prefix(&prefix).unwrap_or(server);
            let (address, own) = one(&prefix, server)?;
            addresses.push(address);
            // There is one login for all of them.
            match (&login, own) {
                (Some(known), Some(own)) if *known != own => return None,
                (None, Some(own)) => login = Some(own),
                _ => {}
            }
        }
        let stays_here = addresses.iter().all(|address| is_here(address.host()));
        let secured = match (scheme, query) {
            ("tls", None) | ("tls" | "nats", Some("tls=require")) => true,
            ("nats", None) => !stays_here,
            ("nats", Some("tls=disable")) => false,
            _ => return None,
        };
        Some(NatsServers {
            addresses,
            login,
            secured,
        })
    }
}

/// Whether a host is this machine, whoever is asked for its name.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `USER:PASSWORD@HOST:PORT`, taken apart.
fn one(prefix: &str, server: &str) -> Option<(ServerAddr, Option<NatsLogin>)> {
    let (login, place) = match server.rsplit_once('@') {
        None => (None, server),
        Some((login, place)) => (Some(login), place),
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.is_empty() || place.contains(['/', '#', '@']) {
        return None;
    }
    let address: ServerAddr = format!("{prefix}{place}").parse().ok()?;
    if address.host().is_empty() {
        return None;
    }
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        (!decoded.is_empty()).then(|| decoded.into_owned())
    };
    let login = match login.map(|login| login.split_once(':').ok_or(login)) {
        None => None,
        Some(Err(token)) => Some(NatsLogin::Token(decoded(token)?)),
        Some(Ok((user, password))) => Some(NatsLogin::User(decoded(user)?, decoded(password)?)),
    };
    Some((address, login))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Option<NatsServers> {
        NatsServers::parse(&Secret::new(url.as_bytes().to_vec()))
    }

    #[test]
    fn a_password_leaves_the_machine_over_tls_only_unless_the_url_says_otherwise() {
        for (url, expected) in [
            ("nats://u:p@127.0.0.1", Some(false)),
            ("nats://u:p@localhost:4333/", Some(false)),
            ("nats://u:p@[::1]:4222", Some(false)),
            ("nats://127.0.0.1?tls=require", Some(true)),
            ("tls://u:p@127.0.0.1", Some(true)),
            ("tls://u:p@nats.example?tls=require", Some(true)),
            ("nats://u:p@nats.example", Some(true)),
            ("nats://u:p@127.0.0.1,10.0.0.7", Some(true)),
            ("nats://u:p@10.0.0.7,nats://u:p@10.0.0.8", Some(true)),
            ("nats://u:p@nats.example?tls=disable", Some(false)),
            ("tls://u:p@nats.example?tls=disable", None),
            ("nats://u:p@nats.example?tls=maybe", None),
            ("nats://u:p@nats.example/orders", None),
            ("nats://a:p@one.example,nats://b:p@two.example", None),
            ("nats://u:p@nats.example,", None),
            ("nats://u:@nats.example", None),
            ("nats://u:p@nats.example:many", None),
            ("ws://u:p@nats.example", None),
            ("u:p@nats.example", None),
            ("nats://", None),
        ] {
            let secured = parse(url).map(|servers| servers.secured);
            assert_eq!(secured, expected, "{url}");
        }
    }

    #[test]
    fn who_one_is_is_decoded_and_in_no_address() {
        let servers = parse("nats://sr%40pd:p%3a1%2F@one.example,two.example:4333").unwrap();
        let user = NatsLogin::User("sr@pd".to_owned(), "p:1/".to_owned());
        assert!(servers.login == Some(user));
        let places = servers.addresses.iter();
        let places: Vec<_> = places
            .map(|it| (it.host(), it.port(), it.has_user_pass()))
            .collect();
        let expected = [("one.example", 4222, false), ("two.example", 4333, false)];
        assert_eq!(places, expected);
        let servers = parse("nats://s3cr3t@one.example").unwrap();
        assert!(servers.login == Some(NatsLogin::Token("s3cr3t".to_owned())));
        assert!(parse("nats://one.example").unwrap().login.is_none());
    }
}
