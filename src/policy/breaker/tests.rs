//! The breaker against examples, and against a model that is too simple to be wrong.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Places an interval in the middle of its jitter.
const MIDDLE: f64 = 0.5;

fn at(millis: u64) -> Moment {
    Moment(millis * 1000)
}

/// A breaker that opened at 0 for a second.
fn opened(config: BreakerConfig) -> Breaker {
    let mut breaker = Breaker::new(config);
    let transition = breaker.tripped(at(0), MIDDLE);
    assert_eq!(transition, Some(Transition::Opened { until: at(1000) }));
    breaker
}

#[test]
fn failures_in_a_row_trip() {
    let mut detector = Detector::new(&BreakerConfig::default());
    for _ in 0..4 {
        assert!(!detector.failed(at(0)));
    }
    detector.succeeded(0, at(0));
    assert!(detector.failed(at(3_600_000)), "a row has no time limit");
}

#[test]
fn a_success_breaks_the_row() {
    let mut detector = Detector::new(&BreakerConfig::default());
    for _ in 0..4 {
        assert!(!detector.failed(at(0)));
    }
    detector.succeeded(1, at(0));
    for _ in 0..4 {
        assert!(!detector.failed(at(0)));
    }
    assert!(detector.failed(at(0)));
}

#[test]
fn half_of_twenty_outcomes_trip() {
    let mut detector = Detector::new(&BreakerConfig::default());
    for turn in 0..9 {
        assert!(!detector.failed(at(turn)));
        detector.succeeded(1, at(turn));
    }
    assert!(!detector.failed(at(9)), "19 outcomes say nothing");
    assert!(detector.failed(at(9)), "11 of 20");

    let config = BreakerConfig {
        consecutive_failures: 100,
        ..BreakerConfig::default()
    };
    let mut detector = Detector::new(&config);
    detector.succeeded(10, at(0));
    for failure in 1..=10 {
        assert_eq!(detector.failed(at(0)), failure == 10);
    }
}

#[test]
fn less_than_half_does_not_trip() {
    let mut detector = Detector::new(&BreakerConfig::default());
    for turn in 0..1000 {
        detector.succeeded(2, at(turn));
        assert!(!detector.failed(at(turn)));
    }
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let mut detector = Detector::new(&BreakerConfig::default());
    detector.succeeded(1000, at(0));
    for turn in 0..15 {
        detector.succeeded(1, at(9_000));
        assert!(!detector.failed(at(9_000)), "{turn}");
    }
    detector.succeeded(1, at(9_999));
    assert!(!detector.failed(at(9_999)), "the thousand still count");
    detector.succeeded(1, at(10_000));
    assert!(detector.failed(at(10_000)), "and have left");
}

#[test]
fn a_time_that_goes_backwards_counts_as_the_latest() {
    let config = BreakerConfig {
        consecutive_failures: 100,
        ..BreakerConfig::default()
    };
    let mut detector = Detector::new(&config);
    detector.succeeded(10, at(50_000));
    for _ in 0..9 {
        assert!(!detector.failed(at(0)));
    }
    assert!(detector.failed(at(59_000)));
}

#[test]
fn a_reset_detector_has_seen_nothing() {
    let mut detector = Detector::new(&BreakerConfig::default());
    for turn in 0..5 {
        assert_eq!(detector.failed(at(7)), turn == 4);
    }
    detector.reset();
    for turn in 0..5 {
        assert_eq!(detector.failed(at(7)), turn == 4);
    }
}

#[test]
fn a_detector_keeps_its_counts_when_its_figures_change() {
    let mut detector = Detector::new(&BreakerConfig::default());
    for _ in 0..4 {
        assert!(!detector.failed(at(0)));
    }
    let patient = BreakerConfig {
        consecutive_failures: 6,
        ratio_window: Duration::from_secs(30),
        ..BreakerConfig::default()
    };
    detector.reconfigure(&patient);
    assert!(!detector.failed(at(0)));
    assert!(detector.failed(at(0)));

    let mut detector = Detector::new(&BreakerConfig::default());
    detector.succeeded(16, at(0));
    for _ in 0..4 {
        assert!(!detector.failed(at(0)));
    }
    let strict = BreakerConfig {
        failure_ratio: 0.2,
        consecutive_failures: 100,
        ..BreakerConfig::default()
    };
    detector.reconfigure(&strict);
    assert!(detector.failed(at(0)), "5 of 21");
}

#[test]
fn it_opens_once() {
    let mut breaker = Breaker::new(BreakerConfig::default());
    for _ in 0..4 {
        assert_eq!(breaker.failed(at(0), MIDDLE), None);
    }
    let opened = breaker.failed(at(10), MIDDLE);
    assert_eq!(opened, Some(Transition::Opened { until: at(1010) }));
    assert_eq!(breaker.phase(), Phase::Open { until: at(1010) });
    assert_eq!(breaker.failed(at(20), MIDDLE), None);
    assert_eq!(breaker.tripped(at(30), MIDDLE), None);
    assert_eq!(breaker.tripped(at(5_000), MIDDLE), None);
    breaker.succeeded(1_000_000, at(40));
    assert_eq!(breaker.phase(), Phase::Open { until: at(1010) });
}

