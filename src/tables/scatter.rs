//! Where keys of a map lie.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Puts keys of a map in places that nobody outside can foresee, at a multiplication for each word: a
/// digest is uniformly distributed already, and of what clients bid a map has a bounded number.
#[derive(Clone, Copy)]
pub struct Scatter {
    added: u64,
    times: u64,
}

impl Default for Scatter {
    /// Another one each time.
    fn default() -> Scatter {
        let random = RandomState::new();
        Scatter {
            added: random.hash_one(0),
            times: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for Scatter {
    type Hasher = Scattered;

    #[inline]
    fn build_hasher(&self) -> Scattered {
        Scattered {
            by: *self,
            place: 0,
        }
    }
}

/// One key, on its way to its place.
pub struct Scattered {
    by: Scatter,
    place: u64,
}

impl Hasher for Scattered {
    #[inline]
    fn finish(&self) -> u64 {
        self.place
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let mixed = self.place ^ word ^ self.by.added;
        let product = u128::from(mixed) * u128::from(self.by.times);
        self.place = (product >> 64) as u64 ^ product as u64;
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::base::KeyDigest;

    #[test]
    fn where_a_digest_lies_is_another_place_in_each_table() {
        let digest = KeyDigest::of(b"ABC");
        let places: HashSet<u64> = (0..64)
            .map(|_| Scatter::default().hash_one(digest))
            .collect();
        assert!(places.len() > 60);
        // Both ends of a hash are looked at: the low bits and the highest seven.
        let scatter = Scatter::default();
        let hashes: Vec<u64> = (0..4096u16)
            .map(|id| scatter.hash_one(KeyDigest::of(&id.to_be_bytes())))
            .collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!((low.len(), high.len()), (256, 128));
    }

    #[test]
    fn short_numbers_are_scattered_too() {
        let scatter = Scatter::default();
        let places: HashSet<u64> = (0..4096u16).map(|it| scatter.hash_one(it)).collect();
        assert_eq!(places.len(), 4096);
    }
}
