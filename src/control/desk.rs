//! What the office knows and decides, apart from when: every method runs to its end without
//! waiting, and gets the time from outside.

mod bookings;
mod endpoints;
mod health;
mod legacy;
mod sampling;

use bookings::settle;
pub use bookings::{Counter, Outcome, Tally};
pub use legacy::Excess;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::breakers::{BreakerBoard, News};
use super::build::{BuildError, build};
use super::discovery::survey::Finding;
use super::drains::Drains;
use super::health::wards::Wards;
use super::history::History;
use super::ledger::LedgerView;
use super::market::book::{Booking, Order};
use super::market::trading::Trading;
use super::notary::NotaryView;
use super::otlp::OtlpView;
use super::pulse::Pulse;
use super::registry::Registry;
use super::sinks::Sinks;
use super::supply::Supply;
use crate::base::{Clock, EndpointId, Moment, ProviderId};
use crate::config::{Config, Key};
use crate::policy::breaker::Transition;
use crate::policy::retry::RepeatBudget;
use crate::tables::{Board, Fact, Meter, Routes, Snapshot, Stage, States, Target};
use crate::telemetry::{AttemptResult, CoreHistograms, CoreMetrics, HistogramSlot, Lately, Names};

/// How much longer than a call a probe may take until its result counts as lost.
const PROBE_GRACE: Duration = Duration::from_secs(5);

/// How long nothing is said of an endpoint's TLS that was said before.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What the office counts itself.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Reloads that took effect.
    pub reloads: u64,
    /// Reloads that were refused.
    pub reload_failures: u64,
    /// Whether the last reload was refused.
    pub last_reload_refused: bool,
}

/// What the office knows.
pub struct Desk {
    /// The process's clock.
    pub clock: Clock,
    /// What it publishes to.
    pub board: Arc<Board>,
    /// Every core's counters.
    pub cores: Vec<Arc<CoreMetrics>>,
    /// The configuration in force.
    pub config: Config,
    /// The tables in force.
    pub routes: Arc<Routes>,
    /// Breakers and gates.
    pub breakers: BreakerBoard,
    /// All cores' histograms, merged.
    pub times: CoreHistograms,
    /// What it counts itself.
    pub counts: Counts,
    /// Reservations and prices.
    pub trading: Trading,
    /// Where reservations are booked.
    pub counter: Counter,
    /// Where endpoints are.
    pub supply: Supply,
    /// Endpoints that get no new calls.
    pub drains: Drains,
    /// Endpoints that are looked after.
    pub wards: Wards,
    /// Whether every core is alive.
    pub pulse: Pulse,
    /// What is shown of the last hour.
    pub history: History,
    ttft_lately: Lately,
    call_lately: Lately,
    /// Where the ledger goes besides, if there is one.
    pub sinks: Option<Arc<Sinks>>,
    /// How the ledger stands, if there is one.
    pub ledger: Option<LedgerView>,
    /// How exports to a collector fare, if there is one.
    pub otlp: Option<OtlpView>,
    /// How its signer stands, if there is one.
    pub notary: Option<Arc<NotaryView>>,
    slots: Vec<Arc<HistogramSlot>>,
    registry: Registry,
    /// What an endpoint's counters stood at when it got its id: successes and failures.
    baselines: HashMap<EndpointId, (u64, u64)>,
    /// The longest that a call could last under any configuration so far.
    longest_call: Duration,
    budgets: BTreeMap<ProviderId, RepeatBudget>,
    expired: BTreeSet<ProviderId>,
    /// Whether it was said that the certificate which clients are shown has expired.
    certificate_expired: bool,
    /// What was last said of an endpoint's TLS, and when.
    unshaken: HashMap<EndpointId, (&'static str, Moment)>,
    /// Since when a probe slot has been seen taken.
    probing: HashMap<Target, Moment>,
    stage: Stage,
    pending: News,
    /// What other processes have in use, by [`Other`](super::legacy::Other).
    foreign: [legacy::Foreign; 2],
}

impl Desk {
    /// A desk with this configuration in force, what was booked before, and a board that shows it.
    ///
    /// # Errors
    /// The configuration can't be put in force.
    pub fn new(
        config: Config,
        orders: BTreeMap<u64, Order>,
        clock: Clock,
        cores: Vec<Arc<CoreMetrics>>,
        slots: Vec<Arc<HistogramSlot>>,
        seed: u64,
    ) -> Result<Desk, BuildError> {
        let now = clock.now();
        let mut registry = Registry::new(Arc::new(Names::new()));
        let mut supply = Supply::default();
        supply.take_over(&config, Vec::new(), now);
        let drains = Drains::default();
        let booked = settle(&orders, &config, &mut registry)?;
        let routes = tables(&config, &supply, &drains, &mut registry, &booked)?;
        let trading = Trading::new(&config, &routes, orders, &booked)?;
        let counter = Counter::new(config.market.bookings.clone());
        let first = Snapshot {
            routes: Arc::clone(&routes),
            states: States::new(),
            stage: Stage::Serving,
        };
        let board = Arc::new(Board::new(first, cores.len()));
        let mut desk = Desk {
            clock,
            board,
            cores,
            longest_call: config.timeouts.call,
            config,
            routes,
            breakers: BreakerBoard::new(seed),
            times: CoreHistograms::new(),
            counts: Counts::default(),
            trading,
            counter,
            supply,
            drains,
            wards: Wards::default(),
            pulse: Pulse::default(),
            history: History::default(),
            ttft_lately: Lately::default(),
            call_lately: Lately::default(),
            ledger: None,
            otlp: None,
            notary: None,
            sinks: None,
            slots,
            registry,
            baselines: HashMap::new(),
            budgets: BTreeMap::new(),
            expired: BTreeSet::new(),
            certificate_expired: false,
            unshaken: HashMap::new(),
            probing: HashMap::new(),
            stage: Stage::Serving,
            pending: News::None,
            foreign: Default::default(),
        };
        desk.configure_targets();
        desk.configure_meters(now);
        desk.grant_repeats(now);
        desk.trade();
        desk.attend(None, now);
        Ok(desk)
    }