#[test]
fn two_clean_probes_close_it_and_the_past_is_forgotten() {
    let mut breaker = Breaker::new(BreakerConfig::default());
    for _ in 0..5 {
        breaker.failed(at(0), MIDDLE);
    }
    assert_eq!(breaker.probe_succeeded(at(999)), None, "not half-open yet");
    assert_eq!(breaker.probe_succeeded(at(1000)), None);
    assert_eq!(breaker.phase(), Phase::Open { until: at(1000) });
    assert_eq!(breaker.probe_succeeded(at(1001)), Some(Transition::Closed));
    assert_eq!(breaker.phase(), Phase::Closed);
    for _ in 0..4 {
        assert_eq!(breaker.failed(at(1002), MIDDLE), None);
    }
    assert!(breaker.failed(at(1002), MIDDLE).is_some());
}

#[test]
fn a_failed_probe_reopens_it_and_discards_the_clean_ones() {
    let mut breaker = opened(BreakerConfig::default());
    assert_eq!(breaker.probe_failed(at(999), MIDDLE), None);
    assert_eq!(breaker.probe_succeeded(at(1000)), None);
    let again = breaker.probe_failed(at(1000), MIDDLE);
    assert_eq!(again, Some(Transition::Reopened { until: at(3000) }));
    assert_eq!(breaker.probe_succeeded(at(2999)), None);
    assert_eq!(breaker.probe_succeeded(at(3000)), None);
    assert_eq!(breaker.probe_succeeded(at(3000)), Some(Transition::Closed));
}

#[test]
fn a_probe_of_a_closed_breaker_is_ignored() {
    let mut breaker = Breaker::new(BreakerConfig::default());
    for _ in 0..10 {
        assert_eq!(breaker.probe_failed(at(0), MIDDLE), None);
        assert_eq!(breaker.probe_succeeded(at(0)), None);
    }
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn open_intervals_double_up_to_the_longest_and_begin_anew_after_closing() {
    let mut breaker = opened(BreakerConfig::default());
    let mut now = 1000;
    for seconds in [2, 4, 8, 16, 32, 60, 60, 60] {
        let until = at(now + seconds * 1000);
        let transition = breaker.probe_failed(at(now), MIDDLE);
        assert_eq!(transition, Some(Transition::Reopened { until }));
        now += seconds * 1000;
    }
    breaker.probe_succeeded(at(now));
    assert_eq!(breaker.probe_succeeded(at(now)), Some(Transition::Closed));
    let until = at(now + 1000);
    let transition = breaker.tripped(at(now), MIDDLE);
    assert_eq!(transition, Some(Transition::Opened { until }));
}

#[test]
fn for_ever_does_not_overflow() {
    let mut breaker = opened(BreakerConfig::default());
    for _ in 0..200 {
        let Phase::Open { until } = breaker.phase() else {
            panic!("open");
        };
        assert!(breaker.probe_failed(until, 0.999).is_some());
    }
    let endless = BreakerConfig {
        open: Duration::MAX,
        open_max: Duration::MAX,
        ..BreakerConfig::default()
    };
    assert!(Breaker::new(endless).tripped(at(1), 0.999).is_some());
}

#[test]
fn jitter_moves_an_interval_by_half_of_it() {
    let until = |unit| match Breaker::new(BreakerConfig::default()).tripped(at(0), unit) {
        Some(Transition::Opened { until }) => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(until(0.0), at(500));
    assert_eq!(until(0.25), at(750));
    assert_eq!(until(0.75), at(1250));
    assert!(until(0.999_999) < at(1500));
}

#[test]
fn new_figures_apply_from_the_next_interval() {
    let mut breaker = opened(BreakerConfig::default());
    breaker.reconfigure(BreakerConfig {
        open: Duration::from_secs(5),
        close_after: 1,
        ..BreakerConfig::default()
    });
    assert_eq!(breaker.phase(), Phase::Open { until: at(1000) });
    let again = breaker.probe_failed(at(1000), MIDDLE);
    assert_eq!(again, Some(Transition::Reopened { until: at(11_000) }));
    assert_eq!(
        breaker.probe_succeeded(at(11_000)),
        Some(Transition::Closed)
    );
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Succeeded(u64),
    Failed,
    Tripped,
    ProbeSucceeded,
    ProbeFailed,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..4_u64).prop_map(Event::Succeeded),
        8 => Just(Event::Failed),
        1 => Just(Event::Tripped),
        4 => Just(Event::ProbeSucceeded),
        2 => Just(Event::ProbeFailed),
    ]
}

