//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, CommandFactory, Parser, ValueHint};
use signal_hook::consts::{SIGINT, SIGTERM};
use srpd_manual::{Completions, Pages};

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

/// Behind the help.
const MORE: &str = "\
Examples:
  srpd-load --url http://127.0.0.1:8080 --rate 200 --poisson --duration 60s --stream --key sk-1
  srpd-load --url http://127.0.0.1:8080 --concurrency 64 --slo ttft_p99=300ms --html report.html
  srpd-load --url http://127.0.0.1:9000 --compare http://127.0.0.1:8080 --slice 1s --rate 500
  srpd-load --scenario evening.toml --json -

Exit status:
  0    done, every objective kept
  1    an objective was missed
  2    options or a scenario that can't be
  3    the run failed, or no call ended well
  130  stopped by Ctrl-C or SIGTERM

Documents:
  docs/LOADTEST.md has it all. The package has it in /usr/share/doc/srpd.";

/// Behind the help of `fleet`.
const FLEET_MORE: &str = "\
Examples:
  srpd-load fleet --endpoints 3 --slots 16 --prefill 8000 --decode 50 --fault 2@10s+5s:stall

Faults:
  400 to 599  calls are answered with that status
  stall       nothing is answered and streams stand still, until it is over
  reset       connections are reset, in the middle of streams too
  refuse      nobody listens; calls on open connections are reset
  slow:3      everything takes three times as long";

/// Loads an OpenAI API and measures it, without coordinated omission
///
/// Calls are due when the schedule says, and count from then: a server that stalls can't hide it by
/// slowing the generator down.
#[derive(Parser)]
#[command(
    name = "srpd-load",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "srpd-load --help says more, as does man srpd-load.",
    after_long_help = MORE
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: Load,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(after_long_help = FLEET_MORE)]
    Fleet(fleet::Options),
    #[command(after_long_help = "Examples:\n  srpd-load completions fish")]
    Completions(Completions),
    #[command(after_long_help = "Examples:\n  srpd-load man --out /usr/local/share/man/man1")]
    Man(Pages),
}

#[derive(Args)]
struct Load {
    /// A TOML file with what is said here, and classes of traffic; options come before it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
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
        Some(Command::Completions(completions)) => completions
            .write(Cli::command(), &mut std::io::stdout())
            .map(|()| ExitCode::SUCCESS)
            .map_err(Error::failed),
        Some(Command::Man(pages)) => man(&pages),
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

fn man(pages: &Pages) -> Result<ExitCode, Error> {
    let written = pages.write(Cli::command());
    let failed =
        |(path, error): (PathBuf, _)| Error::failed(format!("{}: {error}", path.display()));
    for name in written.map_err(failed)? {
        println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_is_consistent_and_complete() {
        Cli::command().debug_assert();
        assert_eq!(srpd_manual::omissions(Cli::command()), [""; 0]);
    }
}