    /// The names by id.
    pub fn names(&self) -> &Arc<Names> {
        self.registry.names()
    }

    /// Whether the instance is going down.
    pub fn draining(&self) -> bool {
        self.stage > Stage::Serving
    }

    /// Whether it was told to go down.
    pub fn is_ending(&self) -> bool {
        self.stage == Stage::Ending
    }

    /// A figure of every core, added up.
    pub fn sum(&self, read: impl Fn(&CoreMetrics) -> u64) -> u64 {
        self.cores.iter().map(|core| read(core)).sum()
    }

    /// Takes facts in and publishes what follows from them, all at once.
    pub fn take_in(&mut self, facts: &[Fact], now: Moment) {
        for fact in facts {
            self.take_in_one(fact, now);
        }
        if self.pending == News::Now {
            self.publish();
        }
        // Only now: the next probe must be taken by what this one showed.
        for fact in facts {
            if let Fact::Probe { target, .. } = fact {
                self.probing.remove(target);
                self.board.free_probe(*target);
            }
        }
    }

    fn take_in_one(&mut self, fact: &Fact, now: Moment) {
        match *fact {
            Fact::Failed {
                provider,
                endpoint,
                at,
            } => {
                for target in [Target::Provider(provider), Target::Endpoint(endpoint)] {
                    // Successes first, so that a failure after them is not one more in a row.
                    self.take_in_successes(target, now);
                    let transition = self.breakers.failed(target, at);
                    self.note_transition(target, transition);
                }
            }
            Fact::Tripped { target, at } => {
                let transition = self.breakers.tripped(target, at);
                if transition.is_none() && self.breakers.answer(target) {
                    self.pending = News::Now;
                }
                self.note_transition(target, transition);
            }
            Fact::Gated { target, until } => {
                let news = self.breakers.gated(target, until, now);
                if news == News::Now {
                    let pause = until.since(now);
                    self.log_target(target, |provider, endpoint| {
                        tracing::info!(provider, endpoint, ?pause, "asked for a pause");
                    });
                }
                self.pending = self.pending.max(news);
            }
            Fact::Unshaken {
                endpoint, why, at, ..
            } => self.note_unshaken(endpoint, why, at),
            Fact::Probe {
                target,
                outcome,
                at,
            } => {
                let transition = self.breakers.probed(target, outcome, at);
                self.note_transition(target, transition);
            }
        }
    }

    /// Says what is wrong with an endpoint's TLS, which no status and no counter would tell.
    fn note_unshaken(&mut self, endpoint: EndpointId, why: &'static str, now: Moment) {
        let last = self.unshaken.get(&endpoint);
        if last.is_some_and(|&(said, at)| said == why && now.since(at) < SAY_AGAIN_AFTER) {
            return;
        }
        self.unshaken.insert(endpoint, (why, now));
        self.log_target(Target::Endpoint(endpoint), |provider, endpoint| {
            tracing::warn!(provider, endpoint, why, "TLS handshake failed");
        });
    }

    fn take_in_successes(&mut self, target: Target, now: Moment) {
        let total = self.successes(target);
        self.breakers.succeeded(target, total, now);
    }

