//! Event streams (the SSE of the WHATWG HTML standard, section 9.2), as they pass: where events
//! end, whether the stream came to its own end, what it says of tokens and errors.
//!
//! Events are looked at in the buffer that they were read into, and parsed only if they may say
//! one of these things. Nothing is copied but what rare events force: those over several `data`
//! lines, and those too long for the buffer.

mod event;
mod spill;
#[cfg(test)]
mod tests;

use std::ops::Range;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::value::RawValue;

use super::route::Operation;
use super::usage::{Outline, USAGE_KEY, Usage, read_usage};
use event::Event;
use spill::Spill;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a stream begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing but comments, or part of an event: more must be read.
    Incomplete,
    /// A complete event that is no error: the call may commit.
    Event,
    /// An error: its data, as offsets into the window (from the first `data` line's value to the
    /// last one's, if it has several).
    Error(Range<usize>),
}

/// Looks for the first event of a stream, past comments and events without data. `window` begins
/// where the stream does.
pub fn first_event(window: &[u8]) -> First {
    let mut at = after_byte_order_mark(window);
    while let Some(event) = Event::next(window, at) {
        if event.has_data() {
            return match is_error(&event, window) {
                true => First::Error(event.data),
                false => First::Event,
            };
        }
        at = event.end;
    }
    First::Incomplete
}

fn is_error(event: &Event, window: &[u8]) -> bool {
    if &window[event.name.clone()] == b"error" {
        return true;
    }
    let payload = event.payload(window);
    if memchr::memmem::find(&payload, b"\"error\"").is_none() {
        return false;
    }
    serde_json::from_slice(&payload).is_ok_and(|outline: Outline<'_>| {
        outline.error.is_some_and(is_truthy) || text(outline.kind) == "error"
    })
}

fn after_byte_order_mark(window: &[u8]) -> usize {
    match window.starts_with(BYTE_ORDER_MARK) {
        true => BYTE_ORDER_MARK.len(),
        false => 0,
    }
}

/// What one look at the window found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The end of the last complete event, 0 if there is none. Up to here the window may be sent;
    /// the next window begins here. Inside a spilled event, all of the window.
    pub complete: usize,
    /// The usage-only event that the client didn't ask for: to be left out. At most once in a
    /// stream.
    pub remove: Option<Range<usize>>,
}

/// Finds the key of an error.
static ERROR_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));

/// Watches one stream from its first byte to its last.
pub struct StreamScanner {
    operation: Operation,
    strip_usage: bool,
    usage: Option<Usage>,
    begun: bool,
    ended: bool,
    failed: bool,
    events: u64,
    spill: Option<Box<Spill>>,
}

impl StreamScanner {
    /// A scanner for a stream of `operation`. `strip_usage`: the client didn't ask for the
    /// usage-only event.
    pub fn new(operation: Operation, strip_usage: bool) -> StreamScanner {
        StreamScanner {
            operation,
            strip_usage: strip_usage && operation.streams_usage(),
            usage: None,
            begun: false,
            ended: false,
            failed: false,
            events: 0,
            spill: None,
        }
    }

    /// Looks at the complete events of `window`, which begins where the last sweep's `complete`
    /// was, or where what was spilled ended. The same stream gives the same results however
    /// it is cut into windows.
    pub fn sweep(&mut self, window: &[u8]) -> Sweep {
        let mut sweep = Sweep {
            complete: 0,
            remove: None,
        };
        if self.spill.is_some() {
            sweep.complete = self.sweep_spill(window);
            if self.spill.is_some() {
                return sweep;
            }
        }
        let mut at = sweep.complete;
        if !self.begun {
            at += after_byte_order_mark(window);
        }
        while let Some(event) = Event::next(window, at) {
            self.begun = true;
            at = event.end;
            self.events += u64::from(event.has_data());
            if event.has_data() && self.is_stray_usage(&event, window) {
                self.strip_usage = false;
                sweep.remove = Some(sweep.complete..at);
            }
            sweep.complete = at;
        }
        sweep
    }

    /// The body has come to its declared end with `tail` behind the last complete event: an event
    /// whose blank line is missing. It is looked at all the same, since some servers leave the
    /// line out behind `[DONE]`; nothing of it is to be removed.
    pub fn finish(&mut self, tail: &[u8]) {
        if self.spill.is_some() || !tail.is_empty() {
            let ended = [tail, b"\n\n"].concat();
            self.strip_usage = false;
            self.sweep(&ended);
        }
    }

    /// The token counts last reported.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether the stream said that it is over: `[DONE]`, or for Responses its terminal event.
    /// Other streams don't say so, and end where their framing does.
    pub fn ended_cleanly(&self) -> bool {
        match self.operation {
            Operation::ChatCompletions | Operation::Completions | Operation::Responses => {
                self.ended
            }
            _ => true,
        }
    }

