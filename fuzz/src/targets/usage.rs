//! Token counts of JSON bodies: those that are held, and those that only pass by.

use serde::de::IgnoredAny;
use serde_json::Value;
use srpd::openai::{Usage, UsageSearch, inspect_json};

use crate::dice::Dice;

/// What is nested deeper may be refused.
const DEPTH: usize = 1024;

/// Reads a body whole, and in pieces.
pub fn run(body: &[u8]) {
    let inspected = inspect_json(body);
    let searched = search([body]);
    let valid = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    assert!(inspected.is_err() || valid, "not JSON");
    let brackets = body.iter().filter(|byte| matches!(byte, b'[' | b'{'));
    assert!(
        inspected.is_ok() || !valid || brackets.count() > DEPTH,
        "JSON"
    );
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        // Invalid, too deep, or with a number or a string that only a document tree minds.
        return;
    };
    let inspected = inspected.expect("valid");
    if let Some(usage) = inspected {
        assert!(is_told(&value["usage"], usage), "{usage:?}");
    }
    // A key in escapes is the same key to a parser, and none to a search.
    if !body.contains(&b'\\') {
        let told = value.get("usage").is_some_and(Value::is_object);
        assert!(inspected.is_none() || told);
        if let (Some(inspected), None) = (inspected, inner(&value)) {
            assert_eq!(searched, Some(inspected));
        }
    }
    for pieces in Dice::of(body).cuts(body) {
        assert_eq!(search(pieces), searched, "cut");
    }
}

fn search<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Option<Usage> {
    let mut search = UsageSearch::new();
    for piece in pieces {
        search.look(piece);
    }
    search.usage()
}

/// Whether the counts stand in this `usage`, and are no guess.
fn is_told(told: &Value, usage: Usage) -> bool {
    let count = |names: [&str; 2]| names.iter().find_map(|name| told[*name].as_u64());
    let input = count(["prompt_tokens", "input_tokens"]);
    let output = count(["completion_tokens", "output_tokens"]);
    match (input, output) {
        (None, None) => usage.output == 0 && told["total_tokens"] == usage.input,
        _ => usage.input == input.unwrap_or(0) && usage.output == output.unwrap_or(0),
    }
}

/// Something that is called `usage` further inside, or twice: a search may find that instead.
fn inner(value: &Value) -> Option<()> {
    let text = value.to_string();
    let again = text.matches("\"usage\"").count() > 1;
    again.then_some(())
}
