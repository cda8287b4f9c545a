//! What a scenario file or the command line gives: the same keys in both.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueHint;
use serde::Deserialize;

use super::class::{Endpoint, Prefixes};
use super::slo::{GoalText, Slo};
use super::values::{Rate, Share, Span, StageText, from_text};
use crate::prompts::Lengths;

/// A header field: `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub String, pub String);

/// Fields that say what the generator says itself.
const OWN_FIELDS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

impl FromStr for HeaderText {
    type Err = String;

    fn from_str(text: &str) -> Result<HeaderText, String> {
        let wrong = || format!("expected \"Name: value\"; got {text:?}");
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        http::HeaderName::try_from(name).map_err(|_| wrong())?;
        http::HeaderValue::try_from(value).map_err(|_| wrong())?;
        match OWN_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            true => Err(format!("{name} is the generator's own to say")),
            false => Ok(HeaderText(name.to_owned(), value.to_owned())),
        }
    }
}

/// Shared prefixes: `COUNTxTOKENS`, perhaps `@SHARE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefixesText(pub Prefixes);

impl FromStr for PrefixesText {
    type Err = String;

    fn from_str(text: &str) -> Result<PrefixesText, String> {
        let wrong =
            || format!("expected COUNTxTOKENS or COUNTxTOKENS@SHARE, as 8x256@50%; got {text:?}");
        let (pool, share) = text.split_once('@').unwrap_or((text, "1"));
        let (count, tokens) = pool.split_once('x').ok_or_else(wrong)?;
        let count = count.trim().parse().ok().filter(|count| *count > 0);
        let Share(share) = share.parse()?;
        Ok(PrefixesText(Prefixes {
            count: count.ok_or_else(wrong)?,
            tokens: tokens.parse::<Lengths>()?,
            share,
        }))
    }
}

from_text!(HeaderText, PrefixesText);

/// What a class of traffic is like.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(next_help_heading = "Calls (a scenario has classes of them instead)")]
pub struct ClassGiven {
    /// A class's name, in files only.
    #[arg(skip)]
    pub name: Option<String>,
    /// A class's weight, in files only.
    #[arg(skip)]
    pub weight: Option<f64>,
    /// What to call
    #[arg(long, value_enum, default_value = "chat", conflicts_with = "scenario")]
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Ask for streams
    #[arg(long, conflicts_with = "scenario")]
    #[serde(default)]
    pub stream: bool,
    /// The request's `model`: a capability
    #[arg(long, default_value = "smart", conflicts_with = "scenario")]
    #[serde(default = "smart")]
    pub model: String,
    /// The client's key
    #[arg(long, conflicts_with = "scenario")]
    pub key: Option<String>,
    /// A field to send along, "Name: value"; repeatable
    #[arg(long = "header", value_name = "FIELD", conflicts_with = "scenario")]
    #[serde(default)]
    pub headers: Vec<HeaderText>,
    /// Tokens of a prompt: 512, uniform:100..900, normal:MEAN,DEVIATION, lognormal:MEDIAN,SIGMA,
    /// exponential:MEAN
    #[arg(long, value_name = "LENGTHS", conflicts_with = "scenario")]
    pub prompt: Option<Lengths>,
    /// `max_tokens`, in the same forms; without it, the server decides
    #[arg(long, value_name = "LENGTHS", conflicts_with = "scenario")]
    pub output: Option<Lengths>,
    /// Prefixes that prompts share: COUNTxTOKENS[@SHARE], as 8x256@50%
    #[arg(long, value_name = "PREFIXES", conflicts_with = "scenario")]
    pub prefixes: Option<PrefixesText>,
}

fn smart() -> String {
    "smart".to_owned()
}

