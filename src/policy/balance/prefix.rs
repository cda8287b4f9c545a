//! A call goes to where the beginning of its prompt is known, unless that has too much to do.
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016): each call has
//! an order of preference among the replicas, which depends on its key and their names only, and
//! takes the first that is not above its bound. The order is that of rendezvous hashing (Thaler,
//! Ravishankar, 1998): all cores, and all instances, come to the same one without asking each
//! other; a replica that comes or goes moves the keys that are or were its own, and no others;
//! and what one can't take is spread over all others.
//!
//! A call without a key has its text, and what this core remembers of earlier ones. Of the
//! replicas within their bound it takes the one that has the least to read until its first token:
//! what is ahead of it there, and what isn't known there of its own text.

use super::hash::fold;
use super::memory::{HOLDERS_MAX, Memory};
use super::trail::{Trail, at_provider, end_of};

/// A replica takes a call if it has no more than this many times the mean of all usable ones
/// then.
pub const LOAD_FACTOR: f32 = 1.25;

/// Calls that a replica may have whatever the mean is: with few calls on all of them, a known
/// beginning is worth more than an idle replica.
pub const FREE_CALLS: f32 = 8.0;

/// The part of a text that the first in its order of preference counts as knowing, if this core
/// doesn't know who does: another one would have sent it there.
const PRESUMED: u64 = 4;

/// What is known of a replica when a call is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Replica {
    /// Where it stands in its provider's list.
    pub position: usize,
    /// What the memory knows it by.
    pub id: u16,
    /// A hash of its name: the same on all cores and in all processes.
    pub rank: u64,
    /// Calls that it has, whosever.
    pub calls: u32,
    /// Bytes that it has to read of prompts that were sent to it.
    pub reading: u64,
    /// How many times slower failures have made it.
    pub slowed: f32,
    /// Its share of a full weight, above 0.
    pub share: f32,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// The replica.
    pub replica: Replica,
    /// Bytes of the call's text that it has to read, as far as this core knows.
    pub reading: u64,
}

/// Among whom a call's replica is chosen: those that may be used now, and the bound.
pub struct Choice<'c> {
    replicas: &'c [Replica],
    /// Calls that a replica of a whole share may have.
    bound: f32,
}

impl<'c> Choice<'c> {
    /// A choice among the usable replicas of one provider.
    pub fn among(replicas: &'c [Replica]) -> Choice<'c> {
        let calls: u64 = replicas.iter().map(|it| u64::from(it.calls)).sum();
        let shares: f32 = replicas.iter().map(|it| it.share).sum();
        let mean = (calls + 1) as f32 / shares.max(f32::MIN_POSITIVE);
        let bound = (mean * LOAD_FACTOR).ceil().max(FREE_CALLS);
        Choice { replicas, bound }
    }

    /// Those that are within their bound with one more call. Failures count as calls that they
    /// don't have.
    fn able(&self) -> impl Iterator<Item = &'c Replica> {
        let bound = self.bound;
        self.replicas
            .iter()
            .filter(move |it| (it.calls + 1) as f32 * it.slowed <= (bound * it.share).max(1.0))
    }

    /// The replica for a call at a provider; none only if there are no usable ones.
    pub fn make(&self, trail: &Trail, memory: &Memory, provider: u64) -> Option<Chosen> {
        let chosen = match trail.key() {
            Some(key) => self.by_key(key).map(|replica| Chosen {
                replica: *replica,
                reading: 0,
            }),
            None => self.by_text(trail, memory, provider),
        };
        // No one is able only if all that have few calls fail.
        let weight = |it: &Replica| (it.calls + 1) as f32 * it.slowed / it.share;
        let lightest = || {
            let all = self.replicas.iter();
            all.min_by(|one, other| weight(one).total_cmp(&weight(other)))
        };
        chosen.or_else(|| {
            lightest().map(|replica| Chosen {
                replica: *replica,
                reading: trail.length(),
            })
        })
    }

    /// The first in a key's order of preference.
    fn by_key(&self, key: u64) -> Option<&'c Replica> {
        self.able().max_by_key(|it| fold(key, it.rank))
    }

    /// The one with the least to read, and of equals the first in the order of what comes after
    /// the longest known beginning: conversations that begin alike part there, and the same one
    /// comes to the same place from each core.
    fn by_text(&self, trail: &Trail, memory: &Memory, provider: u64) -> Option<Chosen> {
        let known = Known::of(trail, memory, provider);
        let key = trail.beyond(known.longest);
        let first = self.by_key(key)?.position;
        let length = trail.length();
        let missing = |it: &Replica| {
            let presumed = match it.position == first && !known.is_its_own {
                true => length / PRESUMED,
                false => 0,
            };
            length - known.bytes(it.id).max(presumed).min(length)
        };
        let chosen = self.able().min_by_key(|it| {
            let preference = u64::MAX - fold(key, it.rank);
            (it.reading.saturating_add(missing(it)), preference)
        })?;
        Some(Chosen {
            replica: *chosen,
            reading: missing(chosen),
        })
    }
}

/// What a core remembers of one text: who knows how much of it.
struct Known {
    /// How many beginnings are known to anybody.
    longest: usize,
    /// The longest is known to a few: it is this conversation that they know, and not what it has
    /// in common with others.
    is_its_own: bool,
    /// Replicas, and the bytes that they know, the most first.
    holders: [(u16, u64); Known::HOLDERS],
    count: usize,
}

impl Known {
    /// Those that know a long beginning and those that know a short one are mostly others: a few
    /// sets of them are enough.
    const HOLDERS: usize = 4 * HOLDERS_MAX;

    fn of(trail: &Trail, memory: &Memory, provider: u64) -> Known {
        let mut known = Known {
            longest: 0,
            is_its_own: false,
            holders: [(0, 0); Known::HOLDERS],
            count: 0,
        };
        let beginnings = trail.beginnings();
        let holders = |index: usize| {
            let beginning = beginnings.get(index)?;
            memory.holders(at_provider(*beginning, provider))
        };
        // What isn't known from its first bytes on isn't known: most new texts end here.
        if holders(0).is_none() {
            return known;
        }
        for index in (0..beginnings.len()).rev() {
            let Some(holders) = holders(index) else {
                continue;
            };
            holders.for_each(|id| known.add(id, end_of(index)));
            if known.longest == 0 {
                known.longest = index + 1;
                known.is_its_own = known.count < HOLDERS_MAX;
            }
            if known.count == Known::HOLDERS {
                break;
            }
        }
        known
    }

    fn add(&mut self, id: u16, bytes: u64) {
        let is_new = self.bytes(id) == 0;
        if is_new && let Some(slot) = self.holders.get_mut(self.count) {
            *slot = (id, bytes);
            self.count += 1;
        }
    }

    fn bytes(&self, id: u16) -> u64 {
        let holders = self.holders[..self.count].iter();
        let found = holders.copied().find(|(holder, _)| *holder == id);
        found.map_or(0, |(_, bytes)| bytes)
    }
}

/// Remembers where a call is sent.
pub fn remember(memory: &mut Memory, trail: &Trail, provider: u64, replica: u16) {
    for beginning in trail.beginnings() {
        memory.note(at_provider(*beginning, provider), replica);
    }
}

#[cfg(test)]
mod tests;
