//! An entry as a line of JSON, and as a row.

use std::io::Write;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::super::Failure;
use super::book::Record;
use crate::ledger::{Amount, Attempt};
use crate::market::Price;

/// Of an attempt that had not ended when its call did.
const UNFINISHED: &str = "unfinished";

/// An entry, as it is shown. What isn't known is null.
#[derive(Serialize)]
pub(in crate::cli) struct Line<'e> {
    pub(in crate::cli) id: String,
    pub(in crate::cli) request_id: &'e str,
    pub(in crate::cli) began: String,
    pub(in crate::cli) key: Option<&'e str>,
    pub(in crate::cli) capability: Option<&'e str>,
    pub(in crate::cli) residency: Option<&'e str>,
    pub(in crate::cli) supply: Option<&'static str>,
    pub(in crate::cli) price: Option<String>,
    pub(in crate::cli) currency: Option<String>,
    pub(in crate::cli) cost: Option<String>,
    pub(in crate::cli) jurisdiction: Option<String>,
    pub(in crate::cli) provider: Option<&'e str>,
    pub(in crate::cli) status: u16,
    pub(in crate::cli) outcome: &'static str,
    pub(in crate::cli) code: Option<&'e str>,
    pub(in crate::cli) stream: bool,
    pub(in crate::cli) input_tokens: Option<u64>,
    pub(in crate::cli) output_tokens: Option<u64>,
    pub(in crate::cli) bytes_in: u64,
    pub(in crate::cli) bytes_out: u64,
    pub(in crate::cli) ttft_us: Option<u64>,
    pub(in crate::cli) total_us: u64,
    #[serde(serialize_with = "attempts")]
    pub(in crate::cli) attempts: Vec<Attempt<'e>>,
}

#[derive(Serialize)]
struct Tried<'e> {
    provider: &'e str,
    endpoint: &'e str,
    jurisdiction: Option<String>,
    result: &'static str,
    status: Option<u16>,
    after_us: u64,
    took_us: u64,
}

fn attempts<S: Serializer>(list: &[Attempt<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|attempt| Tried {
        provider: attempt.provider,
        endpoint: attempt.endpoint,
        jurisdiction: attempt.jurisdiction.and_then(|code| letters(&code)),
        result: attempt.result.map_or(UNFINISHED, |it| it.label()),
        status: (attempt.status != 0).then_some(attempt.status),
        after_us: attempt.after_us,
        took_us: attempt.took_us,
    }))
}

fn named(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Letters, if there are any.
pub(in crate::cli) fn letters(code: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(code);
    let text = text.trim_end_matches('\0');
    named(text).map(str::to_owned)
}

/// A point in time as RFC 3339 has it.
pub(in crate::cli) fn time(unix_us: i64) -> String {
    let time = Timestamp::from_microsecond(unix_us);
    time.map_or_else(|_| unix_us.to_string(), |time| format!("{time:.6}"))
}

/// What a call was dispatched as.
pub(in crate::cli) fn supply(price: Option<u64>, firm: bool) -> Option<&'static str> {
    price.map(|_| if firm { "firm" } else { "floating" })
}

impl<'e> Line<'e> {
    pub(in crate::cli) fn of(record: &Record<'e>) -> Line<'e> {
        let (entry, call) = (&record.entry, &record.entry.call);
        Line {
            id: record.id().to_string(),
            request_id: call.request_id,
            began: time(call.began_us),
            key: named(call.key),
            capability: named(call.capability),
            residency: named(call.residency),
            supply: supply(call.price, call.firm),
            price: call
                .price
                .and_then(Price::from_micros)
                .map(|it| it.to_string()),
            currency: letters(&record.header.currency),
            cost: entry.cost().map(|cost| Amount(cost).to_string()),
            jurisdiction: call.jurisdiction.and_then(|code| letters(&code)),
            provider: entry.provider(),
            status: call.status,
            outcome: call.outcome.label(),
            code: named(call.code),
            stream: call.stream,
            input_tokens: call.tokens.map(|tokens| tokens.0),
            output_tokens: call.tokens.map(|tokens| tokens.1),
            bytes_in: call.bytes_in,
            bytes_out: call.bytes_out,
            ttft_us: call.ttft_us,
            total_us: call.total_us,
            attempts: entry.attempts().collect(),
        }
    }

    /// As one line.
    pub(in crate::cli) fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        serde_json::to_writer(&mut *out, self).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    /// The attempts as one text.
    pub(in crate::cli) fn attempts_text(&self) -> String {
        let attempts = self.attempts.iter().map(|attempt| {
            let result = attempt.result.map_or(UNFINISHED, |it| it.label());
            format!("{}={result}", attempt.provider)
        });
        attempts.collect::<Vec<_>>().join(" ")
    }
}
