//! `srpd accredit verify FILE --public-key KEY`

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueHint;
use jiff::Timestamp;

use crate::cli::Failure;
use crate::policy::accreditation::{Accreditation, KeyError, PublicKey};

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd accredit verify aloomu.accreditation.json --public-key MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=

Exit status:
  0   done
  1   failed: standard error says why
  64  arguments that make no sense (EX_USAGE)";

/// Say whether an accreditation is that of an authority, and valid now
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The accreditation
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The authority's public key, as `keygen` printed it (base64 SubjectPublicKeyInfo)
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    public_key: PublicKey,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let path = &arguments.file;
    let text = fs::read_to_string(path).map_err(Failure::file(path))?;
    let accreditation = Accreditation::parse(&text).map_err(Failure::content(path))?;
    let statement = accreditation
        .verify(&arguments.public_key, Timestamp::now())
        .map_err(Failure::content(path))?;
    writeln!(out, "{statement}")?;
    Ok(())
}

fn public_key(text: &str) -> Result<PublicKey, KeyError> {
    PublicKey::parse(text)
}
