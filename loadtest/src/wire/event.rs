//! What an event of a stream says, as far as it is measured. Looked for rather than parsed: a key
//! with its quotes can't occur inside of a JSON string, where quotes are escaped.

use memchr::memmem;
use serde::Deserialize;

/// The longest code that is told apart, bytes.
pub const CODE_BYTES_MAX: usize = 64;

/// One event's data.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Text, or a piece of a tool call: what a user waits for.
    Token,
    /// The tokens of the whole answer.
    Usage(u32),
    /// The stream failed, with this code.
    Error(String),
    /// `[DONE]`.
    Done,
    /// A role, a finish reason, an empty text.
    Other,
}

impl Event {
    /// Of the bytes behind `data:`.
    pub fn of(data: &[u8]) -> Event {
        if data == b"[DONE]" {
            return Event::Done;
        }
        let spoken = [b"content\":".as_slice(), b"\"text\":", b"\"arguments\":"];
        if spoken.iter().any(|key| has_text(data, key)) {
            return Event::Token;
        }
        if memmem::find(data, b"\"error\"").is_some()
            && let Some(code) = error_code(data)
        {
            return Event::Error(code);
        }
        match completion_tokens(data) {
            Some(tokens) => Event::Usage(tokens),
            None => Event::Other,
        }
    }
}

/// What stands behind the key, blanks left out.
fn value<'d>(data: &'d [u8], key: &[u8]) -> Option<&'d [u8]> {
    let at = memmem::find(data, key)? + key.len();
    Some(data[at..].trim_ascii_start())
}

/// Whether the key's value is a string with something in it.
fn has_text(data: &[u8], key: &[u8]) -> bool {
    value(data, key)
        .is_some_and(|value| value.first() == Some(&b'"') && value.get(1) != Some(&b'"'))
}

/// `completion_tokens` of a usage, wherever it stands.
pub fn completion_tokens(data: &[u8]) -> Option<u32> {
    let value = value(data, b"\"completion_tokens\":")?;
    let digits = value
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

/// The code of an error, in OpenAI's shape: else its type, else that there was one. `None` where
/// there is no error.
pub fn error_code(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer {
        error: Option<serde_json::Value>,
    }
    let error = serde_json::from_slice::<Outer>(json).ok()?.error?;
    let named = ["code", "type"]
        .iter()
        .find_map(|key| match error.get(key)? {
            serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
    let mut code = named.unwrap_or_else(|| "error".to_owned());
    let end = (0..=CODE_BYTES_MAX.min(code.len()))
        .rev()
        .find(|&at| code.is_char_boundary(at));
    code.truncate(end.unwrap_or(0));
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Event {
        Event::of(text.as_bytes())
    }

    #[test]
    fn tokens_are_what_has_text() {
        assert_eq!(
            of(r#"{"choices":[{"delta":{"content":"a"}}]}"#),
            Event::Token
        );
        assert_eq!(
            of(r#"{"choices": [{"delta": {"content": "a"}}]}"#),
            Event::Token
        );
        assert_eq!(
            of(r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#),
            Event::Token
        );
        assert_eq!(of(r#"{"choices":[{"text":"a"}]}"#), Event::Token);
        assert_eq!(
            of(r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}"#),
            Event::Token
        );
        assert_eq!(
            of(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#),
            Event::Other
        );
        assert_eq!(
            of(r#"{"choices":[{"delta":{"content":null}}],"usage":null}"#),
            Event::Other
        );
    }

    #[test]
    fn what_a_text_quotes_is_not_taken_for_more() {
        assert_eq!(
            of(r#"{"choices":[{"delta":{"content":"\"error\": {}"}}]}"#),
            Event::Token
        );
        assert_eq!(of(r#"{"note":"\"completion_tokens\":5"}"#), Event::Other);
    }

    #[test]
    fn the_end_and_the_usage_and_errors_are_seen() {
        assert_eq!(of("[DONE]"), Event::Done);
        assert_eq!(
            of(r#"{"choices":[],"usage":{"completion_tokens": 17}}"#),
            Event::Usage(17)
        );
        assert_eq!(
            of(r#"{"error":{"message":"m","type":"t","code":"upstream_died"}}"#),
            Event::Error("upstream_died".to_owned())
        );
        assert_eq!(of(r#"{"error":null,"choices":[]}"#), Event::Other);
    }

    #[test]
    fn an_error_has_some_code() {
        let code = |text: &str| error_code(text.as_bytes());
        assert_eq!(code(r#"{"error":{"code":null,"type":"t"}}"#).unwrap(), "t");
        assert_eq!(code(r#"{"error":{"code":503}}"#).unwrap(), "503");
        assert_eq!(code(r#"{"error":"broken"}"#).unwrap(), "error");
        assert_eq!(code("<html>"), None);
        let long = format!(r#"{{"error":{{"code":"{}"}}}}"#, "é".repeat(100));
        assert_eq!(code(&long).unwrap().len(), CODE_BYTES_MAX);
    }
}
