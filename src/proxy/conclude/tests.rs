//! One core's opinions, the office's answers, and facts that are lost between them.

use super::*;
use crate::base::ProviderId;
use crate::policy::balance::Trail;
use crate::proxy::settle::Settlement;
use crate::proxy::testing::Bench;
use crate::tables::{BreakerView, Queue};
use crate::telemetry::InlineText;
use crate::telemetry::access::RING_RECORDS;

const PROVIDER: Target = Target::Provider(ProviderId(0));
const NOW: Moment = Moment(1_000_000);

impl Bench {
    fn take(&self) -> Option<Permit> {
        let provider = &self.snapshot.routes.providers[0];
        self.core.with_view(|view| {
            let mut targets = self.core.targets.borrow_mut();
            targets.take(view, provider, None, Wanted::default(), NOW)
        })
    }

    fn end(&self, permit: Permit, verdict: Verdict) {
        let provider = &self.snapshot.routes.providers[0];
        let endpoint = provider.endpoints[permit.endpoint].id;
        let tried = Tried {
            provider,
            endpoint,
            firm: false,
        };
        self.core.conclude(tried, &permit, verdict, NOW);
    }

    fn show(&mut self, breaker: BreakerView) {
        self.publish(|states| {
            for target in [PROVIDER, Target::Endpoint(EndpointId(0))] {
                let state = states.target_mut(target);
                state.breaker = breaker;
                state.generation += 1;
            }
        });
        self.core.routes();
    }
}

/// Where so many calls go that end well, one after the other.
fn places(bench: &Bench, calls: usize, trail: Option<&Trail>) -> Vec<usize> {
    let provider = &bench.snapshot.routes.providers[0];
    let one = |_| {
        let taken = bench.core.with_view(|view| {
            let mut targets = bench.core.targets.borrow_mut();
            targets.take(view, provider, trail, Wanted::default(), NOW)
        });
        taken.map(|permit| permit.endpoint)
    };
    (0..calls).filter_map(one).collect()
}

fn trails() -> [Option<Trail>; 3] {
    [
        None,
        Some(Trail::of_key(1, b"k")),
        Some(Trail::of_text(1, &[&[b'x'; 999]])),
    ]
}

fn trips(told: &[Fact]) -> usize {
    let is_trip =
        |fact: &&Fact| matches!(fact, Fact::Tripped { target, .. } if *target == PROVIDER);
    told.iter().filter(is_trip).count()
}

#[test]
fn a_core_that_sees_the_trip_condition_stops_at_once() {
    let mut bench = Bench::new(1, 100);
    for _ in 0..2 {
        let permit = bench.take().unwrap();
        bench.end(permit, Verdict::ServerError);
    }
    assert!(bench.take().is_none());
    assert_eq!(trips(&bench.told()), 1);
    bench.show(BreakerView::Closed);
    assert!(bench.take().is_some(), "the office has answered");
}

#[test]
fn calls_that_fail_while_it_is_open_do_not_keep_the_core_from_probing() {
    let mut bench = Bench::new(1, 100);
    let under_way: Vec<_> = (0..6).map(|_| bench.take().unwrap()).collect();
    bench.show(BreakerView::Open { until: NOW });
    for permit in under_way {
        bench.end(permit, Verdict::TimedOut);
    }
    assert_eq!(trips(&bench.told()), 0, "the office would not answer");
    assert!(bench.take().is_some(), "half-open");
    assert!(bench.take().is_none(), "one probe at a time");
}

#[test]
fn nothing_is_sent_to_an_endpoint_that_is_not_ready_and_no_breaker_opens() {
    for trail in trails() {
        let mut bench = Bench::new(3, 100);
        let ready = |endpoint, from| {
            let load = bench.board.loads().of(EndpointId(endpoint));
            load.set_ready_from(from);
        };
        ready(0, None);
        ready(2, None);
        assert_eq!(places(&bench, 20, trail.as_ref()), [1; 20]);
        ready(1, None);
        assert!(places(&bench, 20, trail.as_ref()).is_empty());
        ready(0, Some(NOW));
        assert_eq!(places(&bench, 20, trail.as_ref()), [0; 20]);
        assert!(bench.told().is_empty());
    }
    let single = Bench::new(1, 100);
    let load = single.board.loads().of(EndpointId(0));
    load.set_ready_from(None);
    assert!(single.take().is_none());
}

#[test]
fn an_endpoint_with_a_queue_of_its_own_gets_less() {
    let bench = Bench::new(2, 100);
    let load = bench.board.loads().of(EndpointId(0));
    let queue = |waiting| {
        Some(Queue {
            waiting,
            running: 0,
        })
    };
    load.set_queue(queue(3));
    assert_eq!(places(&bench, 20, None), [1; 20]);
    load.set_queue(queue(0));
    assert!(places(&bench, 40, None).contains(&0));
}

#[test]
fn whichever_way_a_call_is_sent_an_endpoint_is_probed_and_the_rest_goes_elsewhere() {
    for trail in trails() {
        let mut bench = Bench::new(2, 100);
        let half_open = Target::Endpoint(EndpointId(0));
        bench.publish(|states| {
            states.target_mut(half_open).breaker = BreakerView::Open { until: NOW };
        });
        assert_eq!(places(&bench, 5, trail.as_ref()), [0, 1, 1, 1, 1]);
    }
}

#[test]
fn calls_that_are_cancelled_leave_nothing_under_way() {
    for trail in trails() {
        let bench = Bench::new(4, 10);
        places(&bench, 2000, trail.as_ref());
        for endpoint in 0..4 {
            let load = bench.board.loads().of(EndpointId(endpoint));
            let counts = (load.outstanding(), load.awaiting(), load.reading());
            assert_eq!(counts, (0, 0, 0));
        }
    }
}

#[test]
fn a_core_does_not_wait_for_the_answer_to_a_trip_that_was_lost() {
    let mut bench = Bench::new(1, 1);
    // The queue takes the first failure; the second one and the trip are lost.
    for _ in 0..2 {
        let permit = bench.take().unwrap();
        bench.end(permit, Verdict::ServerError);
    }
    assert_eq!(trips(&bench.told()), 0);
    assert_ne!(bench.core.metrics.facts_lost_total(), 0);
    assert!(bench.take().is_some(), "no answer will come");
}

#[test]
fn a_log_that_is_full_costs_records_and_they_are_counted() {
    let bench = Bench::new(1, 100);
    let lost = || bench.core.metrics.access_lost_total();
    for _ in 0..RING_RECORDS {
        drop(Settlement::open(&bench.core, InlineText::new(b"r"), true));
    }
    assert_eq!(lost(), 0);
    drop(Settlement::open(&bench.core, InlineText::new(b"r"), true));
    assert_eq!(lost(), 1);
}

#[test]
fn the_slot_of_a_probe_that_the_office_never_hears_of_is_freed() {
    let mut bench = Bench::new(1, 1);
    bench.show(BreakerView::Open { until: NOW });
    bench.core.report(Fact::Gated {
        target: Target::Endpoint(EndpointId(9)),
        until: NOW,
    });
    let probe = bench.take().unwrap();
    assert!(bench.take().is_none());
    bench.end(probe, Verdict::Cancelled);
    assert!(bench.take().is_some());
}

#[test]
fn a_permit_that_was_not_used_frees_its_slots() {
    let mut bench = Bench::new(1, 100);
    bench.show(BreakerView::Open { until: NOW });
    let probe = bench.take().unwrap();
    let provider = &bench.snapshot.routes.providers[0];
    bench.core.give_back(provider, probe);
    assert!(bench.take().is_some());
}
