//! `srpd completions SHELL`

use std::io::Write;

use clap::CommandFactory;
use srpd_manual::Completions;

use super::Failure;

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd completions bash > /usr/share/bash-completion/completions/srpd
  srpd completions zsh > ~/.zfunc/_srpd";

pub(super) fn run(completions: &Completions, out: &mut dyn Write) -> Result<(), Failure> {
    Ok(completions.write(super::Arguments::command(), out)?)
}
