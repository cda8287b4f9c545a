//! Events that are longer than the caller's buffer: passed on in pieces, and watched for their
//! end, their token counts and their name.

use super::{Operation, StreamScanner, after_byte_order_mark};
use crate::openai::usage::{Usage, find_usage};

/// An event of which part has been passed on.
pub(super) struct Spill {
    line: Line,
    /// The end of what has been passed on.
    carry: Vec<u8>,
    usage: Option<Usage>,
    ends_stream: bool,
    failed: bool,
}

/// Where in a line the last piece ended.
#[derive(Clone, Copy)]
enum Line {
    Start,
    Inside,
    /// Behind a carriage return; a line feed would belong to it.
    AfterReturn,
    /// The same, and the line was blank.
    AfterBlankReturn,
}

impl Line {
    /// The offset behind the blank line, or where in a line `piece` ends if it has none.
    fn end_of_event(mut self, piece: &[u8]) -> Result<usize, Line> {
        let mut at = 0;
        loop {
            let byte = *piece.get(at).ok_or(self)?;
            self = match (self, byte) {
                (Line::AfterBlankReturn, b'\n') | (Line::Start, b'\n') => return Ok(at + 1),
                (Line::AfterBlankReturn, _) => return Ok(at),
                (Line::AfterReturn | Line::Inside, b'\n') => Line::Start,
                (Line::Start | Line::AfterReturn, b'\r') => Line::AfterBlankReturn,
                (Line::Inside, b'\r') => Line::AfterReturn,
                (Line::Start | Line::AfterReturn | Line::Inside, _) => {
                    let rest = &piece[at..];
                    let next = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    at += next;
                    self = Line::Inside;
                    continue;
                }
            };
            at += 1;
        }
    }
}

impl Spill {
    /// Looks for token counts, and for the name of an event that ends a Responses stream.
    fn look(&mut self, piece: &[u8], operation: Operation) {
        self.carry.extend_from_slice(piece);
        let (usage, keep) = find_usage(&self.carry);
        self.usage = usage.or(self.usage);
        if operation == Operation::Responses {
            let says = |word: &str| memchr::memmem::find(&self.carry, word.as_bytes()).is_some();
            let failed = says("\"response.failed\"");
            self.failed |= failed;
            self.ends_stream |=
                failed || says("\"response.completed\"") || says("\"response.incomplete\"");
        }
        self.carry.drain(..keep);
    }
}

impl StreamScanner {
    /// Tells the scanner that `rest`, which the last sweep left behind `complete`, is passed on as
    /// it is for want of room: the next window goes on in the middle of that event, and sweeps
    /// hand all of it out until the event is over. Such an event is never removed, and not looked
    /// at for errors; its token counts and its being a terminal event are found.
    pub fn spill(&mut self, rest: &[u8]) {
        let begin = match self.begun {
            true => 0,
            false => after_byte_order_mark(rest),
        };
        self.begun = true;
        if self.spill.is_none() {
            self.spill = Some(Box::new(Spill {
                line: Line::Start,
                carry: Vec::new(),
                usage: None,
                ends_stream: false,
                failed: false,
            }));
        }
        self.sweep_spill(&rest[begin..]);
    }

    /// How much of `window` belongs to the spilled event.
    pub(super) fn sweep_spill(&mut self, window: &[u8]) -> usize {
        let Some(mut spill) = self.spill.take() else {
            return 0;
        };
        let outcome = spill.line.end_of_event(window);
        let end = outcome.unwrap_or(window.len());
        spill.look(&window[..end], self.operation);
        match outcome {
            Err(line) => {
                spill.line = line;
                self.spill = Some(spill);
            }
            Ok(_) => {
                self.usage = spill.usage.or(self.usage);
                self.ended |= spill.ends_stream;
                self.failed |= spill.failed;
            }
        }
        end
    }
}
