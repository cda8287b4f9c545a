//! When calls are due: stages of constant or changing rate, evenly spaced or Poisson. Pure: the
//! whole schedule is a function of the stages and the seed.

use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use crate::random;

/// How arrivals are spread at a given rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// The same distance from each to the next.
    #[default]
    Even,
    /// Independent of each other, as from many users who don't know of each other.
    Poisson,
}

/// A stretch of time whose rate is constant or changes evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long it lasts, s; above 0.
    pub seconds: f64,
    /// Calls per second at its beginning.
    pub from: f64,
    /// Calls per second at its end.
    pub to: f64,
}

impl Stage {
    /// The calls that are due in it.
    fn calls(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.seconds
    }

    /// The time into the stage at which so many calls were due.
    fn time_of(&self, calls: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * calls)
            .max(0.0)
            .sqrt();
        match self.from + root {
            0.0 => 0.0,
            both => (2.0 * calls / both).min(self.seconds),
        }
    }
}

/// A schedule of arrivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// One after the other.
    pub stages: Vec<Stage>,
    /// How arrivals are spread.
    pub spacing: Spacing,
}

impl Profile {
    /// How long all stages last, s.
    pub fn seconds(&self) -> f64 {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }

    /// The calls that are due in all (with [`Spacing::Poisson`], on average).
    pub fn calls(&self) -> f64 {
        self.stages.iter().map(Stage::calls).sum()
    }

    /// The times of all calls, s from the start, ascending.
    pub fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        Arrivals {
            profile: self,
            random: random::of(seed, u64::MAX),
            due: 0.0,
            stage: 0,
            stage_start: 0.0,
            stage_calls: 0.0,
            first: true,
        }
    }
}

/// The times of a profile's calls.
pub struct Arrivals<'p> {
    profile: &'p Profile,
    random: Pcg64Mcg,
    /// Calls due before the next one, were the rate 1.
    due: f64,
    stage: usize,
    /// When the stage begins, s, and the calls that were due before it.
    stage_start: f64,
    stage_calls: f64,
    first: bool,
}

impl Iterator for Arrivals<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.due += match self.profile.spacing {
            Spacing::Even if self.first => 0.0,
            Spacing::Even => 1.0,
            Spacing::Poisson => Exp1.sample(&mut self.random),
        };
        self.first = false;
        loop {
            let stage = self.profile.stages.get(self.stage)?;
            let into = self.due - self.stage_calls;
            if into < stage.calls() {
                return Some(self.stage_start + stage.time_of(into));
            }
            self.stage_calls += stage.calls();
            self.stage_start += stage.seconds;
            self.stage += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        let stage = (0.1..10.0, 0.0..200.0, 0.0..200.0);
        let stage = stage.prop_map(|(seconds, from, to)| Stage { seconds, from, to });
        prop::collection::vec(stage, 1..5)
    }

    proptest! {
        #[test]
        fn times_ascend_and_lie_within_the_stages(stages in stages(), poisson: bool, seed: u64) {
            let spacing = if poisson { Spacing::Poisson } else { Spacing::Even };
            let profile = Profile { stages, spacing };
            let times: Vec<f64> = profile.arrivals(seed).collect();
            prop_assert!(times.is_sorted());
            prop_assert!(times.iter().all(|&t| (0.0..=profile.seconds()).contains(&t)));
        }

        #[test]
        fn even_arrivals_are_as_many_as_the_rate_says(stages in stages()) {
            let profile = Profile { stages, spacing: Spacing::Even };
            let calls = profile.arrivals(0).count() as f64;
            prop_assert!((calls - profile.calls()).abs() <= 1.0, "{calls} of {}", profile.calls());
        }

        #[test]
        fn poisson_arrivals_are_about_as_many(seed: u64) {
            let stages = vec![Stage { seconds: 100.0, from: 100.0, to: 300.0 }];
            let profile = Profile { stages, spacing: Spacing::Poisson };
            let calls = profile.arrivals(seed).count() as f64;
            // Six standard deviations of a Poisson count of 20 000.
            prop_assert!((calls - 20_000.0).abs() < 6.0 * 20_000f64.sqrt());
        }
    }

    fn profile(stages: &[(f64, f64, f64)]) -> Profile {
        let stage = |&(seconds, from, to)| Stage { seconds, from, to };
        Profile {
            stages: stages.iter().map(stage).collect(),
            spacing: Spacing::Even,
        }
    }

    #[test]
    fn a_constant_rate_has_equal_distances() {
        let times: Vec<f64> = profile(&[(1.0, 4.0, 4.0)]).arrivals(0).collect();
        assert_eq!(times, [0.0, 0.25, 0.5, 0.75]);
    }

    #[test]
    fn a_ramp_from_nothing_gets_denser() {
        let times: Vec<f64> = profile(&[(4.0, 0.0, 2.0)]).arrivals(0).collect();
        let expected = [0.0, 2.0, 8f64.sqrt(), 12f64.sqrt()];
        assert_eq!(times.len(), 4);
        for (time, expected) in times.iter().zip(expected) {
            assert!((time - expected).abs() < 1e-9, "{times:?}");
        }
    }

    #[test]
    fn a_stage_without_calls_is_a_pause() {
        let times: Vec<f64> = profile(&[(1.0, 2.0, 2.0), (3.0, 0.0, 0.0), (1.0, 2.0, 2.0)])
            .arrivals(0)
            .collect();
        assert_eq!(times, [0.0, 0.5, 4.0, 4.5]);
    }

    #[test]
    fn poisson_distances_vary_as_exponential_ones_do() {
        let mut profile = profile(&[(1000.0, 50.0, 50.0)]);
        profile.spacing = Spacing::Poisson;
        let times: Vec<f64> = profile.arrivals(7).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03);
    }
}
