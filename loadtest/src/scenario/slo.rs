//! Objectives: what a run has to keep, or else its exit status says so.

use std::fmt;
use std::str::FromStr;

use super::values::{Share, Span};
use crate::measure::{Goal, Metric};

/// A figure of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The value that this share of all lies at or below.
    Quantile(f64),
    /// The mean.
    Mean,
    /// The largest.
    Max,
}

/// The statistics that have names, which reports show too.
pub const STATISTICS: [(&str, Statistic); 7] = [
    ("p50", Statistic::Quantile(0.5)),
    ("p90", Statistic::Quantile(0.9)),
    ("p95", Statistic::Quantile(0.95)),
    ("p99", Statistic::Quantile(0.99)),
    ("p999", Statistic::Quantile(0.999)),
    ("mean", Statistic::Mean),
    ("max", Statistic::Max),
];

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A time, at most so many ns.
    Time(Metric, Statistic, u64),
    /// The share of calls that fail, at most.
    ErrorRate(f64),
    /// The share of calls with a stall, at most.
    StallRate(f64),
    /// The share of calls that took more than one attempt, at most.
    FailoverRate(f64),
    /// The share of calls that keep every `goodput` goal, at least.
    Goodput(f64),
}

/// One objective, of all calls of a target or of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// The class, if it is of one.
    pub class: Option<String>,
    /// What it bounds.
    pub bound: Bound,
    text: String,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

super::values::from_text!(Slo, GoalText);

/// What an objective may look like.
const FORMS: &str = "METRIC_STATISTIC=TIME with a metric of ttfb, ttft, gap, tpot, e2e, added, lag \
                     and a statistic of p50, p90, p95, p99, p999, mean, max, or error_rate, \
                     stall_rate, failover_rate or goodput with a share: ttft_p99=300ms, \
                     error_rate=0.1%, goodput=99%";

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Slo, String> {
        let wrong = || format!("expected {FORMS}; got {text:?}");
        let (class, rest) = match text.split_once(':') {
            Some((class, rest)) => (Some(class.trim().to_owned()), rest),
            None => (None, text),
        };
        let (name, value) = rest.split_once('=').ok_or_else(wrong)?;
        let share = || value.parse().map(|Share(share)| share);
        let bound = match name.trim() {
            "error_rate" => Bound::ErrorRate(share()?),
            "stall_rate" => Bound::StallRate(share()?),
            "failover_rate" => Bound::FailoverRate(share()?),
            "goodput" => Bound::Goodput(share()?),
            name => {
                let (metric, statistic) = name.split_once('_').ok_or_else(wrong)?;
                let metric = Metric::named(metric).ok_or_else(wrong)?;
                let known = STATISTICS.iter().find(|(known, _)| *known == statistic);
                let (_, statistic) = *known.ok_or_else(wrong)?;
                let Span(nanos) = value.parse()?;
                Bound::Time(metric, statistic, nanos)
            }
        };
        Ok(Slo {
            class,
            bound,
            text: text.to_owned(),
        })
    }
}

/// A goal of single calls, as `ttft=500ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoalText(pub Goal);

impl FromStr for GoalText {
    type Err = String;

    fn from_str(text: &str) -> Result<GoalText, String> {
        let wrong =
            || format!("expected ttfb, ttft, tpot or e2e with a time, as ttft=500ms; got {text:?}");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let metric = Metric::named(name.trim()).filter(|metric| Goal::METRICS.contains(metric));
        let (metric, Span(most)) = (metric.ok_or_else(wrong)?, value.parse()?);
        Ok(GoalText(Goal { metric, most }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read() {
        let slo: Slo = "ttft_p99=300ms".parse().unwrap();
        let p99 = Statistic::Quantile(0.99);
        assert_eq!(slo.bound, Bound::Time(Metric::Ttft, p99, 300_000_000));
        assert_eq!(
            (slo.class.as_deref(), &*slo.to_string()),
            (None, "ttft_p99=300ms")
        );
        let slo: Slo = "firm:error_rate=0.1%".parse().unwrap();
        assert_eq!(
            (slo.class.as_deref(), slo.bound),
            (Some("firm"), Bound::ErrorRate(0.001))
        );
        for wrong in [
            "",
            "ttft",
            "ttft_p99",
            "ttft_p98=1s",
            "x_p99=1s",
            "ttft_p99=5",
            "error_rate=2",
        ] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn goals_are_of_what_a_call_has_one_of() {
        let GoalText(goal) = "ttft=500ms".parse().unwrap();
        assert_eq!(
            goal,
            Goal {
                metric: Metric::Ttft,
                most: 500_000_000
            }
        );
        assert!(
            "gap=5ms"
                .parse::<GoalText>()
                .unwrap_err()
                .contains("ttft=500ms")
        );
    }
}
