//! Token counts, as providers report them.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::check::{InvalidJson, members};

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
    let mut usage = None;
    members(body, |key, value| {
        if key.reads("usage") {
            usage = Some(value);
        }
    })?;
    Ok(usage.and_then(read_usage))
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
                while let Some(Key(key)) = map.next_key()? {
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
struct Key<'b>(#[serde(borrow)] Cow<'b, str>);

/// The members of a `usage` that count.
const COUNTS: [&str; 5] = [
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "total_tokens",
];

/// Reads the counts of a `usage` value, which is valid JSON; `None` if it has none, or one that is
/// no count, or one twice.
pub(super) fn read_usage(value: &[u8]) -> Option<Usage> {
    let mut counts = [const { None }; COUNTS.len()];
    let mut doubt = false;
    members(value, |key, value| {
        if let Some(index) = COUNTS.iter().position(|name| key.reads(name)) {
            let count = match value {
                b"null" => None,
                digits => count(digits),
            };
            doubt |= count.is_none() && value != b"null";
            doubt |= counts[index].replace(count).is_some();
        }
    })
    .ok()?;
    if doubt {
        return None;
    }
    let [prompt, input, completion, output, total] = counts.map(Option::flatten);
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

    /// Takes in what passes next.
    pub fn look(&mut self, piece: &[u8]) {
        self.carry.extend_from_slice(piece);
        let (usage, keep) = find_usage(&self.carry);
        self.usage = usage.or(self.usage);
        self.carry.drain(..keep);
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
/// may complete.
pub(super) fn find_usage(part: &[u8]) -> (Option<Usage>, usize) {
    let mut found = None;
    let mut keep = part.len().saturating_sub(OVERLAP);
    for at in USAGE_KEY.find_iter(part) {
        match usage_behind(&part[at + USAGE_KEY.needle().len()..]) {
            Behind::Usage(usage) => found = Some(usage),
            Behind::CutShort if part.len() - at <= USAGE_BYTES_MAX => keep = keep.min(at),
            Behind::CutShort | Behind::Other => {}
        }
    }
    (found, keep)
}

enum Behind {
    Usage(Usage),
    CutShort,
    Other,
}

/// What stands behind a key `usage`.
fn usage_behind(rest: &[u8]) -> Behind {
    let value = match rest.trim_ascii_start() {
        [] => return Behind::CutShort,
        [b':', value @ ..] => value,
        _ => return Behind::Other,
    };
    let mut values = serde_json::Deserializer::from_slice(value).into_iter::<&RawValue>();
    match values.next() {
        None => Behind::CutShort,
        Some(Err(error)) if error.is_eof() => Behind::CutShort,
        Some(Ok(raw)) => read_usage(raw.get().as_bytes()).map_or(Behind::Other, Behind::Usage),
        Some(Err(_)) => Behind::Other,
    }
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
}
