//! What travels: requests and replies in OpenAI's shapes, padded to a chosen size.

use rustix::time::{ClockId, clock_gettime};

/// What stands in front of an event's time of sending: 19 digits of the monotonic clock's
/// nanoseconds, inside of a field that OpenAI defines as opaque. Both ends run on one machine, so
/// the difference is the time that the event was under way.
pub const STAMP_MARK: &[u8] = b"\"system_fingerprint\":\"ns-";
/// Digits of a stamp: enough for 300 years without a restart.
pub const STAMP_DIGITS: usize = 19;

/// The monotonic clock, ns: the same for all processes of this machine.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0)
}

/// Fills up to `bytes` with prose between `front` and `back`; no shorter than both together.
fn padded(front: &str, back: &str, bytes: usize) -> String {
    const PROSE: &str =
        "the harbour was quiet and the tide was going out, slowly, past the wharves ";
    let room = bytes.saturating_sub(front.len() + back.len());
    let filler: String = PROSE.chars().cycle().take(room).collect();
    format!("{front}{filler}{back}")
}

/// What a client asks.
pub struct Ask<'a> {
    /// The request's `model`.
    pub model: &'a str,
    /// Events instead of a whole answer.
    pub stream: bool,
    /// Ask for `stream_options.include_usage`.
    pub include_usage: bool,
    /// What the canned upstream is told (`plan.rs`); may be empty.
    pub plan: &'a str,
    /// Size of the JSON, or the fewest bytes that its form needs.
    pub bytes: usize,
}

/// A chat request.
pub fn chat_request(ask: &Ask) -> String {
    let options = match (ask.stream, ask.include_usage) {
        (true, true) => r#","stream":true,"stream_options":{"include_usage":true}"#,
        (true, false) => r#","stream":true"#,
        (false, _) => "",
    };
    let system = match ask.plan {
        "" => "You are terse.".to_owned(),
        plan => format!("bench:{plan}"),
    };
    padded(
        &format!(
            r#"{{"model":"{}","messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":""#,
            ask.model
        ),
        &format!(r#""}}],"temperature":0.2,"max_tokens":256{options}}}"#),
        ask.bytes,
    )
}

/// A whole request for `path`, its head included. `fields` are lines of `name: value`.
pub fn request(path: &str, authority: &str, fields: &[String], body: &str) -> Vec<u8> {
    let fields: String = fields.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: srpd-bench\r\n\
         accept: application/json\r\ncontent-type: application/json\r\n{fields}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A chat completion of `bytes` bytes (or the fewest that its form needs).
pub fn chat_completion(bytes: usize) -> String {
    padded(
        r#"{"id":"chatcmpl-canned","object":"chat.completion","created":1760000000,"model":"canned-1","system_fingerprint":"fp_canned","choices":[{"index":0,"message":{"role":"assistant","content":""#,
        r#"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":148,"total_tokens":360,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
        bytes,
    )
}

/// One event of a chat stream, its stamp zero. With `usage`, each event says `"usage":null`, as
/// OpenAI's do when the client asked for it.
pub fn chat_event(usage: bool) -> String {
    let usage = if usage { r#","usage":null"# } else { "" };
    format!(
        "data: {{\"id\":\"chatcmpl-canned\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
         \"model\":\"canned-1\",\"system_fingerprint\":\"ns-{:0width$}\",\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\" tide\"}},\"logprobs\":null,\"finish_reason\":null}}]{usage}}}\n\n",
        0,
        width = STAMP_DIGITS
    )
}

/// The end of a chat stream that produced `events` tokens: the usage event if asked for, `[DONE]`.
pub fn chat_end(usage: bool, events: usize) -> String {
    let usage = if usage {
        format!(
            "data: {{\"id\":\"chatcmpl-canned\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
             \"model\":\"canned-1\",\"choices\":[],\"usage\":{{\"prompt_tokens\":212,\
             \"completion_tokens\":{events},\"total_tokens\":{}}}}}\n\n",
            events + 212
        )
    } else {
        String::new()
    };
    format!("{usage}data: [DONE]\n\n")
}

/// Writes `ns` over the digits that begin at `at`.
pub fn stamp(event: &mut [u8], at: usize, ns: u64) {
    let mut rest = ns;
    for digit in event[at..at + STAMP_DIGITS].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The stamp of an event, if it has one.
pub fn stamp_of(event: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(event, STAMP_MARK)? + STAMP_MARK.len();
    let digits = std::str::from_utf8(event.get(at..at + STAMP_DIGITS)?).ok()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_size_that_was_asked_for() {
        assert_eq!(chat_completion(1024).len(), 1024);
        for (stream, plan, bytes) in [(false, "", 1024), (true, "pace_ms=5", 262_144)] {
            let ask = Ask {
                model: "smart",
                stream,
                include_usage: stream,
                plan,
                bytes,
            };
            assert_eq!(chat_request(&ask).len(), bytes);
        }
    }

    #[test]
    fn a_stamp_is_read_back_as_written() {
        let mut event = chat_event(true).into_bytes();
        let at = memchr::memmem::find(&event, STAMP_MARK).unwrap() + STAMP_MARK.len();
        assert_eq!(stamp_of(&event), Some(0));
        stamp(&mut event, at, 1_763_827_200_123_456_789);
        assert_eq!(stamp_of(&event), Some(1_763_827_200_123_456_789));
    }

    #[test]
    fn an_event_without_a_stamp_has_none() {
        assert_eq!(stamp_of(b"data: [DONE]\n\n"), None);
        assert_eq!(stamp_of(STAMP_MARK), None);
    }
}
