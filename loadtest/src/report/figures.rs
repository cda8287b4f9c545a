//! The figures of a report, in the form that `--json` writes. Times are in milliseconds.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock;
use crate::compare::Ratio;
use crate::drive::Outcome;
use crate::measure::{Interval, Metric, Series, Tally};
use crate::scenario::{Bound, STATISTICS, Scenario, Slo, Statistic};

/// A run.
#[derive(Serialize)]
pub struct Report {
    /// When it began, RFC 3339.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// What was counted, s.
    pub seconds: f64,
    /// What all chance was drawn from.
    pub seed: u64,
    /// Whether it was stopped before its time.
    pub stopped: bool,
    /// Calls that were in flight then, and count nowhere.
    pub cut_short: u64,
    /// The goals that make a call good.
    pub goals: Vec<String>,
    /// By target.
    pub targets: Vec<TargetReport>,
    /// How the others compare with the first.
    pub comparisons: Vec<Comparison>,
    /// What had to hold.
    pub objectives: Vec<Objective>,
}

/// A target.
#[derive(Serialize)]
pub struct TargetReport {
    /// Its URL.
    pub url: String,
    /// The time that was its turn, s.
    pub seconds: f64,
    /// Of all classes.
    pub all: Figures,
    /// By class.
    pub classes: BTreeMap<String, Figures>,
    /// Over time.
    pub series: Vec<Point>,
}

/// What calls have shown.
#[derive(Serialize)]
pub struct Figures {
    /// Calls that ended.
    pub calls: u64,
    /// The ones that ended well.
    pub succeeded: u64,
    /// The ones that didn't.
    pub failed: u64,
    /// Their share.
    pub error_rate: f64,
    /// Calls that ended well, per second.
    pub calls_per_second: f64,
    /// Tokens of these, per second.
    pub tokens_per_second: f64,
    /// Body bytes received.
    pub bytes: u64,
    /// The share of calls that kept every goal; without goals, that ended well.
    pub goodput: f64,
    /// These, per second.
    pub good_calls_per_second: f64,
    /// Calls that took more than one attempt.
    pub failovers: u64,
    /// Gaps above ten times the pace.
    pub stalls: u64,
    /// Calls with one.
    pub stalled_calls: u64,
    /// Stamps of another system's clock.
    pub foreign_stamps: u64,
    /// How calls failed.
    pub failures: Vec<FailureCount>,
    /// Times by metric; metrics that nothing was measured of are left out.
    pub times: BTreeMap<&'static str, Times>,
}

/// One way to fail.
#[derive(Serialize)]
pub struct FailureCount {
    /// The status, 0 where there was no answer.
    pub status: u16,
    /// The code.
    pub code: String,
    /// How often.
    pub calls: u64,
}

/// A distribution of times, ms.
#[derive(Serialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// p50, p90, p95, p99, p999, mean, max.
    #[serde(flatten)]
    pub statistics: BTreeMap<&'static str, f64>,
    /// Pairs of a share and the time that it lies at or below.
    pub distribution: Vec<(f64, f64)>,
}

/// An interval of time.
#[derive(Serialize)]
pub struct Point {
    /// Where it begins, s since what is counted began.
    pub from: f64,
    /// How long it is, s.
    pub seconds: f64,
    /// Calls that were due in it and ended.
    pub calls: u64,
    /// The ones that failed.
    pub failed: u64,
    /// Tokens of calls that were due in it.
    pub tokens: u64,
    /// Times by metric, ms.
    pub times: BTreeMap<&'static str, BTreeMap<&'static str, f64>>,
}

/// A target against the first one.
#[derive(Serialize)]
pub struct Comparison {
    /// Its URL.
    pub url: String,
    /// The first one's.
    pub base: String,
    /// Rounds that the run had time for. A ratio leaves those out in which one of the two has no
    /// figure, as where every call failed.
    pub rounds: u64,
    /// By figure; above 1, this target's is larger.
    pub ratios: BTreeMap<String, Ratio>,
}

/// An objective, and what was measured.
#[derive(Serialize)]
pub struct Objective {
    /// As it was given.
    pub objective: String,
    /// The target.
    pub url: String,
    /// ms or a share; `None`: nothing was measured.
    pub measured: Option<f64>,
    /// Whether `measured` is a time.
    pub is_time: bool,
    /// Whether it holds. What wasn't measured doesn't.
    pub kept: bool,
}

