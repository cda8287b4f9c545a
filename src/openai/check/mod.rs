//! A strict check of a whole JSON text (RFC 8259), without building anything. Its answer is
//! `serde_json`'s at a fraction of the work: what holds the text together is marked first, 64
//! bytes at a time where the processor can (`marked`), and then gone through from mark to
//! mark. So no step waits for the one before to find where a string ends.
//!
//! What lies inside strings is checked for control characters and escapes, not for UTF-8: the
//! bytes are relayed as they are, and nothing here reads them.

mod marked;
#[cfg(test)]
mod tests;

use super::probe::Engine;
use marked::Marked;

/// Most containers inside one another. Clients' parsers have such a bound too: simdjson the same,
/// Python's about as many.
const DEPTH_MAX: usize = 1024;

/// A text that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not valid JSON")]
pub struct InvalidJson;

/// The key of a member, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Key<'t> {
    text: &'t [u8],
    escaped: bool,
}

impl Key<'_> {
    /// Whether it is `name`, its escapes decoded.
    #[inline]
    pub(super) fn reads(self, name: &str) -> bool {
        self.text == name.as_bytes() || (self.escaped && self.decodes_to(name))
    }

    #[cold]
    fn decodes_to(self, name: &str) -> bool {
        let quoted = [b"\"", self.text, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).is_ok_and(|key| key == name)
    }
}

/// Checks a text to its last byte, and shows the members of its top-level object in order, if it
/// is one.
///
/// # Errors
/// [`InvalidJson`], also for containers more than 1024 deep inside of a member. Members before
/// what is wrong have been shown.
pub(super) fn members<'t>(
    text: &'t [u8],
    mut show: impl FnMut(Key<'t>, &'t [u8]),
) -> Result<(), InvalidJson> {
    check(Engine::best(), text, |checker, key| {
        let value = checker.spanned()?;
        show(key, value);
        Ok(())
    })
}

/// The same, but shows the members of the object that is the top-level object's member of that name.
/// None is shown where such a member begins: of several, the last counts.
///
/// # Errors
/// As [`members`].
pub(super) fn members_within<'t>(
    text: &'t [u8],
    name: &str,
    show: impl FnMut(Option<(Key<'t>, &'t [u8])>),
) -> Result<(), InvalidJson> {
    members_within_with(Engine::best(), text, name, show)
}

fn members_within_with<'t>(
    engine: Engine,
    text: &'t [u8],
    name: &str,
    mut show: impl FnMut(Option<(Key<'t>, &'t [u8])>),
) -> Result<(), InvalidJson> {
    check(engine, text, |checker, key| {
        if !key.reads(name) {
            return checker.value();
        }
        show(None);
        if checker.peek() != b'{' {
            return checker.value();
        }
        checker.object(|checker, key| {
            let value = checker.spanned()?;
            show(Some((key, value)));
            Ok(())
        })
    })
}

/// Checks a text. `member` passes the value of each member of its top-level object, if it is one.
#[inline(always)]
fn check<'t>(
    engine: Engine,
    text: &'t [u8],
    member: impl FnMut(&mut Checker<'_, 't>, Key<'t>) -> Result<(), InvalidJson>,
) -> Result<(), InvalidJson> {
    let mut marked = Marked::new(engine, text);
    let mut kinds = [0; DEPTH_MAX / 64];
    let mut checker = Checker {
        text,
        at: 0,
        next: text.len(),
        block: 0,
        signs: 0,
        marked: &mut marked,
        open: Nesting {
            kinds: &mut kinds,
            depth: 0,
        },
    };
    checker.look_ahead();
    match checker.peek() {
        b'{' => checker.object(member)?,
        _ => checker.value()?,
    }
    checker.peek();
    let over = checker.at == text.len() && checker.marked.is_whole();
    over.then_some(()).ok_or(InvalidJson)
}

/// Goes through a text from sign to sign. What it has behind references would keep the rest of it
/// from being held in registers.
struct Checker<'c, 't> {
    text: &'t [u8],
    /// What is in front of it has been gone through.
    at: usize,
    /// The first sign from there on; the text's length if there is none.
    next: usize,
    /// Where its block begins, and the signs that follow it there.
    block: usize,
    signs: u64,
    marked: &'c mut Marked<'t>,
    open: Nesting<'c>,
}

