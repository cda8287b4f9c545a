//! What a check finds, and how it is shown.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::host::Host;
use super::needs::Needs;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// As it should be.
    Ok,
    /// The host doesn't say.
    Unknown,
    /// It works, and could cost less.
    Advice,
    /// It costs much, or calls as soon as much happens.
    Warning,
    /// There will be no start, or calls will fail.
    Problem,
}

impl Grade {
    /// From the best to the worst.
    pub(super) const ALL: [Grade; 5] = [
        Grade::Ok,
        Grade::Unknown,
        Grade::Advice,
        Grade::Warning,
        Grade::Problem,
    ];

    fn shown(self) -> (&'static str, &'static str) {
        match self {
            Grade::Ok => ("ok", "32"),
            Grade::Unknown => ("unknown", "2"),
            Grade::Advice => ("advice", "36"),
            Grade::Warning => ("warning", "33"),
            Grade::Problem => ("PROBLEM", "1;31"),
        }
    }
}

/// What a check says.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) grade: Grade,
    /// What was found.
    pub(super) found: String,
    /// Commands, and lines of units and files, that change it, one a line.
    pub(super) change: String,
}

impl Verdict {
    pub(super) fn ok(found: impl Into<String>) -> Verdict {
        Verdict::new(Grade::Ok, found, "")
    }

    pub(super) fn unknown(found: impl Into<String>) -> Verdict {
        Verdict::new(Grade::Unknown, found, "")
    }

    pub(super) fn advice(found: impl Into<String>, change: impl Into<String>) -> Verdict {
        Verdict::new(Grade::Advice, found, change)
    }

    pub(super) fn warning(found: impl Into<String>, change: impl Into<String>) -> Verdict {
        Verdict::new(Grade::Warning, found, change)
    }

    pub(super) fn problem(found: impl Into<String>, change: impl Into<String>) -> Verdict {
        Verdict::new(Grade::Problem, found, change)
    }

    pub(super) fn new(
        grade: Grade,
        found: impl Into<String>,
        change: impl Into<String>,
    ) -> Verdict {
        Verdict {
            grade,
            found: found.into(),
            change: change.into(),
        }
    }
}

/// One thing that is looked at.
pub(super) struct Check {
    /// What it is called.
    pub(super) name: &'static str,
    /// Why it matters for srpd.
    pub(super) why: &'static str,
    /// The look.
    pub(super) look: fn(&Host, &Needs) -> Verdict,
}

/// What one check found.
#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) grade: Grade,
    pub(super) found: String,
    why: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    change: String,
}

impl Check {
    pub(super) fn finding(&self, host: &Host, needs: &Needs) -> Finding {
        let Verdict {
            grade,
            found,
            change,
        } = (self.look)(host, needs);
        Finding {
            check: self.name,
            grade,
            found,
            why: self.why,
            change,
        }
    }
}

/// How often each grade was given.
fn count(findings: &[Finding], grade: Grade) -> usize {
    findings
        .iter()
        .filter(|finding| finding.grade == grade)
        .count()
}

/// For people.
pub(super) fn show(findings: &[Finding], all: bool, out: &mut dyn Write) -> io::Result<()> {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut shown: Vec<&Finding> = findings.iter().collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
    for finding in shown {
        let (word, code) = finding.grade.shown();
        let word = format!("{word:>7}");
        let word = match colour {
            true => format!("\x1b[{code}m{word}\x1b[0m"),
            false => word,
        };
        writeln!(out, "{word}  {}: {}", finding.check, finding.found)?;
        if all || finding.grade > Grade::Unknown {
            writeln!(out, "         {}", finding.why)?;
        }
        for line in finding.change.lines() {
            writeln!(out, "           {line}")?;
        }
    }
    let counts: Vec<String> = Grade::ALL
        .iter()
        .rev()
        .map(|grade| format!("{} {}", count(findings, *grade), grade.shown().0))
        .collect();
    writeln!(out, "\n{}", counts.join(", "))
}

/// For machines: an object with an array of them.
pub(super) fn write_json(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'f> {
        problems: usize,
        warnings: usize,
        findings: &'f [Finding],
    }
    let report = Report {
        problems: count(findings, Grade::Problem),
        warnings: count(findings, Grade::Warning),
        findings,
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}
