//! What of a call tells which replica may know its beginning: a key, or the hashes of ever longer
//! beginnings of its text.

use super::hash::{fold, hash};

/// Bytes of the shortest beginning that is looked at: some 64 tokens of English. A replica that
/// knows less saves nothing to speak of.
const FIRST_BYTES: usize = 256;

/// The most beginnings of one text that are looked at. Each is a quarter longer than the one
/// before, so that the last ends near 256 KiB: however long a text is, little is kept of it, and
/// how much of it is known can be told to within a fifth.
pub const BEGINNINGS_MAX: usize = 32;

/// Where each beginning ends.
const ENDS: [usize; BEGINNINGS_MAX] = {
    let mut ends = [FIRST_BYTES; BEGINNINGS_MAX];
    let mut index = 1;
    while index < BEGINNINGS_MAX {
        ends[index] = ends[index - 1] + ends[index - 1] / 4;
        index += 1;
    }
    ends
};

/// How many bytes the beginning at an index below [`BEGINNINGS_MAX`] has.
pub(super) fn end_of(index: usize) -> u64 {
    ENDS[index] as u64
}

/// Where a call comes from, as far as prefix caches care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The hash of the conversation's key, if it has one: then its text isn't looked at.
    key: Option<u64>,
    /// The hash of each beginning of the text, the shortest first.
    beginnings: [u64; BEGINNINGS_MAX],
    count: usize,
    /// Bytes of the whole text.
    length: u64,
    /// The hash of a text that is shorter than the shortest beginning.
    short: u64,
}

impl Trail {
    /// By a key that the client gave. `kind` tells apart keys of different kinds.
    pub fn of_key(kind: u64, key: &[u8]) -> Trail {
        Trail {
            key: Some(hash(kind, key)),
            beginnings: [0; BEGINNINGS_MAX],
            count: 0,
            length: 0,
            short: 0,
        }
    }

    /// By the text of a prompt, in parts. `model` tells apart what is asked of different models:
    /// one's cache is of no use to another.
    pub fn of_text(model: u64, parts: &[&[u8]]) -> Trail {
        let mut trail = Trail {
            key: None,
            beginnings: [0; BEGINNINGS_MAX],
            count: 0,
            length: parts.iter().map(|part| part.len() as u64).sum(),
            short: 0,
        };
        let mut chain = model;
        // What is left of the block that is being hashed.
        let mut left = ENDS[0];
        for part in parts {
            let mut rest = *part;
            while rest.len() >= left && trail.count < BEGINNINGS_MAX {
                let (block, after) = rest.split_at(left);
                chain = hash(chain, block);
                trail.beginnings[trail.count] = chain;
                trail.count += 1;
                rest = after;
                let next = ENDS.get(trail.count).copied().unwrap_or(usize::MAX);
                left = next - ENDS[trail.count - 1];
            }
            if trail.count == BEGINNINGS_MAX {
                break;
            }
            chain = hash(chain, rest);
            left -= rest.len();
        }
        trail.short = chain;
        trail
    }

    /// Bytes of the text; 0 if there is a key instead.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The key's hash.
    pub(super) fn key(&self) -> Option<u64> {
        self.key
    }

    /// The hashes of the text's beginnings, the shortest first.
    pub(super) fn beginnings(&self) -> &[u64] {
        &self.beginnings[..self.count]
    }

    /// What distinguishes the text from others of which the first `known` beginnings are the same:
    /// the next longer one, or else the whole.
    pub(super) fn beyond(&self, known: usize) -> u64 {
        match self.beginnings().get(known) {
            Some(next) => *next,
            None => self.beginnings().last().copied().unwrap_or(self.short),
        }
    }
}

/// What a beginning is called at one provider: its replicas know nothing of another's.
pub(super) fn at_provider(beginning: u64, provider: u64) -> u64 {
    fold(beginning, provider)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trail(text: &[u8]) -> Trail {
        Trail::of_text(1, &[text])
    }

    fn shared(one: &Trail, other: &Trail) -> usize {
        let pairs = one.beginnings().iter().zip(other.beginnings());
        pairs.take_while(|(one, other)| one == other).count()
    }

    #[test]
    fn beginnings_grow_to_a_quarter_of_a_mebibyte() {
        let text = vec![b'x'; 1 << 20];
        assert_eq!(trail(&text).beginnings().len(), BEGINNINGS_MAX);
        assert!((230_000..270_000).contains(&ENDS[BEGINNINGS_MAX - 1]));
        for (index, end) in ENDS.into_iter().enumerate() {
            assert_eq!(trail(&text[..end - 1]).count, index);
            assert_eq!(trail(&text[..end]).count, index + 1);
        }
    }

    #[test]
    fn other_models_and_keys_are_told_apart() {
        let text = [b'x'; 300];
        let of = |model| Trail::of_text(model, &[&text]);
        assert_ne!(of(1).beginnings(), of(2).beginnings());
        assert_ne!(Trail::of_key(1, b"a"), Trail::of_key(1, b"b"));
        assert_ne!(Trail::of_key(1, b"a"), Trail::of_key(2, b"a"));
    }

    #[test]
    fn what_is_shorter_than_a_block_is_told_apart_as_a_whole() {
        assert_ne!(trail(b"one").beyond(0), trail(b"two").beyond(0));
        assert_eq!(trail(b"one").beyond(0), trail(b"one").beyond(0));
    }

    proptest! {
        #[test]
        fn what_is_told_apart_is_where_texts_part(
            text in proptest::collection::vec(any::<u8>(), 0..6000),
            more in proptest::collection::vec(any::<u8>(), 0..3000),
            change in any::<prop::sample::Index>(),
        ) {
            let longer = [text.clone(), more].concat();
            prop_assert_eq!(shared(&trail(&text), &trail(&longer)), trail(&text).count);
            if !text.is_empty() {
                let at = change.index(text.len());
                let mut other = longer.clone();
                other[at] ^= 1;
                let same = ENDS.into_iter().filter(|end| *end <= at).count();
                let (one, other) = (trail(&longer), trail(&other));
                prop_assert_eq!(shared(&one, &other), same.min(one.count));
                prop_assert!(same >= one.count || one.beyond(same) != other.beyond(same));
            }
        }

        #[test]
        fn parts_are_one_text_up_to_where_they_end(
            one in proptest::collection::vec(any::<u8>(), 0..2000),
            other in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let both = Trail::of_text(1, &[&one, &other]);
            prop_assert_eq!(both.count, trail(&[one.clone(), other].concat()).count);
            prop_assert_eq!(shared(&both, &trail(&one)), trail(&one).count);
        }
    }
}
