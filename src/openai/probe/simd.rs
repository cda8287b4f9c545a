//! Skipping over JSON 64 bytes at a time, with AVX2 and CLMUL, after simdjson (Langdale and
//! Lemire, "Parsing Gigabytes of JSON per Second", sections 3.1.1 and 3.1.2).
//!
//! Of each block come bit masks, one bit a byte: where a quote is that no backslash escapes,
//! and, by carry-less multiplication, what lies between quotes. Brackets outside are counted by
//! population count. What must be known of the block before is a [`Carry`].
//!
//! A backslash outside of a string occurs in no valid text, and ends a skip. That it escapes a
//! quote here all the same changes nothing of what lies in front of it.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8,
    _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_max_epu8, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_set1_epi8,
};

use super::{Inside, Skip, Stop, is_alien};

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
    fn string_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { string(bytes, inside) }
    }

    #[inline]
    fn container_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { container(bytes, inside) }
    }

    #[inline]
    fn plain(self, bytes: &[u8], at: usize) -> Option<usize> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { plain(bytes, at) }
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

    /// Where an alien byte may be, or a `+`: those four differ in two bits only.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn alien_or_plus(self) -> u64 {
        let mask = _mm256_set1_epi8(0xf3_u8.cast_signed());
        Block(
            _mm256_and_si256(self.0, mask),
            _mm256_and_si256(self.1, mask),
        )
        .equal(b'#')
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
    fn of(inside: &Inside) -> Carry {
        Carry {
            escaped: u64::from(inside.escaped),
            in_string: u64::from(inside.in_string).wrapping_neg(),
        }
    }

    fn leave_to(self, inside: &mut Inside) {
        inside.escaped = self.escaped != 0;
        inside.in_string = self.in_string != 0;
    }

    /// The quotes of a block that nothing escapes, and its backslashes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn plain_quotes(&mut self, block: Block) -> (u64, u64) {
        let backslashes = block.equal(b'\\');
        let quotes = block.equal(b'"') & !self.escaped(backslashes);
        (quotes, backslashes)
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

/// Calls `step` with the whole blocks of `bytes` from `at` on, until it finds something: `at` is
/// then where that block begins, else where the rest does.
#[inline(always)]
fn scan<T>(
    bytes: &[u8],
    at: &mut usize,
    mut step: impl FnMut(&[u8; BLOCK]) -> Option<T>,
) -> Option<T> {
    let (blocks, _rest) = bytes.get(*at..)?.as_chunks::<BLOCK>();
    for block in blocks {
        let found = step(block);
        if found.is_some() {
            return found;
        }
        *at += BLOCK;
    }
    None
}

/// What is left behind the whole blocks, filled up with spaces.
#[inline]
fn rest(bytes: &[u8], at: usize) -> [u8; BLOCK] {
    let mut last = [b' '; BLOCK];
    let rest = bytes.get(at..).unwrap_or_default();
    last[..rest.len()].copy_from_slice(rest);
    last
}

#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn string(bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
    let mut carry = Carry::of(inside);
    let step = |carry: &mut Carry, block: &[u8; BLOCK]| {
        let (quotes, _) = carry.plain_quotes(Block::load(block));
        (quotes != 0).then(|| quotes.trailing_zeros() as usize)
    };
    let found = scan(bytes, &mut inside.at, |block| step(&mut carry, block)).or_else(|| {
        carry.leave_to(inside);
        step(&mut carry, &rest(bytes, inside.at))
    });
    found.map(|offset| inside.at + offset).ok_or(Stop::End)
}

#[target_feature(enable = "avx2,bmi1")]
fn plain(bytes: &[u8], mut at: usize) -> Option<usize> {
    let step = |block: &[u8; BLOCK]| {
        let stops = Block::load(block).stops();
        (stops != 0).then(|| stops.trailing_zeros() as usize)
    };
    let found = scan(bytes, &mut at, step).or_else(|| step(&rest(bytes, at)));
    found.map(|offset| at + offset)
}

#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn container(bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
    let (mut carry, mut depth) = (Carry::of(inside), inside.depth);
    let found = scan(bytes, &mut inside.at, |block| {
        brackets(block, &mut carry, &mut depth)
    })
    .or_else(|| {
        carry.leave_to(inside);
        inside.depth = depth;
        brackets(&rest(bytes, inside.at), &mut carry, &mut depth)
    });
    match found {
        Some(Found::End(offset)) => Ok(inside.at + offset),
        Some(Found::Alien(offset)) => Err(Stop::Alien {
            at: inside.at + offset,
        }),
        None => Err(Stop::End),
    }
}

/// What ends a skip over a container, as an offset into the block.
enum Found {
    /// Just after the bracket that closes it.
    End(usize),
    Alien(usize),
}

/// Counts the brackets of a block.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn brackets(bytes: &[u8; BLOCK], carry: &mut Carry, depth: &mut usize) -> Option<Found> {
    let block = Block::load(bytes);
    let (quotes, backslashes) = carry.plain_quotes(block);
    let outside = !carry.strings(quotes);
    let braced = block.braced();
    let opening = braced.equal(b'{') & outside;
    let closing = braced.equal(b'}') & outside;
    let aliens = (block.alien_or_plus() | backslashes) & outside;
    let closed = closing.count_ones() as usize;
    let end = if closed < *depth {
        *depth = *depth + opening.count_ones() as usize - closed;
        None
    } else {
        last_bracket(opening, closing, depth)
    };
    if aliens != 0
        && let Some(alien) = first_alien(bytes, aliens)
        && end.is_none_or(|end| alien < end)
    {
        return Some(Found::Alien(alien));
    }
    end.map(Found::End)
}

#[cold]
fn first_alien(bytes: &[u8; BLOCK], mut aliens: u64) -> Option<usize> {
    while aliens != 0 {
        let offset = aliens.trailing_zeros() as usize;
        if is_alien(bytes[offset]) {
            return Some(offset);
        }
        aliens &= aliens - 1;
    }
    None
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
