//! Comparing targets: which target has which slice of time, and what the slices say about their
//! ratios. Pure.
//!
//! A round is one slice of each target, in an order drawn for the round, so that whatever drifts
//! on the machine drifts for all of them. A ratio is taken within each round; the interval is
//! Student's, on the logarithms of the rounds' ratios.

use rand::seq::SliceRandom;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::random;

/// How sure the interval is.
pub const CONFIDENCE: f64 = 0.95;
/// The rounds that an interval needs.
pub const ROUNDS_MIN: usize = 3;

/// The target of slice `slice` among so many.
pub fn target_of(slice: u64, targets: usize, seed: u64) -> usize {
    let round = slice / targets as u64;
    let mut order: Vec<usize> = (0..targets).collect();
    order.shuffle(&mut random::of(seed ^ 0x51ce, round));
    order[(slice % targets as u64) as usize]
}

/// A ratio, and where it probably lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean of the rounds' ratios.
    pub ratio: f64,
    /// The interval's lower end; `None` where there are too few rounds.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Rounds in which both had a figure.
    pub rounds: usize,
}

impl Ratio {
    /// Of each round's figures (this target's, the base's). Rounds in which one of them is missing
    /// or zero are left out; `None` if none is left.
    pub fn of(rounds: impl IntoIterator<Item = (f64, f64)>) -> Option<Ratio> {
        let logs: Vec<f64> = rounds
            .into_iter()
            .filter(|(this, base)| *this > 0.0 && *base > 0.0)
            .map(|(this, base)| (this / base).ln())
            .collect();
        let count = logs.len();
        if count == 0 {
            return None;
        }
        let mean = logs.iter().sum::<f64>() / count as f64;
        let half = half_width(&logs, mean);
        Some(Ratio {
            ratio: mean.exp(),
            low: half.map(|half| (mean - half).exp()),
            high: half.map(|half| (mean + half).exp()),
            rounds: count,
        })
    }

    /// Whether the interval leaves no doubt that there is a difference.
    pub fn is_significant(&self) -> bool {
        self.low.is_some_and(|low| low > 1.0) || self.high.is_some_and(|high| high < 1.0)
    }
}

/// Half of the confidence interval of the mean.
fn half_width(values: &[f64], mean: f64) -> Option<f64> {
    if values.len() < ROUNDS_MIN {
        return None;
    }
    let count = values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let student = StudentsT::new(0.0, 1.0, count - 1.0).ok()?;
    let quantile = student.inverse_cdf(0.5 + CONFIDENCE / 2.0);
    Some(quantile * (variance / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::RngExt;

    proptest! {
        #[test]
        fn every_round_has_each_target_once(seed: u64, targets in 1usize..6, round in 0u64..1000) {
            let first = round * targets as u64;
            let mut seen: Vec<usize> = (first..first + targets as u64)
                .map(|slice| target_of(slice, targets, seed))
                .collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..targets).collect::<Vec<_>>());
        }

        #[test]
        fn a_ratio_lies_in_its_interval_and_turns_over(
            rounds in prop::collection::vec((0.1..100.0f64, 0.1..100.0f64), 3..40)
        ) {
            let ratio = Ratio::of(rounds.iter().copied()).unwrap();
            let (low, high) = (ratio.low.unwrap(), ratio.high.unwrap());
            prop_assert!(low <= ratio.ratio && ratio.ratio <= high);
            let turned = Ratio::of(rounds.iter().map(|&(a, b)| (b, a))).unwrap();
            prop_assert!((turned.ratio * ratio.ratio - 1.0).abs() < 1e-9);
            prop_assert!((turned.low.unwrap() * high - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn orders_differ_between_rounds() {
        let first = |round: u64| target_of(round * 2, 2, 1);
        let zeros = (0..100).filter(|&round| first(round) == 0).count();
        assert!((25..75).contains(&zeros), "{zeros}");
    }

    #[test]
    fn the_interval_is_students() {
        // ln ratios 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, t(2, 0.975) = 4.302653.
        let ratio = Ratio::of([0.1f64, 0.2, 0.3].map(|log| (log.exp(), 1.0))).unwrap();
        let half = 4.302_653 * 0.1 / 3f64.sqrt();
        assert!((ratio.ratio.ln() - 0.2).abs() < 1e-9);
        assert!((ratio.low.unwrap().ln() - (0.2 - half)).abs() < 1e-6);
        assert!((ratio.high.unwrap().ln() - (0.2 + half)).abs() < 1e-6);
        assert!(!ratio.is_significant());
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let hits = (0..1000)
            .filter(|&run| {
                let mut random = random::of(9, run);
                let mut noise = || 0.8 + 0.4 * random.random::<f64>();
                let rounds: Vec<_> = (0..10).map(|_| (1.5 * noise(), noise())).collect();
                let ratio = Ratio::of(rounds).unwrap();
                (ratio.low.unwrap()..ratio.high.unwrap()).contains(&1.5)
            })
            .count();
        assert!((920..=980).contains(&hits), "{hits} of 1000");
    }

    #[test]
    fn too_few_rounds_have_no_interval() {
        assert_eq!(Ratio::of([]), None);
        assert_eq!(Ratio::of([(0.0, 1.0)]), None);
        let ratio = Ratio::of([(2.0, 1.0), (2.0, 1.0)]).unwrap();
        assert_eq!((ratio.low, ratio.high), (None, None));
        assert!((ratio.ratio - 2.0).abs() < 1e-9);
    }
}