    /// Clean completions at a target since the start, or since it came.
    pub fn successes(&self, target: Target) -> u64 {
        match target {
            Target::Provider(id) => self.sum(|core| core.provider_successes(id)),
            Target::Endpoint(id) => {
                let before = self.baselines.get(&id).map_or(0, |before| before.0);
                self.sum(|core| core.endpoint_successes(id)) - before
            }
        }
    }

    /// Attempts that count against a target, since the start, or since it came.
    pub fn failures(&self, target: Target) -> u64 {
        match target {
            Target::Provider(id) => self.sum(|core| core.provider_failures(id)),
            Target::Endpoint(id) => {
                let before = self.baselines.get(&id).map_or(0, |before| before.1);
                self.sum(|core| core.endpoint_failures(id)) - before
            }
        }
    }

    fn note_transition(&mut self, target: Target, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        self.pending = News::Now;
        let now = self.clock.now();
        if let (Transition::Closed, Target::Endpoint(id)) = (transition, target) {
            self.board.loads().of(id).returned(now);
        }
        self.log_target(target, |provider, endpoint| match transition {
            Transition::Opened { until } => {
                tracing::warn!(provider, endpoint, open = ?until.since(now), "breaker opened");
            }
            Transition::Reopened { until } => {
                tracing::warn!(provider, endpoint, open = ?until.since(now), "breaker reopened");
            }
            Transition::Closed => tracing::info!(provider, endpoint, "breaker closed"),
        });
    }

    /// Calls `log` with the target's provider and, if it is one, its endpoint.
    fn log_target(&self, target: Target, log: impl FnOnce(&str, Option<&str>)) {
        let names = self.registry.names().read();
        match target {
            Target::Provider(id) => log(names.provider(id), None),
            Target::Endpoint(id) => {
                let provider = names
                    .endpoints
                    .get(id.index())
                    .map(|(provider, _)| *provider);
                let provider = provider.map_or("?", |id| names.provider(id));
                log(provider, Some(names.endpoint(id)));
            }
        }
    }

    /// What is due every 100 ms.
    pub fn tick(&mut self, now: Moment) {
        for target in self.targets() {
            self.take_in_successes(target, now);
            self.free_lost_probe(target, now);
        }
        self.grant_repeats(now);
        for slot in &self.slots {
            slot.collect(&mut self.times);
        }
        self.sample(now);
        if self.pending > News::None {
            self.publish();
        }
    }

    /// Frees a probe slot that is held for longer than a call can last: its result was lost on
    /// the way, and without it the target would stay out for ever.
    fn free_lost_probe(&mut self, target: Target, now: Moment) {
        if !self.board.is_probed(target) {
            self.probing.remove(&target);
            return;
        }
        let since = *self.probing.entry(target).or_insert(now);
        if now.since(since) > self.config.timeouts.call + PROBE_GRACE {
            self.probing.remove(&target);
            self.board.free_probe(target);
            self.log_target(target, |provider, endpoint| {
                tracing::warn!(provider, endpoint, "a probe's result never came");
            });
        }
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for provider in &self.routes.providers {
            targets.push(Target::Provider(provider.id));
            targets.extend(provider.endpoints.iter().map(|it| Target::Endpoint(it.id)));
        }
        targets
    }

    fn grant_repeats(&mut self, now: Moment) {
        let retry = self.config.retry;
        for provider in &self.routes.providers {
            let calls = self.cores.iter().map(|core| core.calls(provider.id)).sum();
            let taken = self.board.repeats_taken(provider.id);
            let budget = self
                .budgets
                .entry(provider.id)
                .or_insert_with(|| RepeatBudget::new(retry.budget_ratio, retry.budget_min));
            budget.observe(calls, taken, now);
            let total = taken.saturating_add(u64::from(budget.left()));
            self.board.grant_repeats(provider.id, total);
        }
    }

    /// Puts in force what the market has come to.
    pub fn trade(&mut self) {
        let now = jiff::Timestamp::now().as_second();
        let (trading, cores) = (&mut self.trading, &self.cores);
        trading.note_curtailed(|provider| {
            let count = |core: &Arc<CoreMetrics>| core.attempts(provider, AttemptResult::Curtailed);
            cores.iter().map(count).sum()
        });
        self.trading.tick(now, &self.routes, self.board.market());
    }

    /// Repeats that a provider may still see.
    pub fn repeats_left(&self, provider: ProviderId) -> u32 {
        self.budgets.get(&provider).map_or(0, RepeatBudget::left)
    }

