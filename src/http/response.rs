//! Heads of responses (RFC 9112 section 4), as they come from a provider.

use std::mem::MaybeUninit;

use super::bad_head::BadHead;
use super::fields::Fields;
use super::head::{Declared, HeadLimits, HeadSlots, Survey, Version, end_of_head, start_line};

/// How a response's body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// When the connection closes: where a cut and an end look the same.
    UntilClose,
}

/// The head of a response, borrowed from the bytes it was read from.
#[derive(Clone, Copy)]
pub struct ResponseHead<'h, 'b> {
    /// 100 to 599, never 101.
    pub status: u16,
    /// How the body ends.
    pub framing: ResponseFraming,
    /// Whether the connection can be used again after this response. Never on HTTP/1.0.
    pub persistent: bool,
    /// All fields.
    pub fields: Fields<'h, 'b>,
    /// Bytes of the head with its blank line: the body begins at this offset.
    pub length: usize,
}

impl ResponseHead<'_, '_> {
    /// Whether this is a 1xx: another head follows on the same connection.
    #[inline]
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// Why a response is not believed. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// What requests share.
    #[error("{0}")]
    Head(#[from] BadHead),
    /// The status line is not `version SP status [ SP reason ]`.
    #[error("the status line is not a version and a status of three digits")]
    StatusLine,
    /// Not 100 to 599.
    #[error("the status is not between 100 and 599")]
    Status,
    /// 101: nobody asked for another protocol.
    #[error("the protocol is switched without having been asked for")]
    Switching,
    /// A 1xx or 204 that announces a body, which neither can have (RFC 9112 section 6.3).
    #[error("a response that can't have a body announces one")]
    BodyAnnounced,
}

/// Reads the head that `bytes` begins with; `None` if it is not complete. `request_was_head`: a
/// response to HEAD has no body whatever it declares. Interim responses are returned as any
/// other, with a status below 200.
#[inline]
pub fn parse_response<'h, 'b>(
    bytes: &'b [u8],
    limits: &HeadLimits,
    slots: &'h mut HeadSlots<'b>,
    request_was_head: bool,
) -> Result<Option<ResponseHead<'h, 'b>>, BadResponse> {
    let Some(length) = end_of_head(bytes, 0, limits)? else {
        let none = HeadLimits {
            bytes: 0,
            fields: 0,
        };
        let mut parsed = httparse::Response::new(&mut []);
        split(&mut parsed, start_line(bytes), slots.within(&none))?;
        return Ok(None);
    };
    let head = &bytes[..length];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome = split(&mut parsed, head, slots.within(limits))?;
    let (httparse::Status::Complete(read), Some(status)) = (outcome, parsed.code) else {
        return Err(BadResponse::StatusLine);
    };
    // Both ends were found from the same bytes; should the two ever differ, neither is believed.
    if read != length {
        return Err(BadHead::LineEnd.into());
    }
    let lines: &'h [httparse::Header<'b>] = parsed.headers;
    let version = Version::from_minor(parsed.version);
    let survey = Survey::of(lines)?;
    let framing = framing(status, survey.declared(version)?, request_was_head)?;
    Ok(Some(ResponseHead {
        status,
        framing,
        persistent: version == Version::Http11
            && !survey.options.close
            && framing != ResponseFraming::UntilClose,
        fields: survey.fields(head, lines),
        length,
    }))
}

#[inline]
fn framing(
    status: u16,
    declared: Declared,
    request_was_head: bool,
) -> Result<ResponseFraming, BadResponse> {
    match status {
        101 => Err(BadResponse::Switching),
        // `Content-Length: 0` is forbidden there too, but common, and says nothing false.
        100..200 | 204 => match declared {
            Declared::Nothing | Declared::Length(0) => Ok(ResponseFraming::None),
            _ => Err(BadResponse::BodyAnnounced),
        },
        304 => Ok(ResponseFraming::None),
        200..600 if request_was_head => Ok(ResponseFraming::None),
        200..600 => Ok(match declared {
            Declared::Nothing => ResponseFraming::UntilClose,
            Declared::Length(length) => ResponseFraming::Length(length),
            Declared::Chunked => ResponseFraming::Chunked,
        }),
        _ => Err(BadResponse::Status),
    }
}

#[inline]
fn split<'h, 'b>(
    parsed: &mut httparse::Response<'h, 'b>,
    head: &'b [u8],
    slots: &'h mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<httparse::Status<usize>, BadResponse> {
    httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(parsed, head, slots)
        .map_err(|error| match error {
            httparse::Error::Status => BadResponse::StatusLine,
            other => BadResponse::Head(other.into()),
        })
}
