//! Skipping over JSON 64 bytes at a time, with AVX2 or AVX-512 and CLMUL, after simdjson (Langdale
//! and Lemire, "Parsing Gigabytes of JSON per Second", sections 3.1.1 and 3.1.2).
//!
//! Of each block come bit masks, one bit a byte: where a quote is that no backslash escapes,
//! and, by carry-less multiplication, what lies between quotes. Brackets outside are counted by
//! population count. What must be known of the block before is a [`Carry`].
//!
//! A backslash outside of a string occurs in no valid text, and ends a skip. That it escapes a
//! quote here all the same changes nothing of what lies in front of it.
//!
//! All of it is written once, for any [`Wide`] processor, and inlined into [`Wide::compiled`]: there
//! it becomes that processor's code, with all the work that it is a part of.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x,
    _mm_set1_epi8, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_max_epu8,
    _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm512_and_si512,
    _mm512_cmpeq_epi8_mask, _mm512_cmple_epu8_mask, _mm512_loadu_si512, _mm512_or_si512,
    _mm512_set1_epi8,
};

use super::{BLOCK, Carry, Inside, Marks, Skip, Stop, Work, is_alien};

/// Proof that this processor has AVX2, CLMUL, POPCNT and BMI1: only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Avx2(());

/// Proof that this processor has all that, and AVX-512 F and BW: only [`Avx512::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Avx512(());

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

impl Avx512 {
    #[inline]
    pub(super) fn detect() -> Option<Avx512> {
        Avx2::detect()?;
        let all = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        all.then_some(Avx512(()))
    }
}

/// A processor that looks at a block in few steps. A value is the proof that this one can.
pub(in crate::openai) trait Wide: Copy {
    /// A block in its registers.
    type Block: Block;

    /// Takes a block up.
    fn load(self, bytes: &[u8; BLOCK]) -> Self::Block;

    /// Which bytes lie in strings, for each bit of `quotes`: the exclusive or of all bits up to it.
    fn sums(self, quotes: u64) -> u64;

    /// Does something with code that is compiled for this processor.
    fn compiled<W: Work>(self, work: W) -> W::Done;
}

/// A block in registers. Only [`Wide::load`] makes one, so that whoever has one has the proof.
pub(in crate::openai) trait Block: Copy {
    /// Where `byte` is.
    fn equal(self, byte: u8) -> u64;

    /// Where control characters are.
    fn controls(self) -> u64;

    /// Where brackets, colons and commas are.
    fn signs(self) -> u64;

    /// Where an alien byte may be, or a `+`: those four differ in two bits only.
    fn alien_or_plus(self) -> u64;

    /// With bit 5 of every byte set: `[` becomes `{`, `]` becomes `}`, and nothing else does.
    fn braced(self) -> Self;
}

/// The last byte below those that may stand in a string.
const CONTROL_LAST: i8 = 0x1f;
/// What the alien bytes and `+` have in common, in these bits.
const ALIEN_BITS: i8 = 0xf3_u8.cast_signed();
const ALIEN: u8 = b'#';
/// What a bracket lacks to be a brace.
const BRACE_BIT: i8 = 0x20;

/// A block as two registers of AVX2.
#[derive(Clone, Copy)]
pub(in crate::openai) struct Halves(__m256i, __m256i);

