//! What holds for any bytes at all.

use proptest::prelude::*;

use super::*;
use crate::http::encode::{self, CRLF};
use crate::http::hop::forward_request_fields;

/// Bytes that are a head about two times in five, of a request or of a response, and otherwise nearly one.
fn almost_a_head() -> impl Strategy<Value = Vec<u8>> {
    let starts: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "\r\nPOST /v1/x?y HTTP/1.1\r\nhost: a\r\n",
        "PUT http://a/ HTTP/1.0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 \r\n",
        "HTTP/1.0 100 Continue\r\n",
        "GET / HTTP/1.1\r\n",
        "",
    ];
    let lines: &[&str] = &[
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Connection: a, b\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        "A: \r\n",
        "B_c:z \t\r\n",
    ];
    let odds: &[&str] = &["Content-Length: ", "X:", " ", "\n", "\r", "\0", "\r\n"];
    let text = |of: &'static [&'static str]| {
        prop::sample::select(of).prop_map(|text| text.as_bytes().to_vec())
    };
    let piece = prop_oneof![
        30 => text(lines),
        1 => text(odds),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let end = prop_oneof![4 => Just(b"\r\n".to_vec()), 1 => Just(Vec::new())];
    (text(starts), prop::collection::vec(piece, 0..6), end)
        .prop_map(|(start, pieces, end)| [start, pieces.concat(), end].concat())
}

fn is_error(verdict: &str) -> bool {
    verdict.ends_with(" 400") || verdict.ends_with(" 431")
}

fn method() -> impl Strategy<Value = String> {
    prop_oneof!["GET", "POST", "[A-Z!#$%&'*+.^_`|~-]{1,12}"]
}

/// Fields that say nothing about framing or address.
fn plain_fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = "[Xx]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}";
    prop::collection::vec((name, "([!-~é]([ -~\té]{0,30}[!-~é])?)?"), 0..8)
}

fn framing() -> impl Strategy<Value = RequestFraming> {
    prop_oneof![
        Just(RequestFraming::None),
        any::<u64>().prop_map(RequestFraming::Length),
        Just(RequestFraming::Chunked),
    ]
}

fn write_framing(out: &mut Vec<u8>, framing: RequestFraming) {
    match framing {
        RequestFraming::None => {}
        RequestFraming::Length(length) => encode::content_length(out, length),
        RequestFraming::Chunked => encode::transfer_chunked(out),
    }
    out.extend_from_slice(CRLF);
}

proptest! {
    #[test]
    fn nothing_panics_on_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..1000),
        was_head: bool,
    ) {
        describe_request(&bytes);
        describe_response(&bytes, was_head);
        let _ = take_chunked(&bytes);
    }

    #[test]
    fn a_request_is_judged_by_nothing_behind_its_head(
        bytes in almost_a_head(),
        more in prop_oneof![almost_a_head(), prop::collection::vec(any::<u8>(), 0..700)],
    ) {
        let (alone, _, length) = describe_request(&bytes);
        let (followed, _, same_length) = describe_request(&[bytes.clone(), more].concat());
        if length > 0 {
            prop_assert_eq!((followed, same_length), (alone, length));
        } else if is_error(&alone) {
            prop_assert!(is_error(&followed), "{} became {}", alone, followed);
        }
        for cut in 0..length {
            prop_assert_eq!(describe_request(&bytes[..cut]).0, "…");
        }
    }

    #[test]
    fn a_response_is_judged_by_nothing_behind_its_head(
        bytes in almost_a_head(),
        more in prop_oneof![almost_a_head(), prop::collection::vec(any::<u8>(), 0..700)],
        was_head: bool,
    ) {
        let alone = describe_response(&bytes, was_head);
        let followed = describe_response(&[bytes.clone(), more].concat(), was_head);
        if alone.2 > 0 {
            prop_assert_eq!(&followed, &alone);
        } else if alone.0 != "…" {
            prop_assert_eq!(followed.2, 0);
            prop_assert_ne!(followed.0, "…");
        }
        for cut in 0..alone.2 {
            prop_assert_eq!(describe_response(&bytes[..cut], was_head).0, "…");
        }
    }

    #[test]
    fn a_request_that_is_written_is_read_back(
        method in method(),
        path in "/[a-zA-Z0-9/:@._~!$&'()*+,;=-]{0,30}",
        query in prop::option::of("[a-z0-9?/=&\\[\\]]{0,20}"),
        plain in plain_fields(),
        framing in framing(),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        match &query {
            Some(query) => encode::request_line(&mut bytes, &method, &[&path, "?", query]),
            None => encode::request_line(&mut bytes, &method, &[&path]),
        }
        encode::field(&mut bytes, "host", b"a");
        for (name, value) in &plain {
            encode::field(&mut bytes, name, value.as_bytes());
        }
        write_framing(&mut bytes, framing);
        let length = bytes.len();
        bytes.extend_from_slice(&rest);

        let limits = HeadLimits { bytes: 4096, fields: 16 };
        let mut slots = HeadSlots::new();
        let head = parse_request(&bytes, &limits, &mut slots).unwrap().unwrap();
        prop_assert_eq!((head.method, head.path), (&*method, &*path));
        prop_assert_eq!(head.query, query.as_deref());
        prop_assert_eq!((head.framing, head.length), (framing, length));
        prop_assert!(head.persistent && !head.expect_continue);
        let read: Vec<_> = head.fields.iter().filter(|(name, _)| name.starts_with(['x', 'X'])).collect();
        let written: Vec<_> = plain.iter().map(|(n, v)| (&**n, v.as_bytes())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_response_that_is_written_is_read_back(
        status in 200_u16..600,
        plain in plain_fields(),
        framing in framing(),
        close: bool,
    ) {
        prop_assume!(!matches!(status, 204 | 304));
        let mut bytes = Vec::new();
        encode::status_line(&mut bytes, status);
        for (name, value) in &plain {
            encode::field(&mut bytes, name, value.as_bytes());
        }
        if close {
            encode::field(&mut bytes, "connection", b"close");
        }
        write_framing(&mut bytes, framing);

        let limits = HeadLimits { bytes: 4096, fields: 16 };
        let mut slots = HeadSlots::new();
        let head = parse_response(&bytes, &limits, &mut slots, false).unwrap().unwrap();
        let expected = match framing {
            RequestFraming::None => ResponseFraming::UntilClose,
            RequestFraming::Length(length) => ResponseFraming::Length(length),
            RequestFraming::Chunked => ResponseFraming::Chunked,
        };
        prop_assert_eq!((head.status, head.framing, head.length), (status, expected, bytes.len()));
        prop_assert_eq!(head.persistent, !close && framing != RequestFraming::None);
    }

    /// What is accepted and sent on means the same to whoever reads it next.
    #[test]
    fn an_accepted_request_is_accepted_again_with_the_same_framing(bytes in almost_a_head()) {
        let limits = HeadLimits { bytes: 4096, fields: 64 };
        let mut slots = HeadSlots::new();
        if let Ok(Some(head)) = parse_request(&bytes, &limits, &mut slots) {
            let mut again = Vec::new();
            encode::request_line(&mut again, head.method, &[head.path]);
            encode::field(&mut again, "host", b"provider");
            forward_request_fields(&head.fields, &mut again);
            write_framing(&mut again, head.framing);
            let mut slots = HeadSlots::new();
            let next = parse_request(&again, &limits, &mut slots).unwrap().unwrap();
            prop_assert_eq!((next.method, next.path), (head.method, head.path));
            prop_assert_eq!((next.framing, next.length), (head.framing, again.len()));
        }
    }
}
