//! What requests and responses have in common: where a head ends, its bounds, and what its
//! framing fields declare.

use std::mem::MaybeUninit;

use super::bad_head::BadHead;
use super::fields::{Fields, Lengths, Options, Seen};

/// The most fields a head can ever have, whatever `HeadLimits::fields` says: the slots for them
/// are on the stack.
pub const FIELDS_MAX: usize = 256;

/// The bounds of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the start line and all fields, with the blank line that ends them.
    pub bytes: usize,
    /// Field lines; at most [`FIELDS_MAX`].
    pub fields: usize,
}

/// Room for the fields of one head. Costs nothing to make: it is not initialised.
pub struct HeadSlots<'b>([MaybeUninit<httparse::Header<'b>>; FIELDS_MAX]);

impl<'b> HeadSlots<'b> {
    /// Empty slots.
    #[inline]
    pub fn new() -> HeadSlots<'b> {
        HeadSlots([const { MaybeUninit::uninit() }; FIELDS_MAX])
    }

    #[inline]
    pub(super) fn within(
        &mut self,
        limits: &HeadLimits,
    ) -> &mut [MaybeUninit<httparse::Header<'b>>] {
        &mut self.0[..limits.fields.min(FIELDS_MAX)]
    }
}

impl Default for HeadSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The versions that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: read, never kept open, never chunked.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    #[inline]
    pub(super) fn from_minor(minor: Option<u8>) -> Version {
        match minor {
            Some(1) => Version::Http11,
            _ => Version::Http10,
        }
    }
}

/// Finds the end of the head that begins at `start`: the offset just after its blank line, or
/// `None` if more bytes are needed. Nothing after that end is looked at.
#[inline]
pub(super) fn end_of_head(
    bytes: &[u8],
    start: usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, BadHead> {
    // httparse would skip any number of empty lines.
    if matches!(bytes.get(start..), Some([b'\n', ..] | [b'\r', b'\n', ..])) {
        return Err(BadHead::LineEnd);
    }
    let window = &bytes[..bytes.len().min(limits.bytes)];
    for feed in memchr::memchr_iter(b'\n', window.get(start..).unwrap_or_default()) {
        let line = &window[start..start + feed + 1];
        if !line.ends_with(b"\r\n") {
            return Err(BadHead::LineEnd);
        }
        if line.ends_with(b"\r\n\r\n") {
            return Ok(Some(start + feed + 1));
        }
    }
    if bytes.len() >= limits.bytes {
        return Err(BadHead::TooLong);
    }
    Ok(None)
}

/// The start line of an incomplete head, as far as it is there: what is not HTTP at all need not
/// be waited for.
pub(super) fn start_line(bytes: &[u8]) -> &[u8] {
    match memchr::memchr(b'\n', bytes) {
        Some(feed) => &bytes[..feed + 1],
        None => bytes,
    }
}

/// The fields that decide where a message ends, found in one pass.
pub(super) struct Survey<'b> {
    pub host: Seen<'b>,
    pub expect: Seen<'b>,
    length: Seen<'b>,
    encoding: Seen<'b>,
    pub options: Options,
    lengths: Lengths,
}

/// The framing that a message's fields declare, before its kind is considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

impl<'b> Survey<'b> {
    #[inline]
    pub fn of(fields: &[httparse::Header<'b>]) -> Result<Survey<'b>, BadHead> {
        let mut survey = Survey {
            host: Seen::Never,
            expect: Seen::Never,
            length: Seen::Never,
            encoding: Seen::Never,
            options: Options::default(),
            lengths: Lengths::default(),
        };
        for field in fields {
            survey.lengths.add(field.name);
            let named = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                4 if named("host") => survey.host.again(field.value),
                6 if named("expect") => survey.expect.again(field.value),
                10 if named("connection") => survey.options.add(field.value)?,
                14 if named("content-length") => survey.length.again(field.value),
                17 if named("transfer-encoding") => survey.encoding.again(field.value),
                _ => {}
            }
        }
        Ok(survey)
    }

    /// RFC 9112 section 6.3, with every case that it lets a recipient repair refused instead.
    #[inline]
    pub fn declared(&self, version: Version) -> Result<Declared, BadHead> {
        match (self.length, self.encoding) {
            (Seen::Never, Seen::Never) => Ok(Declared::Nothing),
            (Seen::Never, Seen::Once(coding)) => {
                if version == Version::Http10 {
                    Err(BadHead::EncodingOnHttp10)
                } else if coding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Declared::Chunked)
                } else {
                    Err(BadHead::Encoding)
                }
            }
            (Seen::Never, Seen::Repeated) => Err(BadHead::Encoding),
            (Seen::Once(digits), Seen::Never) => {
                decimal(digits).map(Declared::Length).ok_or(BadHead::Length)
            }
            (Seen::Repeated, Seen::Never) => Err(BadHead::RepeatedLength),
            (_, _) => Err(BadHead::LengthAndEncoding),
        }
    }

    #[inline]
    pub fn fields<'h>(&self, head: &'b [u8], lines: &'h [httparse::Header<'b>]) -> Fields<'h, 'b> {
        Fields::new(head, lines, self.options, self.lengths)
    }
}

/// `1*DIGIT` that fits 64 bits: no sign, no space, no list.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}