impl Report {
    /// The report of that outcome.
    pub fn new(scenario: &Scenario, outcome: &Outcome, started: String) -> Report {
        let targets: Vec<TargetReport> = (0..scenario.targets.len())
            .map(|target| TargetReport::new(scenario, outcome, target))
            .collect();
        let comparisons = (1..targets.len())
            .map(|target| comparison(scenario, outcome, target))
            .collect();
        let mut objectives = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let tallies = &outcome.tallies[at];
            objectives.extend(
                scenario
                    .slos
                    .iter()
                    .map(|slo| objective(slo, scenario, tallies, &target.url)),
            );
        }
        Report {
            started,
            command: without_secrets(std::env::args()),
            seconds: clock::seconds(outcome.elapsed),
            seed: scenario.seed,
            stopped: outcome.stopped,
            cut_short: outcome.cut_short,
            goals: scenario
                .goals
                .iter()
                .map(|goal| format!("{} ≤ {} ms", goal.metric.name(), millis(goal.most)))
                .collect(),
            targets,
            comparisons,
            objectives,
        }
    }

    /// Whether every objective holds.
    pub fn is_kept(&self) -> bool {
        self.objectives.iter().all(|objective| objective.kept)
    }
}

/// The command line, keys and header fields hidden: reports are shown around.
fn without_secrets(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut hides = false;
    let hide = |argument: String| {
        let was = std::mem::replace(&mut hides, ["--key", "--header"].contains(&&*argument));
        match argument.split_once('=') {
            _ if was => "…".to_owned(),
            Some((option @ ("--key" | "--header"), _)) => format!("{option}=…"),
            _ => argument,
        }
    };
    arguments.map(hide).collect()
}

impl TargetReport {
    fn new(scenario: &Scenario, outcome: &Outcome, target: usize) -> TargetReport {
        let seconds = clock::seconds(turns(scenario, outcome.elapsed, target)).max(1e-9);
        let tallies = &outcome.tallies[target];
        let names = scenario.classes.iter().map(|class| class.name.clone());
        TargetReport {
            url: scenario.targets[target].url.clone(),
            seconds,
            all: Figures::new(&sum(tallies), seconds),
            classes: names
                .zip(tallies.iter().map(|tally| Figures::new(tally, seconds)))
                .collect(),
            series: points(&outcome.series[target]),
        }
    }
}

fn sum(tallies: &[Tally]) -> Tally {
    let mut all = Tally::default();
    for tally in tallies {
        all.merge(tally);
    }
    all
}

