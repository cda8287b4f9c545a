//! What may stand in a file: its length, its doc, where `unsafe` and `unwrap` are allowed, and
//! nothing that was left behind.

use super::source::{Source, tokens};

/// Lines of a file that is still read in one go.
pub const LINES_MAX: usize = 600;

/// Where the bound on lines holds.
const BOUNDED: &[&str] = &["src/", "tests/", "benches/", "perf/", "fuzz/", "loadtest/"];

/// Rooms that a call passes through, or that decide for it: nothing in them may give up.
const STEADY: &[&str] = &[
    "proxy", "control", "tables", "net", "http", "policy", "openai",
];

/// Words of work that isn't done. In halves, so that this file can be checked like any other.
const UNFINISHED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("TO", "DO"),
];

/// Places outside the repository.
const ELSEWHERE: &[&str] = &[concat!("../", "shared"), concat!("/wo", "rk/")];

/// Crates that others have been hurt by and that nothing here may bring in again, with the reason.
const UNWANTED: &[(&str, &str)] = &[
    (
        "h2",
        "no HTTP/2: docs/CVE_REVIEW.md lists what that would have to stand up to",
    ),
    (
        "monoio-http",
        "no parser for a border: docs/ARCHITECTURE.md says why",
    ),
    ("openssl-sys", "one TLS library"),
];

/// Files that are too long. Recorded figures and locked versions may be.
pub fn too_long(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| BOUNDED.iter().any(|part| source.path.starts_with(part)))
        .filter(|source| !source.path.starts_with("perf/results/"))
        .filter(|source| !source.path.ends_with("Cargo.lock"))
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect()
}

/// `unsafe` in the wrong place, or without its reason.
pub fn careless_unsafe(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        if !source.is_rust() || !is_described(source) {
            continue;
        }
        let at_home = source.path.starts_with("src/net/")
            || ["src/openai/probe/simd.rs", "fuzz/src/peers/milo.rs"].contains(&&*source.path);
        let words = tokens(&source.code);
        for (at, word) in words.iter().enumerate() {
            if word.text != "unsafe" {
                continue;
            }
            let place = format!("{}:{}", source.path, word.line);
            let next = words.get(at + 1).map_or("", |next| next.text);
            if !at_home {
                complaints.push(format!("{place}: unsafe outside its rooms"));
            } else if matches!(next, "{" | "impl") && !is_reasoned(source, word.line) {
                complaints.push(format!("{place}: unsafe without a SAFETY comment"));
            }
        }
    }
    complaints
}

/// Whether a SAFETY comment stands right in front of the statement that holds the line.
fn is_reasoned(source: &Source, line: usize) -> bool {
    let mut above = source.text.lines().take(line - 1).collect::<Vec<_>>();
    while let Some(text) = above.pop().map(str::trim) {
        if text.starts_with("//") {
            let mut comment = vec![text];
            while let Some(more) = above.pop().map(str::trim)
                && more.starts_with("//")
            {
                comment.push(more);
            }
            return comment.iter().any(|text| text.starts_with("// SAFETY:"));
        }
        if text.is_empty() || text.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

/// Macros, words and attributes that say that something isn't done.
pub fn leftovers(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| UNFINISHED.contains(word)) {
                complaints.push(format!("{}:{}: {word}", source.path, index + 1));
            }
        }
        if !source.is_rust() {
            continue;
        }
        let words = tokens(&source.code);
        for (at, word) in words.iter().enumerate() {
            let next = |text: &str| words.get(at + 1).is_some_and(|next| next.text == text);
            let found = match word.text {
                "todo" | "unimplemented" | "dbg" => next("!"),
                "ignore" => at > 0 && words[at - 1].text == "[",
                "dead_code" => true,
                lint => {
                    (lint == "unused" || lint.starts_with("unused_")) && in_attribute(&words, at)
                }
            };
            if found {
                let place = format!("{}:{}", source.path, word.line);
                complaints.push(format!("{place}: {}", word.text));
            }
        }
    }
    complaints
}

