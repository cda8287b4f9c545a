//! Heads of requests and responses (RFC 9112), in the strict reading that srpd promises.

use srpd::http::fields::CONNECTION_OPTIONS_MAX;
use srpd::http::{HeadLimits, RequestFraming, ResponseFraming};

use super::target::{self, Target};

/// What a head says.
#[derive(Debug)]
pub enum Verdict<T> {
    /// Its end has not come.
    Incomplete,
    /// It is not one.
    Refused(&'static str),
    /// It is one.
    Accepted(T),
}

/// The head of a request.
#[derive(Debug)]
pub struct Request<'b> {
    pub method: &'b [u8],
    pub path: String,
    pub query: Option<String>,
    pub is_http11: bool,
    pub fields: Vec<(&'b [u8], &'b [u8])>,
    pub framing: RequestFraming,
    pub persistent: bool,
    pub expect_continue: bool,
    pub length: usize,
}

/// The head of a response.
#[derive(Debug)]
pub struct Response<'b> {
    pub status: u16,
    pub fields: Vec<(&'b [u8], &'b [u8])>,
    pub framing: ResponseFraming,
    pub persistent: bool,
    pub length: usize,
}

type Refusal = &'static str;
type Field<'b> = (&'b [u8], &'b [u8]);

/// Lines up to the blank one, and where the head ends.
enum Lines<'b> {
    Incomplete,
    Broken,
    Whole(Vec<&'b [u8]>, usize),
}

fn lines(bytes: &[u8], mut at: usize, limit: usize) -> Lines<'_> {
    let mut lines = Vec::new();
    loop {
        let Some(feed) = bytes[at..].iter().position(|&byte| byte == b'\n') else {
            return if bytes.len() >= limit {
                Lines::Broken
            } else {
                Lines::Incomplete
            };
        };
        let Some(line) = bytes[at..at + feed].strip_suffix(b"\r") else {
            return Lines::Broken;
        };
        at += feed + 1;
        if at > limit {
            return Lines::Broken;
        }
        if line.is_empty() {
            return Lines::Whole(lines, at);
        }
        lines.push(line);
    }
}

/// Reads the head of a request.
pub fn request<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Verdict<Request<'b>> {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    match lines(bytes, start, limits.bytes) {
        Lines::Incomplete => Verdict::Incomplete,
        Lines::Broken => Verdict::Refused("line ends"),
        Lines::Whole(lines, length) => match whole_request(&lines, length, limits) {
            Ok(request) => Verdict::Accepted(request),
            Err(refusal) => Verdict::Refused(refusal),
        },
    }
}

fn whole_request<'b>(
    lines: &[&'b [u8]],
    length: usize,
    limits: &HeadLimits,
) -> Result<Request<'b>, Refusal> {
    let (line, rest) = lines.split_first().ok_or("a blank line in front")?;
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return Err("request line");
    };
    if !is_token(method) {
        return Err("method");
    }
    let is_http11 = version_of(version)?;
    let target = target::parse(method, target).ok_or("target")?;
    let fields = fields(rest, limits)?;
    let options = options(&fields)?;
    for framing in ["host", "content-length", "transfer-encoding"] {
        if options.iter().any(|option| option == framing) {
            return Err("nomination");
        }
    }
    check_host(&fields, is_http11, &target)?;
    let framing = match declared(&fields, is_http11)? {
        Declared::Nothing => RequestFraming::None,
        Declared::Length(length) => RequestFraming::Length(length),
        Declared::Chunked => RequestFraming::Chunked,
    };
    let has_body = !matches!(framing, RequestFraming::None | RequestFraming::Length(0));
    let expects = match all(&fields, "expect")[..] {
        [] => false,
        [value] if value.eq_ignore_ascii_case(b"100-continue") => true,
        _ => return Err("expectation"),
    };
    Ok(Request {
        method,
        path: target.path,
        query: target.query,
        is_http11,
        framing,
        persistent: is_http11 && !options.iter().any(|option| option == "close"),
        expect_continue: expects && is_http11 && has_body,
        fields,
        length,
    })
}

