//! `[[ledger.sink]]`: servers that have the ledger's entries, too. A URL may have a password in it,
//! so no message shows any of it.

use std::ops::RangeInclusive;

use tokio_postgres::config::{Host, SslMode};

use super::model::{Sink, SinkTarget};
use super::nats::{NatsServers, is_here};
use super::reader::Table;
use super::tls::{SystemRoots, Trust};
use super::values::Names;
use super::{Surroundings, credential};
use crate::base::Secret;

/// What is sent at a time, if the table doesn't say.
const BATCH: usize = 500;

/// Of 10,000 entries, at a few hundred bytes each, a database makes one transaction.
const BATCH_RANGE: RangeInclusive<usize> = 1..=10_000;

/// The table, if the configuration doesn't say.
const TABLE: &str = "srpd_ledger";

/// Bytes of a name in PostgreSQL: what is longer it would cut.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// What subjects begin with, if the table doesn't say.
const SUBJECT: &str = "srpd.ledger";

/// Bytes of what subjects begin with, and of a stream's name.
const SUBJECT_BYTES_MAX: usize = 128;

/// Each has a thread and a connection.
const SINKS_MAX: usize = 8;

pub(super) fn read(
    tables: Vec<Table<'_>>,
    surroundings: &Surroundings<'_>,
    system_roots: &SystemRoots,
) -> Vec<Option<Sink>> {
    if let Some(first_too_many) = tables.get(SINKS_MAX) {
        first_too_many.fail(format!(
            "expected at most {SINKS_MAX} tables [[ledger.sink]]"
        ));
    }
    let mut names = Names::new("ledger.sink");
    let sinks = tables.into_iter().enumerate().map(|(position, table)| {
        let name = names.read(&table, position);
        one(table, name, surroundings, system_roots)
    });
    sinks.collect()
}

fn one(
    table: Table<'_>,
    name: Option<&str>,
    surroundings: &Surroundings<'_>,
    system_roots: &SystemRoots,
) -> Option<Sink> {
    let kind = Kind::read(&table)?;
    let ca = table.get("ca");
    let trust = Trust::read(ca.as_ref(), system_roots, surroundings);
    let url_at = table.required("url", "{ env | file | credential = … }, where the URL is");
    let url = url_at
        .as_ref()
        .and_then(|at| at.table())
        .and_then(|table| credential::read(table, surroundings));
    let secured = url.as_ref().and_then(|url| {
        let secured = kind.is_secured(url);
        if let (None, Some(at)) = (secured, &url_at) {
            at.fail(kind.expected_url());
        }
        secured
    });
    let mut roots = None;
    match (secured, &url_at, ca) {
        (Some(true), Some(at), _) => roots = trust.roots(at).cloned(),
        (Some(false), _, Some(ca)) => ca.fail("expected a URL whose server is reached over TLS"),
        _ => {}
    }
    let target = kind.target(&table);
    let batch = table.whole("batch", BATCH, BATCH_RANGE);
    table.finish();
    Some(Sink {
        name: name?.to_owned(),
        batch,
        url: url?,
        roots,
        target: target?,
    })
}

/// What a sink is.
#[derive(Clone, Copy)]
enum Kind {
    Postgres,
    Nats,
}

impl Kind {
    /// None after a complaint. Which other keys there may be is known only with it.
    fn read(table: &Table<'_>) -> Option<Kind> {
        const EXPECTED: &str = "\"postgres\" or \"nats\"";
        let at = table.required("kind", EXPECTED)?;
        let text = at.text(EXPECTED)?.text;
        match text {
            "postgres" => Some(Kind::Postgres),
            "nats" => Some(Kind::Nats),
            _ => {
                at.fail(format!("expected {EXPECTED}, found {text:?}"));
                None
            }
        }
    }

    /// Whether the server is reached over TLS. None if the URL is none.
    fn is_secured(self, url: &Secret) -> Option<bool> {
        match self {
            Kind::Postgres => is_secured(url),
            Kind::Nats => NatsServers::parse(url).map(|servers| servers.secured),
        }
    }