/// Whether the word is an argument of `allow` or `expect`.
fn in_attribute(words: &[super::source::Token<'_>], at: usize) -> bool {
    let mut before = words[..at].iter().rev().map(|word| word.text);
    let open = before.by_ref().find(|&text| text == "(" || text == "[");
    open == Some("(")
        && matches!(before.next(), Some("allow" | "expect"))
        && matches!(before.next(), Some("[" | ","))
}

/// Code on a call's way that gives up instead of answering.
pub fn unwraps(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let module = source.module().unwrap_or_default();
        if !module
            .first()
            .is_some_and(|room| STEADY.contains(&room.as_str()))
        {
            continue;
        }
        let words = tokens(&source.shipped);
        for call in words.windows(4) {
            let [dot, name, open, argument] = [0, 1, 2, 3].map(|at| call[at].text);
            // A parser's own `expect(b'{')` is no `Option::expect`.
            let gives_up = match name {
                "unwrap" | "unwrap_err" => true,
                "expect" | "expect_err" => argument != "b",
                _ => false,
            };
            if dot == "." && open == "(" && gives_up {
                complaints.push(format!("{}:{}: {name}", source.path, call[1].line));
            }
        }
    }
    complaints
}

/// Files of the program that don't say what they are.
pub fn undescribed(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.is_rust() && is_described(source))
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect()
}

/// Crates in the lock file that are not wanted.
pub fn unwanted(sources: &[Source]) -> Vec<String> {
    let locks = sources.iter().filter(|source| source.path == "Cargo.lock");
    locks
        .flat_map(|lock| lock.text.lines())
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter_map(|name| UNWANTED.iter().find(|(unwanted, _)| *unwanted == name))
        .map(|(name, reason)| format!("{name}: {reason}"))
        .collect()
}

/// Whether a file is part of what the product is, or is fuzzed by.
fn is_described(source: &Source) -> bool {
    source.path.starts_with("src/") || source.path.starts_with("fuzz/")
}

/// Fuzz targets that a part of `fuzz/` doesn't know: a binary, a property, the list that the tests
/// go through.
pub fn unknown_targets(sources: &[Source]) -> Vec<String> {
    let text = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.map_or("", |source| &source.text)
    };
    let (manifest, list) = (text("fuzz/Cargo.toml"), text("fuzz/src/lib.rs"));
    let name = |source: &Source, directory: &str| {
        let name = source.path.strip_prefix(directory)?.strip_suffix(".rs")?;
        (name != "mod").then(|| name.to_owned())
    };
    let mut complaints = Vec::new();
    for source in sources {
        let places = ["fuzz/fuzz_targets/", "fuzz/src/targets/"];
        let Some(name) = places.iter().find_map(|place| name(source, place)) else {
            continue;
        };
        let known = places
            .iter()
            .all(|place| !text(&format!("{place}{name}.rs")).is_empty())
            && manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\""))
            && list.contains(&format!("(\"{name}\", targets::{name}::run)"));
        if !known {
            complaints.push(format!("{}: not known everywhere", source.path));
        }
    }
    complaints
}

