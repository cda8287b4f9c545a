//! What providers send.

use super::*;

fn converse(mut bytes: &[u8], was_head: bool) -> String {
    let mut said = Vec::new();
    while !bytes.is_empty() {
        let (line, framing, length) = describe_response(bytes, was_head);
        said.push(line);
        if length == 0 {
            break;
        }
        bytes = &bytes[length..];
        match framing {
            ResponseFraming::None => {}
            ResponseFraming::Length(body) => {
                bytes = &bytes[bytes.len().min(usize::try_from(body).unwrap())..];
            }
            ResponseFraming::UntilClose => break,
            ResponseFraming::Chunked => match take_chunked(bytes) {
                Ok((payload, consumed, done)) => {
                    let end = if done { ">" } else { "…" };
                    said.push(format!("<{}{end}", String::from_utf8_lossy(&payload)));
                    bytes = &bytes[consumed..];
                }
                Err(bad) => {
                    said.push(format!("<{bad:?}"));
                    break;
                }
            },
        }
    }
    said.join(" | ")
}

#[rustfmt::skip]
const TO_GET_AND_POST: &[(&str, &str)] = &[
    ("HTTP/1.1 200 OK⏎Content-Length: 2⏎⏎{}", "200 Length(2)"),
    ("HTTP/1.1 200 OK⏎Content-Length: 0⏎⏎", "200 Length(0)"),
    ("HTTP/1.1 200 OK⏎Transfer-Encoding: chunked⏎⏎2⏎{}⏎0⏎⏎", "200 Chunked | <{}>"),
    ("HTTP/1.1 200 OK⏎transfer-encoding: CHUNKED⏎⏎2⏎{", "200 Chunked | <{…"),
    ("HTTP/1.1 200 OK⏎Transfer-Encoding: chunked⏎⏎02 ; a=b⏎{}⏎000⏎Server-Timing: x⏎⏎", "200 Chunked | <{}>"),
    ("HTTP/1.1 200 OK⏎⏎{}", "200 UntilClose close"),
    ("HTTP/1.1 200 OK⏎Connection: keep-alive⏎⏎{}", "200 UntilClose close"),
    ("HTTP/1.0 200 OK⏎⏎{}", "200 UntilClose close"),
    ("HTTP/1.0 200 OK⏎Content-Length: 2⏎Connection: keep-alive⏎⏎{}", "200 Length(2) close"),
    ("HTTP/1.1 200 OK⏎Content-Length: 2⏎Connection: Close⏎⏎{}", "200 Length(2) close"),
    ("HTTP/1.1 200 OK⏎Connection: keep-alive⏎Connection: Transfer-Encoding⏎Transfer-Encoding: chunked⏎⏎0⏎⏎", "200 Chunked | <>"),
    ("HTTP/1.1 200 ⏎Content-Length: 0⏎⏎", "200 Length(0)"),
    ("HTTP/1.1 200⏎Content-Length: 0⏎⏎", "200 Length(0)"),
    ("HTTP/1.1 200 Très bien, \tmerci⏎Content-Length: 0⏎⏎", "200 Length(0)"),
    ("HTTP/1.1 529 ⏎Content-Length: 0⏎⏎HTTP/1.1 498 Odd⏎Content-Length: 0⏎⏎", "529 Length(0) | 498 Length(0)"),
    ("HTTP/1.1 205 Reset Content⏎Content-Length: 0⏎⏎", "205 Length(0)"),
    ("HTTP/1.1 204 No Content⏎⏎", "204 None"),
    ("HTTP/1.1 204 No Content⏎Content-Length: 0⏎⏎", "204 None"),
    ("HTTP/1.1 204 No Content⏎Connection: close⏎⏎", "204 None close"),
    ("HTTP/1.1 304 Not Modified⏎Content-Length: 10⏎⏎HTTP/1.1 200 OK⏎Content-Length: 0⏎⏎", "304 None | 200 Length(0)"),
    ("HTTP/1.1 304 Not Modified⏎Transfer-Encoding: chunked⏎⏎", "304 None"),
    ("HTTP/1.1 100 Continue⏎⏎HTTP/1.1 103 Early Hints⏎Link: x⏎⏎HTTP/1.1 200 OK⏎Content-Length: 2⏎⏎{}", "100 None | 103 None | 200 Length(2)"),
    ("HTTP/1.1 102 Processing⏎Content-Length: 0⏎⏎", "102 None"),
    ("HTTP/1.1 200 OK⏎Content-Length: 2", "…"),
    ("HT", "…"),
    // Refused.
    ("HTTP/1.1 101 Switching Protocols⏎Upgrade: x⏎⏎", "Switching"),
    ("HTTP/1.1 100 Continue⏎Content-Length: 5⏎⏎", "BodyAnnounced"),
    ("HTTP/1.1 103 Early Hints⏎Transfer-Encoding: chunked⏎⏎", "BodyAnnounced"),
    ("HTTP/1.1 204 No Content⏎Content-Length: 5⏎⏎12345", "BodyAnnounced"),
    ("HTTP/1.1 204 No Content⏎Transfer-Encoding: chunked⏎⏎0⏎⏎", "BodyAnnounced"),
    ("HTTP/1.1 200 OK⏎Content-Length: 2⏎Transfer-Encoding: chunked⏎⏎2⏎{}⏎0⏎⏎", "Head(LengthAndEncoding)"),
    ("HTTP/1.1 304 OK⏎Content-Length: 2⏎Transfer-Encoding: chunked⏎⏎", "Head(LengthAndEncoding)"),
    ("HTTP/1.1 200 OK⏎Content-Length: 2⏎Content-Length: 2⏎⏎{}", "Head(RepeatedLength)"),
    ("HTTP/1.1 200 OK⏎Content-Length: 2,2⏎⏎{}", "Head(Length)"),
    ("HTTP/1.1 200 OK⏎Content-Length: two⏎⏎{}", "Head(Length)"),
    ("HTTP/1.1 200 OK⏎Transfer-Encoding: gzip⏎⏎{}", "Head(Encoding)"),
    ("HTTP/1.1 200 OK⏎Transfer-Encoding: gzip, chunked⏎⏎{}", "Head(Encoding)"),
    ("HTTP/1.1 200 OK⏎Transfer-Encoding: identity⏎Transfer-Encoding: chunked⏎⏎{}", "Head(Encoding)"),
    ("HTTP/1.0 200 OK⏎Transfer-Encoding: chunked⏎⏎0⏎⏎", "Head(EncodingOnHttp10)"),
    ("HTTP/1.1 099 Low⏎⏎", "Status"),
    ("HTTP/1.1 000 None⏎⏎", "Status"),
    ("HTTP/1.1 600 High⏎⏎", "Status"),
    ("HTTP/1.1 20 OK⏎⏎", "StatusLine"),
    ("HTTP/1.1 2000 OK⏎⏎", "StatusLine"),
    ("HTTP/1.1 +20 OK⏎⏎", "StatusLine"),
    ("HTTP/1.1  200 OK⏎⏎", "StatusLine"),
    ("HTTP/1.1\t200 OK⏎⏎", "Head(Version)"),
    ("HTTP/1.1 200 O\u{0}K⏎⏎", "StatusLine"),
    ("HTTP/1.1 200 OK\rX⏎⏎", "StatusLine"),
    ("HTTP/2 200⏎⏎", "Head(Version)"),
    ("HTTP/1.2 200 OK⏎⏎", "Head(Version)"),
    ("ICY 200 OK⏎⏎", "Head(Version)"),
    ("<html>", "Head(Version)"),
    ("⏎HTTP/1.1 200 OK⏎Content-Length: 0⏎⏎", "Head(LineEnd)"),
    ("\nHTTP/1.1 200 OK⏎Content-Length: 0⏎⏎", "Head(LineEnd)"),
    ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "Head(LineEnd)"),
    ("HTTP/1.1 200\nContent-Length: 0⏎⏎", "Head(LineEnd)"),
    ("HTTP/1.1 200 OK⏎Content-Length : 2⏎⏎{}", "Head(FieldName)"),
    ("HTTP/1.1 200 OK⏎X: a⏎ folded⏎⏎", "Head(FieldName)"),
    ("HTTP/1.1 200 OK⏎ X: a⏎⏎", "Head(FieldName)"),
    ("HTTP/1.1 200 OK⏎X: a\u{0}b⏎⏎", "Head(FieldValue)"),
    ("HTTP/1.1 200 OK⏎Connection: ;⏎⏎", "Head(Connection)"),
    ("HTTP/1.1 200 OK⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎a:b⏎⏎", "Head(TooManyFields)"),
];

