//! Endpoints that come and go, and what is kept of them by their ids.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::breakers::GATE_MAX;
use super::super::discovery::Source;
use super::super::discovery::survey::Finding;
use super::super::drains::UnknownEndpoint;
use super::{Desk, tables};
use crate::base::{EndpointId, Moment};
use crate::config::Config;
use crate::tables::{Routes, Target};

/// How long an endpoint's id rests beyond what can still be in flight under it.
const REST_GRACE: Duration = Duration::from_secs(60);

impl Desk {
    /// What has to be looked at before a configuration can be put in force.
    pub fn unknown(&self, config: &Config) -> Vec<Source> {
        self.supply.unknown(config)
    }

    /// Takes findings in, and publishes new tables if an endpoint or an address changed.
    pub fn found(&mut self, findings: Vec<Finding>) {
        self.found_at(findings, self.clock.now());
    }

    pub(in super::super) fn found_at(&mut self, findings: Vec<Finding>, now: Moment) {
        if self.supply.take_in(findings, &self.config, now) {
            self.rebuild(now);
        }
    }

    /// Gives an endpoint no new calls, or gives it some again. True if that is a change.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub fn drain(
        &mut self,
        provider: &str,
        endpoint: &str,
        drain: bool,
    ) -> Result<bool, UnknownEndpoint> {
        let is_here = {
            let named = |it: &crate::config::Provider| it.name == provider;
            let position = self.config.providers.iter().position(named);
            let position = position.ok_or(UnknownEndpoint::Provider)?;
            let mut endpoints = self.supply.fleet().of(position).iter();
            endpoints.any(|it| it.url == endpoint)
        };
        // One that is draining may be gone meanwhile, and come back.
        if !is_here && !self.drains.has(provider, endpoint) {
            return Err(UnknownEndpoint::Endpoint);
        }
        let changed = self.drains.set(provider, endpoint, drain)?;
        if changed {
            match drain {
                true => tracing::info!(provider, endpoint, "draining: it gets no new calls"),
                false => tracing::info!(provider, endpoint, "no longer draining"),
            }
            self.rebuild(self.clock.now());
        }
        Ok(changed)
    }

    /// Builds the tables anew, since endpoints, their addresses or bookings have changed.
    pub(super) fn rebuild(&mut self, now: Moment) {
        self.rest_endpoints(now);
        let (supply, drains) = (&self.supply, &self.drains);
        let booked = self.trading.booked();
        match tables(&self.config, supply, drains, &mut self.registry, &booked) {
            Ok(routes) => {
                self.adopt(routes, now);
                self.publish();
            }
            Err(error) => tracing::error!(%error, "new tables can't be put in force"),
        }
    }

    /// Takes tables over, to be published: new endpoints get their figures.
    pub(super) fn adopt(&mut self, routes: Arc<Routes>, now: Moment) {
        let before = std::mem::replace(&mut self.routes, routes);
        self.rest_endpoints(now);
        self.configure_targets();
        self.attend(Some(&before), now);
        self.greet_endpoints(&before, now);
    }

    /// Lets the share of an endpoint that its provider didn't have before grow from now on.
    fn greet_endpoints(&self, before: &Routes, now: Moment) {
        for provider in &self.routes.providers {
            let mut old = before.providers.iter().filter(|it| it.id == provider.id);
            let Some(old) = old.next() else { continue };
            let known: HashSet<_> = old.endpoints.iter().map(|it| it.id).collect();
            let ids = provider.endpoints.iter().map(|it| it.id);
            for id in ids.filter(|id| !known.contains(id)) {
                self.board.loads().of(id).returned(now);
            }
        }
    }

    /// Sets ids free that nobody can have anything to do with any more, and forgets what was kept
    /// by them.
    pub(super) fn rest_endpoints(&mut self, now: Moment) {
        let mut used: BTreeSet<EndpointId> = BTreeSet::new();
        for provider in &self.routes.providers {
            used.extend(provider.endpoints.iter().map(|endpoint| endpoint.id));
        }
        for (provider, url) in self.drains.iter() {
            used.extend(self.registry.known_endpoint(provider, url));
        }
        // A call that is under way, a pause that a core keeps to.
        let rest = self.longest_call.max(GATE_MAX) + REST_GRACE;
        self.registry.keep_endpoints(&used, now, rest);
        for id in self.registry.take_recycled() {
            let successes = self.sum(|core| core.endpoint_successes(id));
            let failures = self.sum(|core| core.endpoint_failures(id));
            self.baselines.insert(id, (successes, failures));
            let target = Target::Endpoint(id);
            self.breakers.forget(target);
            self.board.free_probe(target);
            let load = self.board.loads().of(id);
            load.set_queue(None);
            load.set_ready_from(Some(now));
            load.returned(now);
            self.probing.remove(&target);
            self.unshaken.remove(&id);
        }
    }

    /// The id of an endpoint, if it ever had one.
    pub fn endpoint_id(&self, provider: &str, url: &str) -> Option<EndpointId> {
        self.registry.known_endpoint(provider, url)
    }
}
