//! Every endpoint that is looked after: how it stands, and when it is looked at next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::check::Checkup;
use super::standing::{Rows, Standing};
use super::vitals::Vitals;
use crate::base::{EndpointId, Moment};
use crate::config::Health;

/// Checks under way at once.
pub const UNDER_WAY_MAX: usize = 256;

/// How long an endpoint without metrics isn't asked for them again.
pub const METRICS_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When an endpoint that can't be looked at is due again.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Ward {
    standing: Standing,
    due: Moment,
    under_way: bool,
    metrics_due: Moment,
    /// What was wrong at the last check, if anything was.
    pub trouble: Option<String>,
    /// What it said of itself last.
    pub vitals: Option<Vitals>,
    /// Checks that it passed.
    pub passed: u64,
    /// Checks that it failed.
    pub failed: u64,
}

impl Ward {
    /// Whether it takes calls.
    pub fn is_ready(&self) -> bool {
        self.standing.is_ready()
    }
}

/// A change that the cores have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It takes calls from now on.
    Ready,
    /// It takes none any more, or isn't there yet.
    NotReady,
}

/// Everybody who is looked after.
#[derive(Debug, Default)]
pub struct Wards(BTreeMap<EndpointId, Ward>);

impl Wards {
    /// Takes endpoints on, and lets go of those that aren't `wanted`. One that `has_served` before
    /// it was looked after is ready until a row of checks says otherwise; any other isn't before
    /// the first. Returns who was let go of, and who was taken on and isn't ready.
    pub fn keep(
        &mut self,
        wanted: &BTreeSet<EndpointId>,
        has_served: impl Fn(EndpointId) -> bool,
        now: Moment,
    ) -> (Vec<EndpointId>, Vec<EndpointId>) {
        let gone: Vec<EndpointId> = self
            .0
            .keys()
            .copied()
            .filter(|id| !wanted.contains(id))
            .collect();
        self.0.retain(|id, _| wanted.contains(id));
        let mut new = Vec::new();
        for &id in wanted {
            self.0.entry(id).or_insert_with(|| {
                let standing = match has_served(id) {
                    true => Standing::Ready { failed: 0 },
                    false => {
                        new.push(id);
                        Standing::Unknown
                    }
                };
                Ward {
                    standing,
                    due: now,
                    under_way: false,
                    metrics_due: now,
                    trouble: None,
                    vitals: None,
                    passed: 0,
                    failed: 0,
                }
            });
        }
        (gone, new)
    }

    /// One endpoint, if it is looked after.
    pub fn of(&self, id: EndpointId) -> Option<&Ward> {
        self.0.get(&id)
    }

    /// Who is to be looked at now, and whether their metrics are too. They are under way then,
    /// until [`Wards::checked`].
    pub fn due(&mut self, now: Moment) -> Vec<(EndpointId, bool)> {
        let under_way = self.0.values().filter(|ward| ward.under_way).count();
        let due = self.0.iter_mut();
        let due = due.filter(|(_, ward)| !ward.under_way && ward.due <= now);
        due.take(UNDER_WAY_MAX.saturating_sub(under_way))
            .map(|(&id, ward)| {
                ward.under_way = true;
                (id, ward.metrics_due <= now)
            })
            .collect()
    }

    /// An endpoint that was due isn't looked at after all.
    pub fn pass_over(&mut self, id: EndpointId, now: Moment) {
        if let Some(ward) = self.0.get_mut(&id) {
            ward.under_way = false;
            ward.due = now + PASSED_OVER;
        }
    }

