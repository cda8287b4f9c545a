//! `srpd key new NAME`

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Failure;

/// Client keys
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a key: prints it, once, and the table that lets it in
    ///
    /// The key is in the first line; the rest is for the configuration, which has the key's digest only.
    #[command(after_long_help = "Examples:\n  srpd key new acme")]
    New {
        /// What the key is called in the configuration and in logs
        #[arg(value_name = "NAME", value_parser = super::name)]
        name: String,
    },
}

pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let Command::New { name } = command;
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
    let key = Zeroizing::new(format!("srp_{}", *encoded));
    let digest = Sha256::digest(key.as_bytes());
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(
        out,
        "{}\n\n\
         # The key is shown this once. The configuration knows it by its digest:\n\
         [[key]]\n\
         name = \"{name}\"\n\
         sha256 = \"{sha256}\"\n\
         capabilities = [\"*\"]",
        *key
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::super::tests::srpd;

    #[test]
    fn a_key_is_new_and_the_table_has_its_digest() {
        let [one, other] = [0, 1].map(|_| srpd(&["key", "new", "acme"]).unwrap());
        let key = one.lines().next().unwrap();
        assert_ne!(Some(key), other.lines().next());
        assert!(key.starts_with("srp_") && key.len() == 4 + 43, "{key}");
        let table: toml::Table = one.split_once('\n').unwrap().1.parse().unwrap();
        let entry = &table["key"][0];
        assert_eq!(entry["name"].as_str(), Some("acme"));
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let written = entry["sha256"].as_str().unwrap();
        let read = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&written[at..at + 2], 16));
        assert_eq!(read.collect::<Result<Vec<u8>, _>>().unwrap(), digest);
    }

    #[test]
    fn a_name_that_no_configuration_accepts_is_a_usage_error() {
        let said = srpd(&["key", "new", "ac me"]).unwrap_err();
        assert!(said.contains("1 to 64 characters"), "{said}");
    }
}
