//! The histograms of the `gen_ai` conventions, over all calls, whether they are recorded as spans or
//! not. They only grow (cumulative temporality): an export that is lost is made good by the next.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::metrics::AttemptResult;
use super::super::names::{CodeNames, NameLists};
use super::json::{flag, text, time};
use super::record::CallRecord;
use super::spans::failure;
use crate::base::{CapabilityId, ProviderId};

/// Combinations of attributes that are kept apart for each instrument. What comes after them is
/// counted together, as `otel.metric.overflow` (OpenTelemetry SDK, "Cardinality limits").
pub const SERIES_MAX: usize = 2000;

/// Who answered, where no provider did.
const OURSELVES: &str = "srpd";

/// `AggregationTemporality`: since the process began.
const CUMULATIVE: u8 = 2;

/// Seconds of whole operations, as the conventions advise.
const DURATIONS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Seconds to a first token, as the conventions advise.
const FIRST_TOKENS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Tokens, as the conventions advise.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Instrument {
    /// An attempt at a provider.
    Operation,
    /// What providers counted.
    TokenUsage,
    /// A call, as its client saw it.
    Request,
    /// A call's first token, as its client saw it.
    FirstToken,
}

impl Instrument {
    const ALL: [Instrument; 4] = [
        Instrument::Operation,
        Instrument::TokenUsage,
        Instrument::Request,
        Instrument::FirstToken,
    ];

    /// Name, unit, and what it is.
    fn about(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Instrument::Operation => (
                "gen_ai.client.operation.duration",
                "s",
                "Attempts at providers.",
            ),
            Instrument::TokenUsage => (
                "gen_ai.client.token.usage",
                "{token}",
                "Tokens of a call, as its provider counted them.",
            ),
            Instrument::Request => (
                "gen_ai.server.request.duration",
                "s",
                "Calls, as their clients saw them.",
            ),
            Instrument::FirstToken => (
                "gen_ai.server.time_to_first_token",
                "s",
                "Time to the first event or body byte that the client was sent.",
            ),
        }
    }

    fn bounds(self) -> &'static [f64] {
        match self {
            Instrument::Operation | Instrument::Request => DURATIONS,
            Instrument::TokenUsage => TOKENS,
            Instrument::FirstToken => FIRST_TOKENS,
        }
    }
}

/// What one distribution is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Series {
    operation: &'static str,
    capability: Option<CapabilityId>,
    provider: Option<ProviderId>,
    /// `gen_ai.token.type`
    token: Option<&'static str>,
    error: Option<String>,
    /// All those for which there was no room.
    overflow: bool,
}

/// How many values lie in each bucket, and what they come to.
#[derive(Clone, Debug)]
struct Distribution {
    counts: Vec<u64>,
    sum: f64,
}

impl Distribution {
    fn new(bounds: &[f64]) -> Distribution {
        Distribution {
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// A bucket holds what is above the bound before it and at most its own.
    fn add(&mut self, value: f64, bounds: &[f64]) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }
}

/// All distributions so far.
#[derive(Debug)]
pub struct Meters {
    series: HashMap<Instrument, HashMap<Series, Distribution>>,
    began_us: i64,
}

impl Meters {
    /// Nothing measured. `now_us` is the day and time, in microseconds since 1970.
    pub fn new(now_us: i64) -> Meters {
        Meters {
            series: HashMap::new(),
            began_us: now_us,
        }
    }

    /// Takes a call in.
    pub fn add(&mut self, record: &CallRecord, codes: CodeNames) {
        let call = &record.call;
        let series = Series {
            operation: record.operation,
            capability: call.capability,
            provider: call.provider,
            ..Series::default()
        };
        for tried in record.tries.iter().flatten() {
            let failed = tried.result != AttemptResult::Succeeded;
            let of = Series {
                provider: Some(tried.provider),
                error: failed.then(|| tried.result.label().to_owned()),
                ..series.clone()
            };
            self.put(Instrument::Operation, of, f64::from(tried.took_us) / 1e6);
        }
        for (token, count) in [("input", call.input_tokens), ("output", call.output_tokens)] {
            if let Some(count) = count {
                let token = Some(token);
                let of = Series {
                    token,
                    ..series.clone()
                };
                self.put(Instrument::TokenUsage, of, count as f64);
            }
        }
        if let Some(first) = call.ttft_us {
            let seconds = first as f64 / 1e6;
            self.put(Instrument::FirstToken, series.clone(), seconds);
        }
        let error = failure(call, codes);
        let of = Series { error, ..series };
        self.put(Instrument::Request, of, call.total_us as f64 / 1e6);
    }

    fn put(&mut self, instrument: Instrument, of: Series, value: f64) {
        let bounds = instrument.bounds();
        let all = self.series.entry(instrument).or_default();
        let of = match all.len() < SERIES_MAX || all.contains_key(&of) {
            true => of,
            false => Series {
                overflow: true,
                ..Series::default()
            },
        };
        let distribution = all.entry(of);
        distribution
            .or_insert_with(|| Distribution::new(bounds))
            .add(value, bounds);
    }

