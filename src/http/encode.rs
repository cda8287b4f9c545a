//! Heads and chunks as they are written. Everything written into a vector is appended.

/// Bytes that the size line of a chunk can take.
pub const CHUNK_SIZE_ROOM: usize = 18;

/// Ends a line, a head, and the data of a chunk.
pub const CRLF: &[u8] = b"\r\n";

/// The end of a chunked body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The whole interim response that lets a client send its body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes the size line of a chunk of `len` bytes at the right end of `room`, to be placed in
/// front of a payload, and returns it. An empty chunk would end the body: for it there is no line.
#[inline]
pub fn write_chunk_size(len: usize, room: &mut [u8; CHUNK_SIZE_ROOM]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if len == 0 {
        return &[];
    }
    let mut at = CHUNK_SIZE_ROOM - CRLF.len();
    room[at..].copy_from_slice(CRLF);
    let mut rest = len;
    while rest > 0 {
        at -= 1;
        room[at] = DIGITS[rest & 15];
        rest >>= 4;
    }
    &room[at..]
}

/// The request line. `target` is written as one: a base path, a path, a query with its `?`.
#[inline]
pub fn request_line(out: &mut Vec<u8>, method: &str, target: &[&str]) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    for part in target {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// The status line, with the reason phrase that RFC 9110 registers, or none.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(CRLF);
}

/// A field line. What would end the line or the message inside the value is written as a space
/// (RFC 9110 section 5.5), so that no value can write a second field.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let from = out.len() + name.len() + 2;
    line(out, name, value);
    let to = out.len() - CRLF.len();
    if memchr::memchr3(b'\r', b'\n', 0, value).is_some() {
        for byte in &mut out[from..to] {
            if matches!(byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
    }
}

/// A field line whose value is known to have nothing that would have to be replaced: it was made
/// here, or came out of a head that has been parsed.
#[inline(always)]
pub fn checked_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(memchr::memchr3(b'\r', b'\n', 0, value).is_none());
    line(out, name, value);
}

// Inlined wherever a name is known: then it is written by a few moves, and not by a copy of whatever
// length. Of the instructions of a head's lines that is half.
#[inline(always)]
fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 2 * CRLF.len());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// `Content-Length`.
#[inline]
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = itoa::Buffer::new();
    checked_field(out, "content-length", digits.format(length).as_bytes());
}

/// `Transfer-Encoding: chunked`.
#[inline]
pub fn transfer_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// The reason phrase of a status (RFC 9110 section 15, RFC 6585 for 428 to 431); empty for one
/// that has none there.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
