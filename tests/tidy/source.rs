//! Source text as the checks see it: files by path, comments and literals blanked, test code
//! taken out, and every path that the code names.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// Directories that hold nothing of ours.
pub const SKIPPED: &[&str] = &[
    "target",
    "fuzz-target",
    "node_modules",
    "__pycache__",
    "out",
    "corpus",
    "artifacts",
    "proptest-regressions",
];

/// What begins with a dot and is ours nevertheless.
const SHOWN: &[&str] = &[".ci", ".github", ".gitignore"];

/// A file of the repository.
#[derive(Clone)]
pub struct Source {
    /// Relative to the root, with slashes.
    pub path: String,
    /// As it is on disk.
    pub text: String,
    /// The text with comments and the insides of literals blanked, for `.rs`.
    pub code: String,
    /// The code without what is compiled for tests only.
    pub shipped: String,
}

impl Source {
    /// A file of that content.
    pub fn new(path: &str, text: &str) -> Source {
        let code = blanked(text);
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            shipped: without_tests(&code),
            code,
        }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its module in the library: `["net", "ring"]` for `src/net/ring.rs`.
    pub fn module(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if matches!(module.last()?.as_str(), "mod" | "lib" | "main") {
            module.pop();
        }
        Some(module)
    }
}

/// Every text file below `root`; modules that are declared for tests only ship nothing.
pub fn read_all(root: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    walk(root, "", &mut sources)?;
    let tests: BTreeSet<Vec<String>> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let module = source.module().unwrap_or_default();
        if (1..=module.len()).any(|length| tests.contains(&module[..length])) {
            source.shipped = String::new();
        }
    }
    Ok(sources)
}

fn walk(directory: &Path, prefix: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && !SHOWN.contains(&name.as_str());
        if hidden || SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), sources)?;
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            sources.push(Source::new(&path, &text));
        }
    }
    Ok(())
}

/// The modules that a file declares under `#[cfg(test)]`, with a file of their own.
pub fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (start, _) in source.code.match_indices("#[cfg(test)]") {
        let words = tokens(&source.code[start..]);
        let Some(at) = words.iter().position(|token| token.text == "mod") else {
            continue;
        };
        // `# [ cfg ( test ) ]`, and at most `pub ( super )` before the word.
        let opens_file = words.get(at + 2).is_some_and(|token| token.text == ";");
        if at <= 11 && opens_file {
            found.push([&module[..], &[words[at + 1].text.to_owned()]].concat());
        }
    }
    found
}

/// The text with comments, and what stands between quotes, turned into spaces.
pub fn blanked(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        let (from, to) = opaque(text.as_bytes(), at);
        for byte in &mut out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = to.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What has to be blanked of the comment or literal that begins at `at`; nothing if none does.
/// Ends behind it, closing quote excluded.
fn opaque(text: &[u8], at: usize) -> (usize, usize) {
    let rest = &text[at..];
    let nothing = (at, at);
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|&byte| byte == b'\n');
        return (at, at + length.unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return (at, at + block_comment(rest));
    }
    match rest[0] {
        b'"' => {
            let length = quoted(&rest[1..], b'"');
            // The closing quote is stepped over, so that it doesn't open another literal.
            (at + 1, (at + 2 + length).min(text.len()))
        }
        b'r' if at == 0 || !is_word(text[at - 1]) || matches!(text[at - 1], b'b' | b'c') => {
            let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return nothing;
            }
            let inside = at + hashes + 2;
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let found = text[inside..]
                .windows(close.len())
                .position(|window| window == close);
            (
                inside,
                found.map_or(text.len(), |length| inside + length + close.len()),
            )
        }
        b'\'' if rest.get(1) == Some(&b'\\') => {
            // Not every file is Rust: there the quote may have no partner.
            let length = quoted(&rest[1..], b'\'');
            (at + 1, (at + 2 + length).min(text.len()))
        }
        b'\'' => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .or_else(|error| std::str::from_utf8(&rest[1..=error.valid_up_to()]))
                .ok()
                .and_then(|text| text.chars().next())
                .map_or(1, char::len_utf8);
            match rest.get(1 + width) {
                Some(b'\'') => (at + 1, at + 2 + width),
                _ => nothing,
            }
        }
        _ => nothing,
    }
}