impl Halves {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(low: __m256i, high: __m256i) -> u64 {
        let [low, high] = [low, high].map(|half| _mm256_movemask_epi8(half).cast_unsigned());
        u64::from(low) | u64::from(high) << 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equals(self, byte: u8) -> u64 {
        let wanted = _mm256_set1_epi8(byte.cast_signed());
        Halves::mask(
            _mm256_cmpeq_epi8(self.0, wanted),
            _mm256_cmpeq_epi8(self.1, wanted),
        )
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn controlling(self) -> u64 {
        let last = _mm256_set1_epi8(CONTROL_LAST);
        let controls = |half| _mm256_cmpeq_epi8(_mm256_max_epu8(half, last), last);
        Halves::mask(controls(self.0), controls(self.1))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn signing(self) -> u64 {
        let [opening, closing, colon, comma] =
            [b'{', b'}', b':', b','].map(|sign| _mm256_set1_epi8(sign.cast_signed()));
        let signs = |half, braced| {
            let brackets = _mm256_or_si256(
                _mm256_cmpeq_epi8(braced, opening),
                _mm256_cmpeq_epi8(braced, closing),
            );
            let between = _mm256_or_si256(
                _mm256_cmpeq_epi8(half, colon),
                _mm256_cmpeq_epi8(half, comma),
            );
            _mm256_or_si256(brackets, between)
        };
        let braced = self.with(BRACE_BIT);
        Halves::mask(signs(self.0, braced.0), signs(self.1, braced.1))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn masked(self, mask: i8) -> Halves {
        let mask = _mm256_set1_epi8(mask);
        Halves(
            _mm256_and_si256(self.0, mask),
            _mm256_and_si256(self.1, mask),
        )
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn with(self, bits: i8) -> Halves {
        let bits = _mm256_set1_epi8(bits);
        Halves(_mm256_or_si256(self.0, bits), _mm256_or_si256(self.1, bits))
    }
}

// SAFETY, of each: a block is the proof that the processor has what the function is compiled for.
impl Block for Halves {
    #[inline(always)]
    fn equal(self, byte: u8) -> u64 {
        // SAFETY: as above.
        unsafe { self.equals(byte) }
    }

    #[inline(always)]
    fn controls(self) -> u64 {
        // SAFETY: as above.
        unsafe { self.controlling() }
    }

    #[inline(always)]
    fn signs(self) -> u64 {
        // SAFETY: as above.
        unsafe { self.signing() }
    }

    #[inline(always)]
    fn alien_or_plus(self) -> u64 {
        // SAFETY: as above.
        unsafe { self.masked(ALIEN_BITS).equals(ALIEN) }
    }

    #[inline(always)]
    fn braced(self) -> Halves {
        // SAFETY: as above.
        unsafe { self.with(BRACE_BIT) }
    }
}

/// A block as one register of AVX-512, which compares into masks.
#[derive(Clone, Copy)]
pub(in crate::openai) struct Whole(__m512i);

impl Whole {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn equals(self, byte: u8) -> u64 {
        _mm512_cmpeq_epi8_mask(self.0, _mm512_set1_epi8(byte.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn controlling(self) -> u64 {
        _mm512_cmple_epu8_mask(self.0, _mm512_set1_epi8(CONTROL_LAST))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn signing(self) -> u64 {
        let braced = self.with(BRACE_BIT);
        braced.equals(b'{') | braced.equals(b'}') | self.equals(b':') | self.equals(b',')
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn masked(self, mask: i8) -> Whole {
        Whole(_mm512_and_si512(self.0, _mm512_set1_epi8(mask)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn with(self, bits: i8) -> Whole {
        Whole(_mm512_or_si512(self.0, _mm512_set1_epi8(bits)))
    }
}

// SAFETY, of each: a block is the proof that the processor has what the function is compiled for.
impl Block for Whole {
    #[inline(always)]
    fn equal(self, byte: u8) -> u64 {
        // SAFETY: as above.
        unsafe { self.equals(byte) }
    }

    #[inline(always)]
    fn controls(self) -> u64 {
        // SAFETY: as above.
        unsafe { self.controlling() }
    }

    #[inline(always)]
    fn signs(self) -> u64 {
        // SAFETY: as above.
        unsafe { self.signing() }
    }

    #[inline(always)]
    fn alien_or_plus(self) -> u64 {
        // SAFETY: as above.
        unsafe { self.masked(ALIEN_BITS).equals(ALIEN) }
    }

    #[inline(always)]
    fn braced(self) -> Whole {
        // SAFETY: as above.
        unsafe { self.with(BRACE_BIT) }
    }
}

#[inline]
#[target_feature(enable = "pclmulqdq")]
fn sums(bits: u64) -> u64 {
    let bits: __m128i = _mm_set_epi64x(0, bits.cast_signed());
    let sums = _mm_clmulepi64_si128::<0>(bits, _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(sums).cast_unsigned()
}

impl Wide for Avx2 {
    type Block = Halves;

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> Halves {
        let start: *const __m256i = bytes.as_ptr().cast();
        // SAFETY: `self` is the proof of AVX2; both halves lie inside the 64 bytes, and `loadu` asks
        // for no alignment.
        unsafe { Halves(_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))) }
    }

    #[inline(always)]
    fn sums(self, quotes: u64) -> u64 {
        // SAFETY: `self` is the proof of CLMUL.
        unsafe { sums(quotes) }
    }

    #[inline]
    fn compiled<W: Work>(self, work: W) -> W::Done {
        #[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
        fn here<W: Work>(proof: Avx2, work: W) -> W::Done {
            work.with(proof)
        }
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { here(self, work) }
    }
}

impl Wide for Avx512 {
    type Block = Whole;

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> Whole {
        // SAFETY: `self` is the proof of AVX-512 F; the 64 bytes are the array's, and `loadu` asks
        // for no alignment.
        unsafe { Whole(_mm512_loadu_si512(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn sums(self, quotes: u64) -> u64 {
        // SAFETY: `self` is the proof of CLMUL.
        unsafe { sums(quotes) }
    }

    #[inline]
    fn compiled<W: Work>(self, work: W) -> W::Done {
        #[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,popcnt,bmi1")]
        fn here<W: Work>(proof: Avx512, work: W) -> W::Done {
            work.with(proof)
        }
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { here(self, work) }
    }
}

impl<W: Wide> Skip for W {
    #[inline(always)]
    fn string_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
        string(self, bytes, inside)
    }

    #[inline(always)]
    fn container_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
        container(self, bytes, inside)
    }

    #[inline(always)]
    fn marks(self, block: &[u8; BLOCK], carry: &mut Carry) -> Marks {
        marks(self, block, carry)
    }
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
    #[inline(always)]
    fn plain_quotes(&mut self, block: impl Block) -> (u64, u64) {
        let backslashes = block.equal(b'\\');
        let quotes = block.equal(b'"') & !self.escaped(backslashes);
        (quotes, backslashes)
    }

    /// Which bytes are escaped: those behind an odd number of backslashes. A run of backslashes
    /// is subtracted from the odd bits, so that the borrow runs to its end and the parity of
    /// where it started tells whether what follows is escaped.
    #[inline(always)]
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
    #[inline(always)]
    fn strings(&mut self, wide: impl Wide, quotes: u64) -> u64 {
        let strings = wide.sums(quotes) ^ self.in_string;
        self.in_string = (strings.cast_signed() >> 63).cast_unsigned();
        strings
    }
}

/// The whole blocks of `bytes` from `at` on.
#[inline(always)]
fn blocks(bytes: &[u8], at: usize) -> &[[u8; BLOCK]] {
    bytes.get(at..).unwrap_or_default().as_chunks().0
}

/// What is left behind the whole blocks, filled up with spaces.
#[inline(always)]
fn rest(bytes: &[u8], at: usize) -> [u8; BLOCK] {
    let mut last = [b' '; BLOCK];
    let rest = bytes.get(at..).unwrap_or_default();
    last[..rest.len()].copy_from_slice(rest);
    last
}

/// The offset of the first bit that is set.
#[inline(always)]
fn first(bits: u64) -> Option<usize> {
    match bits {
        0 => None,
        bits => Some(bits.trailing_zeros() as usize),
    }
}

// Loops and no closures: these are inlined into what is compiled for the processor, closures
// need not be.

#[inline(always)]
fn string(wide: impl Wide, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
    let mut carry = Carry::of(inside);
    for block in blocks(bytes, inside.at) {
        let (quotes, _) = carry.plain_quotes(wide.load(block));
        if let Some(offset) = first(quotes) {
            return Ok(inside.at + offset);
        }
        inside.at += BLOCK;
    }
    carry.leave_to(inside);
    let (quotes, _) = carry.plain_quotes(wide.load(&rest(bytes, inside.at)));
    match first(quotes) {
        Some(offset) => Ok(inside.at + offset),
        None => Err(Stop::End),
    }
}

#[inline(always)]
fn marks(wide: impl Wide, bytes: &[u8; BLOCK], carry: &mut Carry) -> Marks {
    let block = wide.load(bytes);
    let backslashes = block.equal(b'\\');
    let escaped = carry.escaped(backslashes);
    let quotes = block.equal(b'"') & !escaped;
    let strings = carry.strings(wide, quotes);
    Marks {
        signs: quotes | (block.signs() & !strings),
        escaped: escaped & strings,
        flaws: (block.controls() & strings) | (backslashes & !strings),
    }
}

#[inline(always)]
fn container(wide: impl Wide, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
    let (mut carry, mut depth) = (Carry::of(inside), inside.depth);
    for block in blocks(bytes, inside.at) {
        if let Some(found) = brackets(wide, block, &mut carry, &mut depth) {
            return found.at(inside.at);
        }
        inside.at += BLOCK;
    }
    carry.leave_to(inside);
    inside.depth = depth;
    match brackets(wide, &rest(bytes, inside.at), &mut carry, &mut depth) {
        Some(found) => found.at(inside.at),
        None => Err(Stop::End),
    }
}

/// What ends a skip over a container, as an offset into the block.
enum Found {
    /// Just after the bracket that closes it.
    End(usize),
    Alien(usize),
}

impl Found {
    /// What it says of the whole, if the block begins at `at`.
    #[inline(always)]
    fn at(self, at: usize) -> Result<usize, Stop> {
        match self {
            Found::End(offset) => Ok(at + offset),
            Found::Alien(offset) => Err(Stop::Alien { at: at + offset }),
        }
    }
}

/// Counts the brackets of a block.
#[inline(always)]
fn brackets(
    wide: impl Wide,
    bytes: &[u8; BLOCK],
    carry: &mut Carry,
    depth: &mut usize,
) -> Option<Found> {
    let block = wide.load(bytes);
    let (quotes, backslashes) = carry.plain_quotes(block);
    let outside = !carry.strings(wide, quotes);
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
#[inline(always)]
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
