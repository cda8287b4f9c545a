//! Chance that is the same for the same input.

/// A generator seeded by an input (FNV-1a, then xorshift64).
pub struct Dice(u64);

impl Dice {
    /// The generator of this input.
    pub fn of(input: &[u8]) -> Dice {
        let hash = input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Dice(hash | 1)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// Three ways to cut an input: at every byte, at one place, and at random ones.
    pub fn cuts<'i>(&mut self, input: &'i [u8]) -> [Vec<&'i [u8]>; 3] {
        let (front, back) = input.split_at(self.below(input.len() + 1));
        let mut pieces = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let length = 1 + self.below(rest.len().min(64));
            let (piece, behind) = rest.split_at(length);
            pieces.push(piece);
            rest = behind;
        }
        [input.chunks(1).collect(), vec![front, back], pieces]
    }
}
