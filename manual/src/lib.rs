//! Manual pages and shell completions, from the same definition as a program's `--help`: what
//! packages install can't say anything else than the program does.
//!
//! What stands behind a command's help is divided into sections by lines that begin at the margin
//! and end with a colon, such as `Exit status:`; a page has them as sections of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, ValueHint};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Write manual pages, one for each command
///
/// For packages: man(1) finds srpd-serve.1 as `man srpd-serve`.
#[derive(clap::Args, Debug)]
pub struct Pages {
    /// The directory that they are written into; it is made if it isn't there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
}

/// Print a shell's completions on standard output
///
/// Where shells look for them: bash in /usr/share/bash-completion/completions/NAME, zsh in _NAME in
/// a directory of $fpath, fish in /usr/share/fish/vendor_completions.d/NAME.fish.
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl Pages {
    /// Writes the pages of a program and its commands. Returns their names.
    ///
    /// # Errors
    /// The file that can't be written, and why.
    pub fn write(&self, mut program: Command) -> Result<Vec<String>, (PathBuf, io::Error)> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| (path, error)
        };
        std::fs::create_dir_all(&self.out).map_err(failed(&self.out))?;
        program.build();
        let mut written = Vec::new();
        for command in all(program) {
            let name = format!("{}.1", page_name(&command));
            let path = self.out.join(&name);
            std::fs::write(&path, page(command)).map_err(failed(&path))?;
            written.push(name);
        }
        Ok(written)
    }
}

impl Completions {
    /// Writes the completions of a program.
    ///
    /// # Errors
    /// Where they are written to.
    pub fn write(&self, mut program: Command, out: &mut dyn Write) -> io::Result<()> {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        out.write_all(&script)
    }
}

/// A command and all below it, but for `help`. The command must have been built.
pub fn all(command: Command) -> Vec<Command> {
    let below: Vec<Command> = command.get_subcommands().cloned().collect();
    let shown = below
        .into_iter()
        .filter(|command| command.get_name() != "help" && !command.is_hide_set());
    let below: Vec<Command> = shown.flat_map(all).collect();
    [vec![command], below].concat()
}

/// What a command's page is called: `srpd-key-new`.
pub fn page_name(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    name.replace(' ', "-")
}

/// A command's page, in roff.
pub fn page(command: Command) -> Vec<u8> {
    let name = page_name(&command);
    let behind = command.get_after_long_help().map(ToString::to_string);
    let above: Vec<String> = parents(&name);
    let commands = command.get_subcommands().next().is_some();
    // A page is asked for by its own name, and `help` has none.
    let command = command
        .disable_help_subcommand(true)
        .after_help(None::<&str>)
        .after_long_help(None::<&str>);
    let man = Man::new(command).title(name.to_uppercase());
    let mut out = Vec::new();
    // A `Vec` takes everything.
    let _ = man.render_title(&mut out);
    let _ = man.render_name_section(&mut out);
    let _ = man.render_synopsis_section(&mut out);
    let _ = man.render_description_section(&mut out);
    let _ = man.render_options_section(&mut out);
    if commands {
        let _ = man.render_subcommands_section(&mut out);
    }
    let mut roff = Roff::new();
    for (title, lines) in sections(&behind.unwrap_or_default()) {
        roff.control("SH", [title.to_uppercase().as_str()]);
        roff.control("nf", []);
        lines.iter().for_each(|line| {
            roff.text([roman(*line)]);
        });
        roff.control("fi", []);
    }
    if !above.is_empty() {
        roff.control("SH", ["SEE ALSO"]);
        let mut line = Vec::new();
        for (at, page) in above.iter().enumerate() {
            line.push(bold(page.as_str()));
            line.push(roman(if at + 1 < above.len() { "(1), " } else { "(1)" }));
        }
        roff.text(line);
    }
    let _ = roff.to_writer(&mut out);
    out
}

