//! The budget over time: its floor, its ratio, and a window that slides.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Moment {
    Moment(millis * 1000)
}

/// A budget of 20 %, at least 3, that has been watched from the start.
fn budget() -> RepeatBudget {
    let mut budget = RepeatBudget::new(0.2, 3);
    budget.observe(0, 0, at(0));
    budget
}

#[test]
fn the_minimum_is_there_from_the_start() {
    assert_eq!(RepeatBudget::new(0.2, 3).left(), 3);
    assert_eq!(RepeatBudget::new(0.2, 0).left(), 0);
    assert_eq!(budget().left(), 3);
}

#[test]
fn the_share_grows_with_the_calls_and_repeats_use_it_up() {
    let mut budget = budget();
    budget.observe(15, 0, at(1000));
    assert_eq!(budget.left(), 3);
    budget.observe(100, 0, at(1100));
    assert_eq!(budget.left(), 20);
    budget.observe(104, 19, at(1200));
    assert_eq!(budget.left(), 1);
    budget.observe(104, 20, at(1300));
    assert_eq!(budget.left(), 0);
    budget.observe(104, 25, at(1400));
    assert_eq!(budget.left(), 0, "spent by several cores at once");
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut budget = budget();
    for tick in 1..60 {
        let millis = tick * 500;
        let (calls, repeats) = if millis > 1000 { (100, 10) } else { (0, 0) };
        budget.observe(calls, repeats, at(millis));
        let left = budget.left();
        let expected = match millis {
            0..=1000 => 3,
            1001..=10_500 => 10,
            // Calls leave the window before it, repeats after it.
            10_501..=11_500 => 0,
            _ => 3,
        };
        assert_eq!(left, expected, "at {millis}");
    }
}

#[test]
fn a_time_that_goes_backwards_counts_as_the_latest() {
    let mut budget = RepeatBudget::new(0.2, 3);
    budget.observe(0, 0, at(50_000));
    budget.observe(100, 5, at(20_000));
    assert_eq!(budget.left(), 15);
    budget.observe(100, 5, at(59_000));
    assert_eq!(budget.left(), 15);
}

#[test]
fn counters_that_were_not_at_zero_begin_as_zero() {
    let mut budget = RepeatBudget::new(0.2, 3);
    budget.observe(1_000_000, 5_000, at(60_000));
    assert_eq!(budget.left(), 3);
    budget.observe(1_000_100, 5_001, at(60_100));
    assert_eq!(budget.left(), 19);
}

#[test]
fn after_a_long_silence_calls_may_be_old_and_repeats_new() {
    let mut budget = budget();
    budget.observe(100, 2, at(30_000));
    assert_eq!(budget.left(), 1);
    budget.observe(100, 2, at(100_000));
    assert_eq!(budget.left(), 3);
}

#[test]
fn new_figures_keep_what_was_counted() {
    let mut budget = budget();
    budget.observe(100, 5, at(400));
    budget.reconfigure(0.5, 1);
    assert_eq!(budget.left(), 45);
    budget.reconfigure(0.0, 6);
    assert_eq!(budget.left(), 1);
}

#[derive(Clone, Debug)]
struct Turn {
    /// To the next observation.
    after_millis: u64,
    /// Calls between the two, each so many thousandths of the way.
    calls: Vec<u64>,
    /// Repeats that the cores would like to make.
    wanted: u32,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let after = prop_oneof![8 => 1..400_u64, 1 => 400..25_000_u64];
    (after, vec(1..=1000_u64, 0..40), 0..20_u32).prop_map(|(after_millis, calls, wanted)| Turn {
        after_millis,
        calls,
        wanted,
    })
}

proptest! {
    #[test]
    fn no_window_has_more_repeats_than_its_share(
        turns in vec(any_turn(), 1..150),
        ratio in prop_oneof![Just(0.2), 0.0..1.0_f64],
        min in 0..6_u32,
    ) {
        let mut budget = RepeatBudget::new(ratio, min);
        let mut now = 0;
        budget.observe(0, 0, at(now));
        let (mut calls, mut repeats) = (Vec::new(), Vec::new());
        for turn in turns {
            let micros = turn.after_millis * 1000;
            calls.extend(turn.calls.iter().map(|part| now + micros * part / 1000));
            now += micros;
            budget.observe(calls.len() as u64, repeats.len() as u64, Moment(now));
            for _ in 0..turn.wanted.min(budget.left()) {
                repeats.push(now);
            }
            let window = WINDOW.as_micros() as u64;
            let recent = |times: &[u64]| times.iter().filter(|at| **at + window > now).count();
            let bound = (ratio * recent(&calls) as f64).max(f64::from(min));
            let granted = repeats.last() == Some(&now);
            prop_assert!(!granted || recent(&repeats) as f64 <= bound);
        }
    }

    #[test]
    fn a_steady_load_has_nearly_its_share(per_tick in 1..500_u64, ratio in 0.0..1.0_f64) {
        let mut budget = RepeatBudget::new(ratio, 0);
        for tick in 0..=300 {
            budget.observe(tick * per_tick, 0, at(tick * 100));
        }
        let left = f64::from(budget.left());
        let share = ratio * (100 * per_tick) as f64;
        prop_assert!(left <= share && left >= share * 0.94 - 1.0, "{left} of {share}");
    }
}
