//! The report as a page: one file without a script, which asks nobody for anything.

use std::fmt::Write as _;

use super::{Checked, Report, Verdict};

const STYLE: &str = include_str!("page.css");

/// The page. Writing to a `String` doesn't fail.
pub fn render(report: &Report) -> String {
    let subject = escaped(&report.provider);
    let title = format!("Conformance of {subject} to SRP {}", report.srp);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    );
    let word = match report.conforms {
        true => Verdict::Pass,
        false => Verdict::Fail,
    };
    let _ = writeln!(
        out,
        "<p class=\"result {}\">{}</p>\n<dl>",
        word.word(),
        escaped(&report.sentence())
    );
    for (name, value) in report.facts() {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    out.push_str("</dl>\n");
    let parts: [(&str, Verdict); 3] = [
        ("Failed", Verdict::Fail),
        ("Passed", Verdict::Pass),
        ("Skipped", Verdict::Skipped),
    ];
    for (heading, verdict) in parts {
        let of_it: Vec<&Checked> = report
            .checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .collect();
        if !of_it.is_empty() {
            let _ = writeln!(out, "<h2>{heading}: {}</h2>", of_it.len());
        }
        for check in of_it {
            entry(&mut out, check);
        }
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn entry(out: &mut String, check: &Checked) {
    let open = if check.is_fatal() { " open" } else { "" };
    let _ = writeln!(
        out,
        "<details class=\"{severity}\"{open}>\n<summary><span class=\"verdict {verdict}\">{verdict}</span>\
         <span class=\"quiet\">{severity}</span><code>{id}</code><span class=\"title\">{title}</span>\
         <span class=\"quiet\">{ms} ms</span><span class=\"detail\">{detail}</span></summary>\n\
         <div class=\"inside\">\n<p class=\"quiet\">Demanded by: {requirement}.</p>",
        severity = check.severity.word(),
        verdict = check.verdict.word(),
        id = check.id,
        title = marked(check.title),
        ms = check.duration_ms,
        detail = marked(&check.detail),
        requirement = marked(check.requirement),
    );
    for exchange in &check.evidence {
        for (what, text) in [("Sent", &exchange.sent), ("Received", &exchange.received)] {
            let text = escaped(text);
            let _ = writeln!(
                out,
                "<span class=\"quiet\">{what}</span>\n<pre>{text}</pre>"
            );
        }
    }
    out.push_str("</div>\n</details>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// What stands between back quotes is code; nothing else in it is markup.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in escaped(text).split('`').enumerate() {
        match index % 2 {
            0 => out.push_str(part),
            _ => {
                let _ = write!(out, "<code>{part}</code>");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::tests::report;

    #[test]
    fn nothing_that_was_received_is_markup_and_nobody_is_asked() {
        let page = render(&report(|_| Verdict::Fail));
        for bad in ["<script", "<b>", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert!(page.contains("&lt;script&gt;"));
        let count = crate::conformance::checks::all().count();
        assert_eq!(page.matches("<details").count(), count);
        assert_eq!(page.matches("</details>").count(), count);
        assert!(page.contains("<dd>aloomu</dd>"));
    }

    #[test]
    fn what_speaks_against_it_is_open() {
        let page = render(&report(|item| match item.id {
            "chat.whole" => Verdict::Fail,
            _ => Verdict::Pass,
        }));
        assert_eq!(page.matches("<details class=\"must\" open>").count(), 1);
        assert!(page.contains("<h2>Failed: 1</h2>"));
    }
}
