//! A call goes to where the beginning of its prompt is known, unless that has too much to do.
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016): each call has
//! an order of preference among the replicas, which depends on its key and their names only, and
//! takes the first that is not above its bound. The order is that of rendezvous hashing (Thaler,
//! Ravishankar, 1998): all cores, and all instances, come to the same one without asking each
//! other; a replica that comes or goes moves the keys that are or were its own, and no others;
//! and what one can't take is spread over all others. What this core remembers of earlier calls
//! narrows the choice down to replicas that know more of the text.

use super::hash::fold;
use super::memory::Memory;
use super::trail::{Trail, at_provider};

/// A replica takes a call if it has no more than this many times the mean of all usable ones
/// then.
pub const LOAD_FACTOR: f32 = 1.25;

/// Calls that a replica may have whatever the mean is: with few calls on all of them, a known
/// beginning is worth more than an idle replica.
pub const FREE_CALLS: f32 = 4.0;

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
    /// How many times slower failures have made it.
    pub slowed: f32,
    /// Its share of a full weight, above 0.
    pub share: f32,
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

    /// Whether the replica is within its bound with one more call. Failures count as calls that
    /// it doesn't have.
    fn has_room(&self, replica: &Replica) -> bool {
        (replica.calls + 1) as f32 * replica.slowed <= (self.bound * replica.share).max(1.0)
    }

    /// The first in a key's order of preference that has room, of those that `may` be it.
    fn first(&self, key: u64, may: impl Fn(&Replica) -> bool) -> Option<Replica> {
        let able = self
            .replicas
            .iter()
            .filter(|it| may(it) && self.has_room(it));
        able.max_by_key(|it| fold(key, it.rank)).copied()
    }

    /// The replica for a call at a provider; none only if there are no usable ones.
    pub fn make(&self, trail: &Trail, memory: &Memory, provider: u64) -> Option<Replica> {
        let preferred = match trail.key() {
            Some(key) => self.first(key, |_| true),
            None => self
                .known(trail, memory, provider)
                .or_else(|| self.first(trail.beyond(0), |_| true)),
        };
        // No one has room only if all that have few calls fail.
        let lightest = |one: &&Replica, other: &&Replica| {
            let weight = |it: &Replica| (it.calls + 1) as f32 * it.slowed / it.share;
            weight(one).total_cmp(&weight(other))
        };
        preferred.or_else(|| self.replicas.iter().min_by(lightest).copied())
    }

    /// Of the replicas that know the longest beginning, with room for a call, the first in the
    /// order of what comes after that beginning: conversations that begin alike part there, and
    /// the same one comes to the same place from each core.
    fn known(&self, trail: &Trail, memory: &Memory, provider: u64) -> Option<Replica> {
        let beginnings = trail.beginnings();
        // What isn't known from its first bytes on isn't known: most new texts end here.
        if !memory.knows(at_provider(*beginnings.first()?, provider)) {
            return None;
        }
        (0..beginnings.len()).rev().find_map(|index| {
            let holders = memory.holders(at_provider(beginnings[index], provider))?;
            let mut ids = [0; super::memory::HOLDERS_MAX];
            let count = holders.zip(&mut ids).map(|(id, slot)| *slot = id).count();
            let ids = &ids[..count];
            self.first(trail.beyond(index + 1), |it| ids.contains(&it.id))
        })
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
