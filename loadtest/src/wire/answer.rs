//! One answer as it comes in: what was seen when.

use memchr::memchr;

use super::body::Body;
use super::event::{self, Event};
use super::{Broken, Head, head};

/// The end of a whole answer that is kept, to find its usage or its error in, bytes.
const TAIL_BYTES: usize = 4096;
/// The longest event that is waited for, bytes.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Where times of single events go.
pub trait Sink {
    /// From one token to the next, ns.
    fn gap(&mut self, nanos: u64);
    /// From an event's stamp to its arrival, ns.
    fn added(&mut self, nanos: u64);
}

/// A stream's pace so far, and what falls out of it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The pace that was stated, ns; else each stream's own mean so far.
    pub stated: Option<u64>,
}

impl Pace {
    /// A gap of so many times the pace is a stall.
    pub const STALL: u64 = 10;
    /// A stream's own pace counts as no faster than this, ns: events that arrive together say
    /// nothing about the next one.
    pub const FASTEST: u64 = 1_000_000;
    /// The gaps that a stream's own pace needs to be known.
    const KNOWN_AFTER: u64 = 4;

    fn is_stall(self, gap: u64, before: u64, gaps: u64) -> bool {
        let pace = match self.stated {
            Some(pace) => pace,
            None if gaps < Pace::KNOWN_AFTER => return false,
            None => (before / gaps).max(Pace::FASTEST),
        };
        gap > pace.saturating_mul(Pace::STALL)
    }
}

/// What was seen of an answer; times on the monotonic clock, 0 for not yet.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The head, once it is complete.
    pub head: Option<Head>,
    /// When the first byte came.
    pub first_byte: u64,
    /// When the first token came.
    pub first_token: u64,
    /// When the last token came.
    pub last_token: u64,
    /// Events with text.
    pub tokens: u64,
    /// The server's own count, if it gave one.
    pub usage: Option<u32>,
    /// Gaps that were stalls.
    pub stalls: u32,
    /// Stamps of another system's clock.
    pub foreign: u32,
    /// An error inside of the answer.
    pub error: Option<String>,
    /// `[DONE]` has come.
    pub done: bool,
    /// Bytes of the body.
    pub bytes: u64,
}

impl Seen {
    /// The tokens of the answer: the server's count, or the events.
    pub fn all_tokens(&self) -> u64 {
        self.usage.map_or(self.tokens, u64::from)
    }
}

/// An answer being received. Its buffers are used again for the next one.
#[derive(Debug)]
pub struct Answer {
    /// What was seen so far.
    pub seen: Seen,
    stream: bool,
    system: u32,
    pace: Pace,
    body: Option<Body>,
    /// Of a stream: a line that has not ended; of anything else: the last bytes.
    kept: Vec<u8>,
}

impl Answer {
    /// Answers on the system of that number.
    pub fn new(system: u32, pace: Pace) -> Answer {
        Answer {
            seen: Seen::default(),
            stream: false,
            system,
            pace,
            body: None,
            kept: Vec::new(),
        }
    }

    /// Begins the next one, that is a stream or isn't.
    pub fn begin(&mut self, stream: bool) {
        self.seen = Seen::default();
        self.stream = stream;
        self.body = None;
        self.kept.clear();
    }

