//! A call as spans: one of ours for the call, and below it one for each attempt at a provider.

use serde_json::{Value, json};

use super::super::metrics::AttemptResult;
use super::super::names::{CodeNames, NameLists};
use super::super::record::{AccessRecord, Outcome};
use super::json::{flag, number, text, time, whole};
use super::record::{CallRecord, Trace, TryRecord};

/// `SpanKind`: somebody asks us.
const SERVER: u8 = 2;
/// `SpanKind`: we ask somebody.
const CLIENT: u8 = 3;
/// `Status.code`
const ERROR: u8 = 2;

/// What turns records into spans.
pub struct Spans<'n> {
    /// Names by id.
    pub names: &'n NameLists,
    /// Names of the error codes.
    pub codes: CodeNames,
    /// The day and time at the clock's zero, in microseconds since 1970.
    pub zero_us: i64,
}

/// Why a call failed, as its client saw it: our own error, the provider's status, or that it ended
/// before its end. None if it didn't.
pub fn failure(call: &AccessRecord, codes: CodeNames) -> Option<String> {
    match (call.code, call.outcome) {
        (Some(code), _) => Some(codes(usize::from(code)).to_owned()),
        (None, Outcome::Cut | Outcome::ClientGone) => Some(call.outcome.label().to_owned()),
        (None, _) => (call.status >= 400).then(|| call.status.to_string()),
    }
}

impl Spans<'_> {
    /// The spans of a call, each as JSON: its own, then those of its attempts.
    pub fn of(&self, record: &CallRecord, trace: &Trace) -> Vec<String> {
        let ended = self.unix_us(record.call.at.0);
        let began = ended.saturating_sub_unsigned(record.call.total_us);
        let mut spans = vec![self.call(record, trace, (began, ended)).to_string()];
        let tries = record.tries.iter().flatten().enumerate();
        spans.extend(tries.map(|(at, tried)| {
            let span = self.attempt(record, trace, (at, tried), began);
            span.to_string()
        }));
        spans
    }

    fn unix_us(&self, moment: u64) -> i64 {
        self.zero_us.saturating_add_unsigned(moment)
    }

    fn call(&self, record: &CallRecord, trace: &Trace, (began, ended): (i64, i64)) -> Value {
        let call = &record.call;
        let mut attributes = self.asked_for(record);
        attributes.extend([
            whole("http.response.status_code", call.status.into()),
            text("srp.request_id", &call.request_id.to_text()),
            whole("srp.attempts", call.attempts.into()),
            text("srp.outcome", call.outcome.label()),
            text("srp.residency", &call.residency.to_text()),
            flag("srp.stream", call.stream),
        ]);
        let key = call.key.map(|id| text("srp.key", self.names.key(id)));
        attributes.extend(key);
        let served = call.provider.map(|id| self.names.provider(id));
        attributes.extend(served.map(|name| text("gen_ai.provider.name", name)));
        if call.attempts > 0 {
            attributes.push(supply(call));
            attributes.extend(price(call));
        }
        let at = call.jurisdiction.as_ref();
        attributes.extend(at.map(jurisdiction));
        let first = call.ttft_us.map(|us| us as f64 / 1e6);
        attributes.extend(first.map(|seconds| number("srp.time_to_first_token", seconds)));
        attributes.extend(tokens(call));
        let failure = failure(call, self.codes);
        let parent = (trace.parent != 0).then_some(trace.parent);
        span(
            (trace.id, trace.span, parent),
            (&self.title(record), SERVER),
            (began, ended),
            (attributes, failure.as_deref()),
        )
    }

    fn attempt(
        &self,
        record: &CallRecord,
        trace: &Trace,
        (at, tried): (usize, &TryRecord),
        call_began: i64,
    ) -> Value {
        let began = call_began.saturating_add(tried.after_us.into());
        let ended = began.saturating_add(tried.took_us.into());
        let mut attributes = self.asked_for(record);
        attributes.extend([
            text("gen_ai.provider.name", self.names.provider(tried.provider)),
            whole("srp.attempt", at as u64 + 1),
            jurisdiction(&tried.jurisdiction),
        ]);
        if let Some((address, port)) = place(self.names.endpoint(tried.endpoint)) {
            attributes.push(text("server.address", &address));
            attributes.push(whole("server.port", port.into()));
        }
        if tried.status != 0 {
            let status = tried.status.into();
            attributes.push(whole("http.response.status_code", status));
        }
        let is_last = record.tries.get(at + 1).is_none_or(Option::is_none);
        if is_last && record.call.provider == Some(tried.provider) {
            attributes.extend(tokens(&record.call));
        }
        let failed = tried.result != AttemptResult::Succeeded;
        span(
            (trace.id, trace.attempt(at), Some(trace.span)),
            (&self.title(record), CLIENT),
            (began, ended),
            (attributes, failed.then(|| tried.result.label())),
        )
    }

    /// `chat smart`: the operation and the model, as the conventions have it.
    fn title(&self, record: &CallRecord) -> String {
        match record.call.capability {
            Some(id) => format!("{} {}", record.operation, self.names.capability(id)),
            None => record.operation.to_owned(),
        }
    }

    fn asked_for(&self, record: &CallRecord) -> Vec<Value> {
        let capability = record.call.capability;
        let model = capability.map(|id| text("gen_ai.request.model", self.names.capability(id)));
        let operation = text("gen_ai.operation.name", record.operation);
        [operation].into_iter().chain(model).collect()
    }
}

