//! Seeded chance: what a call is like depends on the seed and the call's number alone, not on the
//! number of threads or on what was drawn before.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// Mixes a number so that neighbours have nothing in common (SplitMix64's finalizer).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The generator of one call, or of whatever else is numbered.
pub fn of(seed: u64, number: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(mix(seed) ^ mix(number.wrapping_add(0x5851_f42d)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn the_same_seed_and_number_give_the_same() {
        let draw = |seed, number| of(seed, number).random::<u64>();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
        assert_ne!(draw(1, 2), draw(2, 1));
    }
}
