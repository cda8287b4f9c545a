//! A strict check of a whole JSON text (RFC 8259), one pass, without building anything. Its answer
//! is `serde_json`'s at a quarter of the instructions: strings are passed 64 bytes at a time where
//! the processor can.
//!
//! What lies inside strings is checked for control characters and escapes, not for UTF-8: the
//! bytes are relayed as they are, and nothing here reads them.

use super::probe::{Engine, Skip, Work};

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
        match self.escaped {
            false => self.text == name.as_bytes(),
            true => self.decodes_to(name),
        }
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
    show: impl FnMut(Key<'t>, &'t [u8]),
) -> Result<(), InvalidJson> {
    members_with(Engine::best(), text, show)
}

fn members_with<'t>(
    engine: Engine,
    text: &'t [u8],
    show: impl FnMut(Key<'t>, &'t [u8]),
) -> Result<(), InvalidJson> {
    engine.run(Check(text, show))
}

/// The check of a text, whose members are shown.
struct Check<'t, F>(&'t [u8], F);

impl<'t, F: FnMut(Key<'t>, &'t [u8])> Work for Check<'t, F> {
    type Done = Result<(), InvalidJson>;

    #[inline(always)]
    fn with(self, skip: impl Skip) -> Self::Done {
        let Check(text, show) = self;
        Checker::of(skip, text).whole(show)
    }
}

struct Checker<'t, S> {
    skip: S,
    text: &'t [u8],
    at: usize,
    open: Nesting,
}

