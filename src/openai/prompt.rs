//! What a conversation is told apart by: where its text lies in a request, and what the client
//! calls it. Read in a pass of its own, for providers that are balanced by prefix only.

use std::ops::Range;

use super::probe::{Engine, Members, Skip, Work};

/// Members that servers put in front of each other when they make a prompt of a request, in that
/// order: what comes first in the prompt is what a prefix cache can know.
const PARTS: [&str; 5] = ["tools", "instructions", "messages", "prompt", "input"];

/// What a request says of its conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt<'b> {
    /// `prompt_cache_key`, or else `user`: with its quotes, if it is a string and not empty.
    pub key: Option<&'b [u8]>,
    /// The values of what makes up its prompt, as they lie in the body. A client writes a
    /// conversation the same way each time, so that its text begins with the one before.
    pub parts: [&'b [u8]; PARTS.len()],
}

/// Reads a request body that the probe has found to be one object. Of equal keys the last one
/// counts, as with most servers.
pub fn read_prompt(body: &[u8]) -> Prompt<'_> {
    let found = Engine::best().run(Find(body));
    let value = |range: &Option<Range<usize>>| match range {
        Some(range) => &body[range.clone()],
        None => &[],
    };
    let [prompt_cache_key, user] = &found.keys;
    let is_text = |value: &&[u8]| value.len() > 2 && value[0] == b'"';
    Prompt {
        key: Some(value(prompt_cache_key))
            .filter(is_text)
            .or(Some(value(user)).filter(is_text)),
        parts: found.parts.each_ref().map(value),
    }
}

#[derive(Default)]
struct Found {
    keys: [Option<Range<usize>>; 2],
    parts: [Option<Range<usize>>; PARTS.len()],
}

struct Find<'b>(&'b [u8]);

impl Work for Find<'_> {
    type Done = Found;

    #[inline(always)]
    fn with(self, skip: impl Skip) -> Found {
        let mut found = Found::default();
        let Ok(mut members) = Members::open(skip, self.0) else {
            return found;
        };
        while let Ok(Some(member)) = members.next() {
            let key = &self.0[member.key];
            let place = match key {
                b"prompt_cache_key" => Some(&mut found.keys[0]),
                b"user" => Some(&mut found.keys[1]),
                _ => {
                    let part = PARTS.iter().position(|part| key == part.as_bytes());
                    part.map(|part| &mut found.parts[part])
                }
            };
            if let Some(place) = place {
                *place = Some(member.value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> Vec<&str> {
        let parts = read_prompt(body.as_bytes()).parts;
        let text = parts.map(|part| std::str::from_utf8(part).unwrap());
        text.into_iter().filter(|part| !part.is_empty()).collect()
    }

    fn key(body: &str) -> Option<&str> {
        let key = read_prompt(body.as_bytes()).key;
        key.map(|key| std::str::from_utf8(key).unwrap())
    }

    #[test]
    fn the_text_is_found_in_the_order_of_the_prompt() {
        let chat =
            r#"{"model":"m","messages":[{"role":"user","content":"]\"hi"}], "tools" : [{}] }"#;
        assert_eq!(
            parts(chat),
            ["[{}]", r#"[{"role":"user","content":"]\"hi"}]"#]
        );
        assert_eq!(parts(r#"{"prompt":"once","max_tokens":5}"#), [r#""once""#]);
        let responses = r#"{"input":"hello","instructions":"be brief"}"#;
        assert_eq!(parts(responses), [r#""be brief""#, r#""hello""#]);
        assert_eq!(parts(r#"{"input":1,"input":2}"#), ["2"]);
        assert!(
            parts("{}").is_empty() && parts("[]").is_empty() && parts("{\"input\":").is_empty()
        );
    }

    #[test]
    fn a_key_is_a_string_and_the_cache_s_own_comes_first() {
        assert_eq!(
            key(r#"{"user":"u","prompt_cache_key":"k"}"#),
            Some(r#""k""#)
        );
        assert_eq!(key(r#"{"user":"u","prompt_cache_key":""}"#), Some(r#""u""#));
        assert_eq!(key(r#"{"user":7,"prompt_cache_key":null}"#), None);
        assert_eq!(key("{}"), None);
    }
}
