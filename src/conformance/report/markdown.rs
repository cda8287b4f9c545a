//! The report in Markdown: a table of all checks, and the evidence of those that failed.

use std::fmt::Write as _;

use super::{Checked, Report, Verdict};

/// The text. Writing to a `String` doesn't fail.
pub fn render(report: &Report) -> String {
    let mut out = format!(
        "# Conformance of {} to SRP {}\n\n",
        report.provider, report.srp
    );
    let _ = writeln!(out, "**{}.**\n", report.sentence());
    out.push_str("| | |\n|---|---|\n");
    for (name, value) in report.facts() {
        let _ = writeln!(out, "| {name} | {} |", cell(&value));
    }
    out.push_str("\n## Checks\n\n");
    out.push_str("| check | | verdict | what must hold | what was seen | ms |\n");
    out.push_str("|---|---|---|---|---|--:|\n");
    for check in &report.checks {
        let verdict = match check.verdict {
            Verdict::Fail => "**fail**",
            other => other.word(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {verdict} | {} | {} | {} |",
            check.id,
            check.severity.word(),
            cell(check.title),
            cell(&check.detail),
            check.duration_ms
        );
    }
    let failed: Vec<&Checked> = report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .collect();
    if !failed.is_empty() {
        out.push_str("\n## What failed, with evidence\n");
    }
    for check in failed {
        evidence(&mut out, check);
    }
    out
}

fn evidence(out: &mut String, check: &Checked) {
    let _ = writeln!(out, "\n### `{}`: {}\n", check.id, check.title);
    let _ = writeln!(out, "{}\n", cell(&check.detail));
    let _ = writeln!(out, "Demanded by: {}.", check.requirement);
    for exchange in &check.evidence {
        for (what, text) in [("Sent", &exchange.sent), ("Received", &exchange.received)] {
            let _ = writeln!(out, "\n{what}:\n\n{}", indented(text));
        }
    }
}

/// A code block that nothing in it can end.
fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

/// A text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::tests::report;

    #[test]
    fn every_check_is_one_row_whatever_it_says() {
        let text = render(&report(|_| Verdict::Pass));
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(rows.len(), crate::conformance::checks::all().count());
        for row in rows {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
            assert!(!row.contains('<'), "{row}");
        }
        assert!(text.contains("| provider | aloomu |"));
        assert!(!text.contains("with evidence"));
    }

    #[test]
    fn what_failed_is_there_with_its_evidence_indented() {
        let text = render(&report(|_| Verdict::Fail));
        assert!(text.contains("### `chat.whole`"));
        assert!(text.contains("\n    second ``` line\n"));
        assert!(text.contains("does not conform"));
    }
}
