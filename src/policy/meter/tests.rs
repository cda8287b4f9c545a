//! The bucket over time, and against what the sentence "so many per minute" means.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Some day in a process's life.
const DAY: u64 = 86_400_000_000;

fn rate(per_minute: u64) -> Rate {
    Rate::new(per_minute).unwrap()
}

/// Takes one unit, if there is one.
fn take_one(rate: Rate, mark: &mut Mark, now: Moment) -> bool {
    let taken = rate.take(*mark, 1, now);
    *mark = taken.map_or(*mark, |(_, mark)| mark);
    taken.is_some()
}

#[test]
fn a_rate_has_its_bounds() {
    for refused in [0, PER_MINUTE_MAX + 1, u64::MAX] {
        assert_eq!(Rate::new(refused), None);
    }
    for taken in [1, PER_MINUTE_MAX] {
        assert_eq!(rate(taken).per_minute(), taken);
    }
}

#[test]
fn a_full_bucket_has_a_minutes_worth_to_the_unit() {
    for per_minute in [1, 2, 7, 59, 60, 61, 999, 247_001] {
        let (rate, mut mark, now) = (rate(per_minute), Mark::default(), Moment(DAY + 13));
        let taken = (0..per_minute + 3).filter(|_| take_one(rate, &mut mark, now));
        assert_eq!(taken.count() as u64, per_minute);
    }
}

#[test]
fn units_come_one_by_one() {
    let (rate, now) = (rate(6), Moment(DAY));
    let (taken, mut mark) = rate.take(Mark::default(), 100, now).unwrap();
    assert_eq!((taken, rate.left(mark, now)), (6, 0));
    assert_eq!(rate.until_one(mark, now), Duration::from_secs(10));
    assert_eq!(rate.until_full(mark, now), Duration::from_secs(60));
    let almost = Moment(DAY + 9_999_999);
    assert!(!take_one(rate, &mut mark, almost));
    let then = Moment(DAY + 10_000_000);
    assert!(take_one(rate, &mut mark, then) && !take_one(rate, &mut mark, then));
    let later = Moment(DAY + 35_000_000);
    assert_eq!((rate.used(mark, later), rate.left(mark, later)), (4, 2));
    assert_eq!(rate.left(mark, Moment(2 * DAY)), 6, "no more than full");
    assert_eq!(rate.until_full(mark, Moment(2 * DAY)), Duration::ZERO);
}

#[test]
fn a_debt_is_paid_before_the_next_unit() {
    let (rate, now) = (rate(60), Moment(DAY));
    let mark = rate.charge(Mark::default(), 150, now);
    assert_eq!((rate.used(mark, now), rate.left(mark, now)), (150, 0));
    assert_eq!(rate.take(mark, 1, now), None);
    assert_eq!(rate.until_one(mark, now), Duration::from_secs(91));
    assert_eq!(rate.until_full(mark, now), Duration::from_secs(150));
}

#[test]
fn no_debt_is_for_ever() {
    for per_minute in [1, 1000, PER_MINUTE_MAX] {
        let rate = rate(per_minute);
        for now in [0, DAY, 3650 * DAY].map(Moment) {
            let mut mark = Mark::default();
            for _ in 0..3 {
                mark = rate.charge(mark, u64::MAX, now);
            }
            let day = Duration::from_micros(DAY) + Duration::from_mins(1);
            assert!(rate.until_one(mark, now) <= day + Duration::from_mins(1));
            assert_eq!(rate.left(mark, now), 0);
        }
    }
}

