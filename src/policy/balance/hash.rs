//! A hash for texts and keys, in the manner of wyhash (Wang Yi, 2019): 16 bytes a multiplication.
//! The same in every process, so that several instances in front of one fleet agree. Whoever makes
//! collisions on purpose sends his own calls to one replica, as far as its bound lets him.

/// Odd numbers with as many ones as zeros in each byte.
const SECRET: [u64; 3] = [
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
];

/// The two halves of a product, added without carry.
#[inline]
pub fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one ^ SECRET[0]) * u128::from(other ^ SECRET[1]);
    (product >> 64) as u64 ^ product as u64
}

/// The hash of some bytes, behind what `seed` is the hash of.
#[inline]
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut hash = seed ^ SECRET[2];
    let step = |hash: u64, block: &[u8; 16]| {
        let word = u128::from_le_bytes(*block);
        fold(word as u64 ^ hash, (word >> 64) as u64)
    };
    for block in blocks {
        hash = step(hash, block);
    }
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    fold(step(hash, &last), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_bit_counts_and_so_does_the_length() {
        let text: Vec<u8> = (0..100).collect();
        let mut seen = HashSet::new();
        for length in 0..text.len() {
            assert!(seen.insert(hash(1, &text[..length])));
        }
        for bit in 0..text.len() * 8 {
            let mut other = text.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(hash(1, &other)));
        }
        assert!(seen.insert(hash(2, &text[..1])));
        assert!(!seen.insert(hash(1, &text[..1])));
    }

    #[test]
    fn bits_are_spread_evenly() {
        let ones: u32 = (0..4096u64)
            .map(|number| hash(1, &number.to_le_bytes()).count_ones())
            .sum();
        assert!((ones as f64 / 4096.0 - 32.0).abs() < 0.5);
    }

    #[test]
    fn it_is_the_same_everywhere() {
        let text = b"the same in every process";
        assert_eq!(hash(7, text), 2_440_939_811_460_171_549);
    }
}
