//! Skipping over JSON 64 bytes at a time, with AVX2 and CLMUL, after simdjson (Langdale and
//! Lemire, "Parsing Gigabytes of JSON per Second", sections 3.1.1 and 3.1.2).
//!
//! Of each block come bit masks, one bit a byte: where a quote is that no backslash escapes,
//! and, by carry-less multiplication, what lies between quotes. Brackets outside are counted by
//! population count. What must be known of the block before is a [`Carry`].
//!
//! A backslash outside of a string occurs in no valid text. Here it escapes a quote all the same,
//! and `scalar` does likewise.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8,
    _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_max_epu8, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set1_epi8,
};

use super::Skip;

/// Proof that this processor has AVX2, CLMUL, POPCNT and BMI1: only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Avx2(());

impl Avx2 {
    #[inline]
    pub(super) fn detect() -> Option<Avx2> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi1");
        all.then_some(Avx2(()))
    }
}

impl Skip for Avx2 {
    #[inline]
    fn string(self, bytes: &[u8], at: usize) -> Option<usize> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { string(bytes, at) }
    }

    #[inline]
    fn plain(self, bytes: &[u8], at: usize) -> Option<usize> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { plain(bytes, at) }
    }

    #[inline]
    fn container(self, bytes: &[u8], at: usize) -> Option<usize> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { container(bytes, at) }
    }
}

/// Bytes looked at together: one bit each in a `u64`.
const BLOCK: usize = 64;

/// The halves of one block.
#[derive(Clone, Copy)]
struct Block(__m256i, __m256i);

impl Block {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; BLOCK]) -> Block {
        let start: *const __m256i = bytes.as_ptr().cast();
        // SAFETY: both halves lie inside the 64 bytes, and `loadu` asks for no alignment.
        unsafe { Block(_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))) }
    }

    /// Where `byte` is.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal(self, byte: u8) -> u64 {
        let wanted = _mm256_set1_epi8(byte.cast_signed());
        let low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(self.0, wanted)).cast_unsigned();
        let high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(self.1, wanted)).cast_unsigned();
        u64::from(low) | u64::from(high) << 32
    }

    /// Where bytes are that can't stand in a string as they are.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn stops(self) -> u64 {
        let quote = _mm256_set1_epi8(b'"'.cast_signed());
        let backslash = _mm256_set1_epi8(b'\\'.cast_signed());
        let control = _mm256_set1_epi8(0x1f);
        let stops = |half| {
            let signs = _mm256_or_si256(
                _mm256_cmpeq_epi8(half, quote),
                _mm256_cmpeq_epi8(half, backslash),
            );
            let controls = _mm256_cmpeq_epi8(_mm256_max_epu8(half, control), control);
            _mm256_movemask_epi8(_mm256_or_si256(signs, controls)).cast_unsigned()
        };
        u64::from(stops(self.0)) | u64::from(stops(self.1)) << 32
    }

    /// With bit 5 of every byte set: `[` becomes `{`, `]` becomes `}`, and nothing else does.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn braced(self) -> Block {
        let bit = _mm256_set1_epi8(0x20);
        Block(_mm256_or_si256(self.0, bit), _mm256_or_si256(self.1, bit))
    }
}

/// What one block must know of the one before.
#[derive(Clone, Copy, Default)]
struct Carry {
    /// 1 if the first byte of the block is escaped.
    escaped: u64,
    /// All ones if the block begins inside a string.
    in_string: u64,
}

impl Carry {
    /// The quotes of a block that nothing escapes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn plain_quotes(&mut self, block: Block) -> u64 {
        let backslashes = block.equal(b'\\');
        block.equal(b'"') & !self.escaped(backslashes)
    }

    /// Which bytes are escaped: those behind an odd number of backslashes. A run of backslashes
    /// is subtracted from the odd bits, so that the borrow runs to its end and the parity of
    /// where it started tells whether what follows is escaped.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        if backslashes == 0 {
            return std::mem::take(&mut self.escaped);
        }
        let escaping = backslashes & !self.escaped;
        let behind = (escaping << 1) | ODD;
        let codes = behind.wrapping_sub(escaping) ^ ODD;
        let escaped = codes ^ (backslashes | self.escaped);
        self.escaped = (codes & backslashes) >> 63;
        escaped
    }

    /// Which bytes lie in strings, opening quotes included: each bit is the exclusive or of all
    /// quotes up to it.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn strings(&mut self, quotes: u64) -> u64 {
        let quotes: __m128i = _mm_set_epi64x(0, quotes.cast_signed());
        let sums = _mm_clmulepi64_si128::<0>(quotes, _mm_set1_epi8(-1));
        let strings = _mm_cvtsi128_si64(sums).cast_unsigned() ^ self.in_string;
        self.in_string = (strings.cast_signed() >> 63).cast_unsigned();
        strings
    }
}

/// Calls `step` with the blocks of `bytes` from `at` on, the last one filled up with spaces, until
/// it finds the offset of something in one.
#[inline(always)]
fn scan(
    bytes: &[u8],
    at: usize,
    mut step: impl FnMut(&[u8; BLOCK]) -> Option<usize>,
) -> Option<usize> {
    let (blocks, rest) = bytes.get(at..)?.as_chunks::<BLOCK>();
    let mut base = at;
    for block in blocks {
        if let Some(offset) = step(block) {
            return Some(base + offset);
        }
        base += BLOCK;
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    step(&last).map(|offset| base + offset)
}

#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut carry = Carry::default();
    scan(bytes, at, |block| {
        let quotes = carry.plain_quotes(Block::load(block));
        (quotes != 0).then(|| quotes.trailing_zeros() as usize)
    })
}

#[target_feature(enable = "avx2,bmi1")]
fn plain(bytes: &[u8], at: usize) -> Option<usize> {
    scan(bytes, at, |block| {
        let stops = Block::load(block).stops();
        (stops != 0).then(|| stops.trailing_zeros() as usize)
    })
}

#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn container(bytes: &[u8], at: usize) -> Option<usize> {
    let mut carry = Carry::default();
    let mut depth = 1_usize;
    scan(bytes, at, |block| {
        let block = Block::load(block);
        let quotes = carry.plain_quotes(block);
        let outside = !carry.strings(quotes);
        let braced = block.braced();
        let opening = braced.equal(b'{') & outside;
        let closing = braced.equal(b'}') & outside;
        let closed = closing.count_ones() as usize;
        if closed < depth {
            depth = depth + opening.count_ones() as usize - closed;
            return None;
        }
        last_bracket(opening, closing, &mut depth)
    })
}

/// Goes through the closing brackets of a block that may bring `depth` to zero: the offset just
/// after the one that does. None of them in particular: `depth` is that after the block.
#[inline]
#[target_feature(enable = "popcnt,bmi1")]
fn last_bracket(opening: u64, mut closing: u64, depth: &mut usize) -> Option<usize> {
    let before = *depth;
    let mut closed = 0;
    while closing != 0 {
        let bit = closing & closing.wrapping_neg();
        closed += 1;
        if before + (opening & (bit - 1)).count_ones() as usize == closed {
            return Some(bit.trailing_zeros() as usize + 1);
        }
        closing ^= bit;
    }
    *depth = before + opening.count_ones() as usize - closed;
    None
}
