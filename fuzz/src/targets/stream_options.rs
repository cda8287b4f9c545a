//! `stream_options`: asked for its usage, and otherwise left as it was.

use serde_json::{Map, Value};
use srpd::openai::with_include_usage;

/// Rewrites a value.
pub fn run(value: &[u8]) {
    let parsed = serde_json::from_slice::<Value>(value).ok();
    let Ok((new, by_client)) = with_include_usage(Some(value)) else {
        return;
    };
    // What is skipped isn't checked; what is inserted must not make it valid, or invalid.
    let again = serde_json::from_slice::<Value>(&new).ok();
    assert_eq!(again.is_some(), parsed.is_some(), "{new:?}");
    let (Some(before), Some(after)) = (parsed, again) else {
        return;
    };
    assert_eq!(after["include_usage"], true);
    assert_eq!(by_client, before["include_usage"] == true);
    assert_eq!(others(before), others(after));
    let (once_more, by_client) = with_include_usage(Some(&new)).expect("it was just written");
    assert_eq!((&*once_more, by_client), (&*new, true));
}

fn others(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(mut members) => {
            members.remove("include_usage");
            members
        }
        Value::Null => Map::new(),
        other => panic!("accepted: {other}"),
    }
}
