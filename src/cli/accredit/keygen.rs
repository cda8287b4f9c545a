//! `srpd accredit keygen --out FILE`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::ValueHint;
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::policy::accreditation::AuthorityKey;

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd accredit keygen --out authority.pem

Exit status:
  0   done
  1   failed: standard error says why
  64  arguments that make no sense (EX_USAGE)";

/// Make an authority's key pair: the private key into a file, the public key on standard output
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Where the private key goes (PKCS#8 PEM, mode 0600); a file that exists is left alone
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: PathBuf,
}

pub(in crate::cli) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let path = &arguments.out;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    let key = AuthorityKey::from_seed(&seed);
    let pem = key.to_pem()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Failure::file(path))?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Failure::file(path))?;
    writeln!(out, "{}", key.public_key().encode()?)?;
    Ok(())
}
