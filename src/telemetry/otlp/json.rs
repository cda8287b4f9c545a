//! The parts that OTLP messages are made of, in their JSON form: ids are hexadecimal, 64-bit numbers
//! are texts, enumerations are numbers (opentelemetry-proto, "OTLP/HTTP JSON encoding").

use serde_json::{Value, json};

/// A key with a text.
pub fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A key with a whole number.
pub fn whole(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// A key with a number.
pub fn number(key: &str, value: f64) -> Value {
    json!({ "key": key, "value": { "doubleValue": value } })
}

/// A key with a yes or no.
pub fn flag(key: &str, value: bool) -> Value {
    json!({ "key": key, "value": { "boolValue": value } })
}

/// A point in time: microseconds since 1970 as nanoseconds in a text.
pub fn time(unix_us: i64) -> Value {
    Value::String((i128::from(unix_us.max(0)) * 1000).to_string())
}

/// Who says all this.
pub struct Resource {
    /// `service.instance.id`: another for each process.
    pub instance: u64,
    /// The jurisdiction that the instance stands in.
    pub jurisdiction: &'static str,
}

impl Resource {
    fn to_value(&self) -> Value {
        json!({ "attributes": [
            text("service.name", "srpd"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &format!("{:016x}", self.instance)),
            text("srp.instance.jurisdiction", self.jurisdiction),
        ]})
    }

    /// The body of an export of spans, each of them already JSON.
    pub fn spans(&self, spans: &[String]) -> String {
        self.message("resourceSpans", "scopeSpans", "spans", &spans.join(","))
    }

    /// The body of an export of metrics.
    pub fn metrics(&self, metrics: &[Value]) -> String {
        let metrics: Vec<String> = metrics.iter().map(Value::to_string).collect();

        self.message(
            "resourceMetrics",
            "scopeMetrics",
            "metrics",
            &metrics.join(","),
        )
    }

    fn message(&self, of_resource: &str, of_scope: &str, of: &str, inside: &str) -> String {
        let resource = self.to_value();
        let scope = json!({ "name": "srpd", "version": env!("CARGO_PKG_VERSION") });
        format!(
            "{{\"{of_resource}\":[{{\"resource\":{resource},\
             \"{of_scope}\":[{{\"scope\":{scope},\"{of}\":[{inside}]}}]}}]}}"
        )
    }
}
