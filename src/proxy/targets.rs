//! Whether a provider or an endpoint may be used now: the office's word, and what this core has
//! seen since. A core that sees a breaker's trip condition stops at once; the others follow when
//! the office publishes.

use super::verdict::Verdict;
use crate::base::ids::{ENDPOINTS_MAX, PROVIDERS_MAX};
use crate::base::{EndpointId, Moment};
use crate::policy::breaker::{BreakerConfig, Detector};
use crate::tables::routes::Provider;
use crate::tables::{BreakerView, Routes, Target, TargetState, View};

/// What this core has seen of one target.
struct Opinion {
    detector: Detector,
    /// The core's own trip or gate; the office's are in the view.
    tripped: bool,
    gated_until: Moment,
    /// The office's generation that `detector` and `tripped` belong to.
    generation: u32,
}

impl Opinion {
    fn new(config: &BreakerConfig) -> Opinion {
        Opinion {
            detector: Detector::new(config),
            tripped: false,
            gated_until: Moment(0),
            generation: 0,
        }
    }

    /// A transition of the office's breaker answers whatever this core held against the target.
    fn catch_up(&mut self, state: &TargetState) {
        if self.generation != state.generation {
            self.generation = state.generation;
            self.tripped = false;
            self.detector.reset();
        }
    }

    /// Takes in an outcome; true if it trips the breaker. What ends while the office holds the
    /// breaker open began before it opened, or is a probe, whose outcome the office judges:
    /// neither is counted.
    fn judge(&mut self, state: &TargetState, verdict: Verdict, now: Moment) -> bool {
        self.catch_up(state);
        if state.breaker != BreakerView::Closed || self.tripped {
            return false;
        }
        if verdict == Verdict::Succeeded {
            self.detector.succeeded(1, now);
            return false;
        }
        self.tripped = verdict.is_failure() && self.detector.failed(now);
        self.tripped
    }
}

/// One core's opinions, by id. Made when a configuration first names the target.
pub struct Targets {
    providers: Vec<Option<Opinion>>,
    endpoints: Vec<Option<Opinion>>,
    /// Where the next search for an endpoint begins.
    turn: usize,
}

/// Leave to use one endpoint of a provider for one attempt.
#[must_use = "it may hold probe slots"]
#[derive(Debug)]
pub struct Permit {
    /// Position in [`Provider::endpoints`].
    pub endpoint: usize,
    /// Whether a connection must be opened rather than reused.
    pub fresh: bool,
    provider_probe: bool,
    endpoint_probe: bool,
}

impl Permit {
    /// Whether the attempt probes the provider's open breaker.
    pub fn probes_provider(&self) -> bool {
        self.provider_probe
    }

    /// Whether the attempt probes the endpoint's open breaker.
    pub fn probes_endpoint(&self) -> bool {
        self.endpoint_probe
    }
}

/// Whether a target lets a call pass.
enum Pass {
    Freely,
    AsProbe,
}

impl Targets {
    /// No opinion on any target of these routes. `seed` spreads cores over endpoints.
    pub fn new(routes: &Routes, seed: Moment) -> Targets {
        let mut targets = Targets {
            providers: (0..PROVIDERS_MAX).map(|_| None).collect(),
            endpoints: (0..ENDPOINTS_MAX).map(|_| None).collect(),
            turn: seed.0 as usize,
        };
        targets.reconfigure(routes);
        targets
    }

    /// Takes over the figures of new routes; what was seen stays.
    pub fn reconfigure(&mut self, routes: &Routes) {
        for provider in &routes.providers {
            let figures = &provider.breaker;
            let whole = self.providers.get_mut(provider.id.index());
            let parts = provider
                .endpoints
                .iter()
                .map(|endpoint| endpoint.id.index());
            if let Some(opinion) = whole {
                update(opinion, figures);
            }
            for index in parts {
                if let Some(opinion) = self.endpoints.get_mut(index) {
                    update(opinion, figures);
                }
            }
        }
    }

    fn opinion(&mut self, target: Target) -> Option<&mut Opinion> {
        match target {
            Target::Provider(id) => self.providers.get_mut(id.index())?.as_mut(),
            Target::Endpoint(id) => self.endpoints.get_mut(id.index())?.as_mut(),
        }
    }

