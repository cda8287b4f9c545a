//! A run, parsed and checked: targets, classes of traffic, arrivals, objectives.

mod class;
mod given;
mod slo;
mod target;
mod trace;
pub mod values;

use std::path::Path;

pub use class::{Class, Endpoint, Shape, block_name, shape};
pub use given::{ClassGiven, Given};
pub use slo::{Bound, STATISTICS, Slo, Statistic};
pub use target::Target;
pub use trace::{BLOCK_TOKENS, Recorded};

use crate::arrivals::{Profile, Spacing, Stage};
use crate::clock;
use crate::measure::{Goal, Series};
use crate::prompts::Lengths;

/// Calls at any time, unless it is said.
const CONCURRENCY: u32 = 16;
/// The most calls at any time.
const CONCURRENCY_MAX: u32 = 60_000;
/// How long calls are made, unless it is said, ns.
const DURATION: u64 = 10_000_000_000;
/// How long a call may take, unless it is said, ns.
const TIMEOUT: u64 = 60_000_000_000;
/// Connections to a target, unless it is said.
const CONNECTIONS: usize = 10_000;
/// A target's turn, unless it is said, ns; and the shortest.
const SLICE: u64 = 1_000_000_000;
const SLICE_MIN: u64 = 50_000_000;
/// Tokens of a prompt, unless it is said.
const PROMPT: Lengths = Lengths::Fixed(256);
/// What intervals of the time series may last, ms.
const INTERVALS_MS: [u64; 12] = [
    100, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_200_000,
];
/// About so many intervals are wanted.
const INTERVALS: u64 = 120;

/// When calls are due.
pub enum Schedule {
    /// As many per second as it says.
    Open(Profile),
    /// So many at any time, for so many ns in all.
    Closed {
        /// Calls at any time.
        concurrency: u32,
        /// How long, ns.
        nanos: u64,
    },
    /// As recorded.
    Trace(Vec<Recorded>),
}

/// A run.
pub struct Scenario {
    /// Servers: the first is what the others are compared with.
    pub targets: Vec<Target>,
    /// Classes of traffic; at least one.
    pub classes: Vec<Class>,
    /// When calls are due.
    pub schedule: Schedule,
    /// How long calls don't count, from the start, ns.
    pub warmup: u64,
    /// How long all of it takes, ns, without the last answers.
    pub total: u64,
    /// How long a call may take, ns.
    pub timeout: u64,
    /// Connections to each target.
    pub connections: usize,
    /// How long each target's turn is, ns.
    pub slice: u64,
    /// How long an interval of the time series is, ns.
    pub interval: u64,
    /// The CPUs to run on.
    pub cpus: Vec<usize>,
    /// What all chance is drawn from.
    pub seed: u64,
    /// The pace of streams, ns.
    pub pace: Option<u64>,
    /// What a call has to keep to be good.
    pub goals: Vec<Goal>,
    /// What the run has to keep.
    pub slos: Vec<Slo>,
}

/// Reads a scenario file.
///
/// # Errors
/// Where the file isn't TOML, or says what no scenario says.
pub fn read(file: &Path) -> Result<Given, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("--scenario {}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    toml::from_str(&text).map_err(|error| wrong(&error))
}