fn block_comment(text: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Bytes up to the quote that isn't escaped.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != quote {
        at += 1 + usize::from(text[at] == b'\\');
    }
    at.min(text.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks every item under `#[cfg(test)]`.
pub fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let end = item_end(code.as_bytes(), start + attribute.len());
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Behind the item that begins at `from`: its closing brace, or its semicolon.
fn item_end(code: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// A word, `::`, or one other character.
pub struct Token<'c> {
    pub text: &'c str,
    /// From 1.
    pub line: usize,
}

/// The tokens of blanked code.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = Vec::new();
    while at < bytes.len() {
        let length = match bytes[at] {
            byte if is_word(byte) => bytes[at..].iter().take_while(|&&b| is_word(b)).count(),
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            byte => {
                line += usize::from(byte == b'\n');
                1
            }
        };
        let text = code.get(at..at + length).unwrap_or_default();
        if !text.trim().is_empty() {
            found.push(Token { text, line });
        }
        at += length;
    }
    found
}

/// A path that code names, in full: groups are multiplied out.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub segments: Vec<String>,
    /// Where it begins, from 1.
    pub line: usize,
}

/// Every path in the code.
pub fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let is = |at: Option<usize>, text: &str| {
        at.and_then(|at| tokens.get(at))
            .is_some_and(|token| token.text == text)
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let starts = token.text != "use"
            && token.text.bytes().all(is_word)
            && (is(Some(at + 1), "::") || is(at.checked_sub(1), "use"));
        let continues = is(at.checked_sub(1), "::") && !is(at.checked_sub(2), "use");
        // `pub(in crate::cli)` says who may import, and imports nothing.
        if starts && !continues && !is(at.checked_sub(1), "in") {
            at = expand(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path, or group of paths, that begins at `at`; returns what follows it.
fn expand(tokens: &[Token<'_>], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if token.text == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                // Whatever is unreadable is stepped over, so that a group always ends.
                at = expand(tokens, at, &segments, found).max(at + 1);
                at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
            }
            return at + 1;
        }
        if token.text == "*" || token.text.bytes().all(is_word) {
            segments.push(token.text.to_owned());
            at += 1;
        } else {
            break;
        }
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    if tokens.get(at).is_some_and(|token| token.text == "as") {
        at += 2;
    }
    found.push(Named { segments, line });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_not() {
        let code = blanked(
            "a(); // unsafe\n/* x /* y */ z */ b(\"c \\\" d\", 'e', '\\'', r#\"f\"g\"#, b'h');",
        );
        for gone in ["unsafe", "x", "y", "z", "c", "d", "e", "f", "g", "h"] {
            assert!(!code.contains(gone), "{gone} in {code}");
        }
        assert!(code.contains("a();") && code.contains(" b(") && code.ends_with(");"));
        let lifetimes = "fn f<'a, 'b>(x: &'a str, y: &'b str) { todo!() }";
        assert_eq!(blanked(lifetimes), lifetimes);
        assert_eq!(blanked("let a = '“'; b"), "let a = '    ; b");
        // Not Rust, and no end to the literal.
        assert_eq!(blanked("'\\").len(), 2);
    }

    #[test]
    fn test_code_is_taken_out_and_what_follows_stays() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c(); } }\nfn d() {}";
        let shipped = without_tests(code);
        assert!(shipped.contains("fn a") && shipped.contains("fn d"));
        assert!(!shipped.contains("fn b") && !shipped.contains("c()"));
        assert!(!without_tests("#[cfg(test)]\nuse x::y;\n").contains('y'));
    }

    #[test]
    fn files_that_are_declared_for_tests_are_known() {
        let source = Source::new(
            "src/net/mod.rs",
            "#[cfg(test)]\npub(super) mod aid;\nmod b;",
        );
        assert_eq!(test_modules(&source), [["net", "aid"].map(str::to_owned)]);
        let inline = Source::new("src/net/mod.rs", "#[cfg(test)]\nmod tests {}\nmod b;");
        assert!(test_modules(&inline).is_empty());
    }

    #[test]
    fn groups_are_multiplied_out() {
        let code = "use crate::a::{self, b::C as D, e::*};\nfn f() { super::super::g::h::<u8>(x) }";
        let found: Vec<String> = paths(code)
            .iter()
            .map(|named| format!("{} {}", named.line, named.segments.join("::")))
            .collect();
        let expected = [
            "1 crate::a::self",
            "1 crate::a::b::C",
            "1 crate::a::e::*",
            "2 super::super::g::h",
        ];
        assert_eq!(found, expected);
        assert_eq!(
            paths("use ::tokio::net; pub(in crate::x) fn f() {}").len(),
            1
        );
    }
}
