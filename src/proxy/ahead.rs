//! What a client has sent ahead of the answer to an earlier request: whole requests are counted,
//! so that only so many are read. What is beyond stays in the kernel, and slows the client down.

use std::collections::VecDeque;

use crate::http::{HeadLimits, HeadSlots, RequestFraming, parse_request};
use crate::net::buffer::LARGE;
use crate::policy::limits::Limits;

/// Bytes of further requests that are read while a call is under way, whatever their number. The
/// read that reaches it may bring one buffer more.
const BYTES_MAX: usize = LARGE;

/// The requests behind the one that is being answered. Costs nothing until there are some.
#[derive(Default)]
pub struct Ahead {
    /// Bytes of each request that is there whole, in order.
    whole: VecDeque<usize>,
    /// Bytes of them all.
    at: usize,
    /// Nothing behind them can be counted: it is no request, or its end can't be told by its
    /// head, or none is to follow.
    opaque: bool,
}

impl Ahead {
    /// The next request is being answered: the first of these, if there are any.
    #[inline]
    pub fn advance(&mut self) {
        match self.whole.pop_front() {
            Some(length) => self.at -= length,
            None => {
                self.at = 0;
                self.opaque = false;
            }
        }
    }

    /// Counts what `input`, all that has been read and not been taken, has more than the last
    /// time, and tells whether reading is to go on.
    pub fn wants_more(&mut self, input: &[u8], limits: &Limits) -> bool {
        if input.len() >= BYTES_MAX {
            return false;
        }
        while !self.opaque && self.whole.len() < limits.pipelined_requests {
            let Some(length) = self.next(input.get(self.at..).unwrap_or_default(), limits) else {
                break;
            };
            self.whole.push_back(length);
            self.at += length;
        }
        !self.opaque && self.whole.len() < limits.pipelined_requests
    }

    /// Bytes of the request that `bytes` begin with, if all of it is there.
    fn next(&mut self, bytes: &[u8], limits: &Limits) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        let limits = HeadLimits {
            bytes: limits.head_bytes,
            fields: limits.headers,
        };
        let mut slots = HeadSlots::new();
        let Ok(head) = parse_request(bytes, &limits, &mut slots) else {
            self.opaque = true;
            return None;
        };
        let head = head?;
        let body = match head.framing {
            RequestFraming::None => 0,
            RequestFraming::Length(length) => length,
            RequestFraming::Chunked => {
                self.opaque = true;
                return None;
            }
        };
        let length = usize::try_from(body).ok()?.checked_add(head.length)?;
        if length > bytes.len() {
            return None;
        }
        self.opaque = !head.persistent;
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        head_bytes: 4096,
        headers: 20,
        body_bytes: 1 << 20,
        connections_per_core: 1,
        pipelined_requests: 3,
        calls_per_core: 1,
        memory_bytes: None,
    };

    fn request(fields: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}")
    }

    fn sized(body: &str) -> String {
        request(&format!("content-length: {}\r\n", body.len()), body)
    }

    #[test]
    fn whole_requests_are_counted_however_they_come() {
        let input = [sized("12345"), request("", ""), sized(&"x".repeat(2000))].concat();
        for size in [1, 7, input.len()] {
            let mut ahead = Ahead::default();
            for end in (0..input.len()).step_by(size).skip(1) {
                let wants = ahead.wants_more(&input.as_bytes()[..end], &LIMITS);
                assert!(wants, "{end} bytes in steps of {size}");
            }
            assert!(!ahead.wants_more(input.as_bytes(), &LIMITS));
            assert_eq!(ahead.whole.len(), 3);
        }
    }

    #[test]
    fn each_that_is_taken_makes_room_for_one() {
        let requests = [sized("1"), sized("22"), sized("333"), sized("4444")];
        let mut ahead = Ahead::default();
        // The first of all is being answered: it isn't ahead of itself.
        ahead.advance();
        assert!(ahead.wants_more(b"", &LIMITS));
        assert!(!ahead.wants_more(requests[..3].concat().as_bytes(), &LIMITS));
        ahead.advance();
        assert!(ahead.wants_more(requests[1..3].concat().as_bytes(), &LIMITS));
        assert!(!ahead.wants_more(requests[1..].concat().as_bytes(), &LIMITS));
        for _ in 0..3 {
            ahead.advance();
        }
        assert_eq!((ahead.whole.len(), ahead.at), (0, 0));
        assert!(ahead.wants_more(b"", &LIMITS));
        // One that was not there whole when its turn came.
        assert!(ahead.wants_more(&requests[0].as_bytes()[..10], &LIMITS));
        ahead.advance();
        assert!(ahead.wants_more(requests[1].as_bytes(), &LIMITS));
    }

    #[test]
    fn what_cannot_be_counted_ends_the_reading() {
        for last in [
            request("connection: close\r\n", ""),
            request("", "").replace("1.1", "1.0"),
            "\x16\x03\x01".to_owned(),
            request(&format!("x: {}\r\n", "v".repeat(5000)), ""),
            request("transfer-encoding: chunked\r\n", ""),
        ] {
            let mut ahead = Ahead::default();
            let input = sized("1") + &last;
            assert!(!ahead.wants_more(input.as_bytes(), &LIMITS), "{last}");
            ahead.advance();
            assert!(!ahead.wants_more(last.as_bytes(), &LIMITS), "{last}");
            ahead.advance();
            // Another can only follow behind the chunked one.
            if last.contains("chunked") {
                assert!(ahead.wants_more(sized("1").as_bytes(), &LIMITS));
            }
        }
        let long = sized(&"x".repeat(BYTES_MAX));
        let mut ahead = Ahead::default();
        assert!(ahead.wants_more(&long.as_bytes()[..BYTES_MAX - 1], &LIMITS));
        assert!(!ahead.wants_more(&long.as_bytes()[..BYTES_MAX], &LIMITS));
    }
}
