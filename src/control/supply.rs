//! What the office knows of where endpoints are, and what it tells of it: failures once for as
//! long as they last, refusals once each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::discovery::Source;
use super::discovery::agenda::{AGAIN_AFTER, Agenda, FILE_EVERY, lifetime};
use super::discovery::fleet::{Fleet, Refusal};
use super::discovery::known::Known;
use super::discovery::survey::{Finding, Found};
use crate::base::Moment;
use crate::config::Config;

/// A source that was looked at, and how long its answer is good for, if there is one.
type LookedAt = (Source, Option<Duration>);

/// Where endpoints are.
#[derive(Clone, Default)]
pub struct Supply {
    known: Known,
    agenda: Agenda,
    fleet: Fleet,
    /// Sources whose last look failed: of a pattern each file that is broken.
    failing: BTreeMap<(Source, String), String>,
    /// What was found and isn't used now.
    refused: BTreeSet<Refusal>,
    /// Addresses outside the pinned ranges, each time that they were seen, by provider.
    outside: BTreeMap<String, u64>,
    failures: BTreeMap<&'static str, u64>,
}

impl Supply {
    /// What the sources last said.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The endpoints that there are.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What was found for a provider and isn't used.
    pub fn refused(&self, provider: &str) -> impl Iterator<Item = &Refusal> {
        let of = move |it: &&Refusal| it.provider == provider;
        self.refused.iter().filter(of)
    }

    /// How often a lookup gave an address outside the provider's pinned ranges.
    pub fn seen_outside(&self, provider: &str) -> u64 {
        self.outside.get(provider).copied().unwrap_or(0)
    }

    /// Looks that failed, by the kind of source.
    pub fn failures(&self, kind: &str) -> u64 {
        self.failures.get(kind).copied().unwrap_or(0)
    }

    /// Sources, or files of one, that can't be read now: their kind, their name, and why.
    pub fn failing(&self) -> impl Iterator<Item = (&'static str, &str, &str)> {
        let failing = self.failing.iter();
        failing.map(|((source, place), why)| (source.kind(), place.as_str(), why.as_str()))
    }

    /// Takes a configuration over, with what was found for it. What is known stays known.
    pub fn take_over(&mut self, config: &Config, findings: Vec<Finding>, now: Moment) {
        let (next, _) = self.learn(findings);
        self.assemble(config, None, now);
        self.put_off(next, now);
    }

    /// What has to be looked at before a configuration can be put in force, so that no provider is
    /// without endpoints for the time of a look.
    pub fn unknown(&self, config: &Config) -> Vec<Source> {
        let (fleet, _) = Fleet::assemble(config, &self.known, None);
        let wanted = fleet.wanted(config).into_iter();
        wanted.filter(|it| !self.agenda.has(it)).collect()
    }

    /// The hosts that have come to light so far: each is looked up already, or refused.
    pub fn hosts(&self) -> BTreeSet<String> {
        let listed = self.fleet.all().map(|(_, endpoint)| &endpoint.host);
        listed.chain(self.known.hosts()).cloned().collect()
    }

    /// The sources that are due for a look.
    pub fn due(&mut self, now: Moment) -> Vec<Source> {
        self.agenda.due(now)
    }

    /// Takes findings in; true if the endpoints, or where they are, have changed.
    pub fn take_in(&mut self, findings: Vec<Finding>, config: &Config, now: Moment) -> bool {
        let (next, changed) = self.learn(findings);
        if changed {
            let before = std::mem::take(&mut self.fleet);
            self.assemble(config, Some(&before), now);
        }
        self.put_off(next, now);
        changed
    }

    /// Takes findings in; for how long each is good, and whether one is new.
    fn learn(&mut self, findings: Vec<Finding>) -> (Vec<LookedAt>, bool) {
        let mut changed = false;
        let mut next = Vec::with_capacity(findings.len());
        for Finding { source, result } in findings {
            self.note(&source, &result);
            let good_for = match &result {
                Err(_) => None,
                Ok(Found::Files(_)) => Some(FILE_EVERY),
                Ok(Found::Servers(answer)) => Some(lifetime(answer.ttl)),
                Ok(Found::Addresses(answer)) => Some(lifetime(answer.ttl)),
            };
            if let Ok(found) = result {
                let news = self.known.take_in(&source, found);
                if news && let Source::Name(host) = &source {
                    let addresses = self.known.addresses(host);
                    tracing::info!(host, ?addresses, "resolved");
                }
                changed |= news;
            }
            next.push((source, good_for));
        }
        (next, changed)
    }

