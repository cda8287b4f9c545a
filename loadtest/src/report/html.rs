//! The report as a page with plots: one file that asks nobody for anything.

use super::Report;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const PLOTS: &str = include_str!("page/plots.js");

/// The page.
///
/// # Errors
/// None that figures give.
pub fn render(report: &Report) -> serde_json::Result<String> {
    // No text of a report may end the script that it stands in.
    let data = serde_json::to_string(report)?.replace('<', "\\u003c");
    let parts = [
        ("/* STYLE */", STYLE),
        ("/* PLOTS */", PLOTS),
        ("/* SCRIPT */", SCRIPT),
        ("/* DATA */ null", &data),
    ];
    // The data comes last: what it says is not looked through.
    Ok(parts.iter().fold(PAGE.to_owned(), |page, (mark, text)| {
        page.replacen(mark, text, 1)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_place_in_the_page() {
        for mark in [
            "/* STYLE */",
            "/* PLOTS */",
            "/* SCRIPT */",
            "/* DATA */ null",
        ] {
            assert_eq!(PAGE.matches(mark).count(), 1, "{mark}");
            assert!(
                ![STYLE, SCRIPT, PLOTS]
                    .iter()
                    .any(|part| part.contains(mark))
            );
        }
        for part in [PAGE, STYLE, SCRIPT, PLOTS] {
            assert!(
                !part.contains("src=") && !part.contains("@import") && !part.contains("fetch(")
            );
        }
    }
}
