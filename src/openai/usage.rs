//! Token counts, as providers report them.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::check::{InvalidJson, Key, members, members_within};

/// The tokens of one call, from the provider's `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read.
    pub input: u64,
    /// Tokens written; zero where nothing is (embeddings, rerank).
    pub output: u64,
}

/// Checks a complete response body as JSON, to its last byte, and reads the token counts from its
/// `usage`: in the shape of chat, completions and embeddings (`prompt_tokens`,
/// `completion_tokens`) or of responses, images and transcriptions (`input_tokens`,
/// `output_tokens`). A body without usable counts is `None`, never a guess.
///
/// # Errors
/// [`InvalidJson`] if the body doesn't parse: the attempt has failed (SRP section 5).
pub fn inspect_json(body: &[u8]) -> Result<Option<Usage>, InvalidJson> {
    let mut counts = Counts::default();
    members_within(body, "usage", |shown| match shown {
        Some((key, value)) => counts.take(key, value),
        None => counts = Counts::default(),
    })?;
    Ok(counts.usage())
}

/// The members of an object that tell how a call went, as raw text. Everything else is checked
/// and skipped. The last of several equal keys counts, as in most parsers.
#[derive(Default)]
pub(super) struct Outline<'b> {
    pub(super) kind: Option<&'b RawValue>,
    pub(super) choices: Option<&'b RawValue>,
    pub(super) usage: Option<&'b RawValue>,
    pub(super) error: Option<&'b RawValue>,
    pub(super) response: Option<&'b RawValue>,
}

impl<'b> Deserialize<'b> for Outline<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'b> Visitor<'b> for Members {
            type Value = Outline<'b>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Outline<'b>, A::Error> {
                let mut outline = Outline::default();
                while let Some(Name(key)) = map.next_key()? {
                    let slot = match &*key {
                        "type" => &mut outline.kind,
                        "choices" => &mut outline.choices,
                        "usage" => &mut outline.usage,
                        "error" => &mut outline.error,
                        "response" => &mut outline.response,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value()?);
                }
                Ok(outline)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed unless it is written with escapes.
#[derive(Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

/// The members of a `usage` that count.
const COUNTS: [&str; 5] = [
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "total_tokens",
];

/// What a `usage` says.
#[derive(Default)]
struct Counts {
    /// Of those that are there: none for `null`.
    found: [Option<Option<u64>>; COUNTS.len()],
    /// One is no count, or there twice.
    doubt: bool,
}

impl Counts {
    /// Takes a member in.
    #[inline]
    fn take(&mut self, key: Key<'_>, value: &[u8]) {
        if let Some(index) = COUNTS.iter().position(|name| key.reads(name)) {
            let count = match value {
                b"null" => None,
                digits => count(digits),
            };
            self.doubt |= count.is_none() && value != b"null";
            self.doubt |= self.found[index].replace(count).is_some();
        }
    }

    /// None if it has no counts, or is in doubt.
    fn usage(self) -> Option<Usage> {
        if self.doubt {
            return None;
        }
        let [prompt, input, completion, output, total] = self.found.map(Option::flatten);
        let (input, output) = (prompt.or(input), completion.or(output));
        // Rerank servers report a total and nothing else: all of it was read.
        let input = match (input, output) {
            (None, None) => total?,
            _ => input.unwrap_or(0),
        };
        Some(Usage {
            input,
            output: output.unwrap_or(0),
        })
    }
}

/// Reads the counts of a `usage` value, which is valid JSON; `None` if it has none, or one that is
/// no count, or one twice.
pub(super) fn read_usage(value: &[u8]) -> Option<Usage> {
    let mut counts = Counts::default();
    members(value, |key, value| counts.take(key, value)).ok()?;
    counts.usage()
}

/// A number without sign, fraction and exponent, that fits.
fn count(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, &digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    digits.iter().try_fold(0, add)
}

/// Finds the key of token counts. Shared, since a finder is as large as the state that uses it.
pub(super) static USAGE_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));

/// Bytes of a `usage` member, key included, that is found when it lies across two pieces.
const USAGE_BYTES_MAX: usize = 4096;
/// Bytes kept of each piece, so that no word searched for is cut in two.
const OVERLAP: usize = 32;
/// Bytes of a piece that are joined with what was kept: a member that began there ends within them.
const JOINED_BYTES: usize = USAGE_BYTES_MAX + OVERLAP;

