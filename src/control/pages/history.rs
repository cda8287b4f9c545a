//! `/srp/v1/history`: the last hour in samples, by columns, as plots want it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::code_name;
use crate::base::ProviderId;
use crate::control::desk::Desk;
use crate::control::history::{Percentiles, ProviderSample, SAMPLE_EVERY, Sample};
use crate::openai::error::ErrorCode;

#[derive(Serialize)]
struct HistoryPage<'a> {
    version: &'static str,
    currency: Option<&'a str>,
    every_seconds: u64,
    /// Seconds since the epoch; each list below has a number for each of these.
    at: Vec<i64>,
    /// Over how long was counted.
    lasted_ms: Vec<u64>,
    calls: CallColumns,
    /// Errors that srpd made itself, by code: those of which there was any in the last hour.
    errors: BTreeMap<&'static str, Vec<u64>>,
    in_flight: Vec<u64>,
    connections: Vec<u64>,
    ttft_ms: TimeColumns,
    call_ms: TimeColumns,
    providers: Vec<ProviderColumns<'a>>,
}

#[derive(Serialize)]
struct CallColumns {
    served: Vec<u64>,
    refused: Vec<u64>,
    failed: Vec<u64>,
    left: Vec<u64>,
}

/// Null where no call ended.
#[derive(Serialize)]
struct TimeColumns {
    p50: Vec<Option<f64>>,
    p90: Vec<Option<f64>>,
    p99: Vec<Option<f64>>,
}

/// Null where the provider wasn't in the configuration.
#[derive(Serialize)]
struct ProviderColumns<'a> {
    name: &'a str,
    ended: Vec<Option<u64>>,
    failed: Vec<Option<u64>>,
    input_tokens: Vec<Option<u64>>,
    output_tokens: Vec<Option<u64>>,
    in_flight: Vec<Option<u64>>,
    price: Vec<Option<f64>>,
}

/// The samples after `since`, in seconds since the epoch.
pub fn history(desk: &Desk, since: i64) -> String {
    let samples = desk.history.after(since);
    let column = |read: fn(&Sample) -> u64| samples.clone().map(read).collect::<Vec<u64>>();
    let providers = desk.routes.providers.iter().enumerate();
    let page = HistoryPage {
        version: env!("CARGO_PKG_VERSION"),
        currency: desk.config.instance.currency.as_deref(),
        every_seconds: SAMPLE_EVERY.as_secs(),
        at: samples.clone().map(|sample| sample.at).collect(),
        lasted_ms: column(|sample| sample.lasted_ms),
        calls: CallColumns {
            served: column(|sample| sample.calls.served),
            refused: column(|sample| sample.calls.refused),
            failed: column(|sample| sample.calls.failed),
            left: column(|sample| sample.calls.left),
        },
        errors: errors(desk, since),
        in_flight: column(|sample| sample.in_flight),
        connections: column(|sample| sample.connections),
        ttft_ms: times(samples.clone().map(|sample| sample.ttft)),
        call_ms: times(samples.clone().map(|sample| sample.call)),
        providers: providers
            .map(|(at, provider)| columns(&provider.name, (at, provider.id), samples.clone()))
            .collect(),
    };
    // Strings, numbers and lists: nothing that JSON can't hold.
    serde_json::to_string(&page).unwrap_or_default()
}

fn errors(desk: &Desk, since: i64) -> BTreeMap<&'static str, Vec<u64>> {
    let count = |sample: &Sample, code: usize| sample.errors.get(code).copied().unwrap_or(0);
    // Whatever is asked for, so that pages can be put together.
    let hour = desk.history.after(i64::MIN);
    let any = |code: &usize| hour.clone().any(|sample| count(sample, *code) > 0);
    let column = |code: usize| {
        let samples = desk.history.after(since);
        let counts = samples.map(|sample| count(sample, code)).collect();
        (code_name(code), counts)
    };
    (0..ErrorCode::COUNT).filter(any).map(column).collect()
}

fn times(of: impl Iterator<Item = Option<Percentiles>> + Clone) -> TimeColumns {
    let ms = |us: u64| us as f64 / 1000.0;
    let column = |read: fn(Percentiles) -> u64| {
        let of = of.clone();
        of.map(|it| it.map(|it| ms(read(it)))).collect()
    };
    TimeColumns {
        p50: column(|it| it.p50),
        p90: column(|it| it.p90),
        p99: column(|it| it.p99),
    }
}

fn columns<'a, 's>(
    name: &'a str,
    (at, id): (usize, ProviderId),
    samples: impl Iterator<Item = &'s Sample>,
) -> ProviderColumns<'a> {
    let is_it = |it: &&ProviderSample| it.provider == id;
    // Where it is now, it mostly was before.
    let of = |sample: &'s Sample| {
        let here = sample.providers.get(at).filter(is_it);
        here.or_else(|| sample.providers.iter().find(is_it))
    };
    let seen: Vec<Option<&ProviderSample>> = samples.map(of).collect();
    let column = |read: fn(&ProviderSample) -> u64| {
        let seen = seen.iter();
        seen.map(|it| it.map(read)).collect()
    };
    let price = |it: &ProviderSample| it.price.micros() as f64 / 1e6;
    ProviderColumns {
        name,
        ended: column(|it| it.tally.ended),
        failed: column(|it| it.tally.failed),
        input_tokens: column(|it| it.tally.input_tokens),
        output_tokens: column(|it| it.tally.output_tokens),
        in_flight: column(|it| it.in_flight),
        price: seen.iter().map(|it| it.map(price)).collect(),
    }
}
