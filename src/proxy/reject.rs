//! Errors that srpd makes itself: what to say, and how it is written (SRP section 2).

use std::borrow::Cow;
use std::time::Duration;

use super::answer::{self, Manner};
use super::settle::Settlement;
use crate::http::encode;
use crate::net::Buffer;
use crate::openai::{ErrorCode, ProbeError, write_body};

/// An error response in the making.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Which row of SRP section 2.
    pub code: ErrorCode,
    /// For the person who reads it.
    pub message: Cow<'static, str>,
    /// The request's part at fault.
    pub param: Option<Cow<'static, str>>,
    /// Seconds after which it may be worth another try.
    pub retry_after: Option<u64>,
    /// Milliseconds, where they are known.
    pub retry_after_ms: Option<u64>,
    /// For 405: what the path allows.
    pub allow: Option<&'static str>,
}

impl Rejection {
    /// An error without particulars.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            retry_after_ms: None,
            allow: None,
        }
    }

    /// The same, naming the part of the request that is at fault.
    pub fn about(mut self, param: impl Into<Cow<'static, str>>) -> Rejection {
        self.param = Some(param.into());
        self
    }

    /// The same, naming when to come back.
    pub fn retry_after(mut self, seconds: u64) -> Rejection {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// The same, naming when to come back to the millisecond: `retry-after` for everybody, and
    /// `retry-after-ms`, which OpenAI's SDKs prefer. Both are rounded up.
    pub fn retry_in(mut self, wait: Duration) -> Rejection {
        let millis = wait.as_nanos().div_ceil(1_000_000).max(1);
        self.retry_after_ms = u64::try_from(millis).ok();
        self.retry_after(u64::try_from(millis.div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// The whole response. `settlement` learns what was said.
    pub fn write(&self, settlement: &mut Settlement, manner: Manner) -> Buffer {
        let mut body = Vec::with_capacity(256);
        write_body(&mut body, self.code, &self.message, self.param.as_deref());
        let mut buffer = Buffer::small();
        let out = buffer.vec();
        encode::status_line(out, self.code.status());
        encode::field(out, "content-type", b"application/json");
        let retry: &[u8] = if self.code.should_retry() {
            b"true"
        } else {
            b"false"
        };
        encode::field(out, "x-should-retry", retry);
        if let Some(seconds) = self.retry_after {
            encode::field(
                out,
                "retry-after",
                itoa::Buffer::new().format(seconds).as_bytes(),
            );
        }
        if let Some(millis) = self.retry_after_ms {
            encode::field(
                out,
                "retry-after-ms",
                itoa::Buffer::new().format(millis).as_bytes(),
            );
        }
        if let Some(allow) = self.allow {
            encode::field(out, "allow", allow.as_bytes());
        }
        settlement.rejected(self.code, body.len());
        answer::stamp(out, settlement, Some(settlement.took_ms()));
        encode::content_length(out, body.len() as u64);
        answer::connection(out, manner);
        out.extend_from_slice(encode::CRLF);
        if !manner.head_only {
            out.extend_from_slice(&body);
        }
        buffer
    }
}

impl From<ProbeError> for Rejection {
    fn from(error: ProbeError) -> Rejection {
        let param = error.param().map(Cow::Borrowed);
        Rejection {
            param,
            ..Rejection::new(error.code(), error.to_string())
        }
    }
}
