//! `srpd check FILE`

use std::io::Write;
use std::path::PathBuf;

use clap::ValueHint;
use jiff::Timestamp;

use super::Failure;
use crate::config;

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd check /etc/srpd/srpd.toml && systemctl reload srpd

Exit status:
  0   valid; there may be warnings
  1   something is wrong: each error has its file, line and key
  64  arguments that make no sense (EX_USAGE)";

/// Say whether a configuration would load, or what is wrong where
///
/// Reads the file and those that it names (accreditations, credentials) exactly as `serve` does.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let config = config::load(&arguments.file, Timestamp::now())?;
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(
        out,
        "{}: valid: providers {}, capabilities {}, keys {}",
        arguments.file.display(),
        config.providers.len(),
        config.capabilities.len(),
        config.keys.len()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::tests::srpd;
    use crate::config::fixture::Fixture;

    #[test]
    fn a_valid_file_is_summed_up_and_an_invalid_one_explained() {
        let mut fixture = Fixture::new();
        fixture.now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let statement = fixture.statement("aloomu", "au", &["127.0.0.1"], 10);
        fixture.accredit("aloomu", statement);
        let text = format!(
            "[instance]\njurisdiction = \"au\"\n{}\
             [[provider]]\nname = \"aloomu\"\njurisdiction = \"au\"\n\
             accreditation = \"aloomu.accreditation.json\"\n\
             endpoints = [\"http://127.0.0.1:9101\"]\nmodels = {{ \"*\" = \"m\" }}\n\
             [[capability]]\nname = \"smart\"\nchain = []\n\
             [[key]]\nname = \"acme\"\nsha256 = \"{}\"\ncapabilities = [\"*\"]\n",
            fixture.authority_table(),
            "0".repeat(64)
        );
        let file = fixture.write("srpd.toml", &text);
        let file = file.to_str().unwrap();
        let said = srpd(&["check", file]).unwrap();
        assert!(said.starts_with(&format!("warning: {file}:9: provider[0].accreditation")));
        assert!(said.ends_with("srpd.toml: valid: providers 1, capabilities 1, keys 1\n"));

        fixture.write(
            "srpd.toml",
            &text.replace("jurisdiction = \"au\"\n[", "\n["),
        );
        let said = srpd(&["check", file]).unwrap_err();
        assert!(said.starts_with(&format!("{file}:1: instance.jurisdiction: missing")));
    }
}