    /// Whether the end was said in the stream itself: nothing that comes behind it matters.
    pub fn said_end(&self) -> bool {
        self.ended
    }

    /// Whether the beginning of an event has been passed on whose end has not come
    /// ([`StreamScanner::spill`]).
    pub fn is_within_event(&self) -> bool {
        self.spill.is_some()
    }

    /// The number that an event of ours would have in a Responses stream: they count from zero.
    pub fn next_sequence(&self) -> u64 {
        self.events
    }

    /// Whether the provider reported a failure of its own inside the stream. The client has seen
    /// it: nothing is to be added, and the attempt was no success. A Responses stream that fails
    /// by what the request asked for (`invalid_prompt` and the like) is not the provider's.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Takes in one event with data. True if it is a usage-only event to be removed.
    fn is_stray_usage(&mut self, event: &Event, window: &[u8]) -> bool {
        let payload = event.payload(window);
        let responses = self.operation == Operation::Responses;
        if payload.trim_ascii_end() == b"[DONE]" {
            self.ended |= !responses;
            return false;
        }
        let name = &window[event.name.clone()];
        let error = name == b"error";
        let telling = error
            || responses && (is_terminal(name) || !name.starts_with(b"response."))
            || has_member(&USAGE_KEY, &payload, |first| first == b'{')
            || has_member(&ERROR_KEY, &payload, |first| first != b'n');
        if !telling {
            return false;
        }
        self.failed |= error;
        let Ok(outline) = serde_json::from_slice::<Outline<'_>>(&payload) else {
            return false;
        };
        self.take_outline(&outline, name)
    }

    fn take_outline(&mut self, outline: &Outline<'_>, name: &[u8]) -> bool {
        let error = outline.error.is_some_and(is_truthy);
        self.failed |= error;
        let mut usage = outline.usage.and_then(counts);
        if self.operation == Operation::Responses {
            let kind = match outline.kind {
                Some(_) => text(outline.kind),
                None => std::str::from_utf8(name).unwrap_or_default(),
            };
            self.ended |= is_terminal(kind.as_bytes());
            self.failed |= kind == "error";
            if let Some(response) = outline.response.and_then(parse) {
                usage = usage.or(response.usage.and_then(counts));
                self.failed |= kind == "response.failed" && is_providers_fault(response.error);
            }
        }
        self.usage = usage.or(self.usage);
        self.strip_usage && !error && usage.is_some() && outline.choices.is_some_and(is_empty_list)
    }
}

/// The events after which nothing more comes in a Responses stream.
fn is_terminal(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"response.completed" | b"response.incomplete" | b"response.failed" | b"error"
    )
}

/// Whether a failed response failed by the provider: the other codes of OpenAI's specification
/// speak of the prompt or its images.
fn is_providers_fault(error: Option<&RawValue>) -> bool {
    #[derive(serde::Deserialize)]
    struct Failure<'b> {
        code: &'b str,
    }
    match error.map(|raw| serde_json::from_str::<Failure<'_>>(raw.get())) {
        Some(Ok(failure)) => matches!(
            failure.code,
            "server_error" | "rate_limit_exceeded" | "vector_store_timeout"
        ),
        _ => true,
    }
}

/// Whether `payload` has the member that `key` finds, at any depth, with a value whose first byte
/// is one that `wanted` says yes to.
fn has_member(key: &Finder<'_>, payload: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    key.find_iter(payload).any(|at| {
        let rest = payload[at + key.needle().len()..].trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value
            .and_then(<[u8]>::first)
            .is_some_and(|&first| wanted(first))
    })
}

fn counts(raw: &RawValue) -> Option<Usage> {
    read_usage(raw.get().as_bytes())
}

fn parse(raw: &RawValue) -> Option<Outline<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// The text of a string without escapes; empty if it is anything else.
fn text(raw: Option<&RawValue>) -> &str {
    let raw = raw.map_or("", RawValue::get);
    let inner = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"'));
    inner.unwrap_or_default()
}

/// What an SDK takes for an error: Python's notion of true.
fn is_truthy(raw: &RawValue) -> bool {
    let raw = raw.get();
    let empty = is_empty_between(raw, '{', '}') || is_empty_between(raw, '[', ']');
    !(empty || matches!(raw, "null" | "false" | "0" | "\"\""))
}

fn is_empty_list(raw: &RawValue) -> bool {
    is_empty_between(raw.get(), '[', ']')
}

fn is_empty_between(raw: &str, open: char, close: char) -> bool {
    let inner = raw.strip_prefix(open).and_then(|r| r.strip_suffix(close));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}