    /// Takes a check in; what changes by it.
    pub fn checked(&mut self, checkup: &Checkup, health: &Health, now: Moment) -> Option<Change> {
        let ward = self.0.get_mut(&checkup.id)?;
        ward.under_way = false;
        // Those who came together don't stay together.
        let spread = match ward.standing {
            Standing::Unknown => 0.5 + f64::from(checkup.id.0 % 16) / 32.0,
            _ => 1.0,
        };
        ward.due = now + health.interval.mul_f64(spread);
        match &checkup.health {
            Ok(()) => ward.passed += 1,
            Err(_) => ward.failed += 1,
        }
        ward.trouble = checkup.health.as_ref().err().cloned();
        if let Some(vitals) = &checkup.vitals {
            ward.vitals = *vitals;
            ward.metrics_due = match vitals {
                Some(_) => now,
                None => now + METRICS_AGAIN_AFTER,
            };
        }
        let before = ward.standing;
        let rows = Rows {
            passed: health.healthy_after,
            failed: health.unhealthy_after,
        };
        ward.standing = before.after(checkup.health.is_ok(), rows);
        let change = match ward.standing.is_ready() {
            true => Change::Ready,
            false => Change::NotReady,
        };
        let is_first = before == Standing::Unknown;
        (is_first || before.is_ready() != ward.is_ready()).then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: EndpointId = EndpointId(1);
    const TWO: EndpointId = EndpointId(2);

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    fn health() -> Health {
        Health {
            path: "/health".into(),
            metrics: Some("/metrics".into()),
            interval: Duration::from_secs(4),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 2,
        }
    }

    fn checkup(passed: bool, vitals: Option<Option<Vitals>>) -> Checkup {
        Checkup {
            id: ONE,
            health: if passed { Ok(()) } else { Err("503".into()) },
            vitals,
        }
    }

    #[test]
    fn who_is_new_is_looked_at_at_once_and_then_in_its_time() {
        let mut wards = Wards::default();
        let (gone, new) = wards.keep(&[ONE, TWO].into(), |id| id == TWO, at(0));
        assert_eq!((gone, new), (vec![], vec![ONE]));
        let ready = |wards: &Wards, id| wards.of(id).is_some_and(Ward::is_ready);
        assert!(!ready(&wards, ONE) && ready(&wards, TWO));
        assert_eq!(wards.due(at(0)), [(ONE, true), (TWO, true)]);
        assert_eq!(wards.due(at(60_000)), [], "they are under way");
        let change = wards.checked(&checkup(true, Some(None)), &health(), at(100));
        assert_eq!(change, Some(Change::Ready), "the first decides");
        assert_eq!(wards.due(at(2_000)), []);
        assert_eq!(wards.due(at(4_100)), [(ONE, false)], "it has no metrics");
        assert_eq!(
            wards.checked(&checkup(false, None), &health(), at(4_200)),
            None
        );
        assert_eq!(wards.due(at(8_199)), []);
        assert_eq!(wards.due(at(8_200)), [(ONE, false)]);
        let change = wards.checked(&checkup(false, None), &health(), at(8_300));
        assert_eq!(change, Some(Change::NotReady));
        let ward = wards.of(ONE).expect("a ward");
        assert_eq!((ward.passed, ward.failed), (1, 2));
        assert_eq!(ward.trouble.as_deref(), Some("503"));
        assert_eq!(
            wards.due(at(70_000)),
            [(ONE, true)],
            "perhaps it has some now"
        );
        wards.pass_over(ONE, at(70_000));
        assert_eq!(wards.due(at(70_999)), []);
        assert_eq!(wards.due(at(71_000)), [(ONE, true)]);
        let (gone, _) = wards.keep(&[TWO].into(), |_| false, at(0));
        assert_eq!(gone, [ONE]);
        assert_eq!(wards.checked(&checkup(true, None), &health(), at(0)), None);
    }

    #[test]
    fn so_many_are_looked_at_at_once() {
        let mut wards = Wards::default();
        let all = (0..UNDER_WAY_MAX as u16 + 9).map(EndpointId).collect();
        wards.keep(&all, |_| false, at(0));
        assert_eq!(wards.due(at(0)).len(), UNDER_WAY_MAX);
        assert_eq!(wards.due(at(0)), []);
        wards.checked(&checkup(true, None), &health(), at(0));
        assert_eq!(wards.due(at(0)).len(), 1);
    }
}
