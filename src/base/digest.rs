//! What a client key is known by.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a client key. It is not shown either: whoever guesses keys could check guesses
/// against it. Comparing two takes the same time whatever they are.
///
/// ```compile_fail,E0277
/// println!("{:?}", srpd::base::KeyDigest::of(b"key"));
/// ```
#[derive(Clone, Copy)]
pub struct KeyDigest([u64; 4]);

impl KeyDigest {
    /// The digest of a key.
    #[inline]
    pub fn of(key: &[u8]) -> KeyDigest {
        KeyDigest::from(<[u8; 32]>::from(Sha256::digest(key)))
    }
}

impl From<[u8; 32]> for KeyDigest {
    #[inline]
    fn from(bytes: [u8; 32]) -> KeyDigest {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        KeyDigest(words)
    }
}

impl PartialEq for KeyDigest {
    #[inline]
    fn eq(&self, other: &KeyDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

/// All 64 bits that a table has use for: a digest is uniformly distributed.
impl Hash for KeyDigest {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_sha_256() {
        let abc = "b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78";
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&abc[2 * at..2 * at + 2], 16).unwrap();
        }
        assert!(KeyDigest::of(b"ABC") == KeyDigest::from(bytes));
        assert!(KeyDigest::of(b"ABD") != KeyDigest::from(bytes));
    }

    #[test]
    fn every_byte_of_a_digest_counts() {
        let one = [7; 32];
        for at in 0..32 {
            let mut other = one;
            other[at] ^= 0x80;
            assert!(KeyDigest::from(one) != KeyDigest::from(other), "byte {at}");
        }
    }
}