/// Finds the token counts of a JSON text that passes by in pieces, too long to be held. Quotes
/// inside of strings are escaped, so that what looks like the member is one; of several, the last
/// counts.
pub struct UsageSearch {
    /// The end of what has passed.
    carry: Vec<u8>,
    usage: Option<Usage>,
}

impl UsageSearch {
    /// A search in a text that has not begun.
    pub fn new() -> UsageSearch {
        UsageSearch {
            carry: Vec::new(),
            usage: None,
        }
    }

    /// Takes in what passes next. It is searched where it lies: only what is kept of the piece
    /// before is joined with its beginning.
    pub fn look(&mut self, piece: &[u8]) {
        let begun = self.carry.len();
        let joined = match begun {
            0 => 0,
            _ => piece.len().min(JOINED_BYTES),
        };
        self.carry.extend_from_slice(&piece[..joined]);
        let (usage, keep) = find_usage(&self.carry);
        self.usage = usage.or(self.usage);
        if joined == piece.len() {
            self.carry.drain(..keep);
            return;
        }
        // So much was joined that what began before the piece has come to its end.
        let rest = &piece[keep.saturating_sub(begun)..];
        let (usage, keep) = find_usage(rest);
        self.usage = usage.or(self.usage);
        self.carry.clear();
        self.carry.extend_from_slice(&rest[keep..]);
    }

    /// The counts that were found last.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Default for UsageSearch {
    fn default() -> Self {
        Self::new()
    }
}

/// The counts in a part of a JSON text, and from where on it must be kept for what the next part
/// may complete. No byte is looked at more often than a bounded number of times, whatever the text
/// is: what lies inside of a `usage` is not searched for another.
pub(super) fn find_usage(part: &[u8]) -> (Option<Usage>, usize) {
    let mut found = None;
    let mut from = 0;
    while let Some(at) = USAGE_KEY.find(&part[from..]) {
        let at = from + at;
        match usage_at(&part[at..]) {
            Member::CutShort => return (found, at),
            Member::Whole(usage, length) => {
                found = usage.or(found);
                from = at + length;
            }
        }
    }
    (found, from.max(part.len().saturating_sub(OVERLAP)))
}

enum Member {
    /// Its counts, if it has any, and how many bytes it is long.
    Whole(Option<Usage>, usize),
    /// More bytes may make it a whole one.
    CutShort,
}

/// Reads the member that begins with the key `usage`.
fn usage_at(part: &[u8]) -> Member {
    let may_grow = part.len() < USAGE_BYTES_MAX;
    let part = &part[..part.len().min(USAGE_BYTES_MAX)];
    let key = USAGE_KEY.needle().len();
    let value = match part[key..].trim_ascii_start() {
        [] if may_grow => return Member::CutShort,
        [b':', value @ ..] => value,
        // A text that reads so, not a key.
        _ => return Member::Whole(None, key),
    };
    let mut values = serde_json::Deserializer::from_slice(value).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(raw)) => {
            let length = part.len() - value.len() + values.byte_offset();
            Member::Whole(read_usage(raw.get().as_bytes()), length)
        }
        Some(Err(error)) if may_grow && !is_cut_short(&error, value) => {
            Member::Whole(None, part.len())
        }
        _ if may_grow => Member::CutShort,
        _ => Member::Whole(None, part.len()),
    }
}