    fn expected_url(self) -> &'static str {
        match self {
            Kind::Postgres => {
                "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE there, with \
                 ?sslmode=require or disable if need be"
            }
            Kind::Nats => {
                "expected nats://USER:PASSWORD@HOST:PORT or tls://… there, several servers with \
                 commas between, ?tls=require or disable behind them if need be"
            }
        }
    }

    /// Where in the server entries go. None after a complaint.
    fn target(self, table: &Table<'_>) -> Option<SinkTarget> {
        match self {
            Kind::Postgres => table_name(table).map(|table| SinkTarget::Postgres { table }),
            Kind::Nats => {
                let (stream, subject) = (stream(table), subject(table));
                Some(SinkTarget::Nats {
                    stream: stream?,
                    subject: subject?,
                })
            }
        }
    }
}

/// What is allowed in names of streams and between the points of subjects; NATS allows more.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(allowed)
}

fn stream(table: &Table<'_>) -> Option<String> {
    const EXPECTED: &str = "the name of a stream, 1 to 128 of A-Z a-z 0-9 - _";
    let at = table.required("stream", EXPECTED)?;
    let text = at.text(EXPECTED)?.text;
    if !is_token(text) || text.len() > SUBJECT_BYTES_MAX {
        at.fail(format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.to_owned())
}

fn subject(table: &Table<'_>) -> Option<String> {
    const EXPECTED: &str =
        "what subjects begin with: parts of A-Z a-z 0-9 - _ with points between, 1 to 128 bytes";
    let Some(at) = table.get("subject") else {
        return Some(SUBJECT.to_owned());
    };
    let text = at.text(EXPECTED)?.text;
    if !text.split('.').all(is_token) || text.len() > SUBJECT_BYTES_MAX {
        at.fail(format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.to_owned())
}

/// The table's name, which is quoted wherever it is used. None after a complaint.
fn table_name(table: &Table<'_>) -> Option<String> {
    const EXPECTED: &str =
        "TABLE or SCHEMA.TABLE, each 1 to 63 of a-z 0-9 _ and beginning with no digit";
    let Some(at) = table.get("table") else {
        return Some(TABLE.to_owned());
    };
    let text = at.text(EXPECTED)?.text;
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_identifier(part)) {
        at.fail(format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.to_owned())
}

fn is_identifier(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=IDENTIFIER_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// Whether a server is reached over TLS: as the URL says, else wherever a password would leave this
/// machine. None if it is no URL of one.
fn is_secured(url: &Secret) -> Option<bool> {
    let text = str::from_utf8(url.expose()).ok()?;
    if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
        return None;
    }
    let config: tokio_postgres::Config = text.parse().ok()?;
    config.get_user()?;
    let hosts = config.get_hosts();
    if hosts.is_empty() {
        return None;
    }
    let stays_here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => is_here(name),
    };
    let addresses = config.get_hostaddrs();
    let stays_here =
        hosts.iter().all(stays_here) && addresses.iter().all(|address| address.is_loopback());
    match config.get_ssl_mode() {
        SslMode::Disable => Some(false),
        SslMode::Require => Some(true),
        _ => Some(!stays_here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_machine_over_tls_only_unless_the_url_says_otherwise() {
        let secured = |url: &str| is_secured(&Secret::new(url.as_bytes().to_vec()));
        for (url, expected) in [
            ("postgresql://u:p@127.0.0.1/d", Some(false)),
            ("postgres://u:p@localhost:5433/d", Some(false)),
            ("postgresql://u:p@[::1]/d", Some(false)),
            ("postgresql://u@%2Frun%2Fpostgresql/d", Some(false)),
            ("postgresql://u:p@127.0.0.1/d?sslmode=require", Some(true)),
            ("postgresql://u:p@db.example/d", Some(true)),
            ("postgresql://u:p@db.example/d?sslmode=prefer", Some(true)),
            ("postgresql://u:p@127.0.0.1,10.0.0.7/d", Some(true)),
            ("postgresql://u:p@localhost/d?hostaddr=10.0.0.7", Some(true)),
            ("postgresql://u:p@db.example/d?sslmode=disable", Some(false)),
            ("host=db.example user=u", None),
            ("postgresql://u:p@/d", None),
        ] {
            assert_eq!(secured(url), expected, "{url}");
        }
    }
}
