//! What is counted is read back, under bounded names.

use super::*;

#[test]
fn every_status_is_counted_under_its_own_name_or_its_class() {
    for status in 100..=599u16 {
        let label = STATUSES[status_slot(status)];
        let exact = status.to_string();
        let class = format!("{}xx", (status / 100).max(2));
        assert!(
            label == exact || (label == class && !STATUSES.contains(&exact.as_str())),
            "{status} is counted under {label}"
        );
    }
}

#[test]
fn results_are_numbered_in_their_order() {
    for (number, result) in AttemptResult::ALL.iter().enumerate() {
        assert_eq!(*result as usize, number);
    }
}

#[test]
fn what_counts_against_a_breaker_is_what_srp_section_5_says() {
    let neutral = [
        "ok",
        "client_error",
        "rate_limited",
        "quota_exhausted",
        "credential",
    ];
    let neutral = [
        &neutral[..],
        &["unknown_model", "cancelled", "deadline", "curtailed"],
    ]
    .concat();
    for result in AttemptResult::ALL {
        assert_eq!(result.is_failure(), !neutral.contains(&result.label()));
    }
}

#[test]
fn counts_land_where_they_belong() {
    let core = CoreMetrics::new();
    let (provider, endpoint) = (ProviderId(255), EndpointId(1023));
    core.call_started();
    core.call_started();
    core.attempt_started(provider, false);
    core.attempt_started(provider, true);
    core.attempt(provider, endpoint, AttemptResult::Reset);
    assert_eq!(core.attempts_in_flight(provider), 1);
    core.attempt(provider, endpoint, AttemptResult::Succeeded);
    assert_eq!(core.attempts_in_flight(provider), 0);
    assert_eq!(core.attempts_ended(provider), 2);
    core.call_finished(Some(CapabilityId(255)), 200);
    core.rejected(7);
    core.rejected(usize::MAX);
    assert_eq!(core.in_flight(), 1);
    assert_eq!((core.calls(provider), core.repeats(provider)), (1, 1));
    assert_eq!(
        (
            core.provider_successes(provider),
            core.provider_failures(provider)
        ),
        (1, 1)
    );
    assert_eq!(
        (
            core.endpoint_successes(endpoint),
            core.endpoint_failures(endpoint)
        ),
        (1, 1)
    );
    assert_eq!(core.calls_by_status(Some(CapabilityId(255)), 0), 1);
    assert_eq!(core.calls_by_status(None, 0), 0);
    assert_eq!((core.rejections(7), core.rejections(CODES_MAX - 1)), (1, 1));
}

#[test]
fn a_gauge_never_wraps() {
    let core = CoreMetrics::new();
    core.connection_closed();
    assert_eq!(core.connections(), 0);
}
