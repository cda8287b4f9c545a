//! What follows from an attempt's end: for the breakers and gates, on this core and everywhere,
//! and whether the same provider may be asked once more.

use std::time::Duration;

use super::core::Core;
use super::targets::{Permit, Wanted};
use super::verdict::Verdict;
use crate::base::{EndpointId, Moment};
use crate::policy::balance::Trail;
use crate::tables::routes::Provider;
use crate::tables::{Fact, ProbeOutcome, Target};

/// The longest pause that a provider can ask for.
pub const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What a verdict is about.
#[derive(Clone, Copy)]
pub struct Tried<'p> {
    /// The provider that was tried.
    pub provider: &'p Provider,
    /// The endpoint that was tried.
    pub endpoint: EndpointId,
    /// Whether the call has a reserved slot there.
    pub firm: bool,
}

impl Core {
    /// Draws the consequences of an attempt's end for breakers and gates, here and everywhere.
    pub fn conclude(&self, tried: Tried<'_>, permit: &Permit, verdict: Verdict, now: Moment) {
        let Tried {
            provider, endpoint, ..
        } = tried;
        permit.ended(verdict, now);
        let targets = [
            (Target::Provider(provider.id), permit.probes_provider()),
            (Target::Endpoint(endpoint), permit.probes_endpoint()),
        ];
        if verdict.is_failure() {
            self.report(Fact::Failed {
                provider: provider.id,
                endpoint,
                at: now,
            });
        }
        for (target, probe) in targets {
            let trips = self.with_view(|view| {
                let mut targets = self.targets.borrow_mut();
                targets.judge(view, target, verdict, now)
            });
            if trips && !self.report(Fact::Tripped { target, at: now }) {
                self.targets.borrow_mut().forget_trip(target);
            }
            if probe && !self.report(probed(target, verdict, now)) {
                // The office won't free the slot for a probe that it hasn't heard of.
                self.with_view(|view| view.board().free_probe(target));
            }
        }
        let gate = match verdict {
            Verdict::RateLimited { pause } => {
                let pause = pause
                    .unwrap_or(provider.breaker.rate_limit_gate)
                    .min(PAUSE_MAX);
                Some((Target::Endpoint(endpoint), pause))
            }
            Verdict::QuotaExhausted => {
                Some((Target::Provider(provider.id), provider.breaker.quota_gate))
            }
            _ => None,
        };
        if let Some((target, pause)) = gate {
            let until = now + pause;
            self.targets.borrow_mut().gate(target, until);
            self.report(Fact::Gated { target, until });
        }
    }

    /// Leave for one more attempt at the same provider, after `verdict` on one of its endpoints:
    /// on another endpoint, or on the same one if its reused connection had died. None without
    /// one, or with the provider's budget for repeats used up.
    pub fn permit_repeat(
        &self,
        tried: Tried<'_>,
        trail: Option<&Trail>,
        verdict: Verdict,
        now: Moment,
    ) -> Option<Permit> {
        let Tried {
            provider,
            endpoint,
            firm,
        } = tried;
        let permit = self.with_view(|view| {
            let mut targets = self.targets.borrow_mut();
            if matches!(verdict, Verdict::Reset { stale: true }) {
                let same = provider
                    .endpoints
                    .iter()
                    .position(|known| known.id == endpoint)?;
                return targets.take_again(view, provider, (same, firm), now);
            }
            let other = Wanted {
                not: Some(endpoint),
                firm,
            };
            verdict
                .may_repeat()
                .then(|| targets.take(view, provider, trail, other, now))?
        })?;
        if self.with_view(|view| view.board().take_repeat(provider.id)) {
            return Some(permit);
        }
        self.give_back(provider, permit);
        None
    }

    /// Gives up a permit that was never used.
    pub fn give_back(&self, provider: &Provider, permit: Permit) {
        let board = |target| self.with_view(|view| view.board().free_probe(target));
        if permit.probes_provider() {
            board(Target::Provider(provider.id));
        }
        if permit.probes_endpoint()
            && let Some(endpoint) = provider.endpoints.get(permit.endpoint)
        {
            board(Target::Endpoint(endpoint.id));
        }
    }
}

fn probed(target: Target, verdict: Verdict, at: Moment) -> Fact {
    let outcome = match verdict {
        Verdict::Succeeded => ProbeOutcome::Succeeded,
        _ if verdict.is_failure() => ProbeOutcome::Failed,
        _ => ProbeOutcome::Neutral,
    };
    Fact::Probe {
        target,
        outcome,
        at,
    }
}

#[cfg(test)]
mod tests;
