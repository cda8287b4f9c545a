//! `[otlp]`: which collector spans and metrics go to.

use std::time::Duration;

use super::endpoint::{EndpointUrl, parse_endpoint};
use super::model::Otlp;
use super::reader::{Table, Value};
use super::tls::{SystemRoots, Trust};
use super::{Surroundings, credential};
use crate::base::Secret;
use crate::net::ClientTls;

const SAMPLE: f64 = 0.01;

const TRACES_PER_SECOND: u32 = 100;

/// What one thread makes spans of without falling behind.
const TRACES_PER_SECOND_MAX: u32 = 10_000;

const INTERVAL: Duration = Duration::from_secs(60);

const TIMEOUT: Duration = Duration::from_secs(10);

/// Fields that an export has of its own, or that belong to its connection.
const OWN_FIELDS: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Fields that an export may bear.
const HEADERS_MAX: usize = 16;

/// None if there is no such table, or only after a complaint.
pub(super) fn read(
    root: &Table<'_>,
    system_roots: &SystemRoots,
    surroundings: &Surroundings<'_>,
) -> Option<Otlp> {
    let table = root.get("otlp")?.table()?;
    let endpoint = table.required("endpoint", "http(s)://HOST[:PORT][/PREFIX]");
    let ca = table.get("ca");
    let trust = Trust::read(ca.as_ref(), system_roots, surroundings);
    let found = endpoint.as_ref().and_then(|at| url(at, &trust));
    if let (Some(ca), Some((_, url, _))) = (&ca, &found)
        && !url.https
    {
        ca.fail("expected an https:// endpoint beside it: nothing else is verified");
    }
    let headers = table.get("headers").and_then(|at| at.table());
    let headers = headers.map(|table| headers_of(&table, surroundings));
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    let sample = table.share("sample", SAMPLE, "a share from 0 to 1", is_share);
    let traces_per_second = table.whole(
        "traces_per_second",
        TRACES_PER_SECOND,
        1..=TRACES_PER_SECOND_MAX,
    );
    let (interval, timeout) = (
        table.duration("interval", INTERVAL),
        table.duration("timeout", TIMEOUT),
    );
    table.finish();
    let (endpoint, url, tls) = found?;
    Some(Otlp {
        endpoint,
        url,
        ca: trust.into_file(),
        tls,
        headers: headers.unwrap_or_default(),
        sample,
        traces_per_second,
        interval,
        timeout,
    })
}

/// A collector's base URL. What it serves lies below `/v1`, which may be left out.
fn url(at: &Value<'_>, trust: &Trust<'_>) -> Option<(String, EndpointUrl, Option<ClientTls>)> {
    let text = at.text("http(s)://HOST[:PORT][/PREFIX]")?.text;
    let parsed = parse_endpoint(text).map_err(|error| at.fail(error.to_string()));
    let mut url = parsed.ok()?;
    if !url.prefix.ends_with("/v1") {
        url.prefix.push_str("/v1");
    }
    let tls = match url.https {
        false => None,
        true => {
            let tls = ClientTls::new(trust.roots(at)?, &url.host);
            Some(tls.map_err(|error| at.fail(error.to_string())).ok()?)
        }
    };
    Some((text.to_owned(), url, tls))
}

fn headers_of(table: &Table<'_>, surroundings: &Surroundings<'_>) -> Vec<(String, Secret)> {
    let named = table.named();
    if named.len() > HEADERS_MAX {
        table.fail(format!("expected at most {HEADERS_MAX} fields"));
    }
    let header = |(name, value): &(super::reader::Text<'_>, Value<'_>)| {
        let text = name.text.to_ascii_lowercase();
        let is_name = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
        if !is_name || OWN_FIELDS.contains(&text.as_str()) {
            let message = "expected the name of a header field that an export has not by itself";
            name.at.fail(message);
            return None;
        }
        let secret = credential::read_field(value.table()?, surroundings)?;
        Some((text, secret))
    };
    named.iter().filter_map(header).collect()
}
