//! A small deterministic generator (SplitMix64) for jitter, request ids and tests: seeded by its
//! owner, so that what uses it can be replayed. Not for secrets.

/// SplitMix64: one 64-bit word of state, full period.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator that yields the same sequence for the same seed.
    pub fn new(seed: u64) -> Prng {
        Prng(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}