impl Scenario {
    /// What is given, checked.
    ///
    /// # Errors
    /// What was expected, by option.
    pub fn new(given: Given) -> Result<Scenario, String> {
        let targets = targets(&given)?;
        let classes = classes(&given.classes)?;
        let warmup = given.warmup.map_or(0, |span| span.0);
        let schedule = schedule(&given, &classes, warmup)?;
        let total = match &schedule {
            Schedule::Open(profile) => clock::nanos(profile.seconds()),
            Schedule::Closed { nanos, .. } => *nanos,
            // The last call is due at the very end.
            Schedule::Trace(calls) => clock::nanos(calls.last().map_or(0.0, |last| last.at)) + 1,
        };
        if warmup >= total {
            return Err("--warmup: expected less time than the run takes".to_owned());
        }
        let goals = goals(&given, &classes)?;
        let slice = slice(given.slice, targets.len(), total - warmup)?;
        let allowed = crate::runtime::cpus().map_err(|error| format!("--cpus: {error}"))?;
        if let Some(cpu) = given.cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            return Err(format!("--cpus {cpu}: expected some of {allowed:?}"));
        }
        let cpus = match given.cpus.is_empty() {
            true => allowed.last().copied().into_iter().collect(),
            false => given.cpus,
        };
        let timeout = given.timeout.map_or(TIMEOUT, |span| span.0);
        let connections = given.connections.unwrap_or(CONNECTIONS);
        if timeout == 0 || connections == 0 || given.pace.is_some_and(|pace| pace.0 == 0) {
            return Err("--timeout, --connections, --pace: expected more than nothing".to_owned());
        }
        Ok(Scenario {
            interval: if targets.len() > 1 {
                slice
            } else {
                interval(total - warmup)
            },
            targets,
            classes,
            schedule,
            warmup,
            total,
            timeout,
            connections,
            slice,
            cpus,
            seed: given.seed.unwrap_or(1),
            pace: given.pace.map(|span| span.0),
            goals,
            slos: given.slo,
        })
    }

    /// What call `number` is like.
    pub fn shape(&self, number: u64) -> Shape<'_> {
        let recorded = match &self.schedule {
            Schedule::Trace(calls) => calls.get(number as usize),
            _ => None,
        };
        shape(&self.classes, self.seed, number, recorded)
    }

    /// The target whose turn it is at that time since the start, ns.
    pub fn target_at(&self, since: u64) -> usize {
        match self.targets.len() {
            1 => 0,
            targets => {
                let slice = since.saturating_sub(self.warmup) / self.slice;
                crate::compare::target_of(slice, targets, self.seed)
            }
        }
    }
}

fn targets(given: &Given) -> Result<Vec<Target>, String> {
    let url = given.url.as_deref();
    let url = url.ok_or("--url: expected a server to call")?;
    let ca = given.ca.as_deref();
    let mut targets = vec![Target::new("--url", url, ca)?];
    for url in &given.compare {
        targets.push(Target::new("--compare", url, ca)?);
    }
    Ok(targets)
}

/// The goals of single calls, once the objectives are known to be of classes that are there.
fn goals(given: &Given, classes: &[Class]) -> Result<Vec<Goal>, String> {
    let is_known = |name: &String| classes.iter().any(|class| &class.name == name);
    for slo in &given.slo {
        if slo.class.as_ref().is_some_and(|class| !is_known(class)) {
            return Err(format!("--slo {slo}: no class has that name"));
        }
        if given.goodput.is_empty() && matches!(slo.bound, Bound::Goodput(_)) {
            return Err(format!(
                "--slo {slo}: expected --goodput to say what a good call is"
            ));
        }
    }
    Ok(given.goodput.iter().map(|goal| goal.0).collect())
}

/// The intervals' length for a run of so many ns.
fn interval(nanos: u64) -> u64 {
    let lengths = INTERVALS_MS.map(|ms| ms * 1_000_000);
    let fits = lengths
        .into_iter()
        .find(|length| nanos / length <= INTERVALS);
    fits.unwrap_or(nanos / INTERVALS)
}

fn slice(given: Option<values::Span>, targets: usize, counted: u64) -> Result<u64, String> {
    let slice = given.map_or(SLICE, |span| span.0);
    if targets == 1 {
        return match given {
            Some(_) => Err("--slice: expected --compare beside it".to_owned()),
            None => Ok(SLICE),
        };
    }
    let rounds = counted / (slice * targets as u64).max(1);
    if slice < SLICE_MIN {
        return Err("--slice: expected 50ms or more".to_owned());
    }
    if (rounds as usize) < crate::compare::ROUNDS_MIN {
        return Err(format!(
            "--compare: expected time for {} rounds of {targets} slices of {}s: a longer --duration or a shorter --slice",
            crate::compare::ROUNDS_MIN,
            clock::seconds(slice)
        ));
    }
    if counted / slice > Series::INTERVALS_MAX {
        return Err(format!(
            "--slice: expected at most {} slices in the run",
            Series::INTERVALS_MAX
        ));
    }
    Ok(slice)
}

