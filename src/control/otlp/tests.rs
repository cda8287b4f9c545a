//! What an answer of a collector means, and when it is asked again.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::lane::pause;
use super::post::{Trouble, judge};

fn judged(status: u16, retry_after: Option<&'static str>, body: &str) -> Result<u64, Trouble> {
    let mut fields = HeaderMap::new();
    if let Some(value) = retry_after {
        fields.insert(RETRY_AFTER, HeaderValue::from_static(value));
    }
    let status = StatusCode::from_u16(status).expect("a status");
    judge(status, &fields, body.as_bytes())
}

#[test]
fn only_the_statuses_that_the_protocol_names_are_tried_again() {
    let later = |status: u16, after: Option<u64>| {
        let why = format!("status {status}");
        let after = after.map(Duration::from_secs);
        Err(Trouble::Later { why, after })
    };
    for status in [429, 502, 503, 504] {
        assert_eq!(judged(status, None, ""), later(status, None));
        assert_eq!(judged(status, Some("7"), ""), later(status, Some(7)));
        assert_eq!(judged(status, Some("soon"), ""), later(status, None));
    }
    for status in [301, 400, 401, 404, 413, 500] {
        let never = Err(Trouble::Never(format!("status {status}")));
        assert_eq!(judged(status, Some("7"), ""), never);
    }
}

#[test]
fn what_a_collector_leaves_out_is_counted() {
    assert_eq!(judged(200, None, ""), Ok(0));
    assert_eq!(judged(200, None, "{}"), Ok(0));
    let said = |count: &str| format!("{{\"partialSuccess\":{{\"rejectedSpans\":{count}}}}}");
    assert_eq!(judged(200, None, &said("\"3\"")), Ok(3));
    assert_eq!(judged(202, None, &said("4")), Ok(4));
}

#[test]
fn pauses_double_up_to_a_bound_and_a_collector_may_ask_for_another() {
    let seconds = |failures| pause(failures, None).as_secs();
    assert_eq!([1, 2, 3, 5, 6, 40].map(seconds), [1, 2, 4, 16, 30, 30]);
    let asked = |secs| pause(1, Some(Duration::from_secs(secs))).as_secs();
    assert_eq!([0, 7, 4000].map(asked), [1, 7, 300]);
}
