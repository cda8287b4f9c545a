//! Requests to the simulator. Pure.

use crate::scenario::Endpoint;

/// The longest head that is waited for, bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The longest body, bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Fields that a head may have.
const FIELDS_MAX: usize = 64;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A call.
    Call(Endpoint),
    /// `GET /v1/models`
    Models,
    /// `GET /health`
    Health,
    /// `GET /metrics`
    Metrics,
    /// Anything else.
    Unknown,
}

/// A complete request in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is for.
    pub resource: Resource,
    /// Bytes of its head.
    pub head: usize,
    /// Bytes of its body.
    pub body: usize,
    /// Whether the connection ends after the answer.
    pub close: bool,
}

/// The request at the beginning of `bytes`, if it is complete; why there will never be one.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the head is too long"),
        Err(_) => return Err("no HTTP/1.1"),
    };
    let (mut body, mut close) = (0, request.version == Some(0));
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(field.value)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            body = length
                .filter(|length| *length <= BODY_BYTES_MAX)
                .ok_or("Content-Length is wrong or too large")?;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("bodies need a Content-Length here");
        } else if field.name.eq_ignore_ascii_case("connection") {
            close = field.value.eq_ignore_ascii_case(b"close");
        }
    }
    if bytes.len() - head < body {
        return Ok(None);
    }
    let path = request.path.unwrap_or_default();
    let resource = match (request.method, path.split('?').next().unwrap_or_default()) {
        (Some("POST"), "/v1/chat/completions") => Resource::Call(Endpoint::Chat),
        (Some("POST"), "/v1/completions") => Resource::Call(Endpoint::Completions),
        (Some("POST"), "/v1/embeddings") => Resource::Call(Endpoint::Embeddings),
        (Some("GET"), "/v1/models") => Resource::Models,
        (Some("GET"), "/health") => Resource::Health,
        (Some("GET"), "/metrics") => Resource::Metrics,
        _ => Resource::Unknown,
    };
    Ok(Some(Request {
        resource,
        head,
        body,
        close,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        let text = b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\nContent-Length: 4\r\n\r\nbodyGET";
        for cut in 0..text.len() - 3 {
            assert_eq!(parse(&text[..cut]), Ok(None), "{cut}");
        }
        let request = parse(text).unwrap().unwrap();
        assert_eq!(request.resource, Resource::Call(Endpoint::Embeddings));
        assert_eq!(
            (request.head + request.body, request.close),
            (text.len() - 3, false)
        );
        let get = parse(b"GET /metrics?x HTTP/1.1\r\nconnection: close\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((get.resource, get.close), (Resource::Metrics, true));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(parse(b"\x16\x03\x01 TLS").is_err());
        assert!(parse(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n").is_err());
    }
}
