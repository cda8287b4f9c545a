//! `srpd man --out DIR`

use std::io::Write;

use clap::CommandFactory;
use srpd_manual::Pages;

use super::Failure;

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd man --out /usr/local/share/man/man1 && man srpd-serve";

pub(super) fn run(pages: &Pages, out: &mut dyn Write) -> Result<(), Failure> {
    let written = pages.write(super::Arguments::command());
    for name in written.map_err(|(path, error)| Failure::file(&path)(error))? {
        writeln!(out, "{name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::srpd;

    #[test]
    fn every_command_has_a_page_and_each_flag_is_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().to_str().unwrap();
        let said = srpd(&["man", "--out", out]).unwrap();
        for name in [
            "srpd.1",
            "srpd-serve.1",
            "srpd-accredit-sign.1",
            "srpd-key-new.1",
        ] {
            assert!(said.lines().any(|line| line == name), "no {name} in {said}");
        }
        for name in said.lines() {
            let page = std::fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(
                page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"),
                "{name}"
            );
        }
        let sign = std::fs::read_to_string(directory.path().join("srpd-accredit-sign.1")).unwrap();
        for flag in ["key", "provider", "jurisdiction", "endpoint", "days", "out"] {
            assert!(
                sign.contains(&format!("\\-\\-{flag}")),
                "no --{flag} in {sign}"
            );
        }
        // What a reader makes of it, where there is one.
        let page = directory.path().join("srpd-accredit-sign.1");
        if let Ok(shown) = Command::new("man")
            .arg("-l")
            .arg(&page)
            .env("MANWIDTH", "80")
            .output()
        {
            let text = String::from_utf8_lossy(&shown.stdout);
            let warnings = String::from_utf8_lossy(&shown.stderr);
            assert!(
                text.contains("EXIT STATUS") && warnings.is_empty(),
                "{text}{warnings}"
            );
        }
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let refused = srpd(&["man", "--out", "/dev/null/man"]).unwrap_err();
        assert!(refused.starts_with("/dev/null/man: "), "{refused}");
    }
}
