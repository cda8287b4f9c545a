//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::report::{Outputs, Progress, Report};
use crate::scenario::{self, ClassGiven, Given, Scenario};
use crate::{drive, fleet};

/// A run that missed an objective.
const MISSED: u8 = 1;
/// Options that can't be, or a scenario; clap's own, too.
const USAGE: u8 = 2;
/// A run that couldn't be made, or in which no call was answered.
const FAILED: u8 = 3;
/// Stopped by Ctrl-C, as shells have it.
const STOPPED: u8 = 130;

/// Loads an OpenAI API and measures it, without coordinated omission.
///
/// Exit status: 0; 1 if an objective was missed; 2 for options that can't be; 3 if the run failed
/// or no call ended well; 130 if it was stopped.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: Load,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Simulate a fleet of inference servers, to aim at
    Fleet(fleet::Options),
}

#[derive(Args)]
struct Load {
    /// A TOML file with what is said here, and classes of traffic; options come before it
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    class: ClassGiven,
    #[command(flatten)]
    outputs: Outputs,
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Fleet(options)) => fleet::run(&options),
        None => load(cli.load),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("srpd-load: {}", error.text);
            ExitCode::from(error.code)
        }
    }
}

/// Why nothing came of it.
pub struct Error {
    text: String,
    code: u8,
}

impl Error {
    /// What was asked for can't be.
    pub fn usage(text: impl ToString) -> Error {
        Error {
            text: text.to_string(),
            code: USAGE,
        }
    }

    /// What was asked for went wrong.
    pub fn failed(text: impl ToString) -> Error {
        Error {
            text: text.to_string(),
            code: FAILED,
        }
    }
}

/// Set at the first Ctrl-C or SIGTERM; a second one ends the process.
///
/// # Errors
/// A system without such signals.
pub fn stop() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, STOPPED.into(), Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(Error::failed)?;
    }
    Ok(stop)
}

fn load(load: Load) -> Result<ExitCode, Error> {
    let Load {
        scenario: file,
        mut given,
        class,
        outputs,
    } = load;
    given = match &file {
        Some(file) => given.over(scenario::read(file).map_err(Error::usage)?),
        None => {
            given.classes = vec![class];
            given
        }
    };
    let scenario = Scenario::new(given).map_err(Error::usage)?;
    outputs.check().map_err(Error::usage)?;
    let stop = stop()?;
    let started = jiff::Timestamp::now().to_string();
    let progress = Progress::new(scenario.total, outputs.quiet);
    let run = drive::run(scenario, stop, |scenario, since, glance| {
        progress.show(scenario, since, &glance);
    });
    progress.clear();
    let (scenario, outcome) = run.map_err(Error::failed)?;
    let report = Report::new(&scenario, &outcome, started);
    outputs.write(&report).map_err(Error::failed)?;
    let nothing = report
        .targets
        .iter()
        .all(|target| target.all.succeeded == 0);
    Ok(match () {
        () if outcome.stopped => ExitCode::from(STOPPED),
        () if !report.is_kept() => ExitCode::from(MISSED),
        () if nothing => ExitCode::from(FAILED),
        () => ExitCode::SUCCESS,
    })
}
