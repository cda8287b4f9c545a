//! Looking after endpoints: who is to be checked, and what follows from a check.

use std::collections::BTreeSet;

use super::super::discovery::known::pinned;
use super::super::health::check::{Checkup, Visit};
use super::super::health::wards::Change;
use super::Desk;
use crate::base::{EndpointId, Moment};
use crate::config::Health;
use crate::tables::{Routes, Target};

impl Desk {
    /// After the tables have changed: takes on who is new, and lets go of who has gone or isn't
    /// to be looked after any more.
    pub(super) fn attend(&mut self, before: Option<&Routes>, now: Moment) {
        let mut served = BTreeSet::new();
        for provider in before.iter().flat_map(|before| &before.providers) {
            served.extend(provider.endpoints.iter().map(|endpoint| endpoint.id));
        }
        let mut wanted = BTreeSet::new();
        let providers = self.config.providers.iter().zip(&self.routes.providers);
        for (_, provider) in providers.filter(|(configured, _)| configured.health.is_some()) {
            wanted.extend(provider.endpoints.iter().map(|endpoint| endpoint.id));
        }
        let (gone, new) = self.wards.keep(&wanted, |id| served.contains(&id), now);
        for id in gone {
            let load = self.board.loads().of(id);
            load.set_queue(None);
            if load.ready_from().is_none() {
                load.set_ready_from(Some(now));
            }
        }
        for id in new {
            self.board.loads().of(id).set_ready_from(None);
        }
    }

    /// The checks that are due.
    pub fn due_checks(&mut self, now: Moment) -> Vec<Visit> {
        let due = self.wards.due(now);
        if due.is_empty() {
            return Vec::new();
        }
        let mut visits = Vec::with_capacity(due.len());
        for (position, provider) in self.config.providers.iter().enumerate() {
            let Some(health) = &provider.health else {
                continue;
            };
            for endpoint in self.supply.fleet().of(position) {
                let id = self.registry.known_endpoint(&provider.name, &endpoint.url);
                let Some(&(id, metrics)) = due.iter().find(|(due, _)| Some(*due) == id) else {
                    continue;
                };
                let found = self.supply.known().addresses(&endpoint.host);
                let path = endpoint.metrics.as_ref().or(health.metrics.as_ref());
                let path = path.filter(|_| metrics && health.metrics.is_some());
                visits.push(Visit {
                    id,
                    addresses: pinned(provider, found, endpoint.port).0,
                    authority: endpoint.authority(),
                    tls: endpoint.tls.clone(),
                    path: health.path.clone(),
                    metrics: path.cloned(),
                    timeout: health.timeout,
                });
            }
        }
        // One that is in the tables still, and no longer found: ids had run out, and the tables
        // couldn't be renewed.
        for (id, _) in due {
            if !visits.iter().any(|visit| visit.id == id) {
                self.wards.pass_over(id, now);
            }
        }
        visits
    }

    /// Takes a check in.
    pub fn checked(&mut self, checkup: &Checkup) {
        let now = self.clock.now();
        let Some(health) = self.health_of(checkup.id).cloned() else {
            return;
        };
        let change = self.wards.checked(checkup, &health, now);
        let load = self.board.loads().of(checkup.id);
        match &checkup.vitals {
            Some(vitals) => load.set_queue(vitals.map(|vitals| vitals.queue)),
            None if checkup.health.is_err() => load.set_queue(None),
            None => {}
        }
        let target = Target::Endpoint(checkup.id);
        match change {
            Some(Change::Ready) => {
                load.set_ready_from(Some(now));
                self.log_target(target, |provider, endpoint| {
                    tracing::info!(provider, endpoint, "ready");
                });
            }
            Some(Change::NotReady) => {
                load.set_ready_from(None);
                let why = checkup.health.as_ref().err();
                self.log_target(target, |provider, endpoint| {
                    tracing::warn!(provider, endpoint, why, "not ready: it gets no new calls");
                });
            }
            None => {}
        }
    }

    /// How the endpoint's provider wants it to be checked.
    fn health_of(&self, id: EndpointId) -> Option<&Health> {
        let providers = self.config.providers.iter().zip(&self.routes.providers);
        let mut owners = providers.filter(|(_, it)| it.endpoints.iter().any(|it| it.id == id));
        owners.next()?.0.health.as_ref()
    }

    /// Whether an endpoint takes calls, by its own word or because nobody asks it.
    pub fn is_ready(&self, id: EndpointId) -> bool {
        self.board.loads().of(id).ready_from().is_some()
    }
}