    fn ask(&mut self, view: &View, target: Target, now: Moment) -> Option<Pass> {
        let state = *view.states().target(target);
        let opinion = self.opinion(target)?;
        opinion.catch_up(&state);
        if opinion.tripped || now < opinion.gated_until.max(state.gated_until) {
            return None;
        }
        match state.breaker {
            BreakerView::Closed => Some(Pass::Freely),
            BreakerView::Open { until } if now < until => None,
            BreakerView::Open { .. } => view.board().take_probe(target).then_some(Pass::AsProbe),
        }
    }

    /// An endpoint of the provider that may be used now, other than `not`; in turn.
    pub fn take(
        &mut self,
        view: &View,
        provider: &Provider,
        not: Option<EndpointId>,
        now: Moment,
    ) -> Option<Permit> {
        let count = provider.endpoints.len();
        if count == usize::from(not.is_some()) {
            return None;
        }
        let target = Target::Provider(provider.id);
        let provider_probe = matches!(self.ask(view, target, now)?, Pass::AsProbe);
        self.turn = self.turn.wrapping_add(1);
        for step in 0..count {
            let position = self.turn.wrapping_add(step) % count;
            let Some(endpoint) = provider.endpoints.get(position) else {
                continue;
            };
            if Some(endpoint.id) == not || endpoint.addresses.is_empty() {
                continue;
            }
            if let Some(pass) = self.ask(view, Target::Endpoint(endpoint.id), now) {
                let endpoint_probe = matches!(pass, Pass::AsProbe);
                return Some(Permit {
                    endpoint: position,
                    fresh: false,
                    provider_probe,
                    endpoint_probe,
                });
            }
        }
        if provider_probe {
            view.board().free_probe(target);
        }
        None
    }

    /// One endpoint of the provider, for a connection of its own.
    pub fn take_again(
        &mut self,
        view: &View,
        provider: &Provider,
        position: usize,
        now: Moment,
    ) -> Option<Permit> {
        let endpoint = provider.endpoints.get(position)?.id;
        let whole = Target::Provider(provider.id);
        let provider_probe = matches!(self.ask(view, whole, now)?, Pass::AsProbe);
        match self.ask(view, Target::Endpoint(endpoint), now) {
            Some(pass) => Some(Permit {
                endpoint: position,
                fresh: true,
                provider_probe,
                endpoint_probe: matches!(pass, Pass::AsProbe),
            }),
            None => {
                if provider_probe {
                    view.board().free_probe(whole);
                }
                None
            }
        }
    }

    /// Takes in how an attempt ended. True if that trips the target's breaker: this core has
    /// stopped using it, and the others must.
    pub fn judge(&mut self, view: &View, target: Target, verdict: Verdict, now: Moment) -> bool {
        let state = view.states().target(target);
        self.opinion(target)
            .is_some_and(|opinion| opinion.judge(state, verdict, now))
    }

    /// Takes a trip back that the office could not be told of: only its answer would end it. The
    /// next failure trips again.
    pub fn forget_trip(&mut self, target: Target) {
        if let Some(opinion) = self.opinion(target) {
            opinion.tripped = false;
        }
    }

    /// Sends nothing to the target before `until`.
    pub fn gate(&mut self, target: Target, until: Moment) {
        if let Some(opinion) = self.opinion(target) {
            opinion.gated_until = opinion.gated_until.max(until);
        }
    }

    /// When the provider may be usable again, as far as is known.
    pub fn usable_from(&mut self, view: &View, provider: &Provider, now: Moment) -> Moment {
        let mut from = |target: Target| {
            let state = *view.states().target(target);
            let own = self
                .opinion(target)
                .map_or(Moment(0), |opinion| opinion.gated_until);
            let open = match state.breaker {
                BreakerView::Open { until } => until,
                BreakerView::Closed => now,
            };
            open.max(own).max(state.gated_until)
        };
        let whole = from(Target::Provider(provider.id));
        let first = provider
            .endpoints
            .iter()
            .map(|endpoint| from(Target::Endpoint(endpoint.id)))
            .min();
        whole.max(first.unwrap_or(now))
    }
}

fn update(opinion: &mut Option<Opinion>, figures: &BreakerConfig) {
    match opinion {
        Some(opinion) => opinion.detector.reconfigure(figures),
        None => *opinion = Some(Opinion::new(figures)),
    }
}