/// Mentions of places that whoever has the repository doesn't have.
pub fn elsewhere(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(place) = ELSEWHERE.iter().find(|place| line.contains(**place)) {
                complaints.push(format!("{}:{}: {place}", source.path, index + 1));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> [Source; 1] {
        [Source::new(path, text)]
    }

    #[test]
    fn a_long_file_is_found_where_it_matters() {
        let long = "\n".repeat(LINES_MAX + 1);
        assert_eq!(too_long(&one("src/a.rs", &long)).len(), 1);
        assert_eq!(too_long(&one("src/a.rs", &long[1..])).len(), 0);
        assert_eq!(too_long(&one("perf/results/x.json", &long)).len(), 0);
        assert_eq!(too_long(&one("fuzz/src/a.rs", &long)).len(), 1);
        assert_eq!(too_long(&one("fuzz/Cargo.lock", &long)).len(), 0);
    }

    #[test]
    fn unsafe_needs_its_place_and_its_reason() {
        let bare = "fn f() { unsafe { g() } }";
        let reasoned =
            "fn f() {\n    // SAFETY: g asks nothing,\n    // today.\n    h(\n unsafe { g() })\n}";
        let stale = "// SAFETY: of h.\nunsafe { h() };\nunsafe { g() };";
        let check = |path: &str, text: &str| careless_unsafe(&one(path, text)).len();
        assert_eq!(check("src/net/ring.rs", bare), 1);
        assert_eq!(check("src/net/ring.rs", reasoned), 0);
        assert_eq!(check("src/net/ring.rs", stale), 1);
        assert_eq!(check("src/net/ring.rs", "unsafe impl Send for X {}"), 1);
        assert_eq!(check("src/proxy/call.rs", reasoned), 1);
        assert_eq!(check("fuzz/src/dice.rs", reasoned), 1);
        assert_eq!(check("fuzz/src/peers/milo.rs", bare), 1);
        assert_eq!(
            check("src/proxy/call.rs", "// unsafe\nlet a = \"unsafe\";"),
            0
        );
    }

    #[test]
    fn what_is_not_done_is_found() {
        let word = UNFINISHED[0];
        for text in [
            "fn f() { todo!() }",
            "fn f() { dbg!(x); }",
            "fn f() { unimplemented!() }",
            "#[ignore = \"slow\"]\nfn f() {}",
            "#[allow(dead_code)]\nfn f() {}",
            "#[expect(unused_variables)]\nfn f() {}",
            "#![allow(unused)]",
            &format!("// {word}: later"),
        ] {
            assert_eq!(leftovers(&one("src/a.rs", text)).len(), 1, "{text}");
        }
        let fine = "fn allow(unused_slots: u8) { ignore(todo) }\n// dbg! is forbidden";
        assert!(leftovers(&one("src/a.rs", fine)).is_empty());
        assert_eq!(leftovers(&one("docs/A.md", word)).len(), 1);
    }

    #[test]
    fn giving_up_is_for_tests() {
        let check = |text: &str| unwraps(&one("src/http/head.rs", text)).len();
        assert_eq!(check("fn f() { g().unwrap(); }"), 1);
        assert_eq!(check("fn f() { g()\n.expect(\"h\") }"), 1);
        assert_eq!(check("fn f() { g().unwrap_or(1); h.expect(b'{', 2); }"), 0);
        assert_eq!(
            check("#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }"),
            0
        );
        assert!(unwraps(&one("src/cli/mod.rs", "fn f() { g().unwrap() }")).is_empty());
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(undescribed(&one("src/a.rs", "use b;")).len(), 1);
        assert!(undescribed(&one("src/a.rs", "//! The a of b.\n")).is_empty());
    }

    #[test]
    fn an_unwanted_crate_is_found() {
        let lock = "[[package]]\nname = \"h2\"\nversion = \"0.4.1\"\n";
        assert_eq!(unwanted(&one("Cargo.lock", lock)).len(), 1);
        assert!(unwanted(&one("Cargo.lock", &lock.replace("h2", "h2x"))).is_empty());
    }

    #[test]
    fn a_target_is_known_everywhere_or_not_at_all() {
        let whole = [
            Source::new("fuzz/fuzz_targets/a.rs", "x"),
            Source::new("fuzz/src/targets/a.rs", "x"),
            Source::new("fuzz/src/targets/mod.rs", "x"),
            Source::new("fuzz/Cargo.toml", "path = \"fuzz_targets/a.rs\""),
            Source::new("fuzz/src/lib.rs", "(\"a\", targets::a::run)"),
        ];
        assert!(unknown_targets(&whole).is_empty());
        for left_out in [0, 1, 3, 4] {
            let mut part = whole.to_vec();
            part.remove(left_out);
            assert!(!unknown_targets(&part).is_empty(), "{left_out}");
        }
    }

    #[test]
    fn places_elsewhere_are_found() {
        let text = format!("see {}plan.md", ELSEWHERE[0]);
        assert_eq!(elsewhere(&one("docs/A.md", &text)).len(), 1);
        assert!(elsewhere(&one("docs/A.md", "the network/ is shared")).is_empty());
    }
}
