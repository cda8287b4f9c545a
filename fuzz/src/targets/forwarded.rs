//! What goes on: the fields of a request towards a provider, those of a response towards a client.
//! Written anew, they are one message with the same meaning, to srpd and to other parsers.

use srpd::http::encode::{self, CRLF};
use srpd::http::hop::{forward_request_fields, forward_response_fields};
use srpd::http::{
    Fields, HeadLimits, HeadSlots, RequestFraming, ResponseFraming, parse_request, parse_response,
};

use crate::peers::{self, After, Message, Side};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 * 1024,
    fields: 64,
};

/// Those of srpd's own stand in front.
const AGAIN: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    fields: 80,
};

const BODY: &[u8] = b"{\"model\":\"m\"}";

/// Takes a head for a request, and for a response.
pub fn run(bytes: &[u8]) {
    let mut slots = HeadSlots::new();
    if let Ok(Some(head)) = parse_request(bytes, &LIMITS, &mut slots) {
        request(&head.fields);
    }
    let mut slots = HeadSlots::new();
    if let Ok(Some(head)) = parse_response(bytes, &LIMITS, &mut slots, false) {
        response(&head.fields);
    }
}

fn request(fields: &Fields<'_, '_>) {
    let mut out = Vec::new();
    encode::request_line(&mut out, "POST", &["/v1/chat/completions"]);
    encode::field(&mut out, "host", b"provider.test");
    encode::field(&mut out, "authorization", b"Bearer ours");
    encode::field(&mut out, "x-sovereign-residency", b"au-only");
    let own = 3;
    forward_request_fields(fields, &mut out);
    encode::content_length(&mut out, BODY.len() as u64);
    out.extend_from_slice(CRLF);

    let mut slots = HeadSlots::new();
    let head = parse_request(&out, &AGAIN, &mut slots);
    let head = head.expect("sound").expect("whole");
    assert_eq!(head.framing, RequestFraming::Length(BODY.len() as u64));
    assert!(head.length == out.len() && head.persistent && !head.expect_continue);
    let expected: Vec<_> = fields
        .iter()
        .filter(|(name, _)| !is_kept(name) && !is_nominated(fields, name))
        .collect();
    let sent: Vec<_> = head.fields.iter().skip(own).collect();
    assert_eq!(sent[..sent.len() - 1], expected);

    out.extend_from_slice(BODY);
    let message = Message {
        kind: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        body: BODY.to_vec(),
    };
    for (peer, reading) in [
        ("milo", peers::milo::read(Side::Requests, &out)),
        ("node", peers::node::read(Side::Requests, &out)),
        ("hyper", peers::server::read(&out)),
    ] {
        peers::assert_agreed(peer, std::slice::from_ref(&message), &reading);
        // milo takes no field that is longer than it likes.
        let refused = reading.messages.is_empty() && reading.after == After::Over;
        assert!(
            !refused || peer == "milo" && out.len() > 8192,
            "{peer} refuses it"
        );
    }
}

fn response(fields: &Fields<'_, '_>) {
    let mut out = Vec::new();
    encode::status_line(&mut out, 200);
    forward_response_fields(fields, &mut out);
    encode::content_length(&mut out, BODY.len() as u64);
    out.extend_from_slice(CRLF);

    let mut slots = HeadSlots::new();
    let head = parse_response(&out, &AGAIN, &mut slots, false);
    let head = head.expect("sound").expect("whole");
    assert_eq!(head.framing, ResponseFraming::Length(BODY.len() as u64));
    assert!(head.length == out.len() && head.persistent);
    let expected: Vec<_> = fields
        .iter()
        .filter(|(name, _)| is_shown(name) && !is_nominated(fields, name))
        .collect();
    let sent: Vec<_> = head.fields.iter().collect();
    assert_eq!(sent[..sent.len() - 1], expected);

    out.extend_from_slice(BODY);
    let message = Message {
        kind: "200".to_owned(),
        target: String::new(),
        body: BODY.to_vec(),
    };
    for reading in [
        peers::milo::read(Side::Responses, &out),
        peers::node::read(Side::Responses, &out),
    ] {
        let read = reading.messages == [message.clone()];
        assert!(read || out.len() > 8192, "{reading:?}");
    }
}

/// SRP section 9, and what RFC 9110 section 7.6.1 says of one hop.
fn is_kept(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let families = [
        "x-sovereign-",
        "x-forwarded-",
        "proxy-",
        "cf-",
        "x-original-",
    ];
    families.iter().any(|family| name.starts_with(family))
        || "connection keep-alive te trailer transfer-encoding upgrade http2-settings host \
            content-length expect accept-encoding via x-request-id authorization cookie api-key \
            x-api-key x-goog-api-key openai-organization openai-project forwarded x-real-ip \
            x-client-ip x-cluster-client-ip true-client-ip x-auth-token x-access-token \
            ocp-apim-subscription-key"
            .split_whitespace()
            .any(|kept| name == kept)
}

fn is_shown(name: &str) -> bool {
    "content-type content-encoding content-language content-disposition cache-control retry-after \
     retry-after-ms"
        .split_whitespace()
        .any(|shown| name.eq_ignore_ascii_case(shown))
}

/// Whether a `Connection` field lists the name.
fn is_nominated(fields: &Fields<'_, '_>, name: &str) -> bool {
    let lists = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    lists
        .flat_map(|(_, list)| list.split(|&byte| byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}
