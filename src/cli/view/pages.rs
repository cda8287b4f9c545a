//! The admin plane's pages as views read them. What a page has besides is left alone.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/srp/v1/history`
#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct History {
    pub version: String,
    pub at: Vec<i64>,
    pub lasted_ms: Vec<u64>,
    pub calls: Calls,
    pub errors: BTreeMap<String, Vec<u64>>,
    pub in_flight: Vec<u64>,
    pub connections: Vec<u64>,
    pub ttft_ms: Times,
    pub call_ms: Times,
    pub providers: Vec<ProviderHistory>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Calls {
    pub served: Vec<u64>,
    pub refused: Vec<u64>,
    pub failed: Vec<u64>,
    pub left: Vec<u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Times {
    pub p50: Vec<Option<f64>>,
    pub p90: Vec<Option<f64>>,
    pub p99: Vec<Option<f64>>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct ProviderHistory {
    pub name: String,
    pub ended: Vec<Option<u64>>,
    pub failed: Vec<Option<u64>>,
    pub input_tokens: Vec<Option<u64>>,
    pub output_tokens: Vec<Option<u64>>,
}

impl History {
    /// A count as so many a second, at a sample.
    pub fn rate(&self, count: u64, sample: usize) -> f64 {
        let ms = self.lasted_ms.get(sample).copied().unwrap_or(0).max(1);
        count as f64 * 1000.0 / ms as f64
    }

    /// The last value of a provider's column as so many a second.
    pub fn last_rate(&self, column: &[Option<u64>]) -> f64 {
        let last = column.len().saturating_sub(1);
        let count = column.last().copied().flatten().unwrap_or(0);
        self.rate(count, last)
    }
}

/// `/srp/v1/providers`
#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Providers {
    pub draining: bool,
    pub providers: Vec<Provider>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Provider {
    pub name: String,
    pub jurisdiction: String,
    pub backstop: bool,
    pub breaker: String,
    pub gated_ms: Option<u64>,
    pub in_flight: u64,
    pub capacity: Option<u32>,
    pub price: String,
    pub failovers: u64,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Endpoint {
    pub url: String,
    pub addresses: Vec<String>,
    pub draining: bool,
    pub health: Option<Health>,
    pub in_flight: Option<u32>,
    pub breaker: Option<String>,
    pub gated_ms: Option<u64>,
    pub successes: Option<u64>,
    pub failures: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Health {
    pub ready: bool,
    pub trouble: Option<String>,
    pub waiting: Option<u32>,
}

/// `/srp/v1/market`
#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Market {
    pub at: String,
    pub currency: Option<String>,
    pub price_cap: String,
    pub locations: Vec<Location>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Location {
    pub location: String,
    pub price: String,
    pub supply: Vec<Offer>,
    pub demand: Vec<Bid>,
    pub curtailed: u64,
    pub waiting: u32,
    pub providers: Vec<Slots>,
    pub history: Vec<Clearing>,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Offer {
    pub price: String,
    pub slots: f64,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Bid {
    pub limit: String,
    pub slots: f64,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Slots {
    pub provider: String,
    pub capacity: u32,
    pub reserved: u32,
    pub firm: u32,
    pub floating: u32,
    pub curtailed: u64,
}

#[derive(Debug, Default, Deserialize)]
pub(in crate::cli) struct Clearing {
    pub at: String,
    pub price: String,
    pub sold: f64,
    pub curtailed: u64,
}