fn any_config() -> impl Strategy<Value = BreakerConfig> {
    let counts = (1..8_u32, 1..30_u32, 1..4_u32);
    let times = (1..20_u64, 1..5_000_u64, 1..100_000_u64);
    (counts, times, 0.0..=1.0_f64, 0.0..1.0_f64).prop_map(
        |((consecutive_failures, ratio_min_calls, close_after), times, ratio, jitter)| {
            BreakerConfig {
                consecutive_failures,
                failure_ratio: ratio,
                ratio_window: Duration::from_secs(times.0),
                ratio_min_calls,
                open: Duration::from_millis(times.1),
                open_max: Duration::from_millis(times.1 + times.2),
                open_jitter: jitter,
                close_after,
                ..BreakerConfig::default()
            }
        },
    )
}

/// A breaker that remembers everything and counts it anew each time.
struct Model {
    config: BreakerConfig,
    /// When, and whether it succeeded; since it was closed last.
    outcomes: Vec<(u64, bool)>,
    open: Option<Moment>,
    /// The interval before jitter, in milliseconds.
    interval: f64,
    probes: u32,
}

impl Model {
    fn new(config: BreakerConfig) -> Model {
        Model {
            config,
            outcomes: Vec::new(),
            open: None,
            interval: 0.0,
            probes: 0,
        }
    }

    fn meets_trip_condition(&self, now: Moment) -> bool {
        let row = self.outcomes.iter().rev().take_while(|(_, ok)| !ok).count();
        let tenth = self.config.ratio_window.as_micros() as u64 / 10;
        let first = (now.0 / tenth).saturating_sub(9) * tenth;
        let recent: Vec<bool> = self
            .outcomes
            .iter()
            .filter(|(when, _)| *when >= first)
            .map(|(_, ok)| *ok)
            .collect();
        let failed = recent.iter().filter(|ok| !**ok).count();
        row >= self.config.consecutive_failures as usize
            || (recent.len() >= self.config.ratio_min_calls as usize
                && failed as f64 >= recent.len() as f64 * self.config.failure_ratio)
    }

    /// What happens, without the end of the interval: that is checked against `interval`.
    fn step(&mut self, event: Event, now: Moment) -> &'static str {
        let half_open = self.open.is_some_and(|until| until <= now);
        let longest = self.config.open_max.as_secs_f64() * 1e3;
        match event {
            Event::Succeeded(n) if self.open.is_none() => {
                self.outcomes.extend((0..n).map(|_| (now.0, true)));
            }
            Event::Failed | Event::Tripped if self.open.is_none() => {
                if matches!(event, Event::Failed) {
                    self.outcomes.push((now.0, false));
                    if !self.meets_trip_condition(now) {
                        return "nothing";
                    }
                }
                self.interval = (self.config.open.as_secs_f64() * 1e3).min(longest);
                self.probes = 0;
                return "opened";
            }
            Event::ProbeSucceeded if half_open => {
                self.probes += 1;
                if self.probes == self.config.close_after {
                    *self = Model::new(self.config);
                    return "closed";
                }
            }
            Event::ProbeFailed if half_open => {
                self.interval = (self.interval * 2.0).min(longest);
                self.probes = 0;
                return "reopened";
            }
            _ => {}
        }
        "nothing"
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_breaker_does_what_the_model_does(
        config in any_config(),
        events in vec((any_event(), 0..2_000_u64, 0.0..1.0_f64), 0..300),
    ) {
        let mut breaker = Breaker::new(config);
        let mut model = Model::new(config);
        let mut now = 0;
        for (event, pause, unit) in events {
            now += pause;
            let transition = match event {
                Event::Succeeded(n) => {
                    breaker.succeeded(n, at(now));
                    None
                }
                Event::Failed => breaker.failed(at(now), unit),
                Event::Tripped => breaker.tripped(at(now), unit),
                Event::ProbeSucceeded => breaker.probe_succeeded(at(now)),
                Event::ProbeFailed => breaker.probe_failed(at(now), unit),
            };
            let (name, until) = match transition {
                None => ("nothing", model.open),
                Some(Transition::Opened { until }) => ("opened", Some(until)),
                Some(Transition::Closed) => ("closed", None),
                Some(Transition::Reopened { until }) => ("reopened", Some(until)),
            };
            prop_assert_eq!(name, model.step(event, at(now)));
            model.open = until;
            prop_assert_eq!(
                breaker.phase(),
                until.map_or(Phase::Closed, |until| Phase::Open { until })
            );
            if let ("opened" | "reopened", Some(until)) = (name, until) {
                let millis = until.micros_since(at(now)) as f64 / 1e3;
                let jitter = model.interval * config.open_jitter;
                prop_assert!((millis - model.interval).abs() <= jitter + 0.01);
            }
        }
    }

    #[test]
    fn a_detector_trips_as_the_model_says(
        config in any_config(),
        outcomes in vec((0..3_u64, 0..4_000_u64), 0..300),
    ) {
        let mut detector = Detector::new(&config);
        let mut model = Model::new(config);
        let mut now = 0;
        for (successes, pause) in outcomes {
            now += pause;
            detector.succeeded(successes, at(now));
            model.step(Event::Succeeded(successes), at(now));
            prop_assert_eq!(
                detector.failed(at(now)),
                model.step(Event::Failed, at(now)) == "opened"
            );
        }
    }
}
