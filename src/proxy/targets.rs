//! Whether a provider or an endpoint may be used now: the office's word, and what this core has
//! seen since. A core that sees a breaker's trip condition stops at once; the others follow when
//! the office publishes.

use std::num::NonZeroU32;
use std::rc::Rc;

use super::verdict::Verdict;
use crate::base::ids::{ENDPOINTS_MAX, PROVIDERS_MAX};
use crate::base::{EndpointId, Moment, Prng};
use crate::policy::balance::{Burden, Choice, Memory, Replica, Trail, remember, two_of};
use crate::policy::breaker::{BreakerConfig, Detector};
use crate::tables::routes::{Endpoint, Provider};
use crate::tables::{BreakerView, Loads, Outstanding, Routes, Target, TargetState, View};

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

    /// Whether a call may be sent.
    fn stance(&mut self, state: &TargetState, now: Moment) -> Stance {
        self.catch_up(state);
        if self.tripped || now < self.gated_until.max(state.gated_until) {
            return Stance::Closed;
        }
        match state.breaker {
            BreakerView::Closed => Stance::Open,
            BreakerView::Open { until } if now < until => Stance::Closed,
            BreakerView::Open { .. } => Stance::HalfOpen,
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
    /// What all cores know of the endpoints' loads.
    loads: Rc<Loads>,
    random: Prng,
    /// Whose turn it is.
    turn: usize,
    /// Which endpoints know which beginnings of prompts. Made when a provider first asks for it.
    memory: Option<Box<Memory>>,
    /// Room for those among whom is chosen.
    replicas: Vec<Replica>,
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
    /// That the call counts as under way there, where that is counted.
    outstanding: Option<Outstanding>,
}

impl Permit {
    /// The response is in hand.
    pub fn served(&self, now: Moment) {
        if let Some(call) = &self.outstanding {
            call.served(now);
        }
    }

    /// The attempt has ended so.
    pub fn ended(&self, verdict: Verdict, now: Moment) {
        if let Some(call) = &self.outstanding
            && verdict.is_slow()
        {
            call.failed(now);
        }
    }

    /// Whether the attempt probes the provider's open breaker.
    pub fn probes_provider(&self) -> bool {
        self.provider_probe
    }

    /// Whether the attempt probes the endpoint's open breaker.
    pub fn probes_endpoint(&self) -> bool {
        self.endpoint_probe
    }
}

/// Which endpoint of a provider a call may have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Not this one.
    pub not: Option<EndpointId>,
    /// It has a reserved slot: one with as many calls as it should have takes it all the same, since
    /// a floating call is about to go.
    pub firm: bool,
}

/// Whether a target would let a call pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    Open,
    /// As a probe, if no other call has its slot.
    HalfOpen,
    Closed,
}

/// Whether a target lets a call pass.
enum Pass {
    Freely,
    AsProbe,
}

impl Targets {
    /// No opinion on any target of the view's routes. `seed` is for what is drawn at random.
    pub fn new(view: &View, seed: u64) -> Targets {
        let mut targets = Targets {
            providers: (0..PROVIDERS_MAX).map(|_| None).collect(),
            endpoints: (0..ENDPOINTS_MAX).map(|_| None).collect(),
            loads: Rc::new(view.board().loads().clone()),
            random: Prng::new(seed),
            turn: seed as usize,
            memory: None,
            replicas: Vec::new(),
        };
        targets.reconfigure(view.routes());
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
        match opinion.stance(&state, now) {
            Stance::Open => Some(Pass::Freely),
            Stance::HalfOpen => view.board().take_probe(target).then_some(Pass::AsProbe),
            Stance::Closed => None,
        }
    }

    /// Whether calls can be sent to the endpoint at all, whatever has become of those before.
    fn is_there(&self, endpoint: &Endpoint, wanted: Wanted) -> bool {
        let load = self.loads.of(endpoint.id);
        let has_room = |most: NonZeroU32| wanted.firm || load.outstanding() < most.get();
        Some(endpoint.id) != wanted.not
            && !endpoint.addresses.is_empty()
            && load.ready_from().is_some()
            && endpoint.calls_max.is_none_or(has_room)
    }

    /// How an endpoint stands, without taking anything.
    fn stance(&mut self, view: &View, endpoint: &Endpoint, wanted: Wanted, now: Moment) -> Stance {
        if !self.is_there(endpoint, wanted) {
            return Stance::Closed;
        }
        let target = Target::Endpoint(endpoint.id);
        let state = *view.states().target(target);
        match self.opinion(target).map(|it| it.stance(&state, now)) {
            // One probe at a time.
            Some(Stance::HalfOpen) if view.board().is_probed(target) => Stance::Closed,
            Some(stance) => stance,
            None => Stance::Closed,
        }
    }

