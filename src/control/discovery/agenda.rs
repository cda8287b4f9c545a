//! What is looked at when. Each source has its own time, so that one that answers slowly holds
//! nobody else up; none is asked twice at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Source;
use crate::base::Moment;

/// Between two looks at a file of targets. Reading a small file costs some microseconds, and sees
/// what a watch would not: another file system's changes, a mount in its place, a link that was
/// moved.
pub const FILE_EVERY: Duration = Duration::from_secs(1);

/// The least time that an answer of DNS is used for, whatever its TTL.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// The longest time that an answer of DNS is used for without asking again.
pub const TTL_MAX: Duration = Duration::from_secs(60);

/// After a look that failed.
pub const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Looks under way at once.
pub const UNDER_WAY_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Moment,
    under_way: bool,
}

/// Every source, and when it is due.
#[derive(Clone, Debug, Default)]
pub struct Agenda(BTreeMap<Source, Entry>);

impl Agenda {
    /// Takes new sources on, which are due at once, and drops those that nobody needs any more.
    pub fn keep(&mut self, wanted: &BTreeSet<Source>, now: Moment) {
        self.0.retain(|source, _| wanted.contains(source));
        for source in wanted {
            if !self.0.contains_key(source) {
                let entry = Entry {
                    due: now,
                    under_way: false,
                };
                self.0.insert(source.clone(), entry);
            }
        }
    }

    /// Whether a source is on it.
    pub fn has(&self, source: &Source) -> bool {
        self.0.contains_key(source)
    }

    /// The sources to look at now, those that have waited longest first. They are under way then,
    /// until [`Agenda::done`].
    pub fn due(&mut self, now: Moment) -> Vec<Source> {
        let under_way = self.0.values().filter(|entry| entry.under_way).count();
        let mut due: Vec<(Moment, Source)> = self
            .0
            .iter()
            .filter(|(_, entry)| !entry.under_way && entry.due <= now)
            .map(|(source, entry)| (entry.due, source.clone()))
            .collect();
        due.sort();
        due.truncate(UNDER_WAY_MAX.saturating_sub(under_way));
        let sources = due.into_iter().map(|(_, source)| source);
        let sources: Vec<Source> = sources.collect();
        for source in &sources {
            if let Some(entry) = self.0.get_mut(source) {
                entry.under_way = true;
            }
        }
        sources
    }

    /// A source has been looked at, and is due again after `wait`.
    pub fn done(&mut self, source: &Source, now: Moment, wait: Duration) {
        if let Some(entry) = self.0.get_mut(source) {
            entry.under_way = false;
            entry.due = now + wait;
        }
    }
}

/// How long an answer of DNS is used.
pub fn lifetime(ttl: Duration) -> Duration {
    ttl.clamp(TTL_MIN, TTL_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: usize) -> Source {
        Source::Name(format!("host-{number}"))
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    #[test]
    fn what_is_new_is_due_at_once_and_then_in_its_time() {
        let mut agenda = Agenda::default();
        agenda.keep(&[name(1)].into(), at(0));
        assert_eq!(agenda.due(at(0)), [name(1)]);
        assert_eq!(agenda.due(at(9_000)), [], "it is under way");
        agenda.done(&name(1), at(9_000), Duration::from_secs(2));
        assert_eq!(agenda.due(at(10_999)), []);
        assert_eq!(agenda.due(at(11_000)), [name(1)]);
        agenda.keep(&[name(2)].into(), at(11_000));
        agenda.done(&name(1), at(11_000), Duration::ZERO);
        assert!(!agenda.has(&name(1)));
        assert_eq!(agenda.due(at(11_000)), [name(2)]);
    }

    #[test]
    fn a_ttl_has_a_floor_and_a_ceiling() {
        let second = Duration::from_secs(1);
        assert_eq!(lifetime(Duration::ZERO), TTL_MIN);
        assert_eq!(lifetime(second * 30), second * 30);
        assert_eq!(lifetime(second * 86_400), TTL_MAX);
    }

    #[test]
    fn so_many_are_under_way_and_the_others_have_their_turn() {
        let mut agenda = Agenda::default();
        let all: BTreeSet<Source> = (0..UNDER_WAY_MAX + 9).map(name).collect();
        agenda.keep(&all, at(0));
        let first = agenda.due(at(0));
        assert_eq!(first.len(), UNDER_WAY_MAX);
        assert_eq!(agenda.due(at(1)), []);
        first
            .iter()
            .for_each(|source| agenda.done(source, at(2), Duration::ZERO));
        let second = agenda.due(at(2));
        let left: Vec<&Source> = all.iter().filter(|it| !first.contains(it)).collect();
        assert!(left.iter().all(|source| second.contains(source)));
    }

    proptest! {
        /// However long each look takes: no source is looked at before its time or twice at once,
        /// and none is forgotten.
        #[test]
        fn every_source_is_looked_at_in_its_time(
            steps in proptest::collection::vec((0usize..6, 1u64..400, 0u64..3000), 1..200)
        ) {
            let mut agenda = Agenda::default();
            let mut now = 0;
            let mut under_way = BTreeSet::new();
            let mut not_before: BTreeMap<Source, u64> = BTreeMap::new();
            let all: BTreeSet<Source> = (0..6).map(name).collect();
            agenda.keep(&all, at(0));
            for (which, step, wait) in steps {
                now += step;
                let due: BTreeSet<Source> = agenda.due(at(now)).into_iter().collect();
                for source in &all {
                    let time = *not_before.get(source).unwrap_or(&0);
                    let expected = time <= now && !under_way.contains(source);
                    prop_assert_eq!(due.contains(source), expected, "{:?} at {}", source, now);
                }
                under_way.extend(due);
                if under_way.remove(&name(which)) {
                    agenda.done(&name(which), at(now), Duration::from_millis(wait));
                    not_before.insert(name(which), now + wait);
                }
            }
        }
    }
}
