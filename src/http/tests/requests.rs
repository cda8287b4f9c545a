//! What clients send.

use super::*;

/// Reads a whole side of a connection.
fn converse(mut bytes: &[u8]) -> String {
    let mut said = Vec::new();
    while !bytes.is_empty() {
        let (line, framing, length) = describe_request(bytes);
        said.push(line);
        if length == 0 {
            break;
        }
        bytes = &bytes[length..];
        match framing {
            RequestFraming::None => {}
            RequestFraming::Length(body) => {
                bytes = &bytes[bytes.len().min(usize::try_from(body).unwrap())..];
            }
            RequestFraming::Chunked => match take_chunked(bytes) {
                Ok((payload, consumed, true)) => {
                    said.push(format!("<{}>", String::from_utf8_lossy(&payload)));
                    bytes = &bytes[consumed..];
                }
                Ok((_, _, false)) => {
                    said.push("<…".to_owned());
                    break;
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
const PLAIN: &[(&str, &str)] = &[
    ("GET /v1/models HTTP/1.1⏎Host: a⏎⏎", "GET /v1/models None"),
    ("HEAD /v1/models HTTP/1.1⏎host:a⏎⏎", "HEAD /v1/models None"),
    ("GET / HTTP/1.1⏎HOST: \t a:8080 \t⏎⏎", "GET / None"),
    ("GET / HTTP/1.1⏎Host: [::1]:80⏎⏎", "GET / None"),
    ("GET / HTTP/1.1⏎Host: a⏎X-Empty:⏎X-Utf8: é⏎⏎", "GET / None"),
    ("PATCH /x HTTP/1.1⏎Host: a⏎⏎", "PATCH /x None"),
    ("get / HTTP/1.1⏎Host: a⏎⏎", "get / None"),
    ("POST /v1/chat/completions HTTP/1.1⏎Host: a⏎Content-Length: 2⏎⏎{}", "POST /v1/chat/completions Length(2)"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 0⏎⏎", "POST / Length(0)"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 007⏎⏎1234567", "POST / Length(7)"),
    ("GET / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎⏎{}GET /b HTTP/1.1⏎Host: a⏎⏎", "GET / Length(2) | GET /b None"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: Chunked⏎⏎2⏎{}⏎0⏎⏎", "POST / Chunked | <{}>"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked⏎⏎2⏎{", "POST / Chunked | <…"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked⏎⏎1;x=\"y\"⏎{⏎1⏎}⏎0⏎Digest: z⏎⏎GET /b HTTP/1.1⏎Host: a⏎⏎", "POST / Chunked | <{}> | GET /b None"),
    ("GET /1 HTTP/1.1⏎Host: a⏎⏎GET /2 HTTP/1.1⏎Host: a⏎⏎GET /3 HT", "GET /1 None | GET /2 None | …"),
    // One empty line in front, as after the body of an old browser's POST; not two.
    ("⏎GET / HTTP/1.1⏎Host: a⏎⏎", "GET / None"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎⏎{}⏎GET /b HTTP/1.1⏎Host: a⏎⏎", "POST / Length(2) | GET /b None"),
    ("⏎⏎GET / HTTP/1.1⏎Host: a⏎⏎", "Head(LineEnd) 400"),
    ("\nGET / HTTP/1.1⏎Host: a⏎⏎", "Head(LineEnd) 400"),
    ("⏎\nGET / HTTP/1.1⏎Host: a⏎⏎", "Head(LineEnd) 400"),
    // Persistence.
    ("GET / HTTP/1.1⏎Host: a⏎Connection: close⏎⏎", "GET / None close"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: Keep-Alive⏎⏎", "GET / None"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: te, ,\tCLOSE,⏎⏎", "GET / None close"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: keep-alive⏎Connection: close⏎⏎", "GET / None close"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: closed⏎⏎", "GET / None"),
    ("GET / HTTP/1.0⏎⏎", "GET / None 1.0 close"),
    ("GET / HTTP/1.0⏎Host: a⏎Connection: keep-alive⏎⏎", "GET / None 1.0 close"),
    ("POST / HTTP/1.0⏎Content-Length: 2⏎⏎{}", "POST / Length(2) 1.0 close"),
    // Expectations.
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎Expect: 100-Continue⏎⏎", "POST / Length(2) expects"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked⏎Expect: 100-continue⏎⏎", "POST / Chunked expects | <…"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 0⏎Expect: 100-continue⏎⏎", "POST / Length(0)"),
    ("POST / HTTP/1.0⏎Content-Length: 2⏎Expect: 100-continue⏎⏎{}", "POST / Length(2) 1.0 close"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎Expect: 200-ok⏎⏎{}", "Expect 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎Expect: 100-continue, x⏎⏎{}", "Expect 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Expect: 100-continue⏎Expect: 100-continue⏎⏎", "Expect 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Expect:⏎⏎", "Expect 400"),
    // Targets.
    ("GET /a?b=c?d HTTP/1.1⏎Host: a⏎⏎", "GET /a?b=c?d None"),
    ("GET /a? HTTP/1.1⏎Host: a⏎⏎", "GET /a? None"),
    ("GET /a?include[]=x%20y HTTP/1.1⏎Host: a⏎⏎", "GET /a?include[]=x%20y None"),
    ("GET /v1/models/ft:gpt-4o:org::id@1%2F HTTP/1.1⏎Host: a⏎⏎", "GET /v1/models/ft:gpt-4o:org::id@1%2F None"),
    ("GET //x/../y HTTP/1.1⏎Host: a⏎⏎", "GET //x/../y None"),
    ("GET http://a/b?c HTTP/1.1⏎Host: A⏎⏎", "GET /b?c None"),
    ("GET HTTPS://a:1 HTTP/1.1⏎Host: a:1⏎⏎", "GET / None"),
    ("GET http://a?q HTTP/1.1⏎Host: a⏎⏎", "GET /?q None"),
    ("OPTIONS * HTTP/1.1⏎Host: a⏎⏎", "OPTIONS * None"),
    ("GET http://a/ HTTP/1.1⏎Host: b⏎⏎", "HostMismatch 400"),
    ("GET http://u@a/ HTTP/1.1⏎Host: u@a⏎⏎", "Target 400"),
    ("GET http:///x HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET ftp://a/x HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET * HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("CONNECT a:443 HTTP/1.1⏎Host: a:443⏎⏎", "Target 400"),
    ("CONNECT /a HTTP/1.1⏎Host: a⏎Content-Length: 2⏎⏎{}", "Target 400"),
    ("CONNECT http://a/ HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("connect /a HTTP/1.1⏎Host: a⏎⏎", "connect /a None"),
    ("GET v1/models HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /a#b HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /a\\b HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /é HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /a[b] HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /100% HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /%2 HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
    ("GET /?%+1 HTTP/1.1⏎Host: a⏎⏎", "Target 400"),
];

#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    // Two readers, two ends: every way to smuggle that RFC 9112 section 11.2 has in mind.
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎Transfer-Encoding: chunked⏎⏎{}", "Head(LengthAndEncoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked⏎Content-Length: 2⏎⏎0⏎⏎", "Head(LengthAndEncoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎Content-Length: 2⏎⏎{}", "Head(RepeatedLength) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2⏎content-length: 3⏎⏎{}", "Head(RepeatedLength) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2, 2⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: +2⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: -2⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 0x2⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 1 2⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 2;⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: ٢⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length:⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length: 18446744073709551616⏎⏎{}", "Head(Length) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: identity⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: gzip, chunked⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked, identity⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked, chunked⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked,⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: \"chunked\"⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: xchunked⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: \u{b}chunked⏎⏎0⏎⏎", "Head(FieldValue) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding:⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked⏎Transfer-Encoding: chunked⏎⏎0⏎⏎", "Head(Encoding) 400"),
    ("POST / HTTP/1.0⏎Transfer-Encoding: chunked⏎⏎0⏎⏎", "Head(EncodingOnHttp10) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Content-Length : 2⏎⏎{}", "Head(FieldName) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding\t: chunked⏎⏎", "Head(FieldName) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding:⏎ chunked⏎⏎", "Head(FieldName) 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Connection: content-length⏎Content-Length: 2⏎⏎{}", "Nomination 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Connection: close, Transfer-Encoding⏎⏎", "Nomination 400"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: host⏎⏎", "Nomination 400"),
    // Bare line ends, each of which httparse would take.
    ("GET / HTTP/1.1\nHost: a⏎⏎", "Head(LineEnd) 400"),
    ("GET / HTTP/1.1⏎Host: a\nX: y⏎⏎", "Head(LineEnd) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎\nGET /b HTTP/1.1⏎⏎", "Head(LineEnd) 400"),
    ("GET / HTTP/1.1⏎Host: a\n\nGET /b HTTP/1.1⏎⏎", "Head(LineEnd) 400"),
    ("GET / HTTP/1.1\n", "Head(LineEnd) 400"),
    ("GET / HTTP/1.1⏎Host: a\rX: y⏎⏎", "Head(FieldValue) 400"),
    ("GET / HTTP/1.1⏎Host: a\r⏎⏎", "Head(FieldValue) 400"),
    ("GET / HTTP/1.1\r⏎Host: a⏎⏎", "Head(LineEnd) 400"),
    // Lines that are none.
    ("GET / HTTP/1.1⏎ Host: a⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎ folded⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎\tfolded: yes⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎: x⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎no colon⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎nocolon⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎X(y): z⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎X\u{0}: z⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎Xé: z⏎⏎", "Head(FieldName) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎X: \u{0}⏎⏎", "Head(FieldValue) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎X: a\u{7f}b⏎⏎", "Head(FieldValue) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎X: a\u{1b}b⏎⏎", "Head(FieldValue) 400"),
    ("GET  / HTTP/1.1⏎Host: a⏎⏎", "RequestLine 400"),
    ("GET /  HTTP/1.1⏎Host: a⏎⏎", "Head(Version) 400"),
    ("GET\t/ HTTP/1.1⏎Host: a⏎⏎", "RequestLine 400"),
    (" GET / HTTP/1.1⏎Host: a⏎⏎", "RequestLine 400"),
    ("GET / HTTP/1.1 ⏎Host: a⏎⏎", "Head(LineEnd) 400"),
    ("GET /⏎⏎", "RequestLine 400"),
    ("GET⏎⏎", "RequestLine 400"),
    ("G{T / HTTP/1.1⏎Host: a⏎⏎", "RequestLine 400"),
    ("GET / HTTP/2.0⏎Host: a⏎⏎", "Head(Version) 400"),
    ("GET / HTTP/1.2⏎Host: a⏎⏎", "Head(Version) 400"),
    ("GET / HTTP/0.9⏎⏎", "Head(Version) 400"),
    ("GET / http/1.1⏎Host: a⏎⏎", "Head(Version) 400"),
    ("GET / HTTP/1.11⏎Host: a⏎⏎", "Head(LineEnd) 400"),
    ("PRI * HTTP/2.0⏎⏎SM⏎⏎", "Head(Version) 400"),
    ("\u{16}\u{3}\u{1}", "RequestLine 400"),
    ("HELO a⏎", "RequestLine 400"),
    // Hosts.
    ("GET / HTTP/1.1⏎⏎", "NoHost 400"),
    ("GET http://a/ HTTP/1.1⏎⏎", "NoHost 400"),
    ("GET / HTTP/1.1⏎Host: a⏎Host: a⏎⏎", "RepeatedHost 400"),
    ("GET / HTTP/1.0⏎Host: a⏎HOST: b⏎⏎", "RepeatedHost 400"),
    ("GET / HTTP/1.1⏎Host:⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: :80⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: a, b⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: a b⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: a/b⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: u@a⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: a:b⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: a:1:2⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: [::1⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: [::1]x⏎⏎", "Host 400"),
    ("GET / HTTP/1.1⏎Host: []⏎⏎", "Host 400"),
    // Options.
    ("GET / HTTP/1.1⏎Host: a⏎Connection: keep alive⏎⏎", "Head(Connection) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: \"close\"⏎⏎", "Head(Connection) 400"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: a,b,c,d,e,f,g,h⏎Connection: i,j,k,l,m,n,o,p⏎⏎", "GET / None"),
    ("GET / HTTP/1.1⏎Host: a⏎Connection: a,b,c,d,e,f,g,h⏎Connection: i,j,k,l,m,n,o,p,q⏎⏎", "Head(TooManyOptions) 431"),
    // A refused message is the last: nothing behind it is read.
    ("GET /1 HTTP/1.1⏎Host: a⏎⏎GET /2 HTTP/1.1⏎⏎GET /3 HTTP/1.1⏎Host: a⏎⏎", "GET /1 None | NoHost 400"),
    ("POST / HTTP/1.1⏎Host: a⏎Transfer-Encoding: chunked⏎⏎2\n{}⏎0⏎⏎GET /b HTTP/1.1⏎Host: a⏎⏎", "POST / Chunked | <Size"),
];

#[test]
fn conversations_are_read_as_rfc_9112_has_them() {
    for (text, verdict) in PLAIN.iter().chain(REFUSED) {
        assert_eq!(converse(&wire(text)), *verdict, "{text:?}");
    }
}

#[test]
fn a_verdict_comes_from_the_shortest_prefix_that_has_it() {
    for (text, _) in PLAIN.iter().chain(REFUSED) {
        let bytes = wire(text);
        let (whole, _, length) = describe_request(&bytes);
        for cut in 0..bytes.len() {
            let (part, _, _) = describe_request(&bytes[..cut]);
            if length > 0 {
                let expected = if cut < length { "…" } else { &whole };
                assert_eq!(part, expected, "{text:?} cut at {cut}");
            } else if part != "…" {
                assert!(
                    whole.ends_with(" 400") || whole.ends_with(" 431"),
                    "{text:?}"
                );
                assert!(part.ends_with(" 400") || part.ends_with(" 431"), "{text:?}");
            }
        }
    }
}

#[test]
fn what_is_not_http_is_told_before_its_head_ends() {
    for text in [
        "\u{16}\u{3}\u{1}\u{2}",
        "GET / HTTP/3",
        "GET / SMTP",
        "{\"model\"",
        "\r\r",
    ] {
        assert_ne!(describe_request(text.as_bytes()).0, "…", "{text:?}");
    }
}

#[test]
fn a_head_may_be_as_long_as_its_bound_and_no_longer() {
    let head = |padding: usize| {
        let pad = "x".repeat(padding);
        wire(&format!("GET / HTTP/1.1⏎Host: a⏎X: {pad}⏎⏎"))
    };
    let room = LIMITS.bytes - head(0).len();
    assert_eq!(describe_request(&head(room)).0, "GET / None");
    assert_eq!(describe_request(&head(room + 1)).0, "Head(TooLong) 431");

    let endless = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 1000][..]].concat();
    assert_eq!(describe_request(&endless[..LIMITS.bytes - 1]).0, "…");
    assert_eq!(
        describe_request(&endless[..LIMITS.bytes]).0,
        "Head(TooLong) 431"
    );
    let endless = [b'G'; 601];
    assert_eq!(describe_request(&endless).0, "Head(TooLong) 431");
}

#[test]
fn a_head_may_have_as_many_fields_as_its_bound_and_no_more() {
    let head = |fields: usize| {
        let more = "a:b⏎".repeat(fields - 1);
        wire(&format!("GET / HTTP/1.1⏎Host: a⏎{more}⏎"))
    };
    assert_eq!(describe_request(&head(LIMITS.fields)).0, "GET / None");
    let over = describe_request(&head(LIMITS.fields + 1)).0;
    assert_eq!(over, "Head(TooManyFields) 431");

    let generous = HeadLimits {
        bytes: 1 << 16,
        fields: usize::MAX,
    };
    for (fields, fits) in [(FIELDS_MAX, true), (FIELDS_MAX + 1, false)] {
        let bytes = head(fields);
        let mut slots = HeadSlots::new();
        assert_eq!(parse_request(&bytes, &generous, &mut slots).is_ok(), fits);
    }
}

/// httparse scans in vectors of 8, 16 and 32 bytes: no byte may slip through at any offset.
#[test]
fn every_byte_is_judged_alike_wherever_it_stands() {
    let judge = |bytes: &[u8]| {
        let mut slots = HeadSlots::new();
        matches!(parse_request(bytes, &LIMITS, &mut slots), Ok(Some(_)))
    };
    for byte in 0..=255_u8 {
        let in_name = fields::is_token_byte(byte);
        let in_value = byte == b'\t' || byte >= b' ' && byte != 0x7f;
        let in_path = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte);
        for before in 0..70 {
            let pad = vec![b'a'; before];
            let with = |front: &[u8], back: &[u8]| [front, &pad, &[byte], b"aa", back].concat();
            let name = with(b"GET / HTTP/1.1\r\nHost: a\r\nx", b": y\r\n\r\n");
            assert_eq!(judge(&name), in_name || byte == b':', "{byte} in a name");
            let value = with(b"GET / HTTP/1.1\r\nHost: a\r\nx: ", b"\r\n\r\n");
            assert_eq!(judge(&value), in_value, "{byte} in a value");
            let path = with(b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(judge(&path), in_path || byte == b'%', "{byte} in a path");
            let method = with(b"", b" / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(judge(&method), in_name, "{byte} in a method");
        }
    }
}
