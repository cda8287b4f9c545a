//! What a provider's error body says about whose fault it is.

use serde::Deserialize;
use std::borrow::Cow;

/// Faults that are not the client's, although the status alone might say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Our account with the provider is used up.
    QuotaExhausted,
    /// The provider doesn't know the model that it was asked for.
    UnknownModel,
}

#[derive(Default, Deserialize)]
struct Body<'b> {
    #[serde(borrow, default)]
    error: Option<Detail<'b>>,
    // Some servers (vLLM) put the members at the top.
    #[serde(borrow, flatten)]
    flat: Detail<'b>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail<'b> {
    #[serde(borrow)]
    code: Option<Code<'b>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Code<'b>>,
    #[serde(borrow)]
    param: Option<Code<'b>>,
    #[serde(borrow)]
    message: Option<Code<'b>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Code<'b> {
    #[serde(borrow)]
    Text(Cow<'b, str>),
    Other(serde::de::IgnoredAny),
}

fn text<'d>(member: &'d Option<Code<'_>>) -> &'d str {
    match member {
        Some(Code::Text(text)) => text,
        Some(Code::Other(_)) | None => "",
    }
}

/// Reads an error body in OpenAI's shape, or its flat variant. None if it is neither, or names
/// another fault.
pub fn read_fault(body: &[u8]) -> Option<Fault> {
    let parsed: Body<'_> = serde_json::from_slice(body).ok()?;
    let detail = parsed.error.unwrap_or(parsed.flat);
    let (code, kind) = (text(&detail.code), text(&detail.kind));
    if code == "insufficient_quota" || kind == "insufficient_quota" {
        return Some(Fault::QuotaExhausted);
    }
    let message = text(&detail.message).to_ascii_lowercase();
    let missing = message.contains("does not exist") || message.contains("not found");
    let unknown = code == "model_not_found"
        || text(&detail.param) == "model"
        || (message.contains("model") && missing);
    unknown.then_some(Fault::UnknownModel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_from_what_the_client_did() {
        let quota = Some(Fault::QuotaExhausted);
        let model = Some(Fault::UnknownModel);
        for (body, fault) in [
            (
                r#"{"error":{"code":"insufficient_quota","message":"x"}}"#,
                quota,
            ),
            (
                r#"{"error":{"type":"insufficient_quota","code":null}}"#,
                quota,
            ),
            (
                r#"{"error":{"code":"model_not_found","message":"x"}}"#,
                model,
            ),
            (
                r#"{"error":{"code":404,"param":"model","message":"x"}}"#,
                model,
            ),
            (
                r#"{"object":"error","message":"The model `x` does not exist.","code":404}"#,
                model,
            ),
            (
                r#"{"error":{"code":"not_found","message":"No such response: resp_1"}}"#,
                None,
            ),
            (r#"{"error":{"code":"rate_limit_exceeded"}}"#, None),
            (r#"{"error":"text"}"#, None),
            ("not json", None),
            ("[]", None),
        ] {
            assert_eq!(read_fault(body.as_bytes()), fault, "{body}");
        }
    }
}