impl<'t, S: Skip> Checker<'t, S> {
    #[inline(always)]
    fn of(skip: S, text: &'t [u8]) -> Checker<'t, S> {
        Checker {
            skip,
            text,
            at: 0,
            open: Nesting::new(),
        }
    }

    #[inline(always)]
    fn whole(mut self, mut show: impl FnMut(Key<'t>, &'t [u8])) -> Result<(), InvalidJson> {
        if self.peek() == Some(b'{') {
            self.at += 1;
            let mut more = !self.passes(b'}');
            while more {
                let key = self.key()?;
                self.peek();
                let start = self.at;
                self.value()?;
                show(key, &self.text[start..self.at]);
                more = self.passes(b',');
                if !more && !self.passes(b'}') {
                    return Err(InvalidJson);
                }
            }
        } else {
            self.value()?;
        }
        self.peek().map_or(Ok(()), |_| Err(InvalidJson))
    }

    /// Any value, with all that it contains. Nothing is open before it, nor behind it.
    #[inline(always)]
    fn value(&mut self) -> Result<(), InvalidJson> {
        loop {
            match self.peek().ok_or(InvalidJson)? {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                b'{' => {
                    self.at += 1;
                    if !self.passes(b'}') {
                        self.open.enter(true)?;
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
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
            let next = self.peek().ok_or(InvalidJson)?;
            self.at += 1;
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
        let start = self.at;
        let escaped = self.string()?;
        let text = &self.text[start..self.at - 1];
        let colon = self.passes(b':');
        colon.then_some(Key { text, escaped }).ok_or(InvalidJson)
    }

    /// The rest of a string whose opening quote has been passed. Whether it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, InvalidJson> {
        let mut escaped = false;
        loop {
            self.at = self.skip.plain(self.text, self.at).ok_or(InvalidJson)?;
            match self.here() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => self.at += escape(&self.text[self.at + 1..])?,
                _ => return Err(InvalidJson),
            }
            escaped = true;
        }
    }

    #[inline(always)]
    fn literal(&mut self, word: &[u8]) -> Result<(), InvalidJson> {
        match self.text[self.at..].starts_with(word) {
            true => self.at += word.len(),
            false => return Err(InvalidJson),
        }
        Ok(())
    }

    /// `[ "-" ] ( "0" / 1-9 *DIGIT ) [ "." 1*DIGIT ] [ ( "e" / "E" ) [ "+" / "-" ] 1*DIGIT ]`
    #[inline(always)]
    fn number(&mut self) -> Result<(), InvalidJson> {
        self.at += usize::from(self.here() == Some(b'-'));
        match self.here() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.here() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.here() {
            self.at += 1;
            self.at += usize::from(matches!(self.here(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), InvalidJson> {
        let start = self.at;
        while self.here().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(()).ok_or(InvalidJson)
    }

    #[inline]
    fn here(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that isn't white space; it isn't passed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.here()?;
            // Of what is above a space nothing is white space.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Passes white space, and then `byte` if that is what follows.
    #[inline]
    fn passes(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }
}

/// Bytes of the escape whose backslash stands in front of `rest`, with it.
#[inline]
fn escape(rest: &[u8]) -> Result<usize, InvalidJson> {
    match rest {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
        [b'u', digits @ ..]
            if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) =>
        {
            Ok(6)
        }
        _ => Err(InvalidJson),
    }
}

/// The containers that are open, one bit each: 1 for an object.
struct Nesting {
    kinds: [u64; DEPTH_MAX / 64],
    depth: usize,
}

impl Nesting {
    #[inline]
    fn new() -> Nesting {
        Nesting {
            kinds: [0; DEPTH_MAX / 64],
            depth: 0,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    fn usage(engine: Engine, text: &[u8]) -> Result<Option<&[u8]>, InvalidJson> {
        let mut usage = None;
        members_with(engine, text, |key, value| {
            if key.reads("usage") {
                usage = Some(value);
            }
        })?;
        Ok(usage)
    }

    /// What both engines say; they must not differ.
    fn checked(text: &[u8]) -> Result<Option<&[u8]>, InvalidJson> {
        let slow = usage(Engine::SCALAR, text);
        for engine in Engine::all() {
            assert_eq!(usage(engine, text), slow);
        }
        slow
    }

    fn is_valid(text: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
    }

    #[test]
    fn the_last_member_of_that_name_is_found() {
        for (text, value) in [
            (r#"{"usage":1}"#, Some("1")),
            (
                r#" { "a" : {"usage":2} , "usage" : [ 3 ] } "#,
                Some("[ 3 ]"),
            ),
            (r#"{"usage":1,"\u0075sage":"4"}"#, Some(r#""4""#)),
            (r#"{"usage\u0000":1,"Usage":2,"usage ":3}"#, None),
            (r#"[{"usage":1}]"#, None),
            ("{}", None),
            ("7", None),
        ] {
            assert_eq!(checked(text.as_bytes()), Ok(value.map(str::as_bytes)));
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "[1",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1]",
            "[1}",
            "1 2",
            "{} {}",
            "{}x",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "--1",
            "0x1",
            "1_0",
            "nul",
            "nulll",
            "True",
            "NaN",
            "Infinity",
            "\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u123",
            "\"\\",
            "\"\n\"",
            "\"\t\"",
            "'a'",
            "\u{feff}{}",
            "{\"a\":1}\0",
            "// a\n1",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
        ] {
            assert_eq!(checked(text.as_bytes()), Err(InvalidJson), "{text}");
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn containers_lie_in_one_another_to_a_bound() {
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        let objects = |depth| ["{\"a\":".repeat(depth), "0".into(), "}".repeat(depth)].concat();
        // The innermost array is empty, and so never entered.
        assert_eq!(checked(nested(DEPTH_MAX + 1).as_bytes()), Ok(None));
        assert_eq!(checked(nested(DEPTH_MAX + 2).as_bytes()), Err(InvalidJson));
        assert_eq!(checked(objects(DEPTH_MAX + 1).as_bytes()), Ok(None));
        assert_eq!(checked(objects(DEPTH_MAX + 2).as_bytes()), Err(InvalidJson));
        assert_eq!(checked(nested(1_000_000).as_bytes()), Err(InvalidJson));
        let mixed = "[{\"a\":[".repeat(300) + &"]}]".repeat(300);
        assert_eq!(checked(mixed.as_bytes()), Ok(None));
        assert_eq!(
            checked(mixed.replace("}]]", "]}]").as_bytes()).is_ok(),
            is_valid(mixed.replace("}]]", "]}]").as_bytes())
        );
    }

    /// Values of every kind, with strings long enough for several blocks.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:e}")),
            "([ -!#-\\[\\]-~é]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,150}"
                .prop_map(|text| format!("\"{text}\"")),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| format!("[{}]", values.join(" ,"))),
                prop::collection::vec(("(usage|[a-z]{1,5})", inner), 0..5).prop_map(|members| {
                    let members = members
                        .iter()
                        .map(|(key, value)| format!("\"{key}\": {value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join("\n,"))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_is_accepted(text in value()) {
            prop_assume!(is_valid(text.as_bytes()));
            let found = checked(text.as_bytes());
            let members = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text);
            let usage = members.ok().and_then(|members| members.get("usage").map(|raw| raw.get()));
            prop_assert_eq!(found, Ok(usage.map(str::as_bytes)));
        }

        #[test]
        fn one_byte_changed_is_judged_as_serde_json_does(
            text in value(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\{}[],:0.e-+ u\x1f"[..])],
            cut in any::<bool>(),
        ) {
            let mut text = text.into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            if cut {
                text.truncate(at + 1);
            }
            prop_assert_eq!(checked(&text).is_ok(), is_valid(&text), "{}", text.escape_ascii());
        }
    }
}
