//! A line of the access log: a record with its names put in.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;

use super::names::{CodeNames, NameLists};
use super::record::{AccessRecord, InlineText};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// One call, with names for ids.
#[derive(Clone, Debug, Serialize)]
pub struct AccessLine<'n> {
    /// When it ended: RFC 3339, UTC, milliseconds.
    pub time: InlineText<24>,
    /// `x-request-id`
    pub request_id: Cow<'n, str>,
    /// The key's name.
    pub key: Option<&'n str>,
    /// What it asked for.
    pub capability: Option<&'n str>,
    /// Who served it.
    pub provider: Option<&'n str>,
    /// Where it was served.
    pub jurisdiction: Option<InlineText<2>>,
    /// The effective residency.
    pub residency: Cow<'n, str>,
    /// What the client was sent; 499 if it left before that.
    pub status: u16,
    /// The code of our own error.
    pub code: Option<&'static str>,
    /// Attempts made.
    pub attempts: u8,
    /// Milliseconds to the first event or body byte sent.
    pub ttft_ms: Option<f64>,
    /// Milliseconds of the whole call.
    pub total_ms: f64,
    /// Milliseconds of them that it waited for a slot, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Input tokens, as the provider said.
    pub input_tokens: Option<u64>,
    /// Output tokens, as the provider said.
    pub output_tokens: Option<u64>,
    /// `firm` or `floating`.
    pub supply: &'static str,
    /// What a million tokens cost when it was dispatched.
    pub price: Option<f64>,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// `completed`, `failed`, `client_gone` or `cut`.
    pub outcome: &'static str,
}

fn milliseconds(us: u64) -> f64 {
    us as f64 / 1000.0
}

impl<'n> AccessLine<'n> {
    /// The record with its names.
    pub fn new(
        record: &'n AccessRecord,
        time: InlineText<24>,
        names: &'n NameLists,
        codes: CodeNames,
    ) -> AccessLine<'n> {
        AccessLine {
            time,
            request_id: record.request_id.to_text(),
            key: record.key.map(|id| names.key(id)),
            capability: record.capability.map(|id| names.capability(id)),
            provider: record.provider.map(|id| names.provider(id)),
            jurisdiction: record.jurisdiction.map(|code| InlineText::new(&code)),
            residency: record.residency.to_text(),
            status: record.status,
            code: record.code.map(|index| codes(usize::from(index))),
            attempts: record.attempts,
            ttft_ms: record.ttft_us.map(milliseconds),
            total_ms: milliseconds(record.total_us),
            waited_ms: (record.waited_us > 0).then(|| milliseconds(record.waited_us)),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            input_tokens: record.input_tokens,
            output_tokens: record.output_tokens,
            supply: if record.firm { "firm" } else { "floating" },
            price: record.price.map(|micros| micros as f64 / 1e6),
            stream: record.stream,
            outcome: record.outcome.label(),
        }
    }

    /// Appends the line and its line feed.
    pub fn write(&self, format: Format, out: &mut Vec<u8>) {
        let start = out.len();
        let written = match format {
            Format::Json => serde_json::to_writer(&mut *out, self).map_err(std::io::Error::from),
            Format::Text => self.write_text(out),
        };
        match written {
            Ok(()) => out.push(b'\n'),
            // A vector takes whatever it is given; half a line would be worse than none.
            Err(_) => out.truncate(start),
        }
    }

    fn write_text(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(
            out,
            "{} {} {} {} key={} provider={} in={} residency={} attempts={}",
            self.time,
            self.status,
            self.capability.unwrap_or("-"),
            self.outcome,
            self.key.unwrap_or("-"),
            self.provider.unwrap_or("-"),
            self.jurisdiction.unwrap_or(InlineText::new(b"-")),
            self.residency,
            self.attempts,
        )?;
        if let Some(code) = self.code {
            write!(out, " code={code}")?;
        }
        if let Some(ttft) = self.ttft_ms {
            write!(out, " ttft={ttft:.1}ms")?;
        }
        write!(out, " total={:.1}ms", self.total_ms)?;
        if let Some(waited) = self.waited_ms {
            write!(out, " waited={waited:.1}ms")?;
        }
        if let (Some(input), Some(output)) = (self.input_tokens, self.output_tokens) {
            write!(out, " tokens={input}+{output}")?;
        }
        if self.stream {
            write!(out, " stream")?;
        }
        write!(
            out,
            " bytes={}+{} id={}",
            self.bytes_in, self.bytes_out, self.request_id
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::{CapabilityId, KeyId, Moment, ProviderId};
    use crate::telemetry::record::{InlineText, Outcome};

    pub fn record() -> AccessRecord {
        AccessRecord {
            at: Moment(0),
            request_id: InlineText::new(b"req-\"1\""),
            residency: InlineText::new(b"au-only"),
            capability: Some(CapabilityId(0)),
            key: Some(KeyId(0)),
            provider: Some(ProviderId(0)),
            jurisdiction: Some(*b"au"),
            status: 200,
            code: None,
            attempts: 2,
            ttft_us: Some(12_340),
            total_us: 99_900,
            waited_us: 0,
            bytes_in: 10,
            bytes_out: 20,
            input_tokens: Some(3),
            output_tokens: Some(4),
            firm: false,
            price: Some(2_400_000),
            stream: true,
            outcome: Outcome::Completed,
        }
    }

    const EPOCH: &[u8] = b"1970-01-01T00:00:00.000Z";

    pub fn names() -> NameLists {
        NameLists {
            providers: vec!["aloomu".into()],
            endpoints: vec![(ProviderId(0), "http://127.0.0.1:9101".into())],
            capabilities: vec!["smart".into()],
            keys: vec!["acme".into()],
        }
    }

    pub fn code(index: usize) -> &'static str {
        ["invalid_json", "residency_unavailable"][index]
    }

    #[test]
    fn a_json_line_parses_back() {
        let names = names();
        let mut refused = record();
        refused.code = Some(1);
        refused.waited_us = 1500;
        let line = AccessLine::new(&refused, InlineText::new(EPOCH), &names, code);
        let mut out = Vec::new();
        line.write(Format::Json, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z", "request_id": "req-\"1\"", "key": "acme",
            "capability": "smart", "provider": "aloomu", "jurisdiction": "au",
            "residency": "au-only", "status": 200, "code": "residency_unavailable",
            "attempts": 2, "ttft_ms": 12.34, "total_ms": 99.9, "waited_ms": 1.5, "bytes_in": 10, "bytes_out": 20,
            "input_tokens": 3, "output_tokens": 4, "supply": "floating", "price": 2.4, "stream": true, "outcome": "completed",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_text_line_is_one_line() {
        let record = record();
        let names = names();
        let line = AccessLine::new(&record, InlineText::new(EPOCH), &names, code);
        let mut out = Vec::new();
        line.write(Format::Text, &mut out);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "1970-01-01T00:00:00.000Z 200 smart completed key=acme provider=aloomu in=au \
             residency=au-only attempts=2 ttft=12.3ms total=99.9ms tokens=3+4 stream \
             bytes=10+20 id=req-\"1\"\n"
        );
    }
}