    /// Puts a configuration in force, with what was found for it: its tables are published, known
    /// targets get its figures and keep their state.
    ///
    /// # Errors
    /// It can't be put in force; the old one stays.
    pub fn put_in_force(
        &mut self,
        config: Config,
        findings: Vec<Finding>,
    ) -> Result<(), BuildError> {
        let now = self.clock.now();
        let mut supply = self.supply.clone();
        supply.take_over(&config, findings, now);
        self.rest_endpoints(now);
        let booked = settle(self.trading.orders(), &config, &mut self.registry)?;
        let routes = tables(&config, &supply, &self.drains, &mut self.registry, &booked)?;
        let exchange = self.trading.prepare(&config, &routes, &booked)?;
        self.supply = supply;
        self.longest_call = self.longest_call.max(config.timeouts.call);
        self.config = config;
        for budget in self.budgets.values_mut() {
            let retry = self.config.retry;
            budget.reconfigure(retry.budget_ratio, retry.budget_min);
        }
        self.adopt(routes, now);
        self.configure_meters(now);
        self.grant_repeats(now);
        self.trading.succeed(exchange);
        self.trade();
        self.publish();
        Ok(())
    }

    /// Puts the limits of the keys in force. Those of keys that have gone, or have none now, stay
    /// as they are: nobody asks for them, and what is used of them is known when they return.
    fn configure_meters(&self, now: Moment) {
        for key in &self.config.keys {
            if let Some(meter) = self.meter(key) {
                meter.requests().set(key.requests, now);
                meter.tokens().set(key.tokens, now);
            }
        }
    }

    /// What the cores share about a key's limits, if it has one.
    pub fn meter(&self, key: &Key) -> Option<&Meter> {
        let id = self.routes.keys.get(&key.sha256)?.meter?;
        self.routes.meters.get(id.index()).map(Arc::as_ref)
    }

    fn configure_targets(&mut self) {
        let routes = Arc::clone(&self.routes);
        for provider in &routes.providers {
            let endpoints = provider.endpoints.iter().map(|it| Target::Endpoint(it.id));
            for target in endpoints.chain([Target::Provider(provider.id)]) {
                let successes = self.successes(target);
                self.breakers.configure(target, provider.breaker, successes);
            }
        }
    }

    /// Says, once each, which accreditations have run out. They were valid when the
    /// configuration was loaded; the next load will reject them. Until then the backstop serves
    /// on: losing it at midnight would break more than it protects, its border is unchanged, and
    /// the metric has said so for thirty days.
    pub fn check_accreditations(&mut self, wall: jiff::Timestamp) {
        for (provider, routed) in self.config.providers.iter().zip(&self.routes.providers) {
            let Some(accreditation) = &provider.accreditation else {
                continue;
            };
            if accreditation.valid_until > wall {
                self.expired.remove(&routed.id);
            } else if self.expired.insert(routed.id) {
                tracing::error!(
                    provider = provider.name,
                    valid_until = %accreditation.valid_until,
                    "accreditation expired: the configuration can't be loaded again with it"
                );
            }
        }
    }

    /// Says, once, that the certificate which clients are shown has expired. It is shown on: some
    /// clients may accept it still, and none would accept nothing.
    pub fn check_certificate(&mut self, wall: jiff::Timestamp) {
        let tls = self.config.instance.tls.as_ref();
        let expired = tls.filter(|tls| tls.has_expired(wall));
        if let Some(tls) = expired
            && !self.certificate_expired
        {
            tracing::error!(
                certificate = tls.certificate,
                not_after = %tls.not_after,
                "the certificate has expired: clients will refuse it"
            );
        }
        self.certificate_expired = expired.is_some();
    }

    /// Tells the cores to take no new connections.
    pub fn begin_drain(&mut self, stage: Stage) {
        self.stage = stage;
        self.publish();
    }

    /// Whether every core has stopped accepting, and has no call or connection left. Who has a
    /// successor stays for as long as there is a predecessor to speak for, too.
    pub fn is_drained(&self) -> bool {
        let left = |core: &CoreMetrics| core.listeners() + core.connections() + core.in_flight();
        let speaks = self.stage == Stage::HandedOver && self.speaks_for_predecessor();
        self.sum(left) == 0 && !speaks
    }

    fn publish(&mut self) {
        self.pending = News::None;
        self.board.publish(Snapshot {
            routes: Arc::clone(&self.routes),
            states: self.breakers.states().clone(),
            stage: self.stage,
        });
    }
}

/// The tables of a configuration, with the endpoints that there are and that aren't draining.
fn tables(
    config: &Config,
    supply: &Supply,
    drains: &Drains,
    registry: &mut Registry,
    booked: &[Booking],
) -> Result<Arc<Routes>, BuildError> {
    let (fleet, known) = (supply.fleet(), supply.known());
    let drained = |provider: &str, url: &str| drains.has(provider, url);
    let routes = build(config, fleet, known, drained, registry, booked)?;
    Ok(Arc::new(routes))
}
