//! What the documents promise: every test, file and command that they name exists, and every row
//! of a table that has to name its test does so or says that there is none.
//!
//! A document names a test as `src/policy/retry/tests.rs::the_minimum_is_there_from_the_start`,
//! several of one file as `tests/e2e/rates.rs::{one, another}`, and one vector of a corpus as
//! `tests/e2e/smuggling/requests/lengths.txt::length-plus`.

use super::source::{SKIPPED, Source, tokens};

/// Where a path of the repository begins.
const TOP: &[&str] = &[
    ".ci/",
    "benches/",
    "docs/",
    "fuzz/",
    "loadtest/",
    "monitoring/",
    "perf/",
    "systemd/",
    "src/",
    "tests/",
];

/// Documents of what was, not of what is.
const HISTORY: &[&str] = &["CHANGELOG.md"];

/// A column that names the test of each row.
const TESTED: &str = "tested by";

/// What may stand in that column in place of a test: nothing enforces it, the compiler does, or
/// there is nothing that could go wrong.
const UNTESTED: &[&str] = &["**not enforced yet**", "by type", "by absence"];

/// Names in documents that nothing in the repository bears.
pub fn dangling(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in documents(sources) {
        for (line, text) in prose(&document.text) {
            for span in spans(text) {
                if let Some(missing) = missing(span, sources) {
                    complaints.push(format!("{}:{line}: {missing}", document.path));
                }
            }
        }
    }
    complaints
}

/// Rows of tables with a test column that have no test in it, and don't say so.
pub fn unproven(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in documents(sources) {
        let mut column = None;
        let lines: Vec<_> = prose(&document.text).collect();
        for (at, (line, text)) in lines.iter().enumerate() {
            if !text.starts_with('|') {
                column = None;
                continue;
            }
            let below = lines.get(at + 1).map_or("", |(_, below)| below);
            if below.starts_with("|--") {
                column = cells(text).position(|cell| cell == TESTED);
            }
            let Some(column) = column else { continue };
            if text.starts_with("|--") || below.starts_with("|--") {
                continue;
            }
            let cell = cells(text).nth(column).unwrap_or_default();
            let named = spans(cell).any(|span| span.contains("::") || is_script(span));
            if !named && !UNTESTED.iter().any(|word| cell.contains(word)) {
                complaints.push(format!("{}:{line}: no test", document.path));
            }
        }
    }
    complaints
}

/// A script that fails if what it measures is wrong.
fn is_script(span: &str) -> bool {
    span.starts_with("perf/") || ["systemd/prove", "monitoring/check"].contains(&span)
}

fn documents(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources
        .iter()
        .filter(|source| source.path.ends_with(".md"))
        .filter(|source| !HISTORY.contains(&source.path.as_str()))
}

/// The lines outside fenced blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(move |(_, line)| {
            let fence = line.starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
}

/// What stands between back quotes.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The cells of a row. No cell here has a bar in it.
fn cells(row: &str) -> impl Iterator<Item = &str> {
    row.trim_matches('|').split('|').map(str::trim)
}

/// What the span names and the repository doesn't have.
fn missing(span: &str, sources: &[Source]) -> Option<String> {
    let word = span.split(' ').next().unwrap_or_default();
    let path = word.split("::").next().unwrap_or_default();
    let rooted = TOP.iter().any(|top| path.starts_with(top));
    let room = path.contains('/') && path.ends_with(".rs");
    if !(rooted || room) || path.split('/').any(|part| SKIPPED.contains(&part)) {
        return None;
    }
    let path = path.trim_end_matches('/');
    let below = format!("{path}/");
    let found = sources.iter().find(|source| {
        source.path == path
            || source.path.starts_with(&below)
            || (!rooted && source.path.strip_prefix("src/") == Some(path))
    });
    let Some(file) = found else {
        return Some(format!("no file {path}"));
    };
    let (_, names) = span.split_once("::")?;
    let group = names.strip_prefix('{').and_then(|n| n.strip_suffix('}'));
    group
        .unwrap_or(names)
        .split(", ")
        .find(|name| !has_test(file, name))
        .map(|name| format!("no test {path}::{name}"))
}