/// How much of the elapsed time was that target's turn, ns.
fn turns(scenario: &Scenario, elapsed: u64, target: usize) -> u64 {
    if scenario.targets.len() == 1 {
        return elapsed;
    }
    let counted = elapsed.min(scenario.total - scenario.warmup);
    (0..counted.div_ceil(scenario.slice))
        .map(|slice| slice * scenario.slice)
        .filter(|&from| scenario.target_at(scenario.warmup + from) == target)
        .map(|from| scenario.slice.min(counted - from))
        .sum()
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

impl Figures {
    fn new(tally: &Tally, seconds: f64) -> Figures {
        let share = |part: u64| part as f64 / tally.calls.max(1) as f64;
        let measured = |metric: Metric| {
            let times = tally.times(metric);
            (!times.is_empty()).then(|| (metric.name(), Times::new(times)))
        };
        Figures {
            calls: tally.calls,
            succeeded: tally.succeeded,
            failed: tally.failed(),
            error_rate: share(tally.failed()),
            calls_per_second: tally.succeeded as f64 / seconds,
            tokens_per_second: tally.tokens as f64 / seconds,
            bytes: tally.bytes,
            goodput: share(tally.good),
            good_calls_per_second: tally.good as f64 / seconds,
            failovers: tally.failovers,
            stalls: tally.stalls,
            stalled_calls: tally.stalled_calls,
            foreign_stamps: tally.foreign_stamps,
            failures: tally
                .failures
                .iter()
                .map(|(failure, calls)| FailureCount {
                    status: failure.status,
                    code: failure.code.clone(),
                    calls: *calls,
                })
                .collect(),
            times: Metric::ALL.into_iter().filter_map(measured).collect(),
        }
    }
}

/// A figure of a histogram, in its unit.
fn statistic(times: &Histogram<u32>, which: Statistic) -> f64 {
    match which {
        Statistic::Quantile(share) => times.value_at_quantile(share) as f64,
        Statistic::Mean => times.mean(),
        Statistic::Max => times.max() as f64,
    }
}

impl Times {
    fn new(times: &Histogram<u32>) -> Times {
        let named = STATISTICS.map(|(name, which)| (name, statistic(times, which) / 1e6));
        // Ever finer towards the end, up to the last value.
        let mut distribution = Vec::new();
        for step in times.iter_quantiles(4) {
            let share = step.quantile_iterated_to();
            distribution.push((share, step.value_iterated_to() as f64 / 1e6));
        }
        Times {
            count: times.len(),
            statistics: named.into_iter().collect(),
            distribution,
        }
    }
}

fn points(series: &Series) -> Vec<Point> {
    let seconds = clock::seconds(series.length());
    let point = |(at, interval): (usize, &Interval)| Point {
        from: at as f64 * seconds,
        seconds,
        calls: interval.calls,
        failed: interval.calls - interval.succeeded,
        tokens: interval.tokens,
        times: Interval::METRICS
            .into_iter()
            .filter_map(|metric| {
                let times = interval.times(metric).filter(|times| !times.is_empty())?;
                let named = STATISTICS.map(|(name, which)| (name, statistic(times, which) / 1e3));
                Some((metric.name(), named.into_iter().collect()))
            })
            .collect(),
    };
    series.iter().map(point).collect()
}

/// The statistics of times that are compared.
const COMPARED: [(&str, Statistic); 3] = [
    ("p50", Statistic::Quantile(0.5)),
    ("p99", Statistic::Quantile(0.99)),
    ("mean", Statistic::Mean),
];

fn comparison(scenario: &Scenario, outcome: &Outcome, target: usize) -> Comparison {
    let count = scenario.targets.len() as u64;
    let by_slice =
        |target: usize| -> BTreeMap<usize, &Interval> { outcome.series[target].iter().collect() };
    let (this, base) = (by_slice(target), by_slice(0));
    let rounds = (scenario.total - scenario.warmup) / scenario.slice / count;
    // Each round's slices of both, where nothing is missing.
    let pairs: Vec<(&Interval, &Interval)> = (0..rounds)
        .filter_map(|round| {
            let of = |wanted: usize| {
                (round * count..(round + 1) * count).find(|slice| {
                    crate::compare::target_of(*slice, scenario.targets.len(), scenario.seed)
                        == wanted
                })
            };
            let find = |slices: &BTreeMap<usize, &'_ Interval>, wanted| -> Option<usize> {
                let slice = usize::try_from(of(wanted)?).ok()?;
                slices.contains_key(&slice).then_some(slice)
            };
            Some((this[&find(&this, target)?], base[&find(&base, 0)?]))
        })
        .collect();
    let ratio = |figure: &dyn Fn(&Interval) -> f64| {
        Ratio::of(
            pairs
                .iter()
                .map(|(this, base)| (figure(this), figure(base))),
        )
    };
    let mut ratios = BTreeMap::new();
    for metric in Interval::METRICS {
        for (name, which) in COMPARED {
            let figure = |interval: &Interval| {
                interval
                    .times(metric)
                    .map_or(0.0, |times| statistic(times, which))
            };
            if let Some(ratio) = ratio(&figure) {
                ratios.insert(format!("{}_{name}", metric.name()), ratio);
            }
        }
    }
    if let Some(ratio) = ratio(&|interval| interval.succeeded as f64) {
        ratios.insert("calls_per_second".to_owned(), ratio);
    }
    if let Some(ratio) = ratio(&|interval| interval.tokens as f64) {
        ratios.insert("tokens_per_second".to_owned(), ratio);
    }
    Comparison {
        url: scenario.targets[target].url.clone(),
        base: scenario.targets[0].url.clone(),
        rounds,
        ratios,
    }
}

fn objective(slo: &Slo, scenario: &Scenario, tallies: &[Tally], url: &str) -> Objective {
    let of = |name: &String| {
        scenario
            .classes
            .iter()
            .position(|class| &class.name == name)
    };
    let tally = match slo.class.as_ref().and_then(of) {
        Some(class) => tallies[class].clone(),
        None => sum(tallies),
    };
    let share = |part: u64| (tally.calls > 0).then(|| part as f64 / tally.calls as f64);
    let (measured, is_time, kept) = match slo.bound {
        Bound::Time(metric, which, most) => {
            let times = tally.times(metric);
            let value = (!times.is_empty()).then(|| statistic(times, which) / 1e6);
            (
                value,
                true,
                value.is_some_and(|value| value <= millis(most)),
            )
        }
        Bound::ErrorRate(most) => at_most(share(tally.failed()), most),
        Bound::StallRate(most) => at_most(share(tally.stalled_calls), most),
        Bound::FailoverRate(most) => at_most(share(tally.failovers), most),
        Bound::Goodput(least) => {
            let value = share(tally.good);
            (value, false, value.is_some_and(|value| value >= least))
        }
    };
    Objective {
        objective: slo.to_string(),
        url: url.to_owned(),
        measured,
        is_time,
        kept,
    }
}

fn at_most(value: Option<f64>, most: f64) -> (Option<f64>, bool, bool) {
    (value, false, value.is_some_and(|value| value <= most))
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn a_report_has_no_secrets() {
        let line = [
            "a",
            "--key",
            "sk-1",
            "--header=Authorization: x",
            "--key=sk-2",
            "--url",
            "u",
        ];
        let shown = without_secrets(line.map(str::to_owned).into_iter());
        let expected = ["a", "--key", "…", "--header=…", "--key=…", "--url", "u"];
        assert_eq!(shown, expected);
    }
}