/// Whether more bytes could mend it. To the parser a number cut behind its point or its sign is
/// not cut, but wrong.
fn is_cut_short(error: &serde_json::Error, value: &[u8]) -> bool {
    error.is_eof() || matches!(value.last(), Some(b'.' | b'-' | b'+' | b'e' | b'E'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_shape_of_usage_is_read() {
        for (usage, input, output) in [
            (
                r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#,
                3,
                4,
            ),
            (
                r#"{"input_tokens":3,"output_tokens":4,"input_tokens_details":{"a":1}}"#,
                3,
                4,
            ),
            (r#"{"prompt_tokens":3,"total_tokens":3}"#, 3, 0),
            (
                r#"{"type":"tokens","input_tokens":3,"output_tokens":0}"#,
                3,
                0,
            ),
            (r#"{"total_tokens":9}"#, 9, 0),
            (r#"{"prompt_tokens":0,"completion_tokens":null}"#, 0, 0),
        ] {
            let body = format!(r#" {{"a":[{{"usage":null}}],"usage" : {usage},"b":"\"}}"}} "#);
            assert_eq!(
                inspect_json(body.as_bytes()),
                Ok(Some(Usage { input, output }))
            );
        }
    }

    #[test]
    fn what_does_not_count_is_not_guessed() {
        for body in [
            "{}",
            "[]",
            " \"text\" ",
            "null",
            r#"{"usage":null}"#,
            r#"{"usage":"12"}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"type":"duration","seconds":3}}"#,
            r#"{"usage":{"prompt_tokens":-1}}"#,
            r#"{"usage":{"prompt_tokens":"3"}}"#,
            r#"{"a":{"usage":{"prompt_tokens":1}}}"#,
        ] {
            assert_eq!(inspect_json(body.as_bytes()), Ok(None), "{body}");
        }
        let twice = br#"{"usage":null,"usage":{"prompt_tokens":1}}"#;
        assert_eq!(
            inspect_json(twice),
            Ok(Some(Usage {
                input: 1,
                output: 0
            }))
        );
    }

    proptest! {
        #[test]
        fn a_body_is_valid_to_its_last_byte(cut in 0..100_usize, junk in "[^ \t\r\n]{1,9}") {
            let body = br#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1}}"#;
            prop_assert!(inspect_json(body).is_ok());
            prop_assert_eq!(inspect_json(&body[..cut % body.len()]), Err(InvalidJson));
            prop_assert_eq!(inspect_json(&[body, junk.as_bytes()].concat()), Err(InvalidJson));
        }
    }

    #[test]
    fn counts_are_found_however_a_long_text_is_cut() {
        let text = format!(
            r#"{{"data":["{}","\"usage\":{{\"prompt_tokens\":9}}"],"usage":{{"prompt_tokens":3,"total_tokens":3}}}}"#,
            "x".repeat(300)
        );
        for size in 1..text.len() {
            let mut search = UsageSearch::new();
            for piece in text.as_bytes().chunks(size) {
                search.look(piece);
            }
            let counted = search.usage().map(|usage| (usage.input, usage.output));
            assert_eq!(counted, Some((3, 0)), "in pieces of {size}");
        }
        assert_eq!(UsageSearch::new().usage(), None);
    }

    #[test]
    fn a_usage_across_long_pieces_is_found() {
        let usage = format!(
            r#""usage":{{"pad":"{}","prompt_tokens":3}}"#,
            "x".repeat(3000)
        );
        for before in (0..USAGE_BYTES_MAX + 200).step_by(97) {
            let text = [&"y".repeat(4 * JOINED_BYTES), &*usage, &"z".repeat(9000)].concat();
            let (first, second) = text.split_at(4 * JOINED_BYTES + usage.len().min(before));
            let mut search = UsageSearch::new();
            for piece in [first, second, r#""usage":{}"#] {
                search.look(piece.as_bytes());
                assert!(search.carry.len() < USAGE_BYTES_MAX);
            }
            assert_eq!(search.usage().map(|usage| usage.input), Some(3), "{before}");
        }
    }

    /// The counts that are found in a text that comes in pieces of that size.
    fn found(text: &str, size: usize) -> Option<u64> {
        let mut search = UsageSearch::new();
        for piece in text.as_bytes().chunks(size) {
            search.look(piece);
        }
        search.usage().map(|usage| usage.input)
    }

    #[test]
    fn a_number_is_cut_behind_its_point_or_sign() {
        let text = r#"{"usage":{"cost":0.25,"delta":-1E-3,"power":2e+1,"prompt_tokens":3}}"#;
        for size in 1..=text.len() {
            assert_eq!(found(text, size), Some(3), "in pieces of {size}");
        }
    }

    #[test]
    fn what_a_usage_holds_is_no_usage() {
        let text = r#"{"usage":{"prompt_tokens":3,"usage":{"prompt_tokens":4}},"a":["usage"]}"#;
        for size in 1..=text.len() {
            assert_eq!(found(text, size), Some(3), "in pieces of {size}");
        }
        let empty = r#"{"usage":{"prompt_tokens":3},"b":{"usage":null}}"#;
        assert_eq!(found(empty, 5), Some(3));
    }

    #[test]
    fn a_usage_without_end_is_looked_at_once() {
        let text = r#"{"usage":"#.repeat(10_000);
        let Member::Whole(None, length) = usage_at(&text.as_bytes()[1..]) else {
            panic!("it has neither counts nor an end");
        };
        assert_eq!(length, USAGE_BYTES_MAX);
        assert_eq!(found(&text, text.len()), None);
    }
}