fn jurisdiction(code: &[u8; 2]) -> Value {
    text("srp.jurisdiction", &String::from_utf8_lossy(code))
}

fn supply(call: &AccessRecord) -> Value {
    text("srp.supply", if call.firm { "firm" } else { "floating" })
}

fn price(call: &AccessRecord) -> Option<Value> {
    let price = call.price?;
    Some(number("srp.price", price as f64 / 1e6))
}

fn tokens(call: &AccessRecord) -> impl Iterator<Item = Value> {
    let counts = [
        ("gen_ai.usage.input_tokens", call.input_tokens),
        ("gen_ai.usage.output_tokens", call.output_tokens),
    ];
    let counted = |(key, count): (&'static str, Option<u64>)| Some(whole(key, count?));
    counts.into_iter().filter_map(counted)
}

/// Host and port of an endpoint's URL.
fn place(url: &str) -> Option<(String, u16)> {
    let url: http::Uri = url.parse().ok()?;
    let default = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = url.host()?.trim_matches(['[', ']']);
    Some((host.to_owned(), url.port_u16().unwrap_or(default)))
}

fn span(
    (trace, id, parent): (u128, u64, Option<u64>),
    (name, kind): (&str, u8),
    (began, ended): (i64, i64),
    (mut attributes, failure): (Vec<Value>, Option<&str>),
) -> Value {
    attributes.extend(failure.map(|failure| text("error.type", failure)));
    let mut span = json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{id:016x}"),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": time(began),
        "endTimeUnixNano": time(ended),
        "attributes": attributes,
    });
    if let Some(parent) = parent {
        span["parentSpanId"] = format!("{parent:016x}").into();
    }
    if failure.is_some() {
        span["status"] = json!({ "code": ERROR });
    }
    span
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::line::tests::{code, names, record};
    use super::super::record::TRIES_MAX;
    use super::*;
    use crate::base::{EndpointId, Moment, ProviderId};

    /// A call that its second attempt served.
    pub fn call() -> CallRecord {
        let mut call = record();
        call.at = Moment(2_000_000);
        call.total_us = 1_500_000;
        let tried = |result, status, after_us| TryRecord {
            provider: ProviderId(0),
            endpoint: EndpointId(0),
            jurisdiction: *b"au",
            status,
            result,
            after_us,
            took_us: 100_000,
        };
        let mut tries = [None; TRIES_MAX];
        tries[0] = Some(tried(AttemptResult::Connect, 0, 10));
        tries[1] = Some(tried(AttemptResult::Succeeded, 200, 200_000));
        CallRecord {
            call,
            operation: "chat",
            trace: Some(Trace {
                id: 0xabc,
                parent: 0xdef,
                span: 0x123,
                random: true,
            }),
            tries,
        }
    }

    pub fn attribute<'s>(of: &'s Value, key: &str) -> &'s Value {
        let attributes = of["attributes"].as_array().expect("attributes");
        let found = attributes.iter().find(|it| it["key"] == key);
        let value = found.and_then(|it| it["value"].as_object());
        value
            .and_then(|value| value.values().next())
            .unwrap_or(&Value::Null)
    }

    fn spans(record: &CallRecord) -> Vec<Value> {
        let names = names();
        let spans = Spans {
            names: &names,
            codes: code,
            zero_us: 1_000_000_000_000,
        };
        let trace = record.trace.expect("a trace");
        let made = spans.of(record, &trace);
        let parse = |span: String| serde_json::from_str(&span).expect("JSON");
        made.into_iter().map(parse).collect()
    }

    #[test]
    fn a_call_has_a_span_and_each_attempt_one_below_it() {
        let spans = spans(&call());
        let [served, first, second] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(served["name"], "chat smart");
        assert_eq!(served["kind"], SERVER);
        assert_eq!(served["traceId"], format!("{:032x}", 0xabc));
        assert_eq!(served["spanId"], format!("{:016x}", 0x123));
        assert_eq!(served["parentSpanId"], format!("{:016x}", 0xdef));
        assert_eq!(served["startTimeUnixNano"], "1000000500000000");
        assert_eq!(served["endTimeUnixNano"], "1000002000000000");
        assert_eq!(served["status"], Value::Null);
        let expected = [
            ("gen_ai.operation.name", json!("chat")),
            ("gen_ai.request.model", json!("smart")),
            ("gen_ai.provider.name", json!("aloomu")),
            ("gen_ai.usage.input_tokens", json!("3")),
            ("gen_ai.usage.output_tokens", json!("4")),
            ("http.response.status_code", json!("200")),
            ("srp.jurisdiction", json!("au")),
            ("srp.residency", json!("au-only")),
            ("srp.supply", json!("floating")),
            ("srp.price", json!(2.4)),
            ("srp.attempts", json!("2")),
            ("srp.key", json!("acme")),
            ("srp.stream", json!(true)),
            ("srp.outcome", json!("completed")),
            ("srp.time_to_first_token", json!(0.012_34)),
            ("error.type", Value::Null),
        ];
        for (key, value) in expected {
            assert_eq!(attribute(served, key), &value, "{key}");
        }
        for (attempt, number) in [(first, "1"), (second, "2")] {
            assert_eq!(attempt["kind"], CLIENT);
            assert_eq!(attempt["parentSpanId"], served["spanId"]);
            assert_eq!(attempt["traceId"], served["traceId"]);
            assert_eq!(attribute(attempt, "srp.attempt"), number);
            assert_eq!(attribute(attempt, "server.address"), "127.0.0.1");
            assert_eq!(attribute(attempt, "server.port"), "9101");
        }
        assert_eq!(attribute(first, "error.type"), "connect");
        assert_eq!(first["status"]["code"], ERROR);
        let unknown = attribute(first, "http.response.status_code");
        assert_eq!(unknown, &Value::Null);
        assert_eq!(attribute(first, "gen_ai.usage.input_tokens"), &Value::Null);
        assert_eq!(attribute(second, "error.type"), &Value::Null);
        assert_eq!(attribute(second, "gen_ai.usage.output_tokens"), "4");
        assert_eq!(second["startTimeUnixNano"], "1000000700000000");
        assert_eq!(second["endTimeUnixNano"], "1000000800000000");
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent_and_a_failure_says_which() {
        let mut refused = call();
        refused.call.code = Some(1);
        refused.call.status = 503;
        refused.call.provider = None;
        refused.tries = [None; TRIES_MAX];
        if let Some(trace) = &mut refused.trace {
            trace.parent = 0;
        }
        let spans = spans(&refused);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].get("parentSpanId"), None);
        assert_eq!(spans[0]["status"]["code"], ERROR);
        assert_eq!(attribute(&spans[0], "error.type"), "residency_unavailable");
        let nobody = attribute(&spans[0], "gen_ai.provider.name");
        assert_eq!(nobody, &Value::Null);
    }

    #[test]
    fn a_failure_is_told_from_what_its_client_saw() {
        let mut seen = record();
        assert_eq!(failure(&seen, code), None);
        seen.status = 422;
        assert_eq!(failure(&seen, code).as_deref(), Some("422"));
        seen.outcome = Outcome::Cut;
        assert_eq!(failure(&seen, code).as_deref(), Some("cut"));
        seen.code = Some(0);
        assert_eq!(failure(&seen, code).as_deref(), Some("invalid_json"));
    }

    #[test]
    fn an_endpoints_place_is_its_host_and_port() {
        let found = |url| place(url).expect("a place");
        assert_eq!(found("https://a.example/v1"), ("a.example".into(), 443));
        assert_eq!(found("http://[::1]:81"), ("::1".into(), 81));
        assert_eq!(found("http://a.example"), ("a.example".into(), 80));
        assert_eq!(place("?"), None);
    }
}
