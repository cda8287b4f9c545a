//! Messages as data: the format of the files in `requests/` and `responses/`.
//!
//! A line that begins with `#` is for the reader. A vector is a line of words, which say what is
//! expected and what it is called, and lines indented by two spaces, which are its bytes: joined
//! with nothing in between, so that a line of a file need not be a line of the message.
//!
//! | written | is |
//! |---|---|
//! | `\r` `\n` `\t` `\0` `\\` `\xHH` | one byte |
//! | `{word}` | what the test puts there: `{body}`, `{hidden}`, ... |
//! | `{#word}` `{%word}` `{^word}` | the length of that, decimal, hexadecimal, in upper case |
//! | `{#word+1}` | a sum or difference of lengths and numbers |
//! | `{300*text}` | the text so many times |
//!
//! A brace that is one is written `\x7b`.

use std::collections::HashSet;

/// One message, as it stands in its file.
#[derive(Clone, Debug)]
pub struct Vector {
    /// The words in front of the bytes.
    pub words: Vec<String>,
    /// The bytes, still escaped.
    pub text: String,
}

/// Reads a file.
pub fn parse(file: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    let mut titles = HashSet::new();
    for line in file.lines() {
        if let Some(bytes) = line.strip_prefix("  ") {
            let vector = vectors.last_mut().expect("words in front of bytes");
            vector.text.push_str(bytes);
        } else if !line.is_empty() && !line.starts_with('#') {
            assert!(titles.insert(line), "{line} stands there twice");
            vectors.push(Vector {
                words: line.split(' ').map(str::to_owned).collect(),
                text: String::new(),
            });
        }
    }
    vectors
}

/// The bytes that a text stands for. `word` knows what stands in braces.
pub fn render(text: &str, word: &dyn Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (what, behind) = rest[at..].split_at(1);
        rest = if what == "{" {
            let (inside, behind) = behind.split_once('}').expect("a closing brace");
            bytes.extend(replaced(inside, word));
            behind
        } else {
            let (byte, length) = escaped(behind);
            bytes.push(byte);
            &behind[length..]
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The byte behind a backslash, and how many letters say it.
fn escaped(letters: &str) -> (u8, usize) {
    match letters.as_bytes() {
        [b'r', ..] => (b'\r', 1),
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b'0', ..] => (0, 1),
        [b'\\', ..] => (b'\\', 1),
        [b'x', ..] => (
            u8::from_str_radix(&letters[1..3], 16).expect("two hexadecimal digits"),
            3,
        ),
        _ => panic!("not an escape: {letters}"),
    }
}

fn replaced(inside: &str, word: &dyn Fn(&str) -> Vec<u8>) -> Vec<u8> {
    if let Some((times, text)) = inside.split_once('*') {
        let times = times.parse().expect("how many times");
        return render(text, &|_| unreachable!()).repeat(times);
    }
    let (sign, sum) = inside.split_at(1);
    match sign {
        "#" => length(sum, word).to_string().into_bytes(),
        "%" => format!("{:x}", length(sum, word)).into_bytes(),
        "^" => format!("{:X}", length(sum, word)).into_bytes(),
        _ => word(inside),
    }
}

fn length(sum: &str, word: &dyn Fn(&str) -> Vec<u8>) -> usize {
    let term = |term: &str| term.parse().unwrap_or_else(|_| word(term).len());
    if let Some((first, second)) = sum.split_once('+') {
        term(first) + term(second)
    } else if let Some((first, second)) = sum.split_once('-') {
        term(first) - term(second)
    } else {
        term(sum)
    }
}

#[test]
fn vectors_are_read_as_they_are_described() {
    let file =
        "# A remark\n\nreject a-name\n  GET {path}\\r\\n\n  {#path+1};{%path}{2*\\0b}\\x7b\\\\\n";
    let vectors = parse(file);
    assert_eq!(vectors.len(), 1);
    assert_eq!(vectors[0].words, ["reject", "a-name"]);
    let bytes = render(&vectors[0].text, &|word| {
        assert_eq!(word, "path");
        b"/123456789".to_vec()
    });
    assert_eq!(bytes, b"GET /123456789\r\n11;a\0b\0b{\\");
}
