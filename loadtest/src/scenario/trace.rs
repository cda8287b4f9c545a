//! Recorded arrivals: one JSON object a line.
//!
//! ```text
//! {"at": 0.25, "prompt_tokens": 800, "output_tokens": 120, "class": "firm"}
//! {"at": 0.31, "prompt_tokens": 900, "output_tokens": 40, "prefix": 3, "prefix_tokens": 512}
//! {"timestamp": 27482, "input_length": 6758, "output_length": 500, "hash_ids": [0, 14, 15]}
//! ```
//!
//! The last form is that of the traces that Mooncake's authors publish: milliseconds, and one id
//! for each 512 tokens of the prompt, equal where prompts are.

use std::path::Path;

use serde::Deserialize;

use crate::prompts::TOKENS_MAX;

/// The longest time that a trace may span, s.
const SECONDS_MAX: f64 = 7.0 * 24.0 * 3600.0;

/// A recorded call.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// When it was due, s from the first call.
    pub at: f64,
    /// Tokens of its prompt, without the prefix.
    pub prompt: u32,
    /// Tokens of its answer, if known.
    pub output: Option<u32>,
    /// Its class, by place; `None`: drawn by weight.
    pub class: Option<usize>,
    /// The prefix that it shares, and how long that is.
    pub prefix: Option<(u64, u32)>,
    /// What the prompt is made of, by blocks.
    pub blocks: Box<[u64]>,
}

/// Tokens of a block of `hash_ids`.
pub const BLOCK_TOKENS: u32 = 512;

#[derive(Deserialize)]
struct Line {
    at: Option<f64>,
    timestamp: Option<f64>,
    #[serde(alias = "input_length")]
    prompt_tokens: u32,
    #[serde(alias = "output_length")]
    output_tokens: Option<u32>,
    class: Option<String>,
    prefix: Option<u64>,
    prefix_tokens: Option<u32>,
    #[serde(default)]
    hash_ids: Box<[u64]>,
}

/// The calls of a trace file, played `speed` times as fast.
///
/// # Errors
/// A file that can't be read; the number of a line that isn't such an object, is earlier than the
/// one before it, or names a class that isn't there.
pub fn read(file: &Path, classes: &[&str], speed: f64) -> Result<Vec<Recorded>, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("--trace {}: {error}", file.display()))?;
    parse(&text, classes, speed).map_err(|error| format!("--trace {}: {error}", file.display()))
}

fn parse(text: &str, classes: &[&str], speed: f64) -> Result<Vec<Recorded>, String> {
    let mut calls: Vec<Recorded> = Vec::new();
    let mut first = None;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}", index + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
        let at = match (line.at, line.timestamp) {
            (Some(seconds), None) => seconds,
            (None, Some(millis)) => millis / 1000.0,
            _ => {
                return Err(wrong(
                    "expected either at (seconds) or timestamp (milliseconds)",
                ));
            }
        };
        let at = (at - *first.get_or_insert(at)) / speed;
        if !(0.0..=SECONDS_MAX).contains(&at) {
            return Err(wrong("expected a time within a week after the first"));
        }
        if calls.last().is_some_and(|last| at < last.at) {
            return Err(wrong("earlier than the line before it"));
        }
        let within = |tokens: u32| (1..=TOKENS_MAX).contains(&tokens);
        let lengths = [
            Some(line.prompt_tokens),
            line.output_tokens,
            line.prefix_tokens,
        ];
        if !lengths.into_iter().flatten().all(within) {
            return Err(wrong(&format!("expected 1 to {TOKENS_MAX} tokens")));
        }
        let class = match &line.class {
            Some(name) => {
                let known = classes.iter().position(|class| class == name);
                Some(known.ok_or_else(|| wrong(&format!("no class is named {name:?}")))?)
            }
            None => None,
        };
        let prefix = match (line.prefix, line.prefix_tokens) {
            (Some(name), Some(tokens)) => Some((name, tokens)),
            (None, None) => None,
            _ => return Err(wrong("prefix and prefix_tokens come together")),
        };
        calls.push(Recorded {
            at,
            prompt: line.prompt_tokens,
            output: line.output_tokens,
            class,
            prefix,
            blocks: line.hash_ids,
        });
    }
    match calls.is_empty() {
        true => Err("no call in it".to_owned()),
        false => Ok(calls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Recorded, String> {
        parse(line, &["a", "b"], 1.0).map(|mut calls| calls.remove(0))
    }

    #[test]
    fn both_forms_are_read() {
        let call = one(r#"{"at":3,"prompt_tokens":8,"output_tokens":2,"class":"b","prefix":4,"prefix_tokens":16}"#).unwrap();
        assert_eq!(
            (call.prompt, call.output, call.class),
            (8, Some(2), Some(1))
        );
        assert_eq!((call.at, call.prefix), (0.0, Some((4, 16))));
        let text = r#"{"timestamp":100,"input_length":600,"output_length":5,"hash_ids":[7,9]}
                      {"timestamp":600,"input_length":1,"output_length":5}"#;
        let calls = parse(text, &[], 2.0).unwrap();
        assert_eq!(
            (&*calls[0].blocks, calls[0].prompt),
            ([7, 9].as_slice(), 600)
        );
        assert_eq!(calls[1].at, 0.25);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (line, what) in [
            ("{", "line 1"),
            (r#"{"prompt_tokens":1}"#, "at (seconds)"),
            (r#"{"at":0,"timestamp":0,"prompt_tokens":1}"#, "either"),
            (r#"{"at":0}"#, "prompt_tokens"),
            (r#"{"at":0,"prompt_tokens":0}"#, "tokens"),
            (r#"{"at":0,"prompt_tokens":1,"class":"c"}"#, "no class"),
            (r#"{"at":0,"prompt_tokens":1,"prefix":1}"#, "together"),
            ("", "no call"),
        ] {
            let error = one(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
        let back = "{\"at\":1,\"prompt_tokens\":1}\n{\"at\":2,\"prompt_tokens\":1}\n{\"at\":1.5,\"prompt_tokens\":1}";
        assert!(parse(back, &[], 1.0).unwrap_err().starts_with("line 3"));
    }
}
