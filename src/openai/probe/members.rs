//! The members of one JSON object, in order: of one that is there whole, or of one that is still
//! being received, whose walk goes on with each part that comes.

use std::ops::Range;

use super::{Inside, ProbeError, Skip, Stop};

/// Bytes of a key with its colon and the white space around it, and of a number: what is looked at
/// again if it is cut must have a bound.
const STEP_BYTES_MAX: usize = 64 * 1024;

/// One `"key": value`, as offsets.
pub(in crate::openai) struct Member {
    /// The key, without its quotes.
    pub(in crate::openai) key: Range<usize>,
    /// The value; a string's quotes and a container's brackets included.
    pub(in crate::openai) value: Range<usize>,
}

/// How far a walk has come: what is kept of it until more of the body is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The next byte to be looked at.
    at: usize,
    /// A member has gone before.
    behind: bool,
    stage: Stage,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    /// Before the comma and the key of a member, or before the end.
    #[default]
    Key,
    /// Before a value.
    Value { key: Range<usize> },
    /// Inside of a value that begins at `start`.
    Inside {
        key: Range<usize>,
        start: usize,
        inside: Inside,
    },
    /// Behind the object.
    Closed,
}

/// Walks the members of an object that is the whole of a text but for white space. An error at the
/// very end of the bytes says that more are needed: with them, the walk goes on.
pub(in crate::openai) struct Members<'b, S> {
    skip: S,
    body: &'b [u8],
    place: Place,
}

impl<'b, S: Skip> Members<'b, S> {
    /// Enters the object.
    #[inline(always)]
    pub(in crate::openai) fn open(skip: S, body: &'b [u8]) -> Result<Self, ProbeError> {
        let mut members = Members::resume(skip, body, Place::default());
        let opened = members.expect(b'{', "an object");
        step(0, members.place.at)?;
        opened.map(|()| members)
    }

    /// Goes on at a place, with more of the body than there was.
    #[inline(always)]
    pub(super) fn resume(skip: S, body: &'b [u8], place: Place) -> Self {
        Members { skip, body, place }
    }

    /// Where to go on.
    #[inline(always)]
    pub(super) fn place(self) -> Place {
        self.place
    }

    /// The offset of the next byte to be looked at.
    pub(in crate::openai) fn at(&self) -> usize {
        self.place.at
    }

    /// The next member; `None` once the object is closed and nothing but white space follows.
    #[inline(always)]
    pub(in crate::openai) fn next(&mut self) -> Result<Option<Member>, ProbeError> {
        let (key, start) = match std::mem::take(&mut self.place.stage) {
            Stage::Key => {
                let (at, behind) = (self.place.at, self.place.behind);
                match self.key() {
                    Ok(Some(key)) => (key, None),
                    Ok(None) => return self.closed(),
                    Err(error) => {
                        (self.place.at, self.place.behind) = (at, behind);
                        return Err(error);
                    }
                }
            }
            Stage::Value { key } => (key, None),
            Stage::Inside { key, start, inside } => (key, Some((start, inside))),
            Stage::Closed => return self.closed(),
        };
        let value = match start {
            None => self.value(key.clone())?,
            Some((start, inside)) => self.rest(key.clone(), start, inside)?,
        };
        Ok(Some(Member { key, value }))
    }

    #[inline(always)]
    fn closed(&mut self) -> Result<Option<Member>, ProbeError> {
        self.place.stage = Stage::Closed;
        match self.peek() {
            None => Ok(None),
            Some(_) => Err(self.expected("the end of the body")),
        }
    }

    /// The next key, and its colon. None if the object is closed instead.
    #[inline(always)]
    fn key(&mut self) -> Result<Option<Range<usize>>, ProbeError> {
        let from = self.place.at;
        let found = self.peek();
        if found == Some(b'}') {
            self.place.at += 1;
            return Ok(None);
        }
        if self.place.behind {
            self.expect(b',', "',' or '}'")?;
        }
        self.place.behind = true;
        let key = self.quoted().and_then(|key| {
            self.expect(b':', "':'")?;
            Ok(key)
        });
        let to = match key {
            Err(ProbeError::Malformed { at, .. }) => at,
            _ => self.place.at,
        };
        step(from, to)?;
        key.map(Some)
    }

    #[inline(always)]
    fn quoted(&mut self) -> Result<Range<usize>, ProbeError> {
        self.expect(b'"', "a key")?;
        let start = self.place.at;
        let end = self.skip.string(self.body, start);
        let end = end.ok_or_else(|| self.cut_short("'\"'"))?;
        self.place.at = end + 1;
        Ok(start..end)
    }

    #[inline(always)]
    fn value(&mut self, key: Range<usize>) -> Result<Range<usize>, ProbeError> {
        let first = self.peek();
        let start = self.place.at;
        match first {
            Some(b'"' | b'{' | b'[') => self.rest(key, start, Inside::from(start + 1)),
            Some(_) => self.literal(key),
            None => {
                self.place.stage = Stage::Value { key };
                Err(self.expected("a value"))
            }
        }
    }

