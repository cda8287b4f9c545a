//! What a client wants of the canned upstream: it stands in the system message, which every proxy
//! hands on, so that one upstream serves every workload.

use std::io;
use std::time::Duration;

/// What a plan begins with in a message.
const MARK: &[u8] = b"\"bench:";

/// How one request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From one event of a stream to the next; zero: as fast as they are taken.
    pub pace: Duration,
    /// Events of a stream, the usage event and `[DONE]` not counted.
    pub events: usize,
    /// Size of a completion's JSON.
    pub bytes: usize,
    /// Remember under this number when the request came and when its connection ended.
    pub watch: Option<u64>,
    /// Never answer.
    pub hang: bool,
}

impl Plan {
    /// Reads `pace_ms=5,events=200,bytes=1024,watch=7,hang`, any of them; what is left out is as in
    /// `self`.
    pub fn with(mut self, text: &str) -> io::Result<Plan> {
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, "1"));
            let wrong = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("plan: {part}"));
            let number: u64 = value.parse().map_err(wrong)?;
            let size = usize::try_from(number).unwrap_or(usize::MAX);
            match name {
                "pace_ms" => self.pace = Duration::from_millis(number),
                "events" => self.events = size,
                "bytes" => self.bytes = size,
                "watch" => self.watch = Some(number),
                "hang" => self.hang = number != 0,
                _ => {
                    let what = format!("plan: {part}");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
                }
            }
        }
        Ok(self)
    }

    /// The same from a request's body, where it says something.
    pub fn of_body(self, body: &[u8]) -> io::Result<Plan> {
        let Some(at) = memchr::memmem::find(body, MARK) else {
            return Ok(self);
        };
        let rest = &body[at + MARK.len()..];
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        let text = std::str::from_utf8(&rest[..end]).map_err(io::Error::other)?;
        self.with(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Plan = Plan {
        pace: Duration::from_millis(5),
        events: 200,
        bytes: 1024,
        watch: None,
        hang: false,
    };

    #[test]
    fn a_body_says_what_differs() {
        let body = br#"{"model":"m","messages":[{"content":"bench:pace_ms=20,watch=7"}]}"#;
        let plan = USUAL.of_body(body).unwrap();
        assert_eq!((plan.pace.as_millis(), plan.watch), (20, Some(7)));
        assert_eq!((plan.events, plan.bytes, plan.hang), (200, 1024, false));
        assert!(USUAL.with("hang").unwrap().hang);
        assert_eq!(USUAL.of_body(br#"{"model":"smart"}"#).unwrap(), USUAL);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(USUAL.with("pase_ms=5").is_err());
        assert!(USUAL.with("pace_ms=five").is_err());
        assert!(USUAL.of_body(br#"{"content":"bench:events"}"#).is_ok());
        assert!(USUAL.of_body(br#"{"content":"bench:event"}"#).is_err());
    }
}
