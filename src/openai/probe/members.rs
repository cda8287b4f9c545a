//! The members of one JSON object, in order.

use std::ops::Range;

use super::{ProbeError, Skip};

/// One `"key": value`, as offsets.
pub(in crate::openai) struct Member {
    /// The key, without its quotes.
    pub(in crate::openai) key: Range<usize>,
    /// The value; a string's quotes and a container's brackets included.
    pub(in crate::openai) value: Range<usize>,
}

/// Walks the members of an object that is the whole of a text but for white space.
pub(in crate::openai) struct Members<'b, S> {
    skip: S,
    body: &'b [u8],
    at: usize,
    first: bool,
}

impl<'b, S: Skip> Members<'b, S> {
    /// Enters the object.
    pub(in crate::openai) fn open(skip: S, body: &'b [u8]) -> Result<Self, ProbeError> {
        let mut members = Members {
            skip,
            body,
            at: 0,
            first: true,
        };
        members.expect(b'{', "an object")?;
        Ok(members)
    }

    /// The offset of the next byte to be looked at.
    pub(in crate::openai) fn at(&self) -> usize {
        self.at
    }

    /// The next member; `None` once the object is closed and nothing but white space follows.
    pub(in crate::openai) fn next(&mut self) -> Result<Option<Member>, ProbeError> {
        match (self.peek(), self.first) {
            (Some(b'}'), _) => return self.close(),
            (_, true) => self.first = false,
            (Some(b','), false) => self.at += 1,
            _ => return Err(self.expected("',' or '}'")),
        }
        self.expect(b'"', "a key")?;
        let key = self.string()?;
        self.expect(b':', "':'")?;
        let value = self.value()?;
        Ok(Some(Member { key, value }))
    }

    fn close(&mut self) -> Result<Option<Member>, ProbeError> {
        self.at += 1;
        match self.peek() {
            None => Ok(None),
            Some(_) => Err(self.expected("the end of the body")),
        }
    }

    /// The rest of a string whose opening quote has been passed, without its quotes.
    fn string(&mut self) -> Result<Range<usize>, ProbeError> {
        let start = self.at;
        let end = self.skip.string(self.body, start);
        let end = end.ok_or_else(|| self.cut_short("'\"'"))?;
        self.at = end + 1;
        Ok(start..end)
    }

    fn value(&mut self) -> Result<Range<usize>, ProbeError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => {
                self.at += 1;
                self.string()?;
            }
            Some(open @ (b'{' | b'[')) => {
                let end = self.skip.container(self.body, start + 1);
                let end = end.ok_or_else(|| self.cut_short("'}' or ']'"))?;
                // In ASCII, either closing bracket is its opening one plus two.
                if self.body[end - 1] != open + 2 {
                    self.at = end - 1;
                    return Err(self.expected("the other closing bracket"));
                }
                self.at = end;
            }
            _ => self.literal()?,
        }
        Ok(start..self.at)
    }

    /// A number, `true`, `false` or `null`.
    fn literal(&mut self) -> Result<(), ProbeError> {
        let rest = &self.body[self.at..];
        let is_end = |b: &u8| matches!(b, b',' | b'}') || is_space(*b);
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        match &rest[..length] {
            b"true" | b"false" | b"null" => {}
            [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(|b| is_number(*b)) => {}
            _ => return Err(self.expected("a value")),
        }
        self.at += length;
        Ok(())
    }

    /// Passes white space and then `byte`.
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ProbeError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.expected(what)),
        }
    }

    /// The next byte that isn't white space; it isn't passed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.body.get(self.at) {
            if !is_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn expected(&self, expected: &'static str) -> ProbeError {
        ProbeError::Malformed {
            at: self.at,
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
    if text
        .iter()
        .any(|&b| !(b' '..0x7f).contains(&b) || b == b'\\')
    {
        return unusual_key(names, body, key).map(|()| None);
    }
    for (index, name) in names.iter().enumerate() {
        if text.len() == name.len() && text.eq_ignore_ascii_case(name.as_bytes()) {
            return match text == name.as_bytes() {
                true => Ok(Some(index)),
                false => Err(ProbeError::Ambiguous { key: name }),
            };
        }
    }
    Ok(None)
}

/// A key with escapes or beyond ASCII: fine, unless it amounts to one of `names`.
#[cold]
fn unusual_key(names: &[&'static str], body: &[u8], key: &Range<usize>) -> Result<(), ProbeError> {
    let quoted = &body[key.start - 1..key.end + 1];
    let decoded: String = serde_json::from_slice(quoted).map_err(|_| ProbeError::Malformed {
        at: key.start,
        expected: "a valid key",
    })?;
    // The two letters that Unicode folds into ASCII: long s and the Kelvin sign.
    let folded = decoded.replace('\u{17f}', "s").replace('\u{212a}', "k");
    let name = names.iter().find(|name| folded.eq_ignore_ascii_case(name));
    name.map_or(Ok(()), |key| Err(ProbeError::Ambiguous { key }))
}
