//! `stream_options`: how a chat stream is made to report its tokens.

use std::borrow::Cow;

use super::probe::{Members, ProbeError, Scalar, boolean, known_key};

const INCLUDE_USAGE: &str = "include_usage";
const ASK: &[u8] = br#"{"include_usage":true}"#;

/// The value that `stream_options` shall have for the provider, so that the stream reports its
/// usage, and whether the client asked for that itself: if not, the usage-only event is removed
/// again (SRP section 9). Other members of the client's value stay as they are.
///
/// # Errors
/// [`ProbeError`] if the value is not an object or `null`, or `include_usage` is no boolean or
/// stands there twice.
pub fn with_include_usage(
    stream_options: Option<&[u8]>,
) -> Result<(Cow<'_, [u8]>, bool), ProbeError> {
    let value = match stream_options {
        None | Some(b"null") => return Ok((Cow::Borrowed(ASK), false)),
        Some(value) => value,
    };
    let mut members = Members::open(Scalar, value)?;
    let inside = members.at();
    let mut found = None;
    let mut empty = true;
    while let Some(member) = members.next()? {
        empty = false;
        if known_key(&[INCLUDE_USAGE], value, &member.key)?.is_some()
            && found.replace(member.value).is_some()
        {
            let key = INCLUDE_USAGE;
            return Err(ProbeError::Ambiguous { key });
        }
    }
    let new = match found {
        Some(range) if boolean(INCLUDE_USAGE, &value[range.clone()])? => {
            return Ok((Cow::Borrowed(value), true));
        }
        Some(range) => [&value[..range.start], b"true", &value[range.end..]].concat(),
        None if empty => return Ok((Cow::Borrowed(ASK), false)),
        None => {
            let member = br#""include_usage":true,"#;
            [&value[..inside], member, &value[inside..]].concat()
        }
    };
    Ok((Cow::Owned(new), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: Option<&str>) -> (String, bool) {
        let (value, asked) = with_include_usage(value.map(str::as_bytes)).unwrap();
        (String::from_utf8(value.into_owned()).unwrap(), asked)
    }

    #[test]
    fn usage_is_asked_for_and_the_rest_is_kept() {
        let ask = r#"{"include_usage":true}"#;
        for (value, new, by_client) in [
            (None, ask, false),
            (Some("null"), ask, false),
            (Some("{}"), ask, false),
            (Some(" { } "), ask, false),
            (Some(ask), ask, true),
            (
                Some(r#"{ "include_usage" : true }"#),
                r#"{ "include_usage" : true }"#,
                true,
            ),
            (Some(r#"{"include_usage":false}"#), ask, false),
            (
                Some(r#"{"include_usage":null }"#),
                r#"{"include_usage":true }"#,
                false,
            ),
            (
                Some(r#"{"include_obfuscation":false}"#),
                r#"{"include_usage":true,"include_obfuscation":false}"#,
                false,
            ),
            (
                Some(r#"{"a":{"include_usage":true},"include_usage":false,"b":[1]}"#),
                r#"{"a":{"include_usage":true},"include_usage":true,"b":[1]}"#,
                false,
            ),
        ] {
            assert_eq!(asked(value), (new.to_owned(), by_client), "{value:?}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for value in [
            r#"{"include_usage":true,"include_usage":false}"#,
            r#"{"include_usage":1}"#,
            r#"{"include_usage":"true"}"#,
            r#"{"Include_Usage":true}"#,
            r#"{"include\u005fusage":true}"#,
            "[]",
            "nul",
            "",
            r#"{"a":1"#,
        ] {
            assert!(
                with_include_usage(Some(value.as_bytes())).is_err(),
                "{value}"
            );
        }
    }
}