/// Where to, when, and what has to hold.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// The server: http://HOST:PORT, or https://; below /v1 unless it has a path
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// A server to compare with: the targets take turns, slice by slice; repeatable
    #[arg(long, value_name = "URL")]
    pub compare: Vec<String>,
    /// A PEM file with the authorities that https:// targets are verified by; without it, the
    /// system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,
    /// Open loop: calls per second, whether or not earlier ones are answered
    #[arg(
        long,
        value_name = "RATE",
        allow_negative_numbers = true,
        help_heading = "Arrivals"
    )]
    pub rate: Option<Rate>,
    /// Open loop in stages: TIME:RATE, or TIME:FROM..TO for a ramp; repeatable
    #[arg(long = "stage", value_name = "STAGE", help_heading = "Arrivals")]
    #[serde(rename = "stages")]
    pub stages: Vec<StageText>,
    /// Open loop as recorded: a file with a JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Arrivals")]
    pub trace: Option<PathBuf>,
    /// How many times as fast the trace is replayed
    #[arg(
        long,
        value_name = "FACTOR",
        allow_negative_numbers = true,
        help_heading = "Arrivals"
    )]
    pub speed: Option<f64>,
    /// Closed loop: so many calls at any time, each sent when one before it is answered (the
    /// default: 16)
    #[arg(
        long,
        value_name = "CALLS",
        allow_negative_numbers = true,
        help_heading = "Arrivals"
    )]
    pub concurrency: Option<u32>,
    /// Spread an open loop's arrivals as Poisson's
    #[arg(long, help_heading = "Arrivals")]
    pub poisson: bool,
    /// How long calls are made and counted (the default: 10s); stages and traces know it
    #[arg(long, value_name = "TIME", help_heading = "Arrivals")]
    pub duration: Option<Span>,
    /// How long calls are made before they count
    #[arg(long, value_name = "TIME", help_heading = "Arrivals")]
    pub warmup: Option<Span>,
    /// How long a call may take, from when it was due (the default: 60s)
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// The most connections to each target (the default: 10000); calls beyond wait, and that
    /// counts
    #[arg(long, allow_negative_numbers = true)]
    pub connections: Option<usize>,
    /// How long each target's turn is when they are compared (the default: 1s)
    #[arg(long, value_name = "TIME")]
    pub slice: Option<Span>,
    /// The CPUs to run on, one thread on each, as 2,3 (the default: the highest allowed)
    #[arg(long, value_delimiter = ',', value_name = "CPU")]
    pub cpus: Vec<usize>,
    /// What all chance is drawn from (the default: 1)
    #[arg(long)]
    pub seed: Option<u64>,
    /// The pace of streams, from token to token; 10 times that is a stall. Without it, each
    /// stream's own pace so far counts
    #[arg(long, value_name = "TIME", help_heading = "Objectives")]
    pub pace: Option<Span>,
    /// What a call has to keep to be good: ttfb, ttft, tpot or e2e, as ttft=500ms; repeatable
    #[arg(long, value_name = "GOAL", help_heading = "Objectives")]
    pub goodput: Vec<GoalText>,
    /// What the run has to keep, or the exit status is 1: ttft_p99=300ms, error_rate=0.1%,
    /// goodput=99%, CLASS:e2e_p50=2s; repeatable
    #[arg(long, value_name = "OBJECTIVE", help_heading = "Objectives")]
    pub slo: Vec<Slo>,
    /// In files only.
    #[arg(skip)]
    #[serde(rename = "class")]
    pub classes: Vec<ClassGiven>,
}

impl Given {
    /// Whether it says when calls are due.
    fn says_when(&self) -> bool {
        self.rate.is_some()
            || !self.stages.is_empty()
            || self.trace.is_some()
            || self.concurrency.is_some()
    }

    /// This, and what `file` says besides: the command line comes before a file.
    pub fn over(self, mut file: Given) -> Given {
        if self.says_when() {
            (file.rate, file.trace, file.concurrency, file.speed) = (None, None, None, None);
            file.stages.clear();
            file.poisson = false;
            file.duration = file
                .duration
                .filter(|_| self.stages.is_empty() && self.trace.is_none());
        }
        let first = |mine: Vec<_>, theirs| if mine.is_empty() { theirs } else { mine };
        Given {
            url: self.url.or(file.url),
            compare: first(self.compare, file.compare),
            ca: self.ca.or(file.ca),
            rate: self.rate.or(file.rate),
            stages: if self.stages.is_empty() {
                file.stages
            } else {
                self.stages
            },
            trace: self.trace.or(file.trace),
            speed: self.speed.or(file.speed),
            concurrency: self.concurrency.or(file.concurrency),
            poisson: self.poisson || file.poisson,
            duration: self.duration.or(file.duration),
            warmup: self.warmup.or(file.warmup),
            timeout: self.timeout.or(file.timeout),
            connections: self.connections.or(file.connections),
            slice: self.slice.or(file.slice),
            cpus: if self.cpus.is_empty() {
                file.cpus
            } else {
                self.cpus
            },
            seed: self.seed.or(file.seed),
            pace: self.pace.or(file.pace),
            goodput: if self.goodput.is_empty() {
                file.goodput
            } else {
                self.goodput
            },
            slo: if self.slo.is_empty() {
                file.slo
            } else {
                self.slo
            },
            classes: if self.classes.is_empty() {
                file.classes
            } else {
                self.classes
            },
        }
    }
}
