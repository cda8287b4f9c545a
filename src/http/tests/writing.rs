//! What is written.

use super::*;
use crate::http::encode::*;

#[test]
fn heads_are_written_as_they_are_read() {
    let mut out = Vec::new();
    request_line(&mut out, "POST", &["/api", "/v1/embeddings", "?", "a=b"]);
    field(&mut out, "host", b"a");
    content_length(&mut out, u64::MAX);
    out.extend_from_slice(CRLF);
    let (line, _, length) = describe_request(&out);
    assert_eq!(
        line,
        "POST /api/v1/embeddings?a=b Length(18446744073709551615)"
    );
    assert_eq!(length, out.len());

    let mut out = Vec::new();
    status_line(&mut out, 503);
    transfer_chunked(&mut out);
    out.extend_from_slice(CRLF);
    assert!(out.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
    assert_eq!(describe_response(&out, false).0, "503 Chunked");
    assert_eq!(
        describe_response(CONTINUE, false),
        ("100 None".to_owned(), ResponseFraming::None, CONTINUE.len())
    );
}

#[test]
fn every_status_is_written_so_that_it_can_be_read() {
    for status in (100..600).filter(|&status| status != 101) {
        let mut out = Vec::new();
        status_line(&mut out, status);
        out.extend_from_slice(CRLF);
        let (line, _, _) = describe_response(&out, true);
        assert!(line.starts_with(&status.to_string()), "{status}: {line}");
    }
}

#[test]
fn a_value_cannot_write_a_second_field() {
    let mut out = b"X: \r\n".to_vec();
    field(&mut out, "a", b"b\r\nSet-Cookie: c\0");
    assert_eq!(out, b"X: \r\na: b  Set-Cookie: c \r\n");
}

#[test]
fn chunk_sizes_stand_at_the_right_end() {
    for (len, line) in [
        (0, ""),
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (65_536, "10000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut room = [b'.'; CHUNK_SIZE_ROOM];
        assert_eq!(write_chunk_size(len, &mut room), line.as_bytes());
        assert!(room.ends_with(line.as_bytes()));
        assert!(
            room[..CHUNK_SIZE_ROOM - line.len()]
                .iter()
                .all(|&b| b == b'.')
        );
    }
    assert_eq!(
        take_chunked(LAST_CHUNK),
        Ok((vec![], LAST_CHUNK.len(), true))
    );
}
