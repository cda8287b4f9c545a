//! What an embedded upstream reads of a request: enough to answer it plausibly.

use serde_json::Value;

/// Tokens of an answer whose request names no bound.
const ANSWER_TOKENS_MAX: usize = 400;

/// A request, as far as an answer depends on it.
pub struct Question {
    /// The model that was asked for; the answer echoes it.
    pub model: String,
    /// What was asked last, in one line.
    pub text: String,
    /// All the words of the prompt: what this upstream takes for tokens.
    pub prompt_tokens: usize,
    /// The answer's length at most, in tokens.
    pub tokens_max: usize,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the stream is to end with its usage.
    pub include_usage: bool,
    /// For embeddings: each input.
    pub inputs: Vec<String>,
    /// For embeddings: whether they go out as base64, as OpenAI's SDKs ask for.
    pub base64: bool,
    /// For embeddings: how many numbers each has.
    pub dimensions: usize,
    /// The member that the endpoint can't do without, if it isn't there or isn't what it must be.
    pub lacks: Option<&'static str>,
}

impl Question {
    /// Reads a request to `path`; `None` if it isn't an object that names a model.
    pub fn read(path: &str, body: &[u8]) -> Option<Question> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let model = body.get("model")?.as_str()?.to_owned();
        let mut prompt = Vec::new();
        for member in ["instructions", "prompt", "messages", "input"] {
            collect_texts(&body[member], &mut prompt);
        }
        let inputs = match &body["input"] {
            Value::Array(_) => texts(&body["input"]),
            one => one.as_str().map(str::to_owned).into_iter().collect(),
        };
        let bounds = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let asked = bounds.iter().filter_map(|name| body[*name].as_u64()).min();
        Some(Question {
            lacks: lack(path, &body),
            model,
            text: prompt.last().map(|text| one_line(text)).unwrap_or_default(),
            prompt_tokens: prompt.iter().map(|text| words(text)).sum(),
            tokens_max: asked
                .map_or(ANSWER_TOKENS_MAX, |n| n.try_into().unwrap_or(usize::MAX))
                .min(ANSWER_TOKENS_MAX),
            stream: body["stream"].as_bool().unwrap_or(false),
            include_usage: body["stream_options"]["include_usage"]
                .as_bool()
                .unwrap_or(false),
            inputs,
            base64: body["encoding_format"] == "base64",
            dimensions: body["dimensions"]
                .as_u64()
                .map_or(256, |n| n.clamp(1, 4096) as usize),
        })
    }
}

fn lack(path: &str, body: &Value) -> Option<&'static str> {
    let (name, fits) = match path {
        "/v1/chat/completions" => {
            let messages = body["messages"].as_array();
            ("messages", messages.is_some_and(|list| !list.is_empty()))
        }
        "/v1/completions" => ("prompt", !body["prompt"].is_null()),
        "/v1/embeddings" | "/v1/responses" => ("input", !body["input"].is_null()),
        _ => return None,
    };
    (!fits).then_some(name)
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The first words of a text, fit to be quoted.
fn one_line(text: &str) -> String {
    const WORDS: usize = 16;
    let kept: Vec<&str> = text.split_whitespace().take(WORDS).collect();
    let more = if words(text) > WORDS { " …" } else { "" };
    format!("{}{more}", kept.join(" "))
}

fn texts(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_texts(value, &mut found);
    found
}

/// The texts of a prompt in any of its shapes: a string, a list, messages, content parts.
fn collect_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, found)),
        Value::Object(members) => {
            for name in ["content", "text"] {
                if let Some(inner) = members.get(name) {
                    collect_texts(inner, found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_shape_is_read() {
        let read = |body: &str| Question::read("/v1/x", body.as_bytes()).unwrap();
        let chat = read(
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":7,
                "messages":[{"role":"system","content":"Be brief."},
                {"role":"user","content":[{"type":"text","text":"Why is\nthe sky blue?"}]}]}"#,
        );
        assert_eq!(chat.text, "Why is the sky blue?");
        assert_eq!((chat.prompt_tokens, chat.tokens_max), (7, 7));
        assert!(chat.stream && chat.include_usage);
        let completion = read(r#"{"model":"m","prompt":["one two","three"]}"#);
        assert_eq!((completion.prompt_tokens, completion.tokens_max), (3, 400));
        let responses = read(r#"{"model":"m","instructions":"x","input":"hello there"}"#);
        assert_eq!(
            (responses.text.as_str(), responses.prompt_tokens),
            ("hello there", 3)
        );
        let embedding = read(r#"{"model":"m","input":["a","b"],"encoding_format":"base64"}"#);
        assert_eq!(embedding.inputs, ["a", "b"]);
        assert!(embedding.base64);
    }

    #[test]
    fn what_names_no_model_is_no_question() {
        for body in ["", "[]", "{}", r#"{"model":1}"#, r#"{"model":"m""#] {
            assert!(Question::read("/v1/x", body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn what_an_endpoint_cannot_do_without_is_missed() {
        let lacks = |path, body: &str| Question::read(path, body.as_bytes()).unwrap().lacks;
        let chat = "/v1/chat/completions";
        for body in [
            r#"{"model":"m"}"#,
            r#"{"model":"m","messages":"none"}"#,
            r#"{"model":"m","messages":[]}"#,
        ] {
            assert_eq!(lacks(chat, body), Some("messages"), "{body}");
        }
        let whole = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(lacks(chat, whole), None);
        assert_eq!(lacks("/v1/completions", whole), Some("prompt"));
        assert_eq!(lacks("/v1/embeddings", whole), Some("input"));
    }
}
