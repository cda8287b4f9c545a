//! An entry as a line of JSON, and as a row.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::ledger::{Amount, Attempt, Entry, EntryId, Header};
use crate::market::Price;

/// An entry, and whose.
pub struct Record<'e> {
    /// What the segment says of itself.
    pub header: Header,
    /// The entry.
    pub entry: Entry<'e>,
}

impl Record<'_> {
    /// What the entry is called.
    pub fn id(&self) -> EntryId {
        EntryId {
            run: self.header.run,
            core: self.header.core,
            call: self.entry.call.number,
        }
    }
}

/// Of an attempt that had not ended when its call did.
const UNFINISHED: &str = "unfinished";

/// An entry, as it is shown. What isn't known is null.
#[derive(Serialize)]
pub struct Line<'e> {
    /// What it is called.
    pub id: String,
    /// `x-request-id`
    pub request_id: &'e str,
    /// When it began.
    pub began: String,
    /// The key's name.
    pub key: Option<&'e str>,
    /// The capability's name.
    pub capability: Option<&'e str>,
    /// The effective residency.
    pub residency: Option<&'e str>,
    /// `firm` or `floating`.
    pub supply: Option<&'static str>,
    /// Of a million tokens.
    pub price: Option<String>,
    /// What price and cost are in.
    pub currency: Option<String>,
    /// Exactly.
    pub cost: Option<String>,
    /// Where it was served.
    pub jurisdiction: Option<String>,
    /// Who served it.
    pub provider: Option<&'e str>,
    /// What the client was sent.
    pub status: u16,
    /// How it ended.
    pub outcome: &'static str,
    /// Our own error's code.
    pub code: Option<&'e str>,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// As the provider said.
    pub input_tokens: Option<u64>,
    /// As the provider said.
    pub output_tokens: Option<u64>,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the response's body.
    pub bytes_out: u64,
    /// Microseconds until the first event or body byte.
    pub ttft_us: Option<u64>,
    /// Microseconds until the end.
    pub total_us: u64,
    /// In order.
    #[serde(serialize_with = "attempts")]
    pub attempts: Vec<Attempt<&'e str>>,
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

fn attempts<S: Serializer>(list: &[Attempt<&str>], serializer: S) -> Result<S::Ok, S::Error> {
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
pub fn letters(code: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(code);
    let text = text.trim_end_matches('\0');
    named(text).map(str::to_owned)
}

/// A point in time as RFC 3339 has it.
pub fn time(unix_us: i64) -> String {
    let time = Timestamp::from_microsecond(unix_us);
    time.map_or_else(|_| unix_us.to_string(), |time| format!("{time:.6}"))
}

/// What a call was dispatched as.
pub fn supply(price: Option<u64>, firm: bool) -> Option<&'static str> {
    price.map(|_| if firm { "firm" } else { "floating" })
}

impl<'e> Line<'e> {
    /// Of an entry.
    pub fn of(record: &Record<'e>) -> Line<'e> {
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
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// The attempts as one text.
    pub fn attempts_text(&self) -> String {
        let attempts = self.attempts.iter().map(|attempt| {
            let result = attempt.result.map_or(UNFINISHED, |it| it.label());
            format!("{}={result}", attempt.provider)
        });
        attempts.collect::<Vec<_>>().join(" ")
    }
}
