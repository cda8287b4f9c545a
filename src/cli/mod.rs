//! The command line: arguments → one command each, a file for every command.

mod accredit;
mod check;
mod key;
mod log;
mod serve;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{ConfigErrors, NAME_EXPECTED, is_name};
use crate::demo::{self, DemoError};
use crate::net::dumps;
use crate::policy::accreditation::KeyError;
use crate::server::StartError;

/// Exit status for arguments that make no sense: sysexits.h, `EX_USAGE`.
pub const EXIT_USAGE: u8 = 64;

/// A sovereign routing proxy that speaks plain OpenAI.
#[derive(Parser)]
#[command(name = "srpd", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    /// Show srpd at work, with upstreams of its own that can be broken
    Demo,
    Check(check::Arguments),
    #[command(subcommand)]
    Key(key::Command),
    #[command(subcommand)]
    Accredit(accredit::Command),
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
        Command::Key(command) => key::run(&command, out),
        Command::Accredit(command) => accredit::run(command, out),
    }
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
}
