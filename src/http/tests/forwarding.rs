//! Fields: looked up, nominated, forwarded or not.

use super::*;
use crate::http::hop::{forward_request_fields, forward_response_fields, forward_traced_fields};

/// Hands the fields of a request with these lines to `look`.
fn with_fields<T>(lines: &str, look: impl FnOnce(&Fields<'_, '_>) -> T) -> T {
    let bytes = wire(&format!("POST / HTTP/1.1⏎Host: h⏎{lines}⏎"));
    let limits = HeadLimits {
        bytes: 1 << 16,
        fields: FIELDS_MAX,
    };
    let mut slots = HeadSlots::new();
    let head = parse_request(&bytes, &limits, &mut slots).unwrap().unwrap();
    look(&head.fields)
}

fn sent_to_provider(lines: &str) -> String {
    with_fields(lines, |fields| {
        let mut out = Vec::new();
        forward_request_fields(fields, &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "⏎")
    })
}

fn sent_to_client(lines: &str) -> String {
    let bytes = wire(&format!("HTTP/1.1 200 OK⏎{lines}⏎"));
    let limits = HeadLimits {
        bytes: 1 << 16,
        fields: FIELDS_MAX,
    };
    let mut slots = HeadSlots::new();
    let head = parse_response(&bytes, &limits, &mut slots, false);
    let mut out = Vec::new();
    forward_response_fields(&head.unwrap().unwrap().fields, &mut out);
    String::from_utf8(out).unwrap().replace("\r\n", "⏎")
}

#[test]
fn of_a_traced_request_the_trace_is_written_anew_and_its_state_goes_with_it() {
    let lines =
        "A: 1⏎TraceParent: 00⏎traceparent: 01⏎Cookie: c⏎TraceState: a=1⏎tracestate: b=2⏎Z: 2⏎";
    let traced = |keep_state| {
        with_fields(lines, |fields| {
            let mut out = Vec::new();
            forward_traced_fields(fields, keep_state, &mut out);
            String::from_utf8(out).unwrap().replace("\r\n", "⏎")
        })
    };
    assert_eq!(traced(true), "A: 1⏎TraceState: a=1⏎tracestate: b=2⏎Z: 2⏎");
    assert_eq!(traced(false), "A: 1⏎Z: 2⏎");
    let whole = lines.replace("Cookie: c⏎", "");
    assert_eq!(sent_to_provider(lines), whole);
}

#[test]
fn fields_keep_order_case_and_repetition() {
    with_fields("X-B: 1⏎x-a: \t2 \t⏎X-b: 3⏎", |fields| {
        let all: Vec<_> = fields.iter().collect();
        let expected: [(&str, &[u8]); 4] =
            [("Host", b"h"), ("X-B", b"1"), ("x-a", b"2"), ("X-b", b"3")];
        assert_eq!(all, expected);
        assert_eq!((fields.len(), fields.is_empty()), (4, false));
        let both: Vec<_> = fields.get_all("x-B").collect();
        assert_eq!(both, [b"1", b"3"]);
        assert_eq!(fields.get_all("x").count(), 0);
    });
}

#[test]
fn a_single_field_is_there_once_or_not_at_all() {
    with_fields("A: 1⏎B: 2⏎b: 2⏎", |fields| {
        assert_eq!(fields.single("a"), Ok(Some(&b"1"[..])));
        assert_eq!(fields.single("b"), Err(Repeated));
        assert_eq!(fields.single("c"), Ok(None));
    });
}

#[test]
fn a_nominated_field_is_found_in_any_connection_line() {
    let lines = "Connection: keep-alive⏎connection: ,\tX-Sovereign-Residency , te⏎";
    with_fields(lines, |fields| {
        for (name, nominated) in [
            ("x-sovereign-residency", true),
            ("TE", true),
            ("x-sovereign", false),
            ("residency", false),
            ("", false),
        ] {
            assert_eq!(fields.nominated(name), nominated, "{name}");
        }
    });
    with_fields("Connection: keep-alive, close⏎", |fields| {
        assert!(!fields.nominated("x"));
    });
}

#[test]
fn a_provider_gets_what_is_meant_for_it() {
    let lines = "Content-Type: application/json⏎User-Agent: OpenAI/Python 2⏎accept: */*⏎\
                 X-Stainless-Lang: python⏎Idempotency-Key: k⏎OpenAI-Beta: assistants=v2⏎\
                 X-Very-Long-Name-Of-A-Field-That-Nobody-Has-Heard-Of: ü⏎Empty: ⏎";
    assert_eq!(sent_to_provider(lines), lines);
}

#[test]
fn a_provider_gets_nothing_of_the_client_itself() {
    for name in [
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
        "Accept-Encoding",
        "Via",
        "X-Request-Id",
        "Authorization",
        "Cookie",
        "Api-Key",
        "X-Api-Key",
        "X-Goog-Api-Key",
        "X-Auth-Token",
        "X-Access-Token",
        "Ocp-Apim-Subscription-Key",
        "OpenAI-Organization",
        "OpenAI-Project",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Client-Cert",
        "X-Real-Ip",
        "X-Client-Ip",
        "X-Cluster-Client-Ip",
        "X-Original-Forwarded-For",
        "True-Client-Ip",
        "CF-Connecting-IP",
        "Proxy-Authorization",
        "Proxy-Connection",
        "X-Sovereign-Residency",
        "X-Sovereign-Anything-Of-Whatever-Length-It-May-Come-To-Have",
    ] {
        for name in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.to_ascii_uppercase(),
            name.replace('-', "_"),
        ] {
            let lines = format!("A: b⏎{name}: x⏎C: d⏎");
            assert_eq!(sent_to_provider(&lines), "A: b⏎C: d⏎", "{name}");
        }
    }
    for framing in [
        "Content-Length: 3⏎Expect: 100-continue⏎",
        "Transfer-Encoding: chunked⏎",
    ] {
        assert_eq!(sent_to_provider(framing), "");
    }
    // What only resembles them is the provider's to judge.
    let alike = "Authorization-2: x⏎X-Sovereign: y⏎Cookies: z⏎";
    assert_eq!(sent_to_provider(alike), alike);
}

#[test]
fn what_connection_nominates_goes_no_further() {
    assert_eq!(
        sent_to_provider("Connection: a, content-type⏎A: 1⏎B: 2⏎Content-Type: x⏎"),
        "B: 2⏎"
    );
    assert_eq!(
        sent_to_client("Connection: retry-after⏎Retry-After: 1⏎Content-Type: x⏎"),
        "Content-Type: x⏎"
    );
}

#[test]
fn a_client_gets_what_the_list_allows_and_no_more() {
    let shown = "Content-Type: text/event-stream⏎content-encoding: gzip⏎Content-Language: mi⏎\
                 Content-Disposition: attachment⏎CACHE-CONTROL: no-store⏎Retry-After: 1⏎\
                 retry-after-ms: 900⏎";
    assert_eq!(sent_to_client(shown), shown);
    let hidden = "Server: cloudflare⏎Date: now⏎Set-Cookie: a=b⏎openai-organization: org⏎\
                  openai-version: 2020-10-01⏎openai-processing-ms: 5⏎x-request-id: r⏎x-ratelimit-limit-requests: 1⏎CF-Ray: c⏎\
                  x-should-retry: true⏎Content_Type: x⏎X-Sovereign-Jurisdiction: us⏎Via: v⏎\
                  Alt-Svc: h3⏎Connection: close⏎Transfer-Encoding: chunked⏎";
    assert_eq!(sent_to_client(hidden), "");
}
