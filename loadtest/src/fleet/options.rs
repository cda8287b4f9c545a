//! A fleet as the command line and a file describe it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Deserialize;

use super::cache::BLOCK_TOKENS;
use super::faults::{Fault, Faults};
use crate::prompts::Lengths;
use crate::scenario::values::Share;

/// The most endpoints.
const ENDPOINTS_MAX: usize = 1000;

/// Simulate a fleet of inference servers, to aim at
///
/// Prints a URL a line, then serves until it is stopped.
/// Each endpoint has /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /health and
/// /metrics with vLLM's names. A token is four characters of text.
#[derive(clap::Args)]
pub struct Options {
    /// How many endpoints
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    endpoints: usize,
    /// Where the first one listens; the others have the ports behind it. Port 0: whichever is free
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    #[command(flatten)]
    common: Speeds,
    /// What goes wrong when: ENDPOINT@FROM[+DURATION]:KIND, with an endpoint from 1 or *, and a
    /// status, stall, reset, refuse or slow:FACTOR, as 2@10s+5s:stall; repeatable
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// A TOML file with [[endpoint]] tables of the same keys (slots, prefill, decode, cache_tokens,
    /// jitter, output), one for each endpoint, and faults
    #[arg(
        long,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath,
        conflicts_with = "endpoints"
    )]
    file: Option<PathBuf>,
    /// What all chance is drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The CPU to run on
    #[arg(long)]
    pub cpu: Option<usize>,
}

/// What an endpoint is like.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Speeds {
    /// Calls that an endpoint works on at a time; the others wait (the default: 16)
    #[arg(long, allow_negative_numbers = true)]
    slots: Option<u32>,
    /// Prompt tokens per second, one prompt after the other (the default: 8000)
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    prefill: Option<f64>,
    /// Tokens per second of each answer (the default: 50)
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    decode: Option<f64>,
    /// Tokens that the prefix cache holds (the default: 100000; 0: no cache)
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    cache_tokens: Option<usize>,
    /// How much times vary: the standard deviation of their logarithm (the default: 0)
    #[arg(long, value_name = "SHARE")]
    jitter: Option<Share>,
    /// Tokens of an answer; max_tokens bounds them (the default: 128)
    #[arg(long, value_name = "LENGTHS")]
    output: Option<Lengths>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "endpoint")]
    endpoints: Vec<Speeds>,
    #[serde(default)]
    faults: Vec<Fault>,
}

/// An endpoint, checked.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its number, from 1.
    pub number: usize,
    /// Calls at a time.
    pub slots: u32,
    /// ns per prompt token.
    pub prefill: f64,
    /// ns per token of an answer.
    pub decode: f64,
    /// Blocks of the prefix cache, if there is one.
    pub blocks: Option<NonZeroUsize>,
    /// The standard deviation of times' logarithm.
    pub jitter: f64,
    /// Tokens of an answer.
    pub output: Lengths,
    /// What goes wrong when.
    pub faults: Faults,
}

impl Options {
    /// The endpoints.
    ///
    /// # Errors
    /// What was expected, by option.
    pub fn specs(&self) -> Result<Vec<Spec>, String> {
        let (endpoints, mut faults) = match &self.file {
            Some(file) => {
                let wrong =
                    |error: &dyn std::fmt::Display| format!("--file {}: {error}", file.display());
                let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
                let file: File = toml::from_str(&text).map_err(|error| wrong(&error))?;
                (file.endpoints, file.faults)
            }
            None => (vec![Speeds::default(); self.endpoints], Vec::new()),
        };
        faults.extend_from_slice(&self.fault);
        if !(1..=ENDPOINTS_MAX).contains(&endpoints.len()) {
            return Err(format!("--endpoints: expected 1 to {ENDPOINTS_MAX}"));
        }
        let count = endpoints.len();
        if let Some(number) = faults
            .iter()
            .filter_map(|fault| fault.endpoint)
            .find(|n| *n > count)
        {
            return Err(format!(
                "--fault {number}@…: expected an endpoint from 1 to {count}"
            ));
        }
        let numbered = endpoints.iter().enumerate();
        numbered
            .map(|(at, speeds)| self.spec(at + 1, speeds, &faults))
            .collect()
    }

    fn spec(&self, number: usize, own: &Speeds, faults: &[Fault]) -> Result<Spec, String> {
        let common = &self.common;
        let speed = |option: &str, value: Option<f64>, usual: f64| {
            let value = value.unwrap_or(usual);
            let is_one = value > 0.0 && value.is_finite();
            is_one
                .then_some(1e9 / value)
                .ok_or_else(|| format!("{option} {value}: expected tokens per second, above 0"))
        };
        let slots = own.slots.or(common.slots).unwrap_or(16);
        if slots == 0 {
            return Err("--slots: expected 1 or more".to_owned());
        }
        let cache = own.cache_tokens.or(common.cache_tokens).unwrap_or(100_000);
        Ok(Spec {
            number,
            slots,
            prefill: speed("--prefill", own.prefill.or(common.prefill), 8000.0)?,
            decode: speed("--decode", own.decode.or(common.decode), 50.0)?,
            blocks: NonZeroUsize::new(cache.div_ceil(BLOCK_TOKENS)),
            jitter: own.jitter.or(common.jitter).map_or(0.0, |share| share.0),
            output: own.output.or(common.output).unwrap_or(Lengths::Fixed(128)),
            faults: Faults::of(number, faults),
        })
    }
}