#[test]
fn another_rate_forgets_nothing() {
    let now = Moment(DAY);
    let converted = |from: u64, used: u64, to: u64| {
        let mark = rate(from).charge(Mark::default(), used, now);
        rate(to).used(rate(from).convert(mark, rate(to), now), now)
    };
    assert_eq!(converted(5, 5, 8), 5, "three are left");
    assert_eq!(converted(600, 20, 60), 20);
    assert_eq!(converted(600, 300, 60), 60, "an empty bucket, not a debt");
    assert_eq!(converted(600, 700, 60), 160, "a debt of 100 stays one");
    assert_eq!(converted(600, 700, 660), 700, "a larger bucket pays for it");
    assert_eq!(converted(60, 0, 5), 0);
}

#[derive(Clone, Debug)]
struct Turn {
    after_us: u64,
    wanted: u64,
    unused: u64,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let after_us = prop_oneof![4 => 0..2_000_u64, 2 => 0..2_000_000_u64, 1 => 0..90_000_000_u64];
    let wanted = prop_oneof![3 => Just(1_u64), 1 => 1..200_u64];
    (after_us, wanted, 0..3_u64).prop_map(|(after_us, wanted, unused)| Turn {
        after_us,
        wanted,
        unused,
    })
}

fn any_rate() -> impl Strategy<Value = Rate> {
    prop_oneof![1..200_u64, 1..1_000_000_u64, 1..=PER_MINUTE_MAX].prop_map(rate)
}

proptest! {
    #[test]
    fn no_stretch_of_time_has_more_than_a_bucket_and_what_came(
        rate in any_rate(),
        start in 0..400 * DAY,
        turns in vec(any_turn(), 1..80),
    ) {
        let (mut now, mut mark) = (start, Mark::default());
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for turn in turns {
            now += turn.after_us;
            let left = rate.left(mark, Moment(now));
            let Some((got, next)) = rate.take(mark, turn.wanted, Moment(now)) else {
                prop_assert_eq!(left, 0);
                continue;
            };
            prop_assert_eq!(got, left.min(turn.wanted));
            // What is given back at once was never taken.
            let unused = turn.unused.min(got - 1);
            mark = rate.give_back(next, unused);
            prop_assert_eq!(rate.left(mark, Moment(now)), left - (got - unused));
            taken.push((now, got - unused));
        }
        let per_minute = u128::from(rate.per_minute());
        for (first, &(since, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for &(until, units) in &taken[first..] {
                sum += u128::from(units);
                let came = (per_minute * u128::from(until - since)).div_ceil(60_000_000);
                prop_assert!(sum <= per_minute + came, "{sum} in {} us", until - since);
            }
        }
    }

    #[test]
    fn whoever_waits_as_told_gets_one_and_not_before(
        rate in any_rate(),
        start in 0..400 * DAY,
        charged in prop_oneof![0..300_u64, 0..3_000_000_u64],
    ) {
        let now = Moment(start);
        let mark = rate.charge(Mark::default(), charged, now);
        let wait = u64::try_from(rate.until_one(mark, now).as_micros()).unwrap();
        prop_assert!(rate.take(mark, 1, Moment(start + wait)).is_some());
        prop_assert!(wait == 0 || rate.take(mark, 1, Moment(start + wait - 1)).is_none());
        let full = u64::try_from(rate.until_full(mark, now).as_micros()).unwrap();
        prop_assert_eq!(rate.used(mark, Moment(start + full)), 0);
        prop_assert!(full == 0 || rate.used(mark, Moment(start + full - 1)) > 0);
    }

    #[test]
    fn a_greedy_key_gets_its_rate(rate in 1..100_000_u64, start in 0..400 * DAY) {
        let rate = super::Rate::new(rate).unwrap();
        let (mut mark, mut taken) = (Mark::default(), 0);
        for step in 0..=600 {
            let now = Moment(start + step * 200_000);
            if let Some((got, next)) = rate.take(mark, u64::MAX, now) {
                (taken, mark) = (taken + got, next);
            }
        }
        // A bucket, and two minutes' worth; one unit may be on its way.
        let due = rate.per_minute() * 3;
        prop_assert!(taken <= due + 1 && taken + 1 >= due, "{taken} of {due}");
    }
}
