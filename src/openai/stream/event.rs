//! One event of a stream.

use std::borrow::Cow;
use std::ops::Range;

/// A complete event, as offsets into the window that it was found in.
pub(super) struct Event {
    start: usize,
    /// Just after its blank line.
    pub(super) end: usize,
    /// The value of its `data` line; of several, from the first to the end of the last.
    pub(super) data: Range<usize>,
    data_lines: usize,
    /// The value of its last `event` line.
    pub(super) name: Range<usize>,
}

impl Event {
    /// The event that begins at `start`; `None` if its blank line is not all in hand.
    pub(super) fn next(window: &[u8], start: usize) -> Option<Event> {
        let mut event = Event {
            start,
            end: start,
            data: start..start,
            data_lines: 0,
            name: start..start,
        };
        loop {
            let line = event.end;
            let (text_end, next) = line_end(window, line)?;
            event.end = next;
            if text_end == line {
                return Some(event);
            }
            let text = &window[line..text_end];
            if let Some(value) = field(text, b"data") {
                if event.data_lines == 0 {
                    event.data.start = line + value;
                }
                event.data.end = text_end;
                event.data_lines += 1;
            } else if let Some(value) = field(text, b"event") {
                event.name = line + value..text_end;
            }
        }
    }

    /// Whether there is anything for the client's parser in it.
    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// Its data: the values of all `data` lines, joined by line feeds.
    pub(super) fn payload<'w>(&self, window: &'w [u8]) -> Cow<'w, [u8]> {
        if self.data_lines <= 1 {
            return Cow::Borrowed(&window[self.data.clone()]);
        }
        let mut joined = Vec::with_capacity(self.data.len());
        let mut line = self.start;
        while let Some((text_end, next)) = line_end(window, line) {
            let text = &window[line..text_end];
            if let Some(value) = field(text, b"data") {
                joined.extend_from_slice(&text[value..]);
                joined.push(b'\n');
            }
            line = next;
            if line >= self.end {
                break;
            }
        }
        joined.pop();
        Cow::Owned(joined)
    }
}

/// The end of the text of the line at `start`, and the start of the next line. A carriage return
/// that is the window's last byte may have a line feed to come, so its line isn't complete.
fn line_end(window: &[u8], start: usize) -> Option<(usize, usize)> {
    let end = start + memchr::memchr2(b'\n', b'\r', &window[start..])?;
    if window[end] == b'\n' {
        return Some((end, end + 1));
    }
    match window.get(end + 1)? {
        b'\n' => Some((end, end + 2)),
        _ => Some((end, end + 1)),
    }
}

/// Where the value of a line begins, if its field is `name`: after the colon and one space.
#[inline]
fn field(line: &[u8], name: &[u8]) -> Option<usize> {
    match line.strip_prefix(name)? {
        [] => Some(name.len()),
        [b':', b' ', ..] => Some(name.len() + 2),
        [b':', ..] => Some(name.len() + 1),
        _ => None,
    }
}
