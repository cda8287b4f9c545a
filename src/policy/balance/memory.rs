//! Which replicas know which beginnings, as far as one core has seen: it remembers where it sent
//! them. An approximation of the replicas' prefix caches, of a fixed size.

/// Beginnings that one core remembers.
pub const REMEMBERED: usize = 64 * 1024;

/// Replicas that are remembered for each. A beginning that all replicas know, such as a system
/// prompt, need not be looked for on more.
pub const HOLDERS_MAX: usize = 4;

/// Beginnings that share a place: among them the one that wasn't used for longest makes room.
const WAYS: usize = 4;

/// No replica.
const NOBODY: u16 = u16::MAX;

/// Sixteen bytes, so that a place is one cache line.
#[derive(Clone, Copy)]
struct Entry {
    /// The upper half of the beginning's hash.
    tag: u32,
    /// When it was last used, counted in uses; 0: never.
    used: u32,
    /// Ids of replicas, the latest first.
    holders: [u16; HOLDERS_MAX],
}

const EMPTY: Entry = Entry {
    tag: 0,
    used: 0,
    holders: [NOBODY; HOLDERS_MAX],
};

/// What one core remembers: 1 MiB.
pub struct Memory {
    places: Box<[[Entry; WAYS]]>,
    uses: u32,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// Remembers nothing yet.
    pub fn new() -> Memory {
        Memory::of(REMEMBERED)
    }

    /// With room for so many beginnings.
    pub(super) fn of(beginnings: usize) -> Memory {
        Memory {
            places: vec![[EMPTY; WAYS]; beginnings / WAYS].into(),
            uses: 0,
        }
    }

    /// Whether the beginning is remembered.
    pub fn knows(&self, beginning: u64) -> bool {
        self.holders(beginning).is_some()
    }

    fn place(&self, beginning: u64) -> usize {
        beginning as usize % self.places.len()
    }

    /// The replicas that were sent the beginning, the latest first; none if it isn't remembered.
    pub fn holders(&self, beginning: u64) -> Option<impl Iterator<Item = u16> + use<>> {
        let tag = (beginning >> 32) as u32;
        let mut entries = self.places[self.place(beginning)].iter();
        let entry = entries.find(|entry| entry.used != 0 && entry.tag == tag)?;
        let holders = entry.holders.into_iter();
        Some(holders.take_while(|holder| *holder != NOBODY))
    }

    /// Remembers that the replica is sent the beginning now.
    pub fn note(&mut self, beginning: u64, replica: u16) {
        // After 2³² uses the oldest look as new as the newest for a while: they are only guesses.
        self.uses = self.uses.wrapping_add(1).max(1);
        let tag = (beginning >> 32) as u32;
        let place = self.place(beginning);
        let entries = &mut self.places[place];
        let known = entries
            .iter()
            .position(|entry| entry.used != 0 && entry.tag == tag);
        let oldest = || {
            let ages = entries.iter().map(|entry| match entry.used {
                0 => u32::MAX,
                used => self.uses.wrapping_sub(used),
            });
            let oldest = ages.enumerate().max_by_key(|(_, age)| *age);
            oldest.map_or(0, |(index, _)| index)
        };
        let index = known.unwrap_or_else(oldest);
        let entry = &mut entries[index];
        if known.is_none() {
            *entry = Entry { tag, ..EMPTY };
        }
        entry.used = self.uses;
        let at = entry.holders.iter().position(|holder| *holder == replica);
        let last = at.unwrap_or(HOLDERS_MAX - 1);
        entry.holders.copy_within(0..last, 1);
        entry.holders[0] = replica;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hash::hash;
    use super::*;

    fn name(number: u64) -> u64 {
        hash(3, &number.to_le_bytes())
    }

    fn holders(memory: &Memory, beginning: u64) -> Vec<u16> {
        memory.holders(beginning).into_iter().flatten().collect()
    }

    #[test]
    fn a_place_is_a_cache_line() {
        assert_eq!(size_of::<[Entry; WAYS]>(), 64);
        assert_eq!(REMEMBERED * size_of::<Entry>(), 1 << 20);
    }

    #[test]
    fn the_latest_holders_are_remembered_the_last_one_first() {
        let mut memory = Memory::new();
        assert!(memory.holders(name(1)).is_none());
        for replica in [5, 6, 5, 7] {
            memory.note(name(1), replica);
        }
        assert_eq!(holders(&memory, name(1)), [7, 5, 6]);
        for replica in [8, 9] {
            memory.note(name(1), replica);
        }
        assert_eq!(holders(&memory, name(1)), [9, 8, 7, 5]);
        assert!(memory.holders(name(2)).is_none());
    }

    #[test]
    fn what_is_used_outlasts_what_is_not() {
        let mut memory = Memory::new();
        for number in 0..REMEMBERED as u64 * 8 {
            memory.note(name(number + 10), 1);
            if number % 1024 == 0 {
                memory.note(name(0), 2);
            }
        }
        assert_eq!(holders(&memory, name(0)), [2]);
        let newest = REMEMBERED as u64 * 8;
        let kept = (newest - 30_000..newest).filter(|it| memory.holders(name(it + 10)).is_some());
        assert!(kept.count() > 29_000, "the newest half is nearly all there");
        assert!(memory.holders(name(11)).is_none());
    }

    proptest! {
        #[test]
        fn of_a_few_nothing_is_forgotten_or_made_up(
            notes in proptest::collection::vec((0..40u64, 0..20u16), 0..200),
        ) {
            let mut memory = Memory::of(1024);
            for (number, replica) in &notes {
                memory.note(name(*number), *replica);
            }
            for number in 0..40 {
                let mut latest: Vec<u16> = Vec::new();
                for (_, replica) in notes.iter().rev().filter(|(noted, _)| *noted == number) {
                    if !latest.contains(replica) {
                        latest.push(*replica);
                    }
                }
                latest.truncate(HOLDERS_MAX);
                prop_assert_eq!(holders(&memory, name(number)), latest);
            }
        }
    }
}
