//! What came of a client's calls: counts, and times in histograms.

use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hdrhistogram::Histogram;

use crate::shape;

/// The longest time that is told apart.
const TIME_MAX_NS: u64 = 60_000_000_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Whole responses.
    Call,
    /// Streams.
    Stream,
}

impl Mode {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Call => "call",
            Mode::Stream => "stream",
        }
    }
}

/// What came of it.
pub struct Tally {
    /// Calls that were answered well.
    pub calls: u64,
    /// Calls that were not.
    pub errors: u64,
    events: u64,
    /// Of the answers' bodies.
    pub bytes: u64,
    /// From sending a call to the end of its answer, ns.
    pub call: Histogram<u64>,
    /// From sending a call to its first event, ns.
    first_event: Histogram<u64>,
    /// From the upstream's stamp to its arrival here, ns.
    event: Histogram<u64>,
}

/// Times up to a minute, to a thousandth, ns.
pub fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, TIME_MAX_NS, 3).map_err(io::Error::other)
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> io::Result<Tally> {
        Ok(Tally {
            calls: 0,
            errors: 0,
            events: 0,
            bytes: 0,
            call: histogram()?,
            first_event: histogram()?,
            event: histogram()?,
        })
    }

    /// One more, and the first is told to whoever watches.
    pub fn error(&mut self, error: &io::Error) {
        if self.errors == 0 {
            eprintln!("srpd-bench: the first that failed: {error}");
        }
        self.errors += 1;
    }

    /// One JSON object, its braces not included.
    pub fn json(&self, mode: Mode, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let times = |name: &str, histogram: &Histogram<u64>| {
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
            format!(
                r#""{name}_us":{{"p50":{:.1},"p90":{:.1},"p99":{:.1},"p999":{:.1},"max":{:.1}}}"#,
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                histogram.max() as f64 / 1000.0
            )
        };
        let stream = match mode {
            Mode::Call => String::new(),
            Mode::Stream => format!(
                r#","events":{},"events_per_second":{:.1},{},{}"#,
                self.events,
                self.events as f64 / seconds,
                times("first_event", &self.first_event),
                times("event", &self.event)
            ),
        };
        format!(
            r#""mode":"{}","seconds":{seconds:.3},"calls":{},"errors":{},"calls_per_second":{:.1},"response_body_bytes":{},{}{stream}"#,
            mode.name(),
            self.calls,
            self.errors,
            self.calls as f64 / seconds,
            self.bytes,
            times("call", &self.call)
        )
    }
}

/// As a histogram takes it.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One answer as it comes in.
pub struct Answer {
    mode: Mode,
    sent: Instant,
    /// Of the body so far.
    pub bytes: u64,
    /// Bytes of an event that has not ended yet.
    pending: Vec<u8>,
    started: bool,
    done: bool,
}

impl Answer {
    /// To a call that was due at `sent`.
    pub fn new(mode: Mode, sent: Instant) -> Answer {
        Answer {
            mode,
            sent,
            bytes: 0,
            pending: Vec::new(),
            started: false,
            done: false,
        }
    }

    /// Takes in a piece of the body.
    pub fn take(&mut self, payload: &[u8], tally: &mut Tally) {
        self.bytes += payload.len() as u64;
        if self.mode == Mode::Call {
            return;
        }
        self.pending.extend_from_slice(payload);
        let now = shape::now_ns();
        let mut begin = 0;
        while let Some(end) = memchr::memmem::find(&self.pending[begin..], b"\n\n") {
            let event = &self.pending[begin..begin + end];
            begin += end + 2;
            if let Some(stamp) = shape::stamp_of(event) {
                tally.events += 1;
                tally.event.saturating_record(now.saturating_sub(stamp));
                if !self.started {
                    self.started = true;
                    tally
                        .first_event
                        .saturating_record(nanos(self.sent.elapsed()));
                }
            }
            self.done |= event == b"data: [DONE]";
        }
        self.pending.drain(..begin);
    }

    /// A stream ends with `[DONE]`; for anything else the framing has decided.
    pub fn is_complete(&self) -> bool {
        self.mode == Mode::Call || (self.done && self.pending.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_across_cuts_and_the_end_is_seen() {
        let text = [
            shape::chat_event(false),
            shape::chat_event(false),
            shape::chat_end(false, 2),
        ]
        .concat();
        for cut in 0..text.len() {
            let mut tally = Tally::new().unwrap();
            let mut answer = Answer::new(Mode::Stream, Instant::now());
            answer.take(&text.as_bytes()[..cut], &mut tally);
            assert!(!answer.is_complete());
            answer.take(&text.as_bytes()[cut..], &mut tally);
            assert!(answer.is_complete());
            assert_eq!((tally.events, tally.first_event.len()), (2, 1));
        }
    }
}