fn schedule(given: &Given, classes: &[Class], warmup: u64) -> Result<Schedule, String> {
    let ways = [
        given.rate.is_some(),
        !given.stages.is_empty(),
        given.trace.is_some(),
        given.concurrency.is_some(),
    ];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err("--rate, --stage, --trace, --concurrency: expected one of them".to_owned());
    }
    let is_timed = !given.stages.is_empty() || given.trace.is_some();
    if is_timed && given.duration.is_some() {
        return Err(
            "--duration: expected none, since stages and traces say how long they take".to_owned(),
        );
    }
    if given.poisson && given.rate.is_none() && given.stages.is_empty() {
        return Err("--poisson: expected --rate or --stage beside it".to_owned());
    }
    if given.speed.is_some() && given.trace.is_none() {
        return Err("--speed: expected --trace beside it".to_owned());
    }
    let counted = given.duration.map_or(DURATION, |span| span.0);
    if counted == 0 {
        return Err("--duration: expected more than no time".to_owned());
    }
    if let Some(file) = &given.trace {
        let speed = given.speed.unwrap_or(1.0);
        if !(speed > 0.0 && speed.is_finite()) {
            return Err(format!("--speed {speed}: expected a factor above 0"));
        }
        let names: Vec<&str> = classes.iter().map(|class| &*class.name).collect();
        return Ok(Schedule::Trace(trace::read(file, &names, speed)?));
    }
    let spacing = match given.poisson {
        true => Spacing::Poisson,
        false => Spacing::Even,
    };
    let stages = match given.rate {
        Some(values::Rate(rate)) => vec![Stage {
            seconds: clock::seconds(warmup + counted),
            from: rate,
            to: rate,
        }],
        None => given.stages.iter().map(|stage| stage.0).collect(),
    };
    if !stages.is_empty() {
        let profile = Profile { stages, spacing };
        return match profile.calls() > 0.0 {
            true => Ok(Schedule::Open(profile)),
            false => Err("--rate, --stage: expected at least one call".to_owned()),
        };
    }
    let concurrency = given.concurrency.unwrap_or(CONCURRENCY);
    match (1..=CONCURRENCY_MAX).contains(&concurrency) {
        true => Ok(Schedule::Closed {
            concurrency,
            nanos: warmup + counted,
        }),
        false => Err(format!(
            "--concurrency {concurrency}: expected 1 to {CONCURRENCY_MAX}"
        )),
    }
}

fn classes(given: &[ClassGiven]) -> Result<Vec<Class>, String> {
    if given.is_empty() {
        return Err("[[class]]: expected at least one".to_owned());
    }
    let mut classes: Vec<Class> = Vec::new();
    for class in given {
        let name = match (&class.name, given.len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => "all".to_owned(),
            (None, _) => {
                return Err("[[class]] name: expected one, since there are several".to_owned());
            }
        };
        if name.is_empty()
            || name.contains([':', ',', '"'])
            || classes.iter().any(|c| c.name == name)
        {
            return Err(format!(
                "[[class]] name = {name:?}: expected a name of its own, without : and ,"
            ));
        }
        let weight = class.weight.unwrap_or(1.0);
        if !(weight > 0.0 && weight.is_finite()) {
            return Err(format!(
                "class {name}: weight = {weight}: expected a number above 0"
            ));
        }
        if class.endpoint == Endpoint::Embeddings && (class.stream || class.output.is_some()) {
            return Err(format!(
                "class {name}: embeddings: expected neither stream nor output"
            ));
        }
        if let Some(key) = &class.key
            && http::HeaderValue::try_from(key).is_err()
        {
            return Err(format!(
                "class {name}: key: expected visible ASCII characters"
            ));
        }
        classes.push(Class {
            name,
            weight,
            endpoint: class.endpoint,
            stream: class.stream,
            model: class.model.clone(),
            key: class.key.clone(),
            headers: class
                .headers
                .iter()
                .map(|h| (h.0.clone(), h.1.clone()))
                .collect(),
            prompt: class.prompt.unwrap_or(PROMPT),
            output: class.output,
            prefixes: class.prefixes.map(|prefixes| prefixes.0),
        });
    }
    Ok(classes)
}

#[cfg(test)]
mod tests;