#[rustfmt::skip]
const TO_HEAD: &[(&str, &str)] = &[
    ("HTTP/1.1 200 OK⏎Content-Length: 20⏎⏎HTTP/1.1 200 OK⏎⏎", "200 None | 200 None"),
    ("HTTP/1.1 200 OK⏎Transfer-Encoding: chunked⏎⏎", "200 None"),
    ("HTTP/1.1 404 Not Found⏎Connection: close⏎⏎", "404 None close"),
    ("HTTP/1.0 200 OK⏎⏎", "200 None close"),
    ("HTTP/1.1 200 OK⏎Content-Length: 2⏎Transfer-Encoding: chunked⏎⏎", "Head(LengthAndEncoding)"),
    ("HTTP/1.1 101 Switching Protocols⏎⏎", "Switching"),
    ("HTTP/1.1 700 ?⏎⏎", "Status"),
];

#[test]
fn conversations_are_read_as_rfc_9112_has_them() {
    for (table, was_head) in [(TO_GET_AND_POST, false), (TO_HEAD, true)] {
        for (text, verdict) in table {
            assert_eq!(converse(&wire(text), was_head), *verdict, "{text:?}");
        }
    }
}

#[test]
fn a_verdict_comes_from_the_shortest_prefix_that_has_it() {
    for (text, _) in TO_GET_AND_POST {
        let bytes = wire(text);
        let (whole, _, length) = describe_response(&bytes, false);
        for cut in 0..bytes.len() {
            let (part, _, early) = describe_response(&bytes[..cut], false);
            if length > 0 {
                let expected = if cut < length { "…" } else { &whole };
                assert_eq!(part, expected, "{text:?} cut at {cut}");
            } else {
                assert_eq!(early, 0, "{text:?} cut at {cut}");
                assert!(part == "…" || whole != "…", "{text:?} cut at {cut}");
            }
        }
    }
}

#[test]
fn interim_responses_are_told_from_final_ones() {
    for (status, interim) in [(100, true), (103, true), (200, false), (503, false)] {
        let bytes = format!("HTTP/1.1 {status} \r\n\r\n");
        let mut slots = HeadSlots::new();
        let head = parse_response(bytes.as_bytes(), &LIMITS, &mut slots, true);
        assert_eq!(head.unwrap().unwrap().is_interim(), interim);
    }
}