fn check_host(fields: &[Field<'_>], is_http11: bool, target: &Target) -> Result<(), Refusal> {
    match all(fields, "host")[..] {
        [] if is_http11 => Err("no host"),
        [] => Ok(()),
        [host] => {
            let host = std::str::from_utf8(host).map_err(|_| "host")?;
            if !target::is_authority(host) {
                return Err("host");
            }
            match &target.authority {
                Some(authority) if !authority.eq_ignore_ascii_case(host) => Err("two hosts"),
                _ => Ok(()),
            }
        }
        _ => Err("repeated host"),
    }
}

/// Reads the head of a response.
pub fn response<'b>(bytes: &'b [u8], limits: &HeadLimits, was_head: bool) -> Verdict<Response<'b>> {
    match lines(bytes, 0, limits.bytes) {
        Lines::Incomplete => Verdict::Incomplete,
        Lines::Broken => Verdict::Refused("line ends"),
        Lines::Whole(lines, length) => match whole_response(&lines, length, limits, was_head) {
            Ok(response) => Verdict::Accepted(response),
            Err(refusal) => Verdict::Refused(refusal),
        },
    }
}

fn whole_response<'b>(
    lines: &[&'b [u8]],
    length: usize,
    limits: &HeadLimits,
    was_head: bool,
) -> Result<Response<'b>, Refusal> {
    let (line, rest) = lines.split_first().ok_or("a blank line in front")?;
    let (version, line) = line.split_at_checked(8).ok_or("status line")?;
    let is_http11 = version_of(version)?;
    let [b' ', a, b, c, reason @ ..] = line else {
        return Err("status line");
    };
    let digits = [*a, *b, *c];
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err("status");
    }
    if !matches!(reason, [] | [b' ', ..]) || !reason.iter().all(|&byte| is_text(byte)) {
        return Err("reason");
    }
    let status = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let fields = fields(rest, limits)?;
    let options = options(&fields)?;
    let declared = declared(&fields, is_http11)?;
    let framing = match (status, declared) {
        (0..=99 | 101 | 600.., _) => return Err("status"),
        (100..=199 | 204, Declared::Nothing | Declared::Length(0)) => ResponseFraming::None,
        (100..=199 | 204, _) => return Err("a body where none can be"),
        (304, _) => ResponseFraming::None,
        _ if was_head => ResponseFraming::None,
        (_, Declared::Nothing) => ResponseFraming::UntilClose,
        (_, Declared::Length(length)) => ResponseFraming::Length(length),
        (_, Declared::Chunked) => ResponseFraming::Chunked,
    };
    Ok(Response {
        status,
        framing,
        persistent: is_http11
            && framing != ResponseFraming::UntilClose
            && !options.iter().any(|option| option == "close"),
        fields,
        length,
    })
}

fn version_of(version: &[u8]) -> Result<bool, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ => Err("version"),
    }
}

fn fields<'b>(lines: &[&'b [u8]], limits: &HeadLimits) -> Result<Vec<Field<'b>>, Refusal> {
    if lines.len() > limits.fields {
        return Err("too many fields");
    }
    lines
        .iter()
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').ok_or("field")?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if !is_token(name) || !value.iter().all(|&byte| is_text(byte)) {
                return Err("field");
            }
            Ok((name, trimmed(value)))
        })
        .collect()
}

fn trimmed(value: &[u8]) -> &[u8] {
    let solid = |byte: &u8| *byte != b' ' && *byte != b'\t';
    let Some(start) = value.iter().position(solid) else {
        return &[];
    };
    let end = value.iter().rposition(solid).map_or(start, |last| last + 1);
    &value[start..end]
}

/// What the `Connection` fields list, in lower case.
fn options(fields: &[Field<'_>]) -> Result<Vec<String>, Refusal> {
    let mut options = Vec::new();
    for list in all(fields, "connection") {
        for option in list.split(|&byte| byte == b',').map(trimmed) {
            if option.is_empty() {
                continue;
            }
            if !is_token(option) {
                return Err("connection");
            }
            options.push(String::from_utf8_lossy(option).to_ascii_lowercase());
        }
    }
    if options.len() > CONNECTION_OPTIONS_MAX {
        return Err("too many options");
    }
    Ok(options)
}

enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

fn declared(fields: &[Field<'_>], is_http11: bool) -> Result<Declared, Refusal> {
    let (lengths, codings) = (
        all(fields, "content-length"),
        all(fields, "transfer-encoding"),
    );
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Declared::Nothing),
        ([length], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = String::from_utf8_lossy(length);
            let number = text.parse().ok().filter(|_| digits);
            number.map(Declared::Length).ok_or("length")
        }
        ([], [coding]) if is_http11 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Declared::Chunked)
        }
        _ => Err("framing"),
    }
}

fn all<'b>(fields: &[Field<'b>], name: &str) -> Vec<&'b [u8]> {
    let named = fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| *value).collect()
}

fn is_token(bytes: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || special.contains(byte))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80
}
