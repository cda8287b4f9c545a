//! The shapes of OpenAI's answers, as far as clients and the proxy depend on them.

use serde_json::Value;

use super::line::Answer;
use super::probe::{Not, demand, fail};

/// Token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of the request.
    pub prompt: u64,
    /// Of the answer.
    pub completion: u64,
}

/// A body of JSON that is said to be JSON.
pub fn json(answer: &Answer) -> Result<Value, Not> {
    let kind = answer.head.media_type();
    demand(
        kind.eq_ignore_ascii_case("application/json"),
        format!("expected content-type application/json, found {kind:?}"),
    )?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| Not::Passed(format!("the body is no JSON: {error}")))
}

/// A member that must be a text with something in it.
fn text<'v>(value: &'v Value, member: &str) -> Result<&'v str, Not> {
    match value[member].as_str() {
        Some(text) if !text.is_empty() => Ok(text),
        _ => fail(format!(
            "expected a text in `{member}`, found {}",
            value[member]
        )),
    }
}

/// Members that all objects have.
fn object(value: &Value, kind: &str) -> Result<(), Not> {
    let found = &value["object"];
    demand(
        found == kind,
        format!("expected `object` \"{kind}\", found {found}"),
    )?;
    text(value, "id")?;
    text(value, "model")?;
    demand(
        value["created"].is_u64(),
        format!(
            "expected seconds since 1970 in `created`, found {}",
            value["created"]
        ),
    )
}

/// The only choice.
fn choice(value: &Value) -> Result<&Value, Not> {
    match value["choices"].as_array().map(Vec::as_slice) {
        Some([only]) => {
            demand(
                only["index"] == 0,
                format!("expected `index` 0, found {}", only["index"]),
            )?;
            Ok(only)
        }
        _ => fail("expected one choice in `choices`"),
    }
}

/// A whole chat completion; gives its only choice.
pub fn chat(value: &Value) -> Result<&Value, Not> {
    object(value, "chat.completion")?;
    let choice = choice(value)?;
    let message = &choice["message"];
    demand(
        message["role"] == "assistant",
        format!(
            "expected the role \"assistant\" in `message`, found {}",
            message["role"]
        ),
    )?;
    demand(
        message["content"].is_string() || message["content"].is_null(),
        "expected a text or null in `message.content`",
    )?;
    text(choice, "finish_reason")?;
    Ok(choice)
}

/// A whole completion; gives its only choice.
pub fn completion(value: &Value) -> Result<&Value, Not> {
    object(value, "text_completion")?;
    let choice = choice(value)?;
    demand(
        choice["text"].is_string(),
        format!("expected a text in `text`, found {}", choice["text"]),
    )?;
    text(choice, "finish_reason")?;
    Ok(choice)
}

/// A chunk of a chat, usage-only ones excepted; gives its only choice.
pub fn chunk(value: &Value) -> Result<&Value, Not> {
    object(value, "chat.completion.chunk")?;
    let choice = choice(value)?;
    demand(
        choice["delta"].is_object(),
        format!("expected an object in `delta`, found {}", choice["delta"]),
    )?;
    Ok(choice)
}

/// Whether a chunk has usage and no choice: the one that `include_usage` asks for.
pub fn is_usage_only(value: &Value) -> bool {
    value["choices"].as_array().is_some_and(Vec::is_empty) && value["usage"].is_object()
}

/// Whether a chunk says anything: an answer's text, or the thought before it.
pub fn says_something(value: &Value) -> bool {
    let choice = &value["choices"][0];
    let delta = &choice["delta"];
    let said = [
        &delta["content"],
        &delta["reasoning_content"],
        &delta["reasoning"],
        &choice["text"],
    ];
    said.iter()
        .any(|text| text.as_str().is_some_and(|text| !text.is_empty()))
}

/// The usage of a whole answer, or of the chunk that has it.
pub fn usage(value: &Value) -> Result<Usage, Not> {
    let usage = &value["usage"];
    let count = |member: &str| match usage[member].as_u64() {
        Some(count) => Ok(count),
        None => fail(format!(
            "expected a number of tokens in `usage.{member}`, found {}",
            usage[member]
        )),
    };
    let (prompt, completion) = (count("prompt_tokens")?, count("completion_tokens")?);
    let total = count("total_tokens")?;
    demand(
        total == prompt + completion,
        format!("`usage.total_tokens` is {total}, not {prompt} + {completion}"),
    )?;
    Ok(Usage { prompt, completion })
}

/// An error: its status is of these, its body has OpenAI's shape. Gives what it says.
pub fn error(answer: &Answer, statuses: &[u16]) -> Result<String, Not> {
    let status = answer.head.status;
    demand(
        statuses.contains(&status),
        format!("expected status {}, found {status}", listed(statuses)),
    )?;
    let body = json(answer)?;
    demand(
        body["error"].is_object(),
        "expected an object in `error`, where OpenAI's clients look for the reason",
    )?;
    let message = text(&body["error"], "message")?;
    text(&body["error"], "type")?;
    let message: String = message.chars().take(120).collect();
    Ok(format!("{status}: {message:?}"))
}

fn listed(statuses: &[u16]) -> String {
    let words: Vec<String> = statuses.iter().map(ToString::to_string).collect();
    words.join(" or ")
}
