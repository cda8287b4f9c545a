//! Whether every core is alive: its sweeper has a turn every 25 ms, and counts it.
//!
//! Time is counted in looks of the office, not read off a clock. Where the whole process was
//! stopped or its machine was asleep, the office didn't look either, and nobody is to blame.

use std::time::Duration;

/// Between two looks at the cores.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How one core was found.
#[derive(Clone, Copy, Debug, Default)]
struct Beat {
    /// Turns of its sweeper so far.
    ticks: u64,
    /// Looks since they last grew.
    silent: u32,
    /// What they were when the watchdog was last fed.
    fed: u64,
}

/// What the office knows of its cores' lives.
#[derive(Debug, Default)]
pub struct Pulse {
    cores: Vec<Beat>,
}

impl Pulse {
    /// One look, a known time after the last, at how often each core's sweeper has had its turn.
    pub fn look(&mut self, ticks: impl Iterator<Item = u64>) {
        for (index, ticks) in ticks.enumerate() {
            let Some(beat) = self.cores.get_mut(index) else {
                self.cores.push(Beat {
                    ticks,
                    ..Beat::default()
                });
                continue;
            };
            beat.silent = match ticks == beat.ticks {
                true => beat.silent.saturating_add(1),
                false => 0,
            };
            beat.ticks = ticks;
        }
    }

    /// How long each core has been silent; less than [`LOOK_EVERY`] is zero.
    pub fn silences(&self) -> impl Iterator<Item = Duration> {
        self.cores.iter().map(|beat| LOOK_EVERY * beat.silent)
    }

    /// Whether every core has had a turn since this last said so.
    pub fn have_all_ticked(&mut self) -> bool {
        let all = !self.cores.is_empty() && self.cores.iter().all(|beat| beat.ticks > beat.fed);
        if all {
            for beat in &mut self.cores {
                beat.fed = beat.ticks;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silences(pulse: &Pulse) -> Vec<u128> {
        pulse
            .silences()
            .map(|silence| silence.as_millis())
            .collect()
    }

    #[test]
    fn a_core_is_silent_from_the_second_look_that_finds_the_same() {
        let mut pulse = Pulse::default();
        for (ticks, expected) in [
            ([0, 0], [0, 0]),
            ([0, 0], [100, 100]),
            ([1, 4], [0, 0]),
            ([1, 8], [100, 0]),
            ([1, 8], [200, 100]),
            ([2, 8], [0, 200]),
            ([6, 12], [0, 0]),
        ] {
            pulse.look(ticks.into_iter());
            assert_eq!(silences(&pulse), expected, "{ticks:?}");
        }
    }

    #[test]
    fn all_have_ticked_only_if_each_has_since_the_last_time() {
        let mut pulse = Pulse::default();
        assert!(!pulse.have_all_ticked(), "nobody has been looked at");
        for (ticks, all) in [
            ([0, 3], false),
            ([1, 3], true),
            ([1, 9], false),
            ([1, 10], false),
            ([2, 10], true),
            ([2, 10], false),
            ([3, 11], true),
        ] {
            pulse.look(ticks.into_iter());
            assert_eq!(pulse.have_all_ticked(), all, "{ticks:?}");
        }
    }
}
