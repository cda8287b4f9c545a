//! What the cores counted, added up, as a page of metrics. Labels come from the configuration and
//! from fixed lists: their number is bounded by both.

use std::sync::Arc;

use super::exposition::{Exposition, Kind};
use super::handshakes::Handshake;
use super::histograms::{CoreHistograms, Times};
use super::metrics::{AttemptResult, CODES_MAX, CoreMetrics, STATUSES};
use super::names::{CodeNames, NameLists};
use crate::base::{CapabilityId, ProviderId};

/// The histograms' bounds: in seconds as text, and in microseconds.
const BOUNDS: [(&str, u64); 16] = [
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
    ("30", 30_000_000),
    ("60", 60_000_000),
    ("120", 120_000_000),
    ("300", 300_000_000),
    ("600", 600_000_000),
];

/// The cores' figures, to be written to a page.
pub struct CoreReport<'a> {
    /// Every core's counters.
    pub cores: &'a [Arc<CoreMetrics>],
    /// All cores' histograms, merged.
    pub times: &'a CoreHistograms,
    /// Names for the labels.
    pub names: &'a NameLists,
    /// Names of the error codes.
    pub codes: CodeNames,
    /// How many error codes there are.
    pub code_count: usize,
}

impl CoreReport<'_> {
    /// Writes every family.
    pub fn write(&self, page: &mut Exposition) {
        self.calls(page);
        self.attempts(page);
        self.providers(page);
        self.connections(page);
        self.handshakes(page);
        self.losses(page);
        page.family(
            "srpd_ttft_seconds",
            Kind::Histogram,
            "Time to the first event or body byte sent to the client.",
        );
        self.times(page, CoreHistograms::ttft);
        page.family("srpd_call_seconds", Kind::Histogram, "Time of whole calls.");
        self.times(page, CoreHistograms::calls);
    }

    fn sum(&self, read: impl Fn(&CoreMetrics) -> u64) -> u64 {
        self.cores.iter().map(|core| read(core)).sum()
    }

    fn capabilities(&self) -> impl Iterator<Item = (CapabilityId, &str)> {
        let named = |(id, name)| (CapabilityId(id), String::as_str(name));
        (0..).zip(&self.names.capabilities).map(named)
    }

    fn provider_names(&self) -> impl Iterator<Item = (ProviderId, &str)> {
        let named = |(id, name)| (ProviderId(id), String::as_str(name));
        (0..).zip(&self.names.providers).map(named)
    }

    fn calls(&self, page: &mut Exposition) {
        page.family(
            "srpd_calls_total",
            Kind::Counter,
            "Calls by what they asked for and the status sent; 499: the client left before that.",
        );
        let named = self.capabilities().map(|(id, name)| (Some(id), name));
        for (capability, name) in named.chain([(None, "")]) {
            for (slot, status) in STATUSES.iter().enumerate() {
                let calls = self.sum(|core| core.calls_by_status(capability, slot));
                if calls > 0 {
                    page.sample(&[("capability", name), ("status", status)], calls);
                }
            }
        }
        page.family(
            "srpd_rejections_total",
            Kind::Counter,
            "Errors made by the proxy itself, by code.",
        );
        for code in 0..self.code_count.min(CODES_MAX) {
            let rejections = self.sum(|core| core.rejections(code));
            page.sample(&[("code", (self.codes)(code))], rejections);
        }
        page.single(
            "srpd_calls_in_flight",
            Kind::Gauge,
            "Calls begun and not ended.",
            self.sum(CoreMetrics::in_flight),
        );
    }

    fn attempts(&self, page: &mut Exposition) {
        page.family(
            "srpd_attempts_total",
            Kind::Counter,
            "Attempts by provider and how they ended.",
        );
        for (provider, name) in self.provider_names() {
            for result in AttemptResult::ALL {
                let attempts = self.sum(|core| core.attempts(provider, result));
                let labels = [("provider", name), ("result", result.label())];
                page.sample(&labels, attempts);
            }
        }
    }

    fn providers(&self, page: &mut Exposition) {
        type Read = fn(&CoreMetrics, ProviderId) -> u64;
        let families: [(&'static str, &str, Read); 5] = [
            (
                "srpd_failovers_total",
                "Calls that went on from this provider to the next candidate.",
                CoreMetrics::failovers,
            ),
            (
                "srpd_repeats_total",
                "Attempts that repeated a call at the same provider.",
                CoreMetrics::repeats,
            ),
            (
                "srpd_credential_alarms_total",
                "Times that this provider refused our credential or our model name.",
                CoreMetrics::credential_alarms,
            ),
            (
                "srpd_usage_missing_total",
                "Successes whose response carried no usage.",
                CoreMetrics::usages_missing,
            ),
            (
                "srpd_provider_calls_total",
                "Calls that came to this provider, repeats left out.",
                CoreMetrics::calls,
            ),
        ];
        for (family, help, read) in families {
            page.family(family, Kind::Counter, help);
            for (provider, name) in self.provider_names() {
                let count = self.sum(|core| read(core, provider));
                page.sample(&[("provider", name)], count);
            }
        }
        page.family(
            "srpd_attempts_in_flight",
            Kind::Gauge,
            "Attempts under way at a provider.",
        );
        for (provider, name) in self.provider_names() {
            let count = self.sum(|core| core.attempts_in_flight(provider));
            page.sample(&[("provider", name)], count);
        }
        page.family(
            "srpd_tokens_total",
            Kind::Counter,
            "Tokens that providers reported.",
        );
        for (provider, name) in self.provider_names() {
            let directions: [(&str, Read); 2] = [
                ("input", CoreMetrics::input_tokens),
                ("output", CoreMetrics::output_tokens),
            ];
            for (direction, read) in directions {
                let tokens = self.sum(|core| read(core, provider));
                page.sample(&[("provider", name), ("direction", direction)], tokens);
            }
        }
    }

    fn connections(&self, page: &mut Exposition) {
        page.single(
            "srpd_connections",
            Kind::Gauge,
            "Client connections open.",
            self.sum(CoreMetrics::connections),
        );
        page.single(
            "srpd_connections_total",
            Kind::Counter,
            "Client connections accepted.",
            self.sum(CoreMetrics::connections_total),
        );
        page.single(
            "srpd_connections_refused_total",
            Kind::Counter,
            "Client connections closed at accept: no room, and nobody was idle.",
            self.sum(CoreMetrics::connections_refused),
        );
        page.single(
            "srpd_connections_shed_total",
            Kind::Counter,
            "Client connections closed while idle to make room for others.",
            self.sum(CoreMetrics::connections_shed_total),
        );
        page.single(
            "srpd_pool_idle",
            Kind::Gauge,
            "Idle connections to endpoints.",
            self.sum(|core| core.pool().idle),
        );
        page.family(
            "srpd_pool_events_total",
            Kind::Counter,
            "Connections to endpoints: opened, reused, evicted while idle.",
        );
        page.sample(&[("event", "opened")], self.sum(|core| core.pool().opened));
        page.sample(&[("event", "reused")], self.sum(|core| core.pool().reused));
        page.sample(
            &[("event", "evicted")],
            self.sum(|core| core.pool().evicted),
        );
    }

    fn handshakes(&self, page: &mut Exposition) {
        page.family(
            "srpd_tls_handshakes_total",
            Kind::Counter,
            "TLS handshakes with clients by how they ended.",
        );
        for result in Handshake::ALL {
            let count = self.sum(|core| core.client_handshakes(result));
            page.sample(&[("result", result.label())], count);
        }
        page.family(
            "srpd_tls_upstream_handshakes_total",
            Kind::Counter,
            "TLS handshakes with endpoints by provider and how they ended.",
        );
        for (provider, name) in self.provider_names() {
            for result in Handshake::ALL {
                let count = self.sum(|core| core.provider_handshakes(provider, result));
                let labels = [("provider", name), ("result", result.label())];
                page.sample(&labels, count);
            }
        }
    }

    fn losses(&self, page: &mut Exposition) {
        page.single(
            "srpd_facts_lost_total",
            Kind::Counter,
            "Outcomes that the office's full channel could not take.",
            self.sum(CoreMetrics::facts_lost_total),
        );
        page.single(
            "srpd_access_lost_total",
            Kind::Counter,
            "Access log lines that a full ring could not take.",
            self.sum(CoreMetrics::access_lost_total),
        );
        page.single(
            "srpd_panics_total",
            Kind::Counter,
            "Calls that ended in a panic.",
            self.sum(CoreMetrics::panics),
        );
    }

    fn times(
        &self,
        page: &mut Exposition,
        read: fn(&CoreHistograms, CapabilityId) -> Option<&Times>,
    ) {
        let bounds = BOUNDS.map(|(_, us)| us);
        for (capability, name) in self.capabilities() {
            let Some(times) = read(self.times, capability) else {
                continue;
            };
            let below = times.at_or_below(&bounds);
            let texts = BOUNDS.iter().map(|(text, _)| *text);
            let buckets: Vec<(&str, u64)> = texts.zip(below).collect();
            let seconds = times.sum_us() as f64 / 1e6;
            page.histogram(&[("capability", name)], &buckets, times.count(), seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::exposition::tests::Page;
    use super::super::histograms::HistogramSlot;
    use super::super::line::tests::{code, names};
    use super::*;
    use crate::base::EndpointId;

    #[test]
    fn cores_are_added_up() {
        let cores: Vec<_> = (0..3).map(|_| Arc::new(CoreMetrics::new())).collect();
        let mut times = CoreHistograms::new();
        for core in &cores {
            core.call_started();
            core.call_started();
            core.attempt(ProviderId(0), EndpointId(0), AttemptResult::Timeout);
            core.failover(ProviderId(0));
            core.tokens(ProviderId(0), 10, 20);
            core.rejected(1);
            core.call_finished(Some(CapabilityId(0)), 503);
            core.call_finished(None, 401);
            core.set_pool_idle(5);
            core.client_handshake(Handshake::NotTls);
            core.provider_handshake(ProviderId(0), Handshake::Resumed);
            let (slot, mut mine) = (HistogramSlot::new(), CoreHistograms::new());
            mine.record_ttft(CapabilityId(0), Duration::from_millis(30));
            slot.offer(&mut mine);
            slot.collect(&mut times);
        }
        let mut page = Exposition::new();
        let names = names();
        CoreReport {
            cores: &cores,
            times: &times,
            names: &names,
            codes: code,
            code_count: 2,
        }
        .write(&mut page);
        let page = Page::parse(&page.finish());
        let value = |name, labels: &[(&str, &str)]| page.get(name, labels);
        let failed = [("capability", "smart"), ("status", "503")];
        assert_eq!(value("srpd_calls_total", &failed), Some(3.0));
        let unnamed = [("capability", ""), ("status", "401")];
        assert_eq!(value("srpd_calls_total", &unnamed), Some(3.0));
        let timeouts = [("provider", "aloomu"), ("result", "timeout")];
        assert_eq!(value("srpd_attempts_total", &timeouts), Some(3.0));
        assert_eq!(page.sum("srpd_attempts_total"), 3.0);
        assert_eq!(page.sum("srpd_failovers_total"), 3.0);
        assert_eq!(page.sum("srpd_tokens_total"), 90.0);
        let code = [("code", "residency_unavailable")];
        assert_eq!(value("srpd_rejections_total", &code), Some(3.0));
        assert_eq!(value("srpd_calls_in_flight", &[]), Some(0.0));
        assert_eq!(value("srpd_pool_idle", &[]), Some(15.0));
        let not_tls = [("result", "not_tls")];
        assert_eq!(value("srpd_tls_handshakes_total", &not_tls), Some(3.0));
        assert_eq!(page.sum("srpd_tls_handshakes_total"), 3.0);
        let resumed = [("provider", "aloomu"), ("result", "resumed")];
        let family = "srpd_tls_upstream_handshakes_total";
        assert_eq!(value(family, &resumed), Some(3.0));
        assert_eq!(page.sum(family), 3.0);
        let below = |le| {
            value(
                "srpd_ttft_seconds_bucket",
                &[("capability", "smart"), ("le", le)],
            )
        };
        assert_eq!(
            [below("0.025"), below("0.05"), below("+Inf")],
            [0.0, 3.0, 3.0].map(Some)
        );
    }
}
