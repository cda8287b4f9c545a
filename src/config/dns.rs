//! `[dns]`: who is asked for names.

use std::net::{IpAddr, SocketAddr};

use super::model::Dns;
use super::reader::{Table, Value};

/// Servers that are asked.
const SERVERS_MAX: usize = 8;

/// DNS over UDP and TCP (RFC 1035 section 4.2).
const PORT: u16 = 53;

pub(super) fn read(table: Table<'_>) -> Dns {
    let servers = table.get("servers").map(|at| servers(&at));
    table.finish();
    Dns {
        servers: servers.unwrap_or_default(),
    }
}

fn servers(at: &Value<'_>) -> Vec<SocketAddr> {
    const EXPECTED: &str = "an IP address, with a port or without: \"10.0.0.53\", \"[::1]:5353\"";
    let elements = at.array().unwrap_or_default();
    if at.is_array() && !(1..=SERVERS_MAX).contains(&elements.len()) {
        at.fail(format!("expected 1 to {SERVERS_MAX} servers"));
    }
    let server = |element: &Value<'_>| {
        let text = element.text(EXPECTED)?.text;
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
        let server = text.parse().ok().or(address.ok());
        let server = server.filter(|server: &SocketAddr| server.port() != 0);
        if server.is_none() {
            element.fail(format!("expected {EXPECTED}, found {text:?}"));
        }
        server
    };
    elements.iter().filter_map(server).collect()
}