impl<'t> Checker<'_, 't> {
    /// An object, which is here. `member` passes the value of each member.
    #[inline(always)]
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Key<'t>) -> Result<(), InvalidJson>,
    ) -> Result<(), InvalidJson> {
        self.pass();
        let mut more = !self.passes(b'}');
        while more {
            let key = self.key()?;
            member(self, key)?;
            more = self.passes(b',');
            if !more && !self.passes(b'}') {
                return Err(InvalidJson);
            }
        }
        Ok(())
    }

    /// Any value, and where it stands.
    #[inline(always)]
    fn spanned(&mut self) -> Result<&'t [u8], InvalidJson> {
        self.peek();
        let start = self.at;
        self.value()?;
        Ok(&self.text[start..self.at])
    }

    /// Any value, with all that it contains. Nothing is open before it, nor behind it.
    #[inline(always)]
    fn value(&mut self) -> Result<(), InvalidJson> {
        loop {
            match self.peek() {
                b'"' => {
                    self.pass();
                    self.string()?;
                }
                b'{' => {
                    self.pass();
                    if !self.passes(b'}') {
                        self.open.enter(true)?;
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.pass();
                    if !self.passes(b']') {
                        self.open.enter(false)?;
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            if !self.goes_on()? {
                return Ok(());
            }
        }
    }

    /// Behind a value: whether another follows. Closes the containers that end here.
    #[inline(always)]
    fn goes_on(&mut self) -> Result<bool, InvalidJson> {
        while let Some(is_object) = self.open.innermost() {
            let next = self.peek();
            self.pass();
            match (next, is_object) {
                (b',', true) => return self.key().map(|_| true),
                (b',', false) => return Ok(true),
                (b'}', true) | (b']', false) => self.open.leave(),
                _ => return Err(InvalidJson),
            }
        }
        Ok(false)
    }

    /// A key with its colon.
    #[inline(always)]
    fn key(&mut self) -> Result<Key<'t>, InvalidJson> {
        if !self.passes(b'"') {
            return Err(InvalidJson);
        }
        let text = self.string()?;
        let escaped = self.marked.has_escapes() && text.contains(&b'\\');
        let colon = self.passes(b':');
        colon.then_some(Key { text, escaped }).ok_or(InvalidJson)
    }

    /// The rest of a string whose opening quote has been passed; returned without the other one. In
    /// a string there are no signs: the next is its end.
    #[inline(always)]
    fn string(&mut self) -> Result<&'t [u8], InvalidJson> {
        let (start, end) = (self.at, self.next);
        if end == self.text.len() {
            return Err(InvalidJson);
        }
        self.at = end;
        self.pass();
        self.text.get(start..end).ok_or(InvalidJson)
    }

    #[inline(always)]
    fn literal(&mut self, word: &[u8]) -> Result<(), InvalidJson> {
        let is_there = self.text[self.at..].starts_with(word);
        self.at += word.len();
        is_there.then_some(()).ok_or(InvalidJson)
    }

    /// `[ "-" ] ( "0" / 1-9 *DIGIT ) [ "." 1*DIGIT ] [ ( "e" / "E" ) [ "+" / "-" ] 1*DIGIT ]`
    #[inline(always)]
    fn number(&mut self) -> Result<(), InvalidJson> {
        self.at += usize::from(self.here() == b'-');
        match self.here() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.here() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.here(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.here(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), InvalidJson> {
        let start = self.at;
        while self.here().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(()).ok_or(InvalidJson)
    }

    /// The byte that is here. A NUL behind the end: it is as wrong there as one would be elsewhere.
    #[inline(always)]
    fn here(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that isn't white space; it isn't passed.
    #[inline(always)]
    fn peek(&mut self) -> u8 {
        loop {
            let byte = self.here();
            // Of what is above a space nothing is white space.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Passes a sign.
    #[inline(always)]
    fn pass(&mut self) {
        self.at += 1;
        self.look_ahead();
    }

    #[inline(always)]
    fn look_ahead(&mut self) {
        if self.signs == 0 {
            match self.marked.take() {
                Some(block) => (self.block, self.signs) = block,
                None => return self.next = self.text.len(),
            }
        }
        self.next = self.block + self.signs.trailing_zeros() as usize;
        self.signs &= self.signs - 1;
    }

    /// Passes white space, and then `sign` if that is what follows.
    #[inline(always)]
    fn passes(&mut self, sign: u8) -> bool {
        let is_there = self.peek() == sign;
        if is_there {
            self.pass();
        }
        is_there
    }
}

/// The containers that are open, one bit each: 1 for an object.
struct Nesting<'c> {
    kinds: &'c mut [u64; DEPTH_MAX / 64],
    depth: usize,
}

impl Nesting<'_> {
    #[inline]
    fn enter(&mut self, object: bool) -> Result<(), InvalidJson> {
        let word = self.kinds.get_mut(self.depth / 64).ok_or(InvalidJson)?;
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether the innermost container is an object; none if all are closed.
    #[inline]
    fn innermost(&self) -> Option<bool> {
        let index = self.depth.checked_sub(1)?;
        Some(self.kinds[index / 64] >> (index % 64) & 1 == 1)
    }
}
