//! The field lines of a head, and what `Connection` says about them.

use std::ops::Range;

use super::bad_head::BadHead;
use super::encode::{CRLF, checked_field};

/// The most options `Connection` may list. Every field of a message is compared with each of them
/// when it is forwarded.
pub const CONNECTION_OPTIONS_MAX: usize = 16;

/// A field that should stand once stands twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field is sent more than once")]
pub struct Repeated;

/// The fields of a head, in the order in which they came. Names keep their case; values have no
/// white space at either end.
#[derive(Clone, Copy)]
pub struct Fields<'h, 'b> {
    head: &'b [u8],
    lines: &'h [httparse::Header<'b>],
    options: Options,
    lengths: Lengths,
}

/// Which lengths the names of a head have. Most names that are asked for are of none of them: then
/// no line need be looked at.
#[derive(Clone, Copy, Default)]
pub(super) struct Lengths(u64);

impl Lengths {
    /// Longer names share a bit.
    #[inline]
    fn bit(name: &str) -> u64 {
        1 << name.len().min(63)
    }

    #[inline]
    pub fn add(&mut self, name: &str) {
        self.0 |= Lengths::bit(name);
    }

    #[inline]
    fn may_hold(self, name: &str) -> bool {
        self.0 & Lengths::bit(name) != 0
    }
}

impl<'h, 'b> Fields<'h, 'b> {
    #[inline]
    pub(super) fn new(
        head: &'b [u8],
        lines: &'h [httparse::Header<'b>],
        options: Options,
        lengths: Lengths,
    ) -> Fields<'h, 'b> {
        Fields {
            head,
            lines,
            options,
            lengths,
        }
    }

    /// Writes the field lines that `keep` chooses by their names and that `Connection` doesn't
    /// nominate. Lines that stand in the head as they would be written, and next to each other,
    /// are copied together.
    #[inline]
    pub(super) fn copy_to(&self, out: &mut Vec<u8>, keep: impl Fn(&str) -> bool) {
        let mut run = 0..0;
        for line in self.lines {
            if !keep(line.name) || self.nominated(line.name) {
                continue;
            }
            let at = self.as_written(line);
            match &at {
                Some(at) if at.start == run.end => run.end = at.end,
                _ => {
                    out.extend_from_slice(&self.head[run]);
                    run = at.clone().unwrap_or_default();
                }
            }
            if at.is_none() {
                checked_field(out, line.name, line.value);
            }
        }
        out.extend_from_slice(&self.head[run]);
    }

    /// Where a line stands in the head, if it is written as it would be here: `name: value`.
    #[inline]
    fn as_written(&self, line: &httparse::Header<'b>) -> Option<Range<usize>> {
        let start = line.name.as_ptr().addr() - self.head.as_ptr().addr();
        let colon = start + line.name.len();
        let end = colon + 2 + line.value.len();
        let is_plain = self.head.get(colon..colon + 2) == Some(b": ")
            && self.head.get(end..end + 2) == Some(CRLF);
        is_plain.then_some(start..end + 2)
    }

    /// Every field line: name and value.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'h, 'b> {
        self.lines.iter().map(|line| (line.name, line.value))
    }

    /// The values of every line of that name (ASCII case-insensitive).
    #[inline]
    pub fn get_all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b, 'n> {
        let lines = match self.lengths.may_hold(name) {
            true => self.lines,
            false => &[],
        };
        lines
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    }

    /// The value of a field that means something only when it stands once.
    #[inline]
    pub fn single(&self, name: &str) -> Result<Option<&'b [u8]>, Repeated> {
        let mut values = self.get_all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Repeated),
        }
    }

    /// Whether `Connection` lists this name: the field is then meant for this hop alone
    /// (RFC 9110 section 7.6.1).
    #[inline]
    pub fn nominated(&self, name: &str) -> bool {
        self.options.nominates
            && self.get_all("connection").any(|list| {
                options_of(list).any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
            })
    }

    /// How many field lines there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no field at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// How often a field was met.
#[derive(Clone, Copy)]
pub(super) enum Seen<'b> {
    Never,
    Once(&'b [u8]),
    Repeated,
}

impl<'b> Seen<'b> {
    #[inline]
    pub fn again(&mut self, value: &'b [u8]) {
        *self = match self {
            Seen::Never => Seen::Once(value),
            _ => Seen::Repeated,
        };
    }
}

/// What the `Connection` fields of a message say.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    /// The sender closes after this message.
    pub close: bool,
    /// It lists a field that says where the message ends or to whom it is addressed.
    pub framing: bool,
    /// It lists anything but `close` and `keep-alive`.
    nominates: bool,
    count: usize,
}

impl Options {
    pub fn add(&mut self, list: &[u8]) -> Result<(), BadHead> {
        for option in options_of(list) {
            self.count += 1;
            if self.count > CONNECTION_OPTIONS_MAX {
                return Err(BadHead::TooManyOptions);
            }
            if !option.iter().all(|&byte| is_token_byte(byte)) {
                return Err(BadHead::Connection);
            }
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("close") {
                self.close = true;
            } else if !is("keep-alive") {
                self.nominates = true;
                self.framing |= is("host") || is("content-length") || is("transfer-encoding");
            }
        }
        Ok(())
    }
}

/// The elements of a list, without the empty ones (RFC 9110 section 5.6.1).
#[inline]
fn options_of(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(trim)
        .filter(|option| !option.is_empty())
}

/// Without optional white space: spaces and tabs only (RFC 9110 section 5.6.3).
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// `tchar` of RFC 9110 section 5.6.2.
#[inline]
pub(super) fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
