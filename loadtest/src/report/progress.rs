//! How a run goes, on the terminal while it runs. Where standard error is none, nothing is shown.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::time;
use crate::clock;
use crate::drive::Glance;
use crate::scenario::Scenario;

/// A line that is written over.
pub struct Progress(ProgressBar);

impl Progress {
    /// For a run of that length.
    pub fn new(total: u64, quiet: bool) -> Progress {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(total / 1_000_000), target);
        // A template that is known to be one.
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        bar.set_message("starting");
        Progress(bar)
    }

    /// Shows the last moment.
    pub fn show(&self, scenario: &Scenario, since: u64, glance: &Glance) {
        let seconds = clock::seconds(glance.nanos).max(1e-9);
        let at = |share: f64| time(glance.times.value_at_quantile(share) as f64 / 1e3);
        let times = match glance.times.is_empty() {
            true => "no answers".to_owned(),
            false => format!("p50 {}, p99 {}", at(0.5), at(0.99)),
        };
        let phase = match since {
            since if since < scenario.warmup => "warming up, ",
            since if since > scenario.total => "waiting for the last answers, ",
            _ => "",
        };
        let elapsed = Duration::from_nanos(since).as_secs();
        let total = Duration::from_nanos(scenario.total).as_secs();
        self.0.set_position(since.min(scenario.total) / 1_000_000);
        self.0.set_message(format!(
            "{elapsed}/{total} s  {phase}{:.0} calls/s, {:.0} tokens/s, {} in flight, {} failed, {times}",
            glance.calls as f64 / seconds,
            glance.tokens as f64 / seconds,
            glance.in_flight,
            glance.failed,
        ));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