/// Whether the file has the test, or the vector.
fn has_test(file: &Source, name: &str) -> bool {
    let extension = file.path.rsplit('.').next();
    match extension {
        Some("rs") => has_rust_test(file, name),
        Some("py") => file.text.contains(&format!("def {name}(")),
        Some("txt") => file
            .text
            .lines()
            .filter(|line| !line.starts_with([' ', '#']))
            .any(|line| line.split(' ').any(|word| word == name)),
        _ => false,
    }
}

/// Whether there is a function of that name under `#[test]`.
fn has_rust_test(file: &Source, name: &str) -> bool {
    let words = tokens(&file.code);
    words.windows(2).enumerate().any(|(at, pair)| {
        let attributes = words[..at].iter().rev().map(|word| word.text);
        let mut attributes = attributes.take_while(|text| !matches!(*text, ";" | "{" | "}"));
        pair[0].text == "fn" && pair[1].text == name && attributes.any(|text| text == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(document: &str) -> Vec<Source> {
        vec![
            Source::new("docs/A.md", document),
            Source::new("CHANGELOG.md", "`src/gone.rs`"),
            Source::new("src/http/head.rs", "pub fn f() {}"),
            Source::new(
                "tests/e2e/a.rs",
                "fn aid() {}\n// #[test] fn told() {}\n#[test]\nfn one() {}\n\
                 proptest! { /// Two.\n #[test]\n fn two(x in 0..9) {} }",
            ),
            Source::new("tests/clients/test_a.py", "def test_a(client):\n    pass\n"),
            Source::new(
                "tests/a.txt",
                "# not this\nfail drop one as {x}\n  GET two\n",
            ),
            Source::new("perf/check", "#!/bin/sh\n"),
        ]
    }

    #[test]
    fn what_is_there_may_be_named() {
        for document in [
            "`tests/e2e/a.rs::one`, `tests/e2e/a.rs::{one, two}`",
            "`tests/clients/test_a.py::test_a`, `tests/a.txt::one`, `tests/e2e/`, `tests`",
            "`perf/check --record`, `src/http/head.rs`, `http/head.rs`, `target/debug`",
            "`base::Secret`, `a::b`, `fuzz/corpus/x`, `/v1/chat`, tests/gone.rs",
            "```\n`tests/gone.rs`\n```\n",
        ] {
            let complaints = dangling(&repository(document));
            assert!(complaints.is_empty(), "{complaints:?}");
        }
    }

    #[test]
    fn what_is_not_there_may_not() {
        for (document, complaint) in [
            ("`tests/e2e/a.rs::three`", "no test tests/e2e/a.rs::three"),
            (
                "`tests/e2e/a.rs::{one, six}`",
                "no test tests/e2e/a.rs::six",
            ),
            ("`tests/e2e/a.rs::aid`", "no test tests/e2e/a.rs::aid"),
            ("`tests/e2e/a.rs::told`", "no test tests/e2e/a.rs::told"),
            ("`tests/e2e/b.rs::one`", "no file tests/e2e/b.rs"),
            ("`tests/a.txt::two`", "no test tests/a.txt::two"),
            ("`tests/a.txt::not`", "no test tests/a.txt::not"),
            (
                "`tests/clients/test_a.py::test`",
                "no test tests/clients/test_a.py::test",
            ),
            ("`perf/chec -v`", "no file perf/chec"),
            ("`http/body.rs`", "no file http/body.rs"),
        ] {
            let complaints = dangling(&repository(&format!("\n{document}")));
            assert_eq!(complaints, [format!("docs/A.md:2: {complaint}")]);
        }
    }

    #[test]
    fn a_row_names_its_test_or_says_that_there_is_none() {
        let table = "| promise | tested by |\n|---|---|\n";
        let check = |rows: &str| unproven(&repository(&format!("{table}{rows}"))).len();
        assert_eq!(
            check("| 1 | `tests/e2e/a.rs::one` |\n| 2 | `perf/check` |\n"),
            0
        );
        assert_eq!(check("| 1 | **not enforced yet** |\n| 2 | by type |\n"), 0);
        assert_eq!(check("| 1 | of course |\n| 2 |\n| 3 | `one` |\n"), 3);
        assert_eq!(check("\n| a | b |\n|---|---|\n| 1 | 2 |\n"), 0);
    }
}
