//! The signs that hold a JSON text together, found block by block.

use crate::openai::probe::{BLOCK, Carry, Engine, Skip, Work};

/// Blocks that are marked at a time.
const AHEAD: usize = 32;

/// The signs of a text, found some blocks ahead of those who go through them: its quotes, and outside
/// of strings its brackets, colons and commas.
pub(super) struct Marked<'t> {
    engine: Engine,
    text: &'t [u8],
    signs: [u64; AHEAD],
    /// The blocks in `signs`, and how many of them have been taken.
    blocks: usize,
    taken: usize,
    /// Where the first block is that has not been marked.
    behind: usize,
    carry: Carry,
    escapes: bool,
    flawed: bool,
}

impl<'t> Marked<'t> {
    #[inline]
    pub(super) fn new(engine: Engine, text: &'t [u8]) -> Marked<'t> {
        Marked {
            engine,
            text,
            signs: [0; AHEAD],
            blocks: 0,
            taken: 0,
            behind: 0,
            carry: Carry::default(),
            escapes: false,
            flawed: false,
        }
    }

    /// The next block that has signs: where it begins, and its signs.
    #[inline(never)]
    pub(super) fn take(&mut self) -> Option<(usize, u64)> {
        loop {
            while let Some(&signs) = self.signs[..self.blocks].get(self.taken) {
                let block = self.behind - (self.blocks - self.taken) * BLOCK;
                self.taken += 1;
                if signs != 0 {
                    return Some((block, signs));
                }
            }
            if self.behind >= self.text.len() || self.flawed {
                return None;
            }
            self.engine.run(Marking(self));
        }
    }

    /// Whether a backslash has been met so far.
    #[inline]
    pub(super) fn has_escapes(&self) -> bool {
        self.escapes
    }

    /// Whether there was nothing in it that no text may have, and it ended outside of strings.
    pub(super) fn is_whole(&self) -> bool {
        !self.flawed && !self.carry.is_in_string()
    }
}

/// The marking of the next blocks of a text.
struct Marking<'m, 't>(&'m mut Marked<'t>);

impl Work for Marking<'_, '_> {
    type Done = ();

    // A loop and no closures, and the carry in a variable of its own: see `probe/simd.rs`.
    #[inline(always)]
    fn with(self, skip: impl Skip) {
        let Marking(marked) = self;
        let mut carry = marked.carry;
        let (mut blocks, mut flaws) = (0, 0);
        while blocks < AHEAD && marked.behind < marked.text.len() {
            let rest = &marked.text[marked.behind..];
            let marks = match rest.first_chunk() {
                Some(block) => skip.marks(block, &mut carry),
                None => {
                    let mut last = [b' '; BLOCK];
                    last[..rest.len()].copy_from_slice(rest);
                    skip.marks(&last, &mut carry)
                }
            };
            flaws |= marks.flaws;
            if marks.escaped != 0 {
                marked.escapes = true;
                flaws |= u64::from(!are_escapes(rest, marks.escaped));
            }
            marked.signs[blocks] = marks.signs;
            blocks += 1;
            marked.behind += BLOCK;
        }
        (marked.blocks, marked.taken, marked.carry) = (blocks, 0, carry);
        marked.flawed |= flaws != 0;
    }
}

/// What a backslash may escape with nothing else to it. A table, since code is full of escapes.
static SHORT_ESCAPES: [bool; 256] = {
    let mut short = [false; 256];
    let mut index = 0;
    while index < SHORT.len() {
        short[SHORT[index] as usize] = true;
        index += 1;
    }
    short
};
const SHORT: &[u8] = b"\"\\/bfnrt";

/// Whether behind each backslash there is what it may escape: `escaped` says where, in the block that
/// `rest` begins with.
#[inline(always)]
fn are_escapes(rest: &[u8], mut escaped: u64) -> bool {
    while escaped != 0 {
        let at = escaped.trailing_zeros() as usize;
        let is_short = |&byte: &u8| SHORT_ESCAPES[usize::from(byte)];
        if !rest.get(at).is_some_and(is_short) && !is_long_escape(rest.get(at..)) {
            return false;
        }
        escaped &= escaped - 1;
    }
    true
}

/// `u` and four hexadecimal digits.
#[inline(never)]
fn is_long_escape(rest: Option<&[u8]>) -> bool {
    let digits = rest.and_then(|rest| rest.strip_prefix(b"u")?.first_chunk::<4>());
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}
