//! Heads of responses.

use super::Broken;

/// The longest head that is waited for, bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Fields that a head may have.
const FIELDS_MAX: usize = 64;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// When the server closes.
    Close,
}

/// What matters of a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the server closes after the body.
    pub close: bool,
    /// `X-Sovereign-Attempts`; 0 where the server doesn't say.
    pub attempts: u32,
}

/// The head and its length, if it is complete; interim responses are not counted as one.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Broken("head_too_long")),
        Err(_) => return Err(Broken("bad_head")),
    };
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        framing: Framing::Close,
        close: response.version == Some(0),
        attempts: 0,
    };
    for field in response.headers.iter() {
        let number = || std::str::from_utf8(field.value).ok()?.trim().parse().ok();
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length")
                && head.framing != Framing::Chunked =>
            {
                head.framing = Framing::Length(number().ok_or(Broken("bad_length"))?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                head.framing = Framing::Chunked;
            }
            10 if field.name.eq_ignore_ascii_case("connection") => {
                head.close = field.value.eq_ignore_ascii_case(b"close");
            }
            20 if field.name.eq_ignore_ascii_case("x-sovereign-attempts") => {
                head.attempts = number().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            }
            _ => {}
        }
    }
    if status < 200 || status == 204 || status == 304 {
        head.framing = Framing::Length(0);
    }
    head.close |= head.framing == Framing::Close;
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_its_body_ends_and_who_tried() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-Sovereign-Attempts: 2\r\n\r\nrest";
        let (head, length) = parse(text).unwrap().unwrap();
        assert_eq!(length, text.len() - 4);
        assert_eq!((head.status, head.framing), (200, Framing::Length(12)));
        assert_eq!((head.close, head.attempts), (false, 2));
        assert_eq!(parse(&text[..40]), Ok(None));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let (head, _) = parse(chunked).unwrap().unwrap();
        assert_eq!((head.framing, head.close), (Framing::Chunked, true));
        let (head, _) = parse(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.framing, head.close), (Framing::Close, true));
        let (head, _) = parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.framing, head.close), (Framing::Length(0), false));
    }

    #[test]
    fn what_is_no_head_is_said_to_be_none() {
        assert_eq!(parse(b"SSH-2.0\r\n\r\n"), Err(Broken("bad_head")));
        let bad = b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n";
        assert_eq!(parse(bad), Err(Broken("bad_length")));
        let endless = [
            b"HTTP/1.1 200 OK\r\na: ".as_slice(),
            &[b'x'; HEAD_BYTES_MAX],
        ]
        .concat();
        assert_eq!(parse(&endless), Err(Broken("head_too_long")));
    }
}