    /// Which of several endpoints to ask: the next in turn or another one, whichever has less to
    /// do ([`weigh`](crate::policy::balance::weigh)), or one of them that is to be probed; any other
    /// if neither may be used.
    fn choose(
        &mut self,
        view: &View,
        provider: &Provider,
        wanted: Wanted,
        now: Moment,
    ) -> Option<usize> {
        let endpoints = &provider.endpoints;
        if let [only] = endpoints.as_slice() {
            return self.is_there(only, wanted).then_some(0);
        }
        self.turn = self.turn.wrapping_add(1);
        let (one, other) = two_of(endpoints.len(), self.turn, self.random.next_u64())?;
        let mut stance = |position: usize| match endpoints.get(position) {
            Some(endpoint) => self.stance(view, endpoint, wanted, now),
            None => Stance::Closed,
        };
        match (stance(one), stance(other)) {
            (Stance::HalfOpen, _) => Some(one),
            (_, Stance::HalfOpen) => Some(other),
            (Stance::Open, Stance::Closed) => Some(one),
            (Stance::Closed, Stance::Open) => Some(other),
            (Stance::Open, Stance::Open) => {
                let burden = |position: usize| Some(self.burden(endpoints.get(position)?, now));
                match burden(one)?.is_at_most(&burden(other)?, now) {
                    true => Some(one),
                    false => Some(other),
                }
            }
            (Stance::Closed, Stance::Closed) => (1..endpoints.len())
                .map(|step| (one + step) % endpoints.len())
                .find(|position| stance(*position) != Stance::Closed),
        }
    }

    /// Which endpoint to ask for a conversation, and how many bytes it has to read of it: the one
    /// that may know its beginning ([`prefix`](crate::policy::balance::prefix)), or one that is
    /// to be probed.
    fn follow(
        &mut self,
        view: &View,
        provider: &Provider,
        trail: &Trail,
        wanted: Wanted,
        now: Moment,
    ) -> Option<(usize, u64)> {
        let mut replicas = std::mem::take(&mut self.replicas);
        replicas.clear();
        let mut probe = None;
        for (position, endpoint) in provider.endpoints.iter().enumerate() {
            match self.stance(view, endpoint, wanted, now) {
                Stance::Closed => {}
                Stance::HalfOpen => probe = Some(position),
                Stance::Open => replicas.push(self.replica(position, endpoint, now)),
            }
        }
        let of = u64::from(provider.id.0);
        let memory = self.memory.get_or_insert_default();
        let chosen = Choice::among(&replicas).make(trail, memory, of);
        if let (None, Some(chosen)) = (probe, chosen) {
            remember(memory, trail, of, chosen.replica.id);
        }
        self.replicas = replicas;
        let chosen = chosen.map(|chosen| (chosen.replica.position, chosen.reading));
        probe.map(|position| (position, 0)).or(chosen)
    }

    fn replica(&self, position: usize, endpoint: &Endpoint, now: Moment) -> Replica {
        let burden = self.burden(endpoint, now);
        Replica {
            position,
            id: endpoint.id.0,
            rank: endpoint.rank,
            calls: burden.calls(),
            reading: self.loads.of(endpoint.id).reading(),
            slowed: burden.pace.slowed(now),
            share: burden.share,
        }
    }

    fn burden(&self, endpoint: &Endpoint, now: Moment) -> Burden {
        self.loads.of(endpoint.id).burden(now)
    }

    /// An endpoint of the provider that may be used now, as `wanted`: by `trail` if there is
    /// one. The one that is chosen counts as under way until the permit is dropped, if there was a
    /// choice.
    pub fn take(
        &mut self,
        view: &View,
        provider: &Provider,
        trail: Option<&Trail>,
        wanted: Wanted,
        now: Moment,
    ) -> Option<Permit> {
        let count = provider.endpoints.len();
        if count == usize::from(wanted.not.is_some()) {
            return None;
        }
        let target = Target::Provider(provider.id);
        let provider_probe = matches!(self.ask(view, target, now)?, Pass::AsProbe);
        // Again if another core takes a probe slot in between: that endpoint is closed then.
        for _ in 0..count {
            let chosen = match trail {
                Some(trail) => self.follow(view, provider, trail, wanted, now),
                None => self.choose(view, provider, wanted, now).map(|it| (it, 0)),
            };
            let chosen = chosen.and_then(|it| Some((it, provider.endpoints.get(it.0)?)));
            let Some(((position, reading), endpoint)) = chosen else {
                break;
            };
            if let Some(pass) = self.ask(view, Target::Endpoint(endpoint.id), now) {
                return Some(Permit {
                    endpoint: position,
                    fresh: false,
                    provider_probe,
                    endpoint_probe: matches!(pass, Pass::AsProbe),
                    outstanding: self.count(provider, endpoint.id, reading, now),
                });
            }
        }
        if provider_probe {
            view.board().free_probe(target);
        }
        None
    }

    fn count(
        &self,
        provider: &Provider,
        endpoint: EndpointId,
        reading: u64,
        now: Moment,
    ) -> Option<Outstanding> {
        let has_choice = provider.endpoints.len() > 1;
        has_choice.then(|| Outstanding::begin(&self.loads, endpoint, reading, now))
    }

    /// One endpoint of the provider, for a connection of its own.
    pub fn take_again(
        &mut self,
        view: &View,
        provider: &Provider,
        (position, firm): (usize, bool),
        now: Moment,
    ) -> Option<Permit> {
        let endpoint = provider.endpoints.get(position)?;
        if self.stance(view, endpoint, Wanted { not: None, firm }, now) == Stance::Closed {
            return None;
        }
        let endpoint = endpoint.id;
        let whole = Target::Provider(provider.id);
        let provider_probe = matches!(self.ask(view, whole, now)?, Pass::AsProbe);
        match self.ask(view, Target::Endpoint(endpoint), now) {
            Some(pass) => Some(Permit {
                endpoint: position,
                fresh: true,
                provider_probe,
                endpoint_probe: matches!(pass, Pass::AsProbe),
                outstanding: self.count(provider, endpoint, 0, now),
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
