//! What a call to the simulator asks for. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::prompts::TOKEN_CHARS;

/// A body as OpenAI defines it, as far as it matters here.
#[derive(Deserialize)]
struct Body {
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    prompt: Value,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
    #[serde(alias = "max_completion_tokens")]
    max_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// The model that was asked for.
    pub model: String,
    /// All text, in its order.
    pub prompt: Vec<u8>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether it ends with its usage.
    pub usage: bool,
    /// The most tokens of the answer, if it was said.
    pub tokens: Option<u32>,
}

impl Question {
    /// Of a request's body; what is wrong with it, if it is none.
    pub fn of(body: &[u8]) -> Result<Question, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut prompt = Vec::new();
        for message in &body.messages {
            gather(&message.content, &mut prompt);
        }
        gather(&body.prompt, &mut prompt);
        gather(&body.input, &mut prompt);
        Ok(Question {
            model: body.model,
            prompt,
            stream: body.stream,
            usage: body.stream_options.include_usage,
            tokens: body.max_tokens,
        })
    }

    /// The prompt's tokens.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt.len().div_ceil(TOKEN_CHARS)
    }
}

/// Appends every text in it: a string, a list of strings, a list of parts with a `text`.
fn gather(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Array(values) => values.iter().for_each(|value| gather(value, out)),
        Value::Object(part) => gather(part.get("text").unwrap_or(&Value::Null), out),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_text_is_read() {
        let chat = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,
            "messages":[{"role":"system","content":"abcd"},{"content":[{"type":"text","text":"efgh"}]}]}"#;
        let question = Question::of(chat).unwrap();
        assert_eq!(
            (&*question.prompt, question.prompt_tokens()),
            (b"abcdefgh".as_slice(), 2)
        );
        assert!(question.stream && question.usage && question.tokens == Some(5));
        let input = Question::of(br#"{"model":"m","input":["ab","c"]}"#).unwrap();
        assert_eq!(
            (&*input.prompt, input.prompt_tokens()),
            (b"abc".as_slice(), 1)
        );
        assert!(Question::of(b"{}").unwrap_err().contains("model"));
    }
}