/// The pages of the commands above one: of `srpd-key-new`, `srpd` and `srpd-key`.
fn parents(name: &str) -> Vec<String> {
    let ends = name.match_indices('-').map(|(at, _)| name[..at].to_owned());
    ends.collect()
}

/// What stands behind a help text, by section. What comes before the first heading is in none.
fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_suffix(':') {
            Some(title) if !line.starts_with(' ') => sections.push((title, Vec::new())),
            _ => {
                if let Some((_, lines)) = sections.last_mut() {
                    lines.push(line);
                }
            }
        }
    }
    for (_, lines) in &mut sections {
        let end = lines.iter().rposition(|line| !line.is_empty());
        lines.truncate(end.map_or(0, |end| end + 1));
    }
    sections
}

/// What a command line's definition leaves out that a reader of `--help` would miss: a command or
/// an argument that doesn't say what it is, a file that shells can't complete, a command without
/// an example. Empty if it is complete.
pub fn omissions(mut program: Command) -> Vec<String> {
    program.build();
    let mut omissions = Vec::new();
    for command in all(program) {
        let name = page_name(&command);
        let mut miss = |what: &str| omissions.push(format!("{name}: {what}"));
        if command.get_about().is_none() {
            miss("doesn't say what it is for");
        }
        for argument in command.get_arguments() {
            let id = argument.get_id();
            if argument.get_help().is_none() {
                miss(&format!("{id} doesn't say what it is"));
            }
            let named = argument.get_value_names().unwrap_or_default();
            let path = named.iter().any(|name| *name == "FILE" || *name == "DIR");
            if path && argument.get_value_hint() == ValueHint::Unknown {
                miss(&format!("{id} has no value hint"));
            }
        }
        let behind = command.get_after_long_help().map(ToString::to_string);
        let titles = behind.as_deref().map(sections).unwrap_or_default();
        let has_example = titles.iter().any(|(title, _)| *title == "Examples");
        if !command.has_subcommands() && !has_example {
            miss("has no examples");
        }
    }
    omissions
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn program() -> Command {
        let new = Command::new("new")
            .about("Makes one")
            .arg(Arg::new("name").help("What it is called"))
            .after_long_help("Examples:\n  tool key new a\n\nExit status:\n  0  done\n");
        let key = Command::new("key").about("Keys").subcommand(new);
        Command::new("tool").about("Does it").subcommand(key)
    }

    #[test]
    fn every_command_has_a_page_with_its_sections() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("man/man1");
        let names = Pages { out: out.clone() }.write(program()).unwrap();
        assert_eq!(names, ["tool.1", "tool-key.1", "tool-key-new.1"]);
        let page = std::fs::read_to_string(out.join("tool-key-new.1")).unwrap();
        for part in [
            ".SH EXAMPLES\n.nf\n  tool key new a\n.fi",
            ".SH \"EXIT STATUS\"",
            "What it is called",
            ".SH \"SEE ALSO\"",
            "tool\\-key",
        ] {
            assert!(page.contains(part), "no {part:?} in {page}");
        }
        assert!(!page.contains("EXTRA"), "{page}");
    }

    #[test]
    fn a_page_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let out = file.path().join("man");
        let (path, _) = Pages { out: out.clone() }.write(program()).unwrap_err();
        assert_eq!(path, out);
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [
            clap_complete::Shell::Bash,
            clap_complete::Shell::Zsh,
            clap_complete::Shell::Fish,
        ] {
            let mut script = Vec::new();
            Completions { shell }.write(program(), &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("key") && script.contains("new"), "{script}");
        }
    }

    #[test]
    fn what_is_left_out_is_found() {
        assert_eq!(omissions(program()), [""; 0]);
        let silent = Command::new("silent").arg(Arg::new("file").value_name("FILE"));
        assert_eq!(
            omissions(program().subcommand(silent)),
            [
                "tool-silent: doesn't say what it is for",
                "tool-silent: file doesn't say what it is",
                "tool-silent: file has no value hint",
                "tool-silent: has no examples",
            ]
        );
    }
}
