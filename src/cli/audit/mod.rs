//! `srpd audit …`: what has been signed of the ledger, proven to others and checked by them. Nothing
//! here needs an instance; `verify` needs neither ledger nor network.

mod cover;
mod head;
mod papers;
mod prove;
mod report;
mod tree;
mod verify;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Failure;
use super::accredit::keygen;
use crate::policy::accreditation::{KeyError, PublicKey};

/// What ends the help of each command.
const STATUS: &str = "\
Exit status:
  0   done, and everything proven
  1   failed, or something isn't proven: what, is printed
  64  arguments that make no sense (EX_USAGE)";

const KEYGEN: &str = "Examples:\n  srpd audit keygen --out /etc/srpd/audit.pem";

/// Proofs of what the ledger says
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make the key pair that signs: the private key into a file, the public key on standard output
    #[command(after_long_help = format!("{KEYGEN}\n\n{STATUS}"))]
    Keygen(keygen::Arguments),
    /// Show the newest signed head, or prove that it continues an older one
    #[command(after_long_help = format!("Examples:\n  srpd audit head --config /etc/srpd/srpd.toml --out head.json\n  srpd audit head --config /etc/srpd/srpd.toml --since head.json\n\n{STATUS}"))]
    Head(head::Arguments),
    /// Prove a call to somebody else
    ///
    /// The proof has everything that it takes to check it but the public key: the call's entry, its
    /// place in the tree, and a signed head.
    #[command(after_long_help = format!("Examples:\n  srpd audit prove 01a4c7f2e880f3b2a1c09d4e-0-17 --config /etc/srpd/srpd.toml --out proof.json\n\n{STATUS}"))]
    Prove(prove::Arguments),
    /// Check what `prove` or `head` has written, offline
    #[command(after_long_help = format!("Examples:\n  srpd audit verify proof.json --key MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\n{STATUS}"))]
    Verify(verify::Arguments),
    /// Count a month's calls by jurisdiction, and prove that none left those that it allowed
    #[command(after_long_help = format!("Examples:\n  srpd audit report --month 2026-11 --config /etc/srpd/srpd.toml\n  srpd audit report --month 2026-11 --directory copy --key MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE= --since head.json --json\n\n{STATUS}"))]
    Report(report::Arguments),
}

pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => keygen::run(arguments, out),
        Command::Head(arguments) => head::run(arguments, out),
        Command::Prove(arguments) => prove::run(arguments, out),
        Command::Verify(arguments) => verify::run(arguments, out),
        Command::Report(arguments) => report::run(arguments, out),
    }
}

pub(super) use verify::proven;

fn public_key(text: &str) -> Result<PublicKey, KeyError> {
    PublicKey::parse(text)
}

/// Writes a paper where it is wanted; a file that exists is left alone.
fn hand_out(text: &str, path: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(path) = path else {
        return Ok(writeln!(out, "{text}")?);
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| writeln!(file, "{text}"))
        .map_err(Failure::file(path))
}

#[cfg(test)]
mod tests;