    /// All of them as OTLP has it, at `now_us`; empty if nothing was measured.
    pub fn metrics(&self, names: &NameLists, now_us: i64) -> Vec<Value> {
        let measured = |instrument| Some((instrument, self.series.get(&instrument)?));
        let all = Instrument::ALL.into_iter().filter_map(measured);
        all.map(|(instrument, series)| {
            let (name, unit, description) = instrument.about();
            let points = series.iter().map(|(of, distribution)| {
                let counts = distribution.counts.iter();
                json!({
                    "attributes": of.attributes(names),
                    "startTimeUnixNano": time(self.began_us),
                    "timeUnixNano": time(now_us),
                    "count": counts.clone().sum::<u64>().to_string(),
                    "sum": distribution.sum,
                    "bucketCounts": counts.map(u64::to_string).collect::<Vec<_>>(),
                    "explicitBounds": instrument.bounds(),
                })
            });
            json!({
                "name": name,
                "unit": unit,
                "description": description,
                "histogram": {
                    "aggregationTemporality": CUMULATIVE,
                    "dataPoints": points.collect::<Vec<_>>(),
                },
            })
        })
        .collect()
    }
}

impl Series {
    fn attributes(&self, names: &NameLists) -> Vec<Value> {
        if self.overflow {
            return vec![flag("otel.metric.overflow", true)];
        }
        let provider = self.provider.map_or(OURSELVES, |id| names.provider(id));
        let model = self.capability.map(|id| names.capability(id));
        let optional = [
            ("gen_ai.request.model", model),
            ("gen_ai.token.type", self.token),
            ("error.type", self.error.as_deref()),
        ];
        let mut attributes = vec![
            text("gen_ai.operation.name", self.operation),
            text("gen_ai.provider.name", provider),
        ];
        let given = optional.into_iter();
        attributes.extend(given.filter_map(|(key, value)| Some(text(key, value?))));
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::line::tests::{code, names};
    use super::super::spans::tests::{attribute, call};
    use super::*;

    fn points<'m>(metrics: &'m [Value], name: &str) -> &'m Vec<Value> {
        let found = metrics.iter().find(|it| it["name"] == name);
        let histogram = &found.expect("a metric")["histogram"];
        assert_eq!(histogram["aggregationTemporality"], CUMULATIVE);
        histogram["dataPoints"].as_array().expect("points")
    }

    #[test]
    fn calls_are_added_up_under_the_names_of_the_conventions() {
        let mut meters = Meters::new(1_000_000);
        meters.add(&call(), code);
        meters.add(&call(), code);
        let metrics = meters.metrics(&names(), 9_000_000);
        let operations = points(&metrics, "gen_ai.client.operation.duration");
        assert_eq!(operations.len(), 2);
        for point in operations {
            assert_eq!(point["count"], "2");
            assert_eq!(attribute(point, "gen_ai.provider.name"), "aloomu");
            let error = attribute(point, "error.type");
            assert!(error == "connect" || error == &Value::Null, "{error}");
            // 0.1 s lies above 0.08 and at most at 0.16.
            assert_eq!(point["bucketCounts"][4], "2");
        }
        let tokens = points(&metrics, "gen_ai.client.token.usage");
        let sum = |kind: &str| {
            let mut points = tokens.iter();
            let found = points.find(|it| attribute(it, "gen_ai.token.type") == kind);
            found.expect("tokens")["sum"].as_f64()
        };
        assert_eq!((sum("input"), sum("output")), (Some(6.0), Some(8.0)));
        let requests = &points(&metrics, "gen_ai.server.request.duration")[0];
        assert_eq!(requests["sum"], 3.0);
        assert_eq!(requests["startTimeUnixNano"], "1000000000");
        assert_eq!(requests["timeUnixNano"], "9000000000");
        let counts = requests["bucketCounts"].as_array().expect("counts");
        let bounds = requests["explicitBounds"].as_array().expect("bounds");
        assert_eq!(counts.len(), bounds.len() + 1);
        let first = &points(&metrics, "gen_ai.server.time_to_first_token")[0];
        assert_eq!(attribute(first, "gen_ai.request.model"), "smart");
        assert_eq!(first["bucketCounts"][3], "2", "{first}");
    }

    #[test]
    fn a_call_that_nobody_served_was_answered_by_ourselves() {
        let mut refused = call();
        refused.call.code = Some(1);
        refused.call.provider = None;
        refused.call.capability = None;
        let mut meters = Meters::new(0);
        meters.add(&refused, code);
        let metrics = meters.metrics(&names(), 1);
        let point = &points(&metrics, "gen_ai.server.request.duration")[0];
        assert_eq!(attribute(point, "gen_ai.provider.name"), "srpd");
        assert_eq!(attribute(point, "error.type"), "residency_unavailable");
        assert_eq!(attribute(point, "gen_ai.request.model"), &Value::Null);
    }

    #[test]
    fn series_beyond_their_bound_are_counted_together() {
        let mut meters = Meters::new(0);
        let mut each = call();
        for status in 0..SERIES_MAX as u16 + 500 {
            each.call.status = 400 + status;
            meters.add(&each, code);
        }
        let metrics = meters.metrics(&names(), 1);
        let requests = points(&metrics, "gen_ai.server.request.duration");
        assert_eq!(requests.len(), SERIES_MAX + 1);
        let rest = requests
            .iter()
            .find(|it| attribute(it, "otel.metric.overflow") == true);
        assert_eq!(rest.expect("the rest")["count"], "500");
    }

    #[test]
    fn a_bucket_holds_its_bound_and_the_last_what_is_beyond() {
        let mut distribution = Distribution::new(&[1.0, 2.0]);
        for value in [0.0, 1.0, 1.5, 2.0, 2.5] {
            distribution.add(value, &[1.0, 2.0]);
        }
        assert_eq!(distribution.counts, [2, 2, 1]);
    }
}
