//! The desk's samples of itself.

use super::super::history::{Calls, Percentiles, ProviderSample, Sample, Tally};
use super::Desk;
use crate::base::{CapabilityId, Moment};
use crate::market::Price;
use crate::openai::error::ErrorCode;
use crate::tables::routes::Provider;
use crate::telemetry::metrics::STATUSES;

impl Desk {
    /// Takes a sample, if it is time.
    pub fn sample(&mut self, now: Moment) {
        if !self.history.is_due(now) {
            return;
        }
        let ttft = self.ttft_lately.look(self.times.every_ttft());
        let call = self.call_lately.look(self.times.every_call());
        let counted = Sample {
            at: jiff::Timestamp::now().as_second(),
            lasted_ms: 0,
            calls: self.calls_ended(),
            errors: (0..ErrorCode::COUNT)
                .map(|code| self.sum(|core| core.rejections(code)))
                .collect(),
            in_flight: self.sum(|core| core.in_flight()),
            connections: self.sum(|core| core.connections()),
            ttft: ttft.as_ref().and_then(Percentiles::of),
            call: call.as_ref().and_then(Percentiles::of),
            providers: self.provider_samples(),
        };
        self.history.push(counted, now);
    }

    /// What a floating call pays at a provider: its offer, or its location's price where slots are
    /// counted and that is more.
    pub fn price_at(&self, provider: &Provider) -> Price {
        match provider.capacity {
            Some(_) => self.board.market().price(provider.id).max(provider.offer),
            None => provider.offer,
        }
    }

    fn calls_ended(&self) -> Calls {
        let mut calls = Calls::default();
        let known = (0..).take(self.names().read().capabilities.len());
        let named = known.map(|id| Some(CapabilityId(id)));
        for capability in named.chain([None]) {
            for (slot, status) in STATUSES.iter().enumerate() {
                let count = self.sum(|core| core.calls_by_status(capability, slot));
                calls.add(status, count);
            }
        }
        calls
    }

    fn provider_samples(&self) -> Vec<ProviderSample> {
        let sample = |provider: &Provider| {
            let id = provider.id;
            ProviderSample {
                provider: id,
                tally: Tally {
                    ended: self.sum(|core| core.attempts_ended(id)),
                    failed: self.sum(|core| core.provider_failures(id)),
                    input_tokens: self.sum(|core| core.input_tokens(id)),
                    output_tokens: self.sum(|core| core.output_tokens(id)),
                },
                in_flight: self.sum(|core| core.attempts_in_flight(id)),
                price: self.price_at(provider),
            }
        };
        self.routes.providers.iter().map(sample).collect()
    }
}