    /// Puts the next look at each of these off until it is due.
    fn put_off(&mut self, looked_at: Vec<LookedAt>, now: Moment) {
        let mut looked_up = BTreeSet::new();
        for (source, good_for) in looked_at {
            self.agenda
                .done(&source, now, good_for.unwrap_or(AGAIN_AFTER));
            if let (Source::Name(host), Some(_)) = (source, good_for) {
                looked_up.insert(host);
            }
        }
        self.count_outside(&looked_up);
    }

    fn assemble(&mut self, config: &Config, before: Option<&Fleet>, now: Moment) {
        let (fleet, mut refused) = Fleet::assemble(config, &self.known, before);
        if let Some(before) = before {
            tell_changes(config, before, &fleet);
        }
        refused.extend(fleet.outside(config, &self.known));
        for refusal in &refused {
            if !self.refused.contains(refusal) {
                let Refusal {
                    provider,
                    endpoint,
                    address,
                    why,
                } = refusal;
                let address = address.map(|address| address.to_string());
                tracing::error!(
                    provider,
                    endpoint,
                    address,
                    why,
                    "refused: never connected to"
                );
            }
        }
        self.refused = refused.into_iter().collect();
        self.fleet = fleet;
        let wanted = self.fleet.wanted(config);
        self.agenda.keep(&wanted, now);
        self.known.keep(&wanted);
        self.failing
            .retain(|(source, _), _| wanted.contains(source));
    }

    /// Counts the addresses outside of the names that were just looked up.
    fn count_outside(&mut self, looked_up: &BTreeSet<String>) {
        let hosts: BTreeMap<&str, &str> = self
            .fleet
            .all()
            .map(|(_, it)| (it.url.as_str(), it.host.as_str()))
            .collect();
        for refusal in self.refused.iter().filter(|it| it.address.is_some()) {
            let host = hosts.get(refusal.endpoint.as_str());
            if host.is_some_and(|host| looked_up.contains(*host)) {
                *self.outside.entry(refusal.provider.clone()).or_default() += 1;
            }
        }
    }

    fn note(&mut self, source: &Source, result: &Result<Found, String>) {
        let mut failed = Vec::new();
        match result {
            Err(error) => failed.push((source.to_string(), error.clone())),
            Ok(Found::Files(files)) => {
                let broken = files.iter().filter_map(|(path, it)| {
                    let error = it.as_ref().err()?;
                    Some((path.display().to_string(), error.clone()))
                });
                failed.extend(broken);
            }
            Ok(_) => {}
        }
        let kind = source.kind();
        let still: BTreeSet<String> = failed.iter().map(|(place, _)| place.clone()).collect();
        for (place, error) in failed {
            *self.failures.entry(kind).or_default() += 1;
            // Once for as long as it lasts; the metric counts each.
            let before = self
                .failing
                .insert((source.clone(), place.clone()), error.clone());
            if before.as_ref() != Some(&error) {
                tracing::error!(
                    kind,
                    source = place,
                    error,
                    "can't be read: what it said before stays"
                );
            }
        }
        self.failing.retain(|(of, place), _| {
            let ended = of == source && !still.contains(place);
            if ended {
                tracing::info!(kind, source = place, "can be read again");
            }
            !ended
        });
    }
}

/// Says which endpoints have come and gone.
fn tell_changes(config: &Config, before: &Fleet, after: &Fleet) {
    for (position, provider) in config.providers.iter().enumerate() {
        let urls = |fleet: &Fleet| -> BTreeSet<String> {
            fleet.of(position).iter().map(|it| it.url.clone()).collect()
        };
        let (old, new) = (urls(before), urls(after));
        let provider = &provider.name;
        for endpoint in new.difference(&old) {
            tracing::info!(provider, endpoint, "endpoint found");
        }
        for endpoint in old.difference(&new) {
            tracing::info!(
                provider,
                endpoint,
                "endpoint gone: its calls go on, it gets no new ones"
            );
        }
    }
}
