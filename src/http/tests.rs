use super::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    fields: 32,
};

#[test]
fn smoke() {
    let bytes = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    let mut slots = HeadSlots::new();
    let head = parse_request(bytes, &LIMITS, &mut slots).unwrap().unwrap();
    assert_eq!(
        (head.path, head.query),
        ("/v1/chat/completions", Some("x=1"))
    );
    assert_eq!(head.framing, RequestFraming::Length(2));
    assert_eq!(&bytes[head.length..], b"{}");
}
