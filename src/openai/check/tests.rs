//! The check and `serde_json` must agree, whatever the engine.

use super::*;
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

fn usage(engine: Engine, text: &[u8]) -> Result<Option<&[u8]>, InvalidJson> {
    let mut usage = None;
    check(engine, text, |checker, key| {
        let value = checker.spanned()?;
        if key.reads("usage") {
            usage = Some(value);
        }
        Ok(())
    })?;
    Ok(usage)
}

/// Keys, as they are written, with their values.
type Pairs<'t> = Vec<(&'t [u8], &'t [u8])>;

/// The members of the last `usage`, if that is an object.
fn within(engine: Engine, text: &[u8]) -> Result<Pairs<'_>, InvalidJson> {
    let mut found = Vec::new();
    members_within_with(engine, text, "usage", |shown| match shown {
        Some((key, value)) => found.push((key.text, value)),
        None => found.clear(),
    })?;
    Ok(found)
}

/// What both engines say; they must not differ.
fn checked(text: &[u8]) -> Result<Option<&[u8]>, InvalidJson> {
    let slow = usage(Engine::SCALAR, text);
    let mut members = Vec::new();
    if let Ok(Some(usage)) = slow {
        let shown = super::members(usage, |key, value| members.push((key.text, value)));
        shown.unwrap();
    }
    for engine in Engine::all() {
        assert_eq!(usage(engine, text), slow);
        assert_eq!(within(engine, text), slow.map(|_| members.clone()));
    }
    slow
}

fn is_valid(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

#[test]
fn the_last_member_of_that_name_is_found() {
    for (text, value) in [
        (r#"{"usage":1}"#, Some("1")),
        (
            r#" { "a" : {"usage":2} , "usage" : [ 3 ] } "#,
            Some("[ 3 ]"),
        ),
        (r#"{"usage":1,"\u0075sage":"4"}"#, Some(r#""4""#)),
        (r#"{"usage\u0000":1,"Usage":2,"usage ":3}"#, None),
        (r#"[{"usage":1}]"#, None),
        ("{}", None),
        ("7", None),
    ] {
        assert_eq!(checked(text.as_bytes()), Ok(value.map(str::as_bytes)));
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[1",
        "[1,]",
        "[,1]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1]",
        "[1}",
        "1 2",
        "{} {}",
        "{}x",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "1_0",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "\"",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123",
        "\"\\",
        "\"\n\"",
        "\"\t\"",
        "'a'",
        "\u{feff}{}",
        "{\"a\":1}\0",
        "// a\n1",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
    ] {
        assert_eq!(checked(text.as_bytes()), Err(InvalidJson), "{text}");
        assert!(!is_valid(text.as_bytes()), "{text}");
    }
}

#[test]
fn containers_lie_in_one_another_to_a_bound() {
    let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
    let objects = |depth| ["{\"a\":".repeat(depth), "0".into(), "}".repeat(depth)].concat();
    // The innermost array is empty, and so never entered.
    assert_eq!(checked(nested(DEPTH_MAX + 1).as_bytes()), Ok(None));
    assert_eq!(checked(nested(DEPTH_MAX + 2).as_bytes()), Err(InvalidJson));
    assert_eq!(checked(objects(DEPTH_MAX + 1).as_bytes()), Ok(None));
    assert_eq!(checked(objects(DEPTH_MAX + 2).as_bytes()), Err(InvalidJson));
    assert_eq!(checked(nested(1_000_000).as_bytes()), Err(InvalidJson));
    let mixed = "[{\"a\":[".repeat(300) + &"]}]".repeat(300);
    assert_eq!(checked(mixed.as_bytes()), Ok(None));
    assert_eq!(
        checked(mixed.replace("}]]", "]}]").as_bytes()).is_ok(),
        is_valid(mixed.replace("}]]", "]}]").as_bytes())
    );
}

#[test]
fn it_makes_no_difference_where_a_block_ends() {
    // The first blocks that are marked together end at 2048.
    for length in (0..140).chain(1900..2200) {
        let text = |end: &str| format!("{{\"a\":\"{}{end}", "x".repeat(length));
        let usage = Ok(Some(&b"{\"b\":1}"[..]));
        for end in [
            "\",\"usage\":{\"b\":1}}",
            "\\\\\",\"usage\":{\"b\":1}}",
            "\\\"\",\"usage\":{\"b\":1}}  ",
            "\\u00e9{[,:]}\", \"usage\" : {\"b\":1} }",
        ] {
            assert_eq!(checked(text(end).as_bytes()), usage, "{}", text(end));
        }
        for end in [
            "\\x\"}",
            "\\\"}",
            "\\u00g9\"}",
            "\\u00\"}",
            "\n\"}",
            "\"}\\",
            "\"\\}",
            "\"\u{1}}",
            "\"}\"",
            "\\",
        ] {
            let text = text(end);
            assert_eq!(checked(text.as_bytes()), Err(InvalidJson), "{text}");
        }
    }
}

/// Values of every kind, with strings long enough for several blocks.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "([ -!#-\\[\\]-~é]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,150}"
            .prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|values| format!("[{}]", values.join(" ,"))),
            prop::collection::vec(("(usage|[a-z]{1,5})", inner), 0..5).prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("\"{key}\": {value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join("\n,"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_json_is_accepted(text in value()) {
        prop_assume!(is_valid(text.as_bytes()));
        let found = checked(text.as_bytes());
        let members = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text);
        let usage = members.ok().and_then(|members| members.get("usage").map(|raw| raw.get()));
        prop_assert_eq!(found, Ok(usage.map(str::as_bytes)));
    }

    #[test]
    fn one_byte_changed_is_judged_as_serde_json_does(
        text in value(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\{}[],:0.e-+ u\x1f"[..])],
        cut in any::<bool>(),
    ) {
        let mut text = text.into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if cut {
            text.truncate(at + 1);
        }
        prop_assert_eq!(checked(&text).is_ok(), is_valid(&text), "{}", text.escape_ascii());
    }
}
