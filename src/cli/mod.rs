//! The command line: arguments → one command each, a file for every command.

mod accredit;
mod audit;
mod check;
mod completions;
mod doctor;
mod key;
mod ledger;
mod log;
mod man;
mod market;
mod operator;
mod serve;
mod top;
mod view;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use srpd_manual::{Completions, Pages};

use crate::config::{ConfigErrors, NAME_EXPECTED, is_name};
use crate::conformance::Unreachable;
use crate::demo::{self, DemoError};
use crate::net::dumps;
use crate::policy::accreditation::{KeyError, PublicKey};
use crate::server::StartError;

/// Exit status for arguments that make no sense: sysexits.h, `EX_USAGE`.
pub const EXIT_USAGE: u8 = 64;

/// Behind the help: what holds for every command.
const MORE: &str = "\
Examples:
  srpd demo                                    see it at work, on this machine alone
  srpd check /etc/srpd/srpd.toml               is the configuration right?
  srpd doctor --config /etc/srpd/srpd.toml     is the host?
  srpd serve --config /etc/srpd/srpd.toml      run it

Exit status:
  0   done
  1   failed: standard error says why
  64  arguments that make no sense (EX_USAGE)

Environment:
  SRPD_CONFIG                  the configuration, where --config isn't given
  SSL_CERT_FILE, SSL_CERT_DIR  authorities of https:// providers, in place of the system's
  CREDENTIALS_DIRECTORY        where { credential = \"NAME\" } is looked up; systemd sets it
  STATE_DIRECTORY              where bookings are kept if market.bookings doesn't say; systemd sets it

Documents:
  docs/CONFIGURATION.md has every key, docs/SRP.md the protocol. The package has them in
  /usr/share/doc/srpd.";

/// A sovereign routing proxy that speaks plain OpenAI
///
/// Clients ask for a capability; srpd takes the call along a chain of providers, and never out of the
/// jurisdictions that the call allows.
#[derive(Parser)]
#[command(
    name = "srpd",
    version,
    arg_required_else_help = true,
    after_help = "srpd help COMMAND says more, as does man srpd-COMMAND.",
    after_long_help = MORE
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(after_long_help = serve::MORE)]
    Serve(serve::Arguments),
    #[command(after_long_help = check::MORE)]
    Check(check::Arguments),
    #[command(after_long_help = doctor::MORE)]
    Doctor(doctor::Arguments),
    #[command(after_long_help = operator::ENDPOINTS)]
    Endpoints(operator::Endpoints),
    #[command(after_long_help = operator::DRAIN)]
    Drain(operator::Drain),
    #[command(after_long_help = top::MORE)]
    Top(top::Top),
    #[command(after_long_help = market::MORE)]
    Market(market::Market),
    /// Show srpd at work, with upstreams of its own that can be broken
    ///
    /// Starts four providers and srpd in front of them, on loopback, and prints how to ask them and
    /// how to break them. Ctrl-C ends it.
    #[command(after_long_help = "Examples:\n  srpd demo")]
    Demo,
    #[command(subcommand)]
    Key(key::Command),
    #[command(subcommand)]
    Ledger(ledger::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Accredit(accredit::Command),
    #[command(after_long_help = completions::MORE)]
    Completions(Completions),
    #[command(after_long_help = man::MORE)]
    Man(Pages),
}

/// Why a command failed: exit status 1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Content { path: PathBuf, message: String },
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    #[error("the operating system has no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error("no such process, or /proc isn't mounted")]
    NoProcess,
    #[error("problems: {0}")]
    Unfit(usize),
    #[error("{0}")]
    Instance(String),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("no report speaks for host {0:?}: nothing is signed")]
    Groundless(String),
    #[error("it does not conform: checks that must hold and failed: {0}")]
    NotConforming(usize),
    #[error("the ledger is not whole: {0}")]
    Incomplete(String),
    #[error("{0}")]
    Unproven(String),
    #[error("the office panicked: this is a defect")]
    Panicked,
}

impl Failure {
    /// An error of the file at `path`.
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.to_owned();
        |source| Failure::File { path, source }
    }

    /// What is wrong with what the file at `path` says.
    fn content<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Failure {
        let path = path.to_owned();
        |error| Failure::Content {
            path,
            message: error.to_string(),
        }
    }
}

/// Runs the command of the process's arguments. Exit status: 0, 1 if it failed, [`EXIT_USAGE`]
/// if the arguments make no sense.
pub fn main() -> ExitCode {
    // Before any secret is read.
    if let Err(error) = dumps::forbid() {
        eprintln!("core dumps can't be forbidden, and would hold secrets: {error}");
        return ExitCode::FAILURE;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = usage.print();
            return if usage.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(arguments.command, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo => Ok(demo::run()?),
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Doctor(arguments) => doctor::run(&arguments, out),
        Command::Endpoints(arguments) => operator::endpoints(&arguments, out),
        Command::Drain(arguments) => operator::drain(&arguments, out),
        Command::Top(arguments) => top::run(&arguments, out),
        Command::Market(arguments) => market::run(&arguments, out),
        Command::Key(command) => key::run(&command, out),
        Command::Ledger(command) => ledger::run(&command, out),
        Command::Audit(command) => audit::run(&command, out),
        Command::Accredit(command) => accredit::run(command, out),
        Command::Completions(completions) => completions::run(&completions, out),
        Command::Man(pages) => man::run(&pages, out),
    }
}

/// What `srpd audit verify --json` prints of a paper: what it proves to who has this key.
///
/// # Errors
/// Why it proves nothing.
pub fn proven(paper: &str, key: PublicKey) -> Result<serde_json::Value, String> {
    audit::proven(paper, key)
}

/// A name that a configuration accepts.
fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected {NAME_EXPECTED}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Runs a command line; what it prints.
    pub(super) fn srpd(arguments: &[&str]) -> Result<String, String> {
        let line = [&["srpd"], arguments].concat();
        let parsed = Arguments::try_parse_from(line).map_err(|usage| usage.to_string())?;
        let mut out = Vec::new();
        run(parsed.command, &mut out).map_err(|failure| failure.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_is_complete() {
        assert_eq!(srpd_manual::omissions(Arguments::command()), [""; 0]);
    }

    #[test]
    fn the_example_commands_are_real() {
        let mut program = Arguments::command();
        program.build();
        for command in srpd_manual::all(program) {
            let behind = command.get_after_long_help().map(ToString::to_string);
            let behind = behind.unwrap_or_default().replace(" \\\n    ", " ");
            let lines = behind
                .lines()
                .skip_while(|line| *line != "Examples:")
                .skip(1);
            for line in lines.take_while(|line| line.starts_with("  ")) {
                // Behind two spaces it says what it does, and behind these marks the shell's part begins.
                let line = line.trim().split("  ").next().unwrap_or_default();
                let words: Vec<&str> = line
                    .split(' ')
                    .take_while(|word| ![">", "&&", "|"].contains(word))
                    .collect();
                if let Err(usage) = Arguments::try_parse_from(&words) {
                    panic!("{line}: {usage}");
                }
            }
        }
    }

    #[test]
    fn what_is_mistyped_is_guessed() {
        let said = srpd(&["chekc", "srpd.toml"]).unwrap_err();
        assert!(said.contains("'check'"), "{said}");
        let said = srpd(&["serve", "--confg", "srpd.toml"]).unwrap_err();
        assert!(said.contains("'--config'"), "{said}");
    }
}
