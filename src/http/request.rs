//! Heads of requests (RFC 9112 section 3).

use super::bad_head::BadHead;
use super::fields::{Fields, Seen};
use super::head::{Declared, HeadLimits, HeadSlots, Survey, Version, end_of_head, start_line};
use super::target::{self, Target};

/// How a request's body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// The head of a request, borrowed from the bytes it was read from.
#[derive(Clone, Copy)]
pub struct RequestHead<'h, 'b> {
    /// The method as it was sent; methods are case-sensitive.
    pub method: &'b str,
    /// The path without the query, still percent-encoded: begins with `/`, or is the `*` of
    /// `OPTIONS *`.
    pub path: &'b str,
    /// What follows the first `?`.
    pub query: Option<&'b str>,
    /// The version of the message.
    pub version: Version,
    /// All fields.
    pub fields: Fields<'h, 'b>,
    /// How the body ends.
    pub framing: RequestFraming,
    /// Whether the connection can take another request after this one. Never on HTTP/1.0.
    pub persistent: bool,
    /// The client holds its body back until it reads `100 Continue` or a final response.
    pub expect_continue: bool,
    /// Bytes of the head with its blank line: the body begins at this offset.
    pub length: usize,
}

/// Why a request is refused. Nothing can be said about what follows it: answer and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// What responses share.
    #[error("{0}")]
    Head(#[from] BadHead),
    /// The request line is not `method SP target SP version`.
    #[error("the request line is not a method, a target and a version with one space between")]
    RequestLine,
    /// Not a target of RFC 9112 section 3.2 that this server has a use for.
    #[error("the request target is not a valid path or http URL")]
    Target,
    /// HTTP/1.1 without `Host` (RFC 9112 section 3.2).
    #[error("there is no Host")]
    NoHost,
    /// More than one `Host`.
    #[error("there is more than one Host")]
    RepeatedHost,
    /// Not a host with an optional port.
    #[error("Host is not a host with an optional port")]
    Host,
    /// A target in absolute form for another authority than `Host`.
    #[error("the target and Host name different authorities")]
    HostMismatch,
    /// `Connection` lists `Host`, `Content-Length` or `Transfer-Encoding`.
    #[error("Connection lists a field that frames or addresses the message")]
    Nomination,
    /// `Expect` is anything but one `100-continue` (RFC 9110 section 10.1.1).
    #[error("Expect is not exactly \"100-continue\"")]
    Expect,
}

impl BadRequest {
    /// The status to answer with: 431 for what is over a bound, otherwise 400. RFC 9110 has more
    /// to say (417, 501, 505), but SRP section 2 lists what its clients meet.
    pub fn status(self) -> u16 {
        match self {
            BadRequest::Head(bad) => bad.status(),
            _ => 400,
        }
    }
}

/// Reads the head that `bytes` begins with; `None` if it is not complete. The verdict depends on
/// nothing after the head's end, and one that is an error stays one whatever bytes follow.
#[inline]
pub fn parse_request<'h, 'b>(
    bytes: &'b [u8],
    limits: &HeadLimits,
    slots: &'h mut HeadSlots<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, BadRequest> {
    // One empty line in front is what RFC 9112 section 2.2 asks to be ignored.
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(length) = end_of_head(bytes, skipped, limits)? else {
        check_beginning(&bytes[skipped..], slots)?;
        return Ok(None);
    };
    let head = &bytes[skipped..length];
    let mut parsed = httparse::Request::new(&mut []);
    let status = split(&mut parsed, head, slots.within(limits))?;
    let (httparse::Status::Complete(read), Some(method), Some(target)) =
        (status, parsed.method, parsed.path)
    else {
        return Err(BadRequest::RequestLine);
    };
    // Both ends were found from the same bytes; should the two ever differ, neither is believed.
    if read != head.len() {
        return Err(BadHead::LineEnd.into());
    }
    let lines: &'h [httparse::Header<'b>] = parsed.headers;
    let version = Version::from_minor(parsed.version);
    understand((method, target, version), head, lines, length).map(Some)
}

fn understand<'h, 'b>(
    (method, target, version): (&'b str, &'b str, Version),
    head: &'b [u8],
    lines: &'h [httparse::Header<'b>],
    length: usize,
) -> Result<RequestHead<'h, 'b>, BadRequest> {
    let target = target::parse(method, target).ok_or(BadRequest::Target)?;
    let survey = Survey::of(lines)?;
    if survey.options.framing {
        return Err(BadRequest::Nomination);
    }
    check_host(survey.host, version, &target)?;
    let framing = match survey.declared(version)? {
        Declared::Nothing => RequestFraming::None,
        Declared::Length(length) => RequestFraming::Length(length),
        Declared::Chunked => RequestFraming::Chunked,
    };
    Ok(RequestHead {
        method,
        path: target.path,
        query: target.query,
        version,
        fields: survey.fields(head, lines),
        framing,
        persistent: version == Version::Http11 && !survey.options.close,
        expect_continue: expects_continue(survey.expect, version, framing)?,
        length,
    })
}

/// Tells at once what can't become a request, such as a TLS hello, instead of waiting for an end
/// that may not come.
fn check_beginning<'b>(bytes: &'b [u8], slots: &mut HeadSlots<'b>) -> Result<(), BadRequest> {
    let mut parsed = httparse::Request::new(&mut []);
    let limits = HeadLimits {
        bytes: 0,
        fields: 0,
    };
    split(&mut parsed, start_line(bytes), slots.within(&limits)).map(|_| ())
}

#[inline]
fn split<'h, 'b>(
    parsed: &mut httparse::Request<'h, 'b>,
    head: &'b [u8],
    slots: &'h mut [std::mem::MaybeUninit<httparse::Header<'b>>],
) -> Result<httparse::Status<usize>, BadRequest> {
    parsed
        .parse_with_uninit_headers(head, slots)
        .map_err(|error| match error {
            httparse::Error::Token => BadRequest::RequestLine,
            other => BadRequest::Head(other.into()),
        })
}

#[inline]
fn check_host(host: Seen<'_>, version: Version, target: &Target<'_>) -> Result<(), BadRequest> {
    match host {
        Seen::Once(host) if !target::is_host(host) => Err(BadRequest::Host),
        Seen::Once(host) => match target.authority {
            Some(authority) if !host.eq_ignore_ascii_case(authority.as_bytes()) => {
                Err(BadRequest::HostMismatch)
            }
            _ => Ok(()),
        },
        Seen::Repeated => Err(BadRequest::RepeatedHost),
        Seen::Never if version == Version::Http11 => Err(BadRequest::NoHost),
        Seen::Never => Ok(()),
    }
}

/// An HTTP/1.0 client knows no interim response, and one without a body waits for none.
#[inline]
fn expects_continue(
    expect: Seen<'_>,
    version: Version,
    framing: RequestFraming,
) -> Result<bool, BadRequest> {
    match expect {
        Seen::Never => Ok(false),
        Seen::Once(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(version
            == Version::Http11
            && !matches!(framing, RequestFraming::None | RequestFraming::Length(0))),
        _ => Err(BadRequest::Expect),
    }
}