    /// Takes in bytes that came at `now`: how many were used, and whether the answer is over.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        now: u64,
        sink: &mut impl Sink,
    ) -> Result<(usize, bool), Broken> {
        let mut at = 0;
        if self.seen.first_byte == 0 && !bytes.is_empty() {
            self.seen.first_byte = now;
        }
        while self.body.is_none() {
            let Some((found, length)) = head::parse(&bytes[at..])? else {
                return Ok((at, false));
            };
            at += length;
            if found.status >= 200 {
                self.seen.head = Some(found);
                self.body = Some(Body::new(found.framing));
                self.stream &= found.status == 200;
            }
        }
        let Some(mut body) = self.body.take() else {
            return Ok((at, false));
        };
        let fed = body.feed(&bytes[at..], |payload| self.payload(payload, now, sink));
        self.body = Some(body);
        let (used, over) = fed?;
        if self.kept.len() > EVENT_BYTES_MAX {
            return Err(Broken("event_too_long"));
        }
        if over {
            self.end();
        }
        Ok((at + used, over))
    }

    /// The connection has ended: whether that is the answer's end.
    pub fn close(&mut self) -> bool {
        let over = self.body.as_ref().is_some_and(Body::ends_with_connection);
        if over {
            self.end();
        }
        over
    }

    /// What is wrong with a complete answer, if anything.
    pub fn fault(&self) -> Option<&str> {
        let status = self.seen.head.map_or(0, |head| head.status);
        match &self.seen.error {
            Some(code) => Some(code),
            None if !(200..300).contains(&status) => Some("no_code"),
            None if self.stream && !self.seen.done => Some("stream_truncated"),
            None => None,
        }
    }

    fn end(&mut self) {
        if self.stream {
            return;
        }
        let status = self.seen.head.map_or(0, |head| head.status);
        match (200..300).contains(&status) {
            true => self.seen.usage = event::completion_tokens(&self.kept),
            false => self.seen.error = event::error_code(&self.kept),
        }
    }

    fn payload(&mut self, payload: &[u8], now: u64, sink: &mut impl Sink) {
        self.seen.bytes += payload.len() as u64;
        if !self.stream {
            let over = (self.kept.len() + payload.len()).saturating_sub(TAIL_BYTES);
            self.kept.drain(..over.min(self.kept.len()));
            let tail = payload.len().saturating_sub(TAIL_BYTES);
            self.kept.extend_from_slice(&payload[tail..]);
            return;
        }
        let mut rest = payload;
        while let Some(end) = memchr(b'\n', rest) {
            if self.kept.is_empty() {
                self.line(&rest[..end], now, sink);
            } else {
                let mut kept = std::mem::take(&mut self.kept);
                kept.extend_from_slice(&rest[..end]);
                self.line(&kept, now, sink);
                kept.clear();
                self.kept = kept;
            }
            rest = &rest[end + 1..];
        }
        self.kept.extend_from_slice(rest);
    }

    /// One line of a stream. A `data:` line is an event: OpenAI's never have two.
    fn line(&mut self, line: &[u8], now: u64, sink: &mut impl Sink) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let seen = &mut self.seen;
        match Event::of(data.trim_ascii()) {
            Event::Done => seen.done = true,
            Event::Usage(tokens) => seen.usage = Some(tokens),
            Event::Error(code) => seen.error = Some(code),
            Event::Other => {}
            Event::Token => {
                if seen.tokens == 0 {
                    seen.first_token = now;
                } else {
                    let gap = now.saturating_sub(seen.last_token);
                    let before = seen.last_token - seen.first_token;
                    seen.stalls += u32::from(self.pace.is_stall(gap, before, seen.tokens - 1));
                    sink.gap(gap);
                }
                seen.last_token = now;
                seen.tokens += 1;
                match crate::stamp::read(data) {
                    Some((system, at)) if system == self.system => {
                        sink.added(now.saturating_sub(at));
                    }
                    Some(_) => seen.foreign += 1,
                    None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Framing;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Times {
        gaps: Vec<u64>,
        added: Vec<u64>,
    }

    impl Sink for Times {
        fn gap(&mut self, nanos: u64) {
            self.gaps.push(nanos);
        }
        fn added(&mut self, nanos: u64) {
            self.added.push(nanos);
        }
    }

    fn answer(stream: bool) -> Answer {
        let mut answer = Answer::new(7, Pace { stated: None });
        answer.begin(stream);
        answer
    }

    fn token(at: u64) -> String {
        let mut event = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}],{}}}\n\n",
            crate::stamp::member(7)
        )
        .into_bytes();
        let position = crate::stamp::position(&event).unwrap();
        crate::stamp::write(&mut event, position, at);
        String::from_utf8(event).unwrap()
    }

    const STREAM: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";

    proptest! {
        #[test]
        fn a_stream_is_the_same_however_it_is_cut(cut: prop::sample::Index, crlf: bool) {
            let mut wire = format!("{STREAM}: hello\n\ndata: {{\"role\":1}}\n\n{}{}", token(1), token(2));
            wire += "data: {\"usage\":{\"completion_tokens\":9}}\n\ndata: [DONE]\n\n";
            if crlf {
                wire = wire.replace("\n\n", "\r\n\r\n");
            }
            let cut = cut.index(wire.len() + 1);
            let (mut answer, mut times) = (answer(true), Times::default());
            let mut bytes = wire.as_bytes()[..cut].to_vec();
            let (used, _) = answer.feed(&bytes, 10, &mut times).unwrap();
            bytes.drain(..used);
            bytes.extend_from_slice(&wire.as_bytes()[cut..]);
            answer.feed(&bytes, 10, &mut times).unwrap();
            prop_assert!(answer.close());
            prop_assert_eq!(answer.fault(), None);
            prop_assert_eq!((answer.seen.tokens, answer.seen.usage), (2, Some(9)));
            prop_assert_eq!(times.gaps, [0]);
            prop_assert_eq!(times.added, [9, 8]);
        }
    }

    fn run(stream: bool, wire: &str) -> Answer {
        let mut answer = answer(stream);
        answer
            .feed(wire.as_bytes(), 1, &mut Times::default())
            .unwrap();
        answer.close();
        answer
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(run(true, STREAM).fault(), Some("stream_truncated"));
        let died = format!("{STREAM}data: {{\"error\":{{\"code\":\"upstream_died\"}}}}\n\n");
        assert_eq!(run(true, &died).fault(), Some("upstream_died"));
        let busy = "HTTP/1.1 429 No\r\nconnection: close\r\n\r\n{\"error\":{\"code\":\"rate\"}}";
        assert_eq!(run(true, busy).fault(), Some("rate"));
        let html = "HTTP/1.1 502 Bad\r\ncontent-length: 6\r\n\r\n<html>";
        assert_eq!(run(false, html).fault(), Some("no_code"));
    }

    #[test]
    fn a_whole_answer_has_its_usage_even_behind_a_long_text() {
        let text = "x".repeat(3 * TAIL_BYTES);
        let body = format!("{{\"text\":\"{text}\",\"usage\":{{\"completion_tokens\":3}}}}");
        let wire = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = answer(false);
        let mut over = false;
        let mut at = 0;
        for piece in wire.as_bytes().chunks(1000) {
            let (used, end) = answer.feed(piece, 1, &mut Times::default()).unwrap();
            (at, over) = (at + used, end);
        }
        assert_eq!((at, over), (wire.len(), true));
        assert_eq!((answer.fault(), answer.seen.usage), (None, Some(3)));
    }

    #[test]
    fn an_interim_response_is_not_the_answer() {
        let wire = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let seen = run(false, wire).seen;
        assert_eq!(seen.head.unwrap().framing, Framing::Length(2));
    }

    #[test]
    fn a_stall_is_ten_times_the_pace() {
        let own = Pace { stated: None };
        let ms = 1_000_000;
        assert!(!own.is_stall(1000 * ms, 0, 0), "no pace is known yet");
        assert!(!own.is_stall(50 * ms, 25 * ms, 5));
        assert!(own.is_stall(51 * ms, 25 * ms, 5));
        assert!(
            !own.is_stall(9 * ms, 0, 5),
            "events that came together are no pace"
        );
        let stated = Pace {
            stated: Some(20 * ms),
        };
        assert!(stated.is_stall(201 * ms, 0, 0));
        assert!(!stated.is_stall(200 * ms, 0, 0));
    }

    #[test]
    fn stamps_of_another_system_are_counted_and_not_measured() {
        let mut answer = Answer::new(8, Pace { stated: None });
        answer.begin(true);
        let mut times = Times::default();
        let wire = format!("{STREAM}{}", token(1));
        answer.feed(wire.as_bytes(), 5, &mut times).unwrap();
        assert_eq!((answer.seen.foreign, times.added.len()), (1, 0));
    }
}