    /// The rest of a string or of a container.
    #[inline(always)]
    fn rest(
        &mut self,
        key: Range<usize>,
        start: usize,
        mut inside: Inside,
    ) -> Result<Range<usize>, ProbeError> {
        let open = self.body[start];
        let end = match open {
            b'"' => self.skip.string_on(self.body, &mut inside),
            _ => self.skip.container_on(self.body, &mut inside),
        };
        match (end, open) {
            (Ok(end), b'"') => {
                self.place.at = end + 1;
                Ok(start..end + 1)
            }
            // In ASCII, either closing bracket is its opening one plus two.
            (Ok(end), _) if self.body[end - 1] == open + 2 => {
                self.place.at = end;
                Ok(start..end)
            }
            (Ok(end), _) => {
                self.place.at = end - 1;
                Err(self.expected("the other closing bracket"))
            }
            (Err(Stop::Alien { at }), _) => {
                self.place.at = at;
                Err(self.expected("JSON, without comments and in double quotes,"))
            }
            (Err(Stop::End), _) => {
                self.place.stage = Stage::Inside { key, start, inside };
                Err(self.cut_short(match open {
                    b'"' => "'\"'",
                    _ => "'}' or ']'",
                }))
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    #[inline(always)]
    fn literal(&mut self, key: Range<usize>) -> Result<Range<usize>, ProbeError> {
        let start = self.place.at;
        let rest = &self.body[start..];
        let rest = &rest[..rest.len().min(STEP_BYTES_MAX)];
        let is_end = |b: &u8| matches!(b, b',' | b'}') || is_space(*b);
        let Some(length) = rest.iter().position(is_end) else {
            if rest.len() == STEP_BYTES_MAX {
                return Err(self.expected("a value"));
            }
            self.place.stage = Stage::Value { key };
            return Err(self.cut_short("',' or '}'"));
        };
        match &rest[..length] {
            b"true" | b"false" | b"null" => {}
            [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(|b| is_number(*b)) => {}
            _ => return Err(self.expected("a value")),
        }
        self.place.at += length;
        Ok(start..self.place.at)
    }

    /// Passes white space and then `byte`.
    #[inline(always)]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ProbeError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.place.at += 1;
                Ok(())
            }
            _ => Err(self.expected(what)),
        }
    }

    /// The next byte that isn't white space; it isn't passed.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.body.get(self.place.at) {
            if !is_space(byte) {
                return Some(byte);
            }
            self.place.at += 1;
        }
        None
    }

    fn expected(&self, expected: &'static str) -> ProbeError {
        ProbeError::Malformed {
            at: self.place.at,
            expected,
        }
    }

    fn cut_short(&self, expected: &'static str) -> ProbeError {
        ProbeError::Malformed {
            at: self.body.len(),
            expected,
        }
    }
}

/// Keeps a step within its bound, whether it came to its end or ran out of bytes.
#[inline]
fn step(from: usize, to: usize) -> Result<(), ProbeError> {
    if to - from <= STEP_BYTES_MAX {
        return Ok(());
    }
    Err(ProbeError::Malformed {
        at: from,
        expected: "a shorter key, or less white space,",
    })
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// Which of `names` a key is, if any.
///
/// A key that is one of them only after its escapes are decoded, or in another case, is
/// ambiguous: some parsers decode late, and some (Go's) match keys whatever their case.
pub(in crate::openai) fn known_key(
    names: &[&'static str],
    body: &[u8],
    key: &Range<usize>,
) -> Result<Option<usize>, ProbeError> {
    let text = &body[key.clone()];
    if let Some(index) = names.iter().position(|name| text == name.as_bytes()) {
        return Ok(Some(index));
    }
    // Without a way out on the way: so it is done many bytes at a time.
    let unusual = |&byte: &u8| !(b' '..0x7f).contains(&byte) | (byte == b'\\');
    if text.iter().fold(false, |any, byte| any | unusual(byte)) {
        return unusual_key(names, body, key).map(|()| None);
    }
    match names
        .iter()
        .find(|name| text.eq_ignore_ascii_case(name.as_bytes()))
    {
        Some(key) => Err(ProbeError::Ambiguous { key }),
        None => Ok(None),
    }
}

/// A key with escapes or beyond ASCII: fine, unless it amounts to one of `names`. One that isn't
/// Unicode, or that has a NUL, may amount to anything: some parsers leave out what they can't read,
/// some end at the NUL.
#[cold]
fn unusual_key(names: &[&'static str], body: &[u8], key: &Range<usize>) -> Result<(), ProbeError> {
    let quoted = &body[key.start - 1..key.end + 1];
    let decoded: Option<String> = serde_json::from_slice(quoted).ok();
    let decoded = decoded.filter(|decoded| !decoded.contains('\0'));
    let decoded = decoded.ok_or(ProbeError::Malformed {
        at: key.start,
        expected: "a valid key",
    })?;
    // The two letters that Unicode folds into ASCII: long s and the Kelvin sign.
    let folded = decoded.replace('\u{17f}', "s").replace('\u{212a}', "k");
    let name = names.iter().find(|name| folded.eq_ignore_ascii_case(name));
    name.map_or(Ok(()), |key| Err(ProbeError::Ambiguous { key }))
}
