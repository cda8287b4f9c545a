//! Where a call comes from, for providers that are balanced by prefix: read from what the client
//! has sent, once a call.

use crate::openai::read_prompt;
use crate::policy::balance::Trail;
use crate::tables::routes::Capability;

/// The field by which a client may name its conversation.
const SESSION: &[u8] = b"x-session-id";

/// What a key is: the same text as a member and as a field names two conversations.
const MEMBER: u64 = 1;
const FIELD: u64 = 2;

/// The trail of a call: by `prompt_cache_key`, `user`, or `X-Session-Id`, or else by its text. A
/// form has no text that a prefix cache would know.
pub fn of(forwarded: &[u8], capability: &Capability, form: bool, body: &[u8]) -> Trail {
    let prompt = match form {
        true => Default::default(),
        false => read_prompt(body),
    };
    if let Some(key) = prompt.key {
        return Trail::of_key(MEMBER, key);
    }
    if let Some(session) = session(forwarded) {
        return Trail::of_key(FIELD, session);
    }
    let model = u64::from(capability.id.0);
    match prompt.parts.iter().all(|part| part.is_empty()) {
        true => Trail::of_text(model, &[body]),
        false => Trail::of_text(model, &prompt.parts),
    }
}

/// The value of `X-Session-Id` among field lines as they are forwarded.
fn session(lines: &[u8]) -> Option<&[u8]> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(SESSION.len())?;
        let value = value.strip_prefix(b":")?.trim_ascii();
        (name.eq_ignore_ascii_case(SESSION) && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_among_the_lines_and_nowhere_else() {
        let found = |lines: &str| session(lines.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(
            found("Accept: */*\r\nX-Session-ID: s 1\r\nx-b: c\r\n"),
            Some(b"s 1".to_vec())
        );
        assert_eq!(found("x-session-id:\r\n"), None);
        assert_eq!(found("x-session-id-2: a\r\ny: x-session-id: b\r\n"), None);
        assert_eq!(found(""), None);
    }
}
