//! The probe against serde_json, on bodies that were written for it and on bodies at random.

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::*;

/// The members of an object as serde_json reads them, in order; equal keys stay.
struct Oracle<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Deserialize<'b> for Oracle<'b> {
    fn deserialize<D: serde::Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'b>(#[serde(borrow)] Cow<'b, str>);
        struct Members;
        impl<'b> Visitor<'b> for Members {
            type Value = Oracle<'b>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Oracle<'b>, A::Error> {
                let mut all = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    all.push((key, value));
                }
                Ok(Oracle(all))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Oracle<'_> {
    /// What the probe must say of the object.
    fn check(&self, body: &[u8], probed: &Result<Probe<'_>, ProbeError>) {
        let folds = |key: &str, name: &str| {
            let key = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
            key.eq_ignore_ascii_case(name)
        };
        if self.0.iter().any(|(key, _)| key.contains('\0')) {
            assert!(probed.is_err(), "{probed:?}");
            return;
        }
        for name in KEYS {
            let same: Vec<_> = self.0.iter().filter(|(k, _)| folds(k, name)).collect();
            let plain = |key: &Cow<'_, str>| matches!(key, Cow::Borrowed(k) if *k == name);
            if same.len() > 1 || same.iter().any(|(key, _)| !plain(key)) {
                assert!(
                    matches!(probed, Err(ProbeError::Ambiguous { .. })),
                    "{probed:?}"
                );
                return;
            }
        }
        let raw = |name: &str| self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.get());
        let model = match raw("model") {
            None | Some("null") => return assert_eq!(*probed, Err(ProbeError::MissingModel)),
            Some(text) if text.starts_with('"') => text,
            Some(_) => return assert_eq!(*probed, Err(ProbeError::ModelNotString)),
        };
        // serde_json passes lone surrogates over unless it must decode them.
        let Ok(model_name) = serde_json::from_str::<String>(model) else {
            assert!(
                matches!(probed, Err(ProbeError::Malformed { .. })),
                "{probed:?}"
            );
            return;
        };
        let stream = match raw("stream") {
            None | Some("null" | "false") => Some(false),
            Some("true") => Some(true),
            Some(_) => None,
        };
        let options = raw("stream_options");
        let options_fit = options.is_none_or(|text| text.starts_with(['{', 'n']));
        let (Some(stream), true) = (stream, options_fit) else {
            return assert!(
                matches!(probed, Err(ProbeError::WrongType { .. })),
                "{probed:?}"
            );
        };
        let probe = probed.as_ref().unwrap();
        let text = |range: &Range<usize>| std::str::from_utf8(&body[range.clone()]).unwrap();
        assert_eq!(text(&probe.model), model);
        assert_eq!(probe.model_name, model_name);
        assert_eq!(probe.stream, stream);
        assert_eq!(probe.stream_options.as_ref().map(text), options);
        assert_eq!(probe.service_tier.as_ref().map(text), raw("service_tier"));
        assert_eq!(
            probe.prompt_cache_key.as_ref().map(text),
            raw("prompt_cache_key")
        );
        assert_eq!(probe.user.as_ref().map(text), raw("user"));
        assert_eq!(body[probe.object_open - 1], b'{');
        assert!(body[..probe.object_open - 1].trim_ascii().is_empty());
    }
}

/// Probes a body that comes in pieces of so many bytes.
fn probe_pieces(engine: Engine, body: &[u8], size: usize) -> Result<Probe<'_>, ProbeError> {
    let mut prober = Prober::with(engine);
    for end in (0..body.len()).step_by(size) {
        prober.look(&body[..end])?;
    }
    prober.finish(body)
}

/// Probes with every engine, whole and in pieces, which must agree.
fn alike(body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    let probed = probe_with(Engine::SCALAR, body);
    for engine in Engine::all() {
        for size in [1, 3, 50, 77, 500, 10_000, body.len() + 1] {
            if size * 2000 < body.len() {
                continue;
            }
            assert_eq!(
                probe_pieces(engine, body, size),
                probed,
                "in pieces of {size}: {:?}",
                body.escape_ascii().to_string()
            );
        }
    }
    probed
}

/// The same, held against serde_json's and simd-json's reading wherever they read the body at all.
fn check(body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    let probed = alike(body);
    if let Ok(oracle) = serde_json::from_slice::<Oracle<'_>>(body) {
        oracle.check(body, &probed);
        let mut copy = body.to_vec();
        if let Ok(probe) = &probed
            && let Ok(value) = simd_json::serde::from_slice::<serde_json::Value>(&mut copy)
        {
            assert_eq!(value["model"], *probe.model_name);
            assert_eq!(value["stream"].as_bool().unwrap_or(false), probe.stream);
        }
    }
    probed
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \t\r\n]{1,70}"]
}

/// The text of a string, with all that makes strings hard to skip.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z ]{0,30}",
        2 => Just(r#"\""#.to_owned()),
        2 => "(\\\\\\\\){1,40}",
        1 => "\\\\[bfnrt/]",
        1 => "\\\\u00[0-7][0-9a-f]",
        1 => Just(r"\ud83d\ude00".to_owned()),
        1 => "[{}\\[\\],:]{1,20}",
        1 => "[äß漢😀]{1,5}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => string(),
        1 => Just("true".to_owned()),
        1 => Just("false".to_owned()),
        1 => Just("null".to_owned()),
        1 => "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?([eE][+-]?[0-9])?",
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let item = (space(), inner.clone(), space()).prop_map(|(a, v, b)| a + &v + &b);
        let member = (space(), string(), space(), inner)
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
        prop_oneof![
            prop::collection::vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|m| format!("{{{}}}", m.join(","))),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        60 => prop::sample::select(&KEYS[..]).prop_map(|key| format!("\"{key}\"")),
        60 => string(),
        1 => Just(r#""m\u006fdel""#.to_owned()),
        1 => Just(r#""Stream""#.to_owned()),
        1 => Just("\"\u{17f}tream\"".to_owned()),
        1 => Just(r#""model\\""#.to_owned()),
    ]
}

/// An object whose keys are unlike each other as a rule, so that most of them are not ambiguous.
fn object() -> impl Strategy<Value = String> {
    let member = (space(), key(), space(), space(), value(), space());
    let model = (
        space(),
        Just("\"model\"".to_owned()),
        space(),
        space(),
        string(),
        space(),
    );
    let members = prop::collection::vec(member, 0..6);
    (
        members,
        model,
        any::<prop::sample::Index>(),
        any::<u8>(),
        space(),
    )
        .prop_map(|(mut members, model, place, keep, around)| {
            if keep % 8 != 0 {
                let mut seen = std::collections::HashSet::from([model.1.clone()]);
                members.retain(|member| seen.insert(member.1.clone()));
                members.insert(place.index(members.len() + 1), model);
            }
            let members: Vec<String> = members
                .into_iter()
                .map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"))
                .collect();
            format!("{around}{{{}}}{around}", members.join(","))
        })
}

/// What matters to a skip, and a little of what doesn't.
const BYTES: &[u8] = br#"{}[]{}[]"""\\a+/#'"#;

/// A skip over what comes in pieces.
fn skip_on<S: Skip>(skip: S, bytes: &[u8], cuts: &[usize], quoted: bool) -> Result<usize, Stop> {
    let mut inside = Inside::from(0);
    let ends = cuts.iter().map(|&cut| match quoted {
        true => skip.string_on(&bytes[..cut], &mut inside),
        false => skip.container_on(&bytes[..cut], &mut inside),
    });
    let mut ends = ends.skip_while(|end| *end == Err(Stop::End));
    ends.next().unwrap_or(Err(Stop::End))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn objects_read_as_others_read_them(body in object()) {
        prop_assert!(serde_json::from_str::<Oracle<'_>>(&body).is_ok(), "{}", body);
        let _ = check(body.as_bytes());
    }

    #[test]
    fn damaged_objects_read_alike(
        body in object(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut body = body.into_bytes();
        for (place, byte, kind) in damage {
            let at = place.index(body.len() + 1);
            match kind {
                0 => body.truncate(at),
                1 => body.insert(at, byte),
                2 if at < body.len() => drop(body.remove(at)),
                _ => body.insert(at, br#"{}[]",:\"#[usize::from(byte % 8)]),
            }
        }
        let _ = check(&body);
    }

    #[test]
    fn any_bytes_read_alike(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&body);
        let _ = check(&[b"{\"model\":[".as_slice(), &body].concat());
    }

    /// Where every byte matters: quotes, backslashes and brackets only, over several blocks.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn engines_skip_alike(
        bytes in prop::collection::vec(prop::sample::select(BYTES), 0..400),
        at in 0..80_usize,
    ) {
        if let Some(simd) = simd::Avx2::detect() {
            prop_assert_eq!(simd.string(&bytes, at), Scalar.string(&bytes, at));
            let (mut slow, mut fast) = (Inside::from(at), Inside::from(at));
            let end = Scalar.container_on(&bytes, &mut slow);
            prop_assert_eq!(simd.container_on(&bytes, &mut fast), end);
        }
    }

    /// A skip that ran out of bytes goes on as if it hadn't, wherever it was cut.
    #[test]
    fn skips_go_on_where_they_stopped(
        bytes in prop::collection::vec(prop::sample::select(BYTES), 0..400),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        quoted in any::<bool>(),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let whole = skip_on(Scalar, &bytes, &[bytes.len()], quoted);
        prop_assert_eq!(skip_on(Scalar, &bytes, &cuts, quoted), whole);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = simd::Avx2::detect() {
            prop_assert_eq!(skip_on(simd, &bytes, &cuts, quoted), whole);
        }
    }
}

#[test]
fn a_body_cut_anywhere_is_malformed() {
    let body = br#" {"a":[{"b":"}\\\""}],"model":"smart","stream":true,"n":-1.5e3 } "#;
    let end = body.iter().rposition(|&b| b == b'}').unwrap();
    for length in 0..=end {
        let probed = check(&body[..length]);
        assert!(
            matches!(probed, Err(ProbeError::Malformed { .. })),
            "{length}: {probed:?}"
        );
    }
    let probe = check(body).unwrap();
    assert_eq!((&*probe.model_name, probe.stream), ("smart", true));
    assert_eq!(&body[probe.model], b"\"smart\"");
    assert_eq!(probe.object_open, 2);
}

#[test]
fn a_long_body_is_read_to_its_end() {
    for filler in ["a", r"\\", r#"\""#, "{", "]", "\u{e4}", r"\u0022", ":,"] {
        for length in [0, 1, 31, 62, 63, 64, 65, 127, 128, 5000] {
            let text = filler.repeat(length);
            let body = format!(r#"{{"x":[{{"y":"{text}"}},["{text}"]],"z":"{text}","model":"m"}}"#);
            assert_eq!(check(body.as_bytes()).unwrap().model_name, "m");
        }
    }
    let deep = format!(
        "{{\"x\":{}{},\"model\":\"m\"}}",
        "[".repeat(9000),
        "]".repeat(9000)
    );
    assert_eq!(check(deep.as_bytes()).unwrap().model_name, "m");
}

#[test]
fn what_two_parsers_may_read_apart_is_refused() {
    for (body, key) in [
        (r#"{"model":"a","model":"a"}"#, "model"),
        (r#"{"model":"a","mod\u0065l":"b"}"#, "model"),
        (r#"{"mod\u0065l":"b"}"#, "model"),
        (r#"{"model":"a","MODEL":"b"}"#, "model"),
        (r#"{"model":"a","stream":true,"stream":false}"#, "stream"),
        (r#"{"model":"a","Stream":true}"#, "stream"),
        ("{\"model\":\"a\",\"\u{17f}tream\":true}", "stream"),
        (
            "{\"model\":\"a\",\"prompt_cache_\u{212a}ey\":1}",
            "prompt_cache_key",
        ),
        (r#"{"model":"a","user":"1","user":"2"}"#, "user"),
        (r#"{"model":"a","service\u005ftier":"x"}"#, "service_tier"),
    ] {
        let error = check(body.as_bytes()).unwrap_err();
        assert_eq!(error, ProbeError::Ambiguous { key }, "{body}");
        assert_eq!(
            (error.code(), error.param()),
            (ErrorCode::InvalidJson, Some(key))
        );
    }
}

#[test]
fn what_is_not_one_object_is_refused() {
    for body in [
        "",
        " ",
        "null",
        "[]",
        r#"["model"]"#,
        "\u{feff}{\"model\":\"a\"}",
        r#"{"model":"a"}{"model":"b"}"#,
        r#"{"model":"a"} x"#,
        "{\"model\":\"a\"}\0",
        r#"{"model":"a",}"#,
        r#"{,"model":"a"}"#,
        r#"{"model" "a"}"#,
        r#"{"model":a}"#,
        r#"{'model':"a"}"#,
        r#"{model:"a"}"#,
        r#"{"model":"a" "b":1}"#,
        r#"{"model":"a","b":[1}"#,
        r#"{"model":"a","b":{1]}"#,
        r#"{"model":"a","b":NaN}"#,
        r#"{"model":"a","b":tru}"#,
        r#"{"model":"a","b":}"#,
        r#"{"model":"a","b":1 2}"#,
        "{\"model\":\"a\nb\"}",
        r#"{"model":"\ud800"}"#,
        r#"{"model":"\x"}"#,
        r#"{"model":"a","\x":1}"#,
    ] {
        let error = check(body.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ProbeError::Malformed { .. }),
            "{body}: {error:?}"
        );
        assert_eq!(
            (error.code(), error.param()),
            (ErrorCode::InvalidJson, None)
        );
    }
    assert!(check(b"{\"model\":\"\xff\"}").is_err());
    assert!(check(b"{\"mod\xffel\":\"a\",\"model\":\"a\"}").is_err());
}

#[test]
fn types_that_no_sdk_sends_are_refused() {
    let stream = ProbeError::WrongType {
        key: "stream",
        expected: "a boolean",
    };
    let options = ProbeError::WrongType {
        key: "stream_options",
        expected: "an object",
    };
    for (body, error) in [
        (r#"{}"#, ProbeError::MissingModel),
        (r#"{"model":null}"#, ProbeError::MissingModel),
        (r#"{"messages":[{"model":"a"}]}"#, ProbeError::MissingModel),
        (r#"{"model":1}"#, ProbeError::ModelNotString),
        (r#"{"model":["a"]}"#, ProbeError::ModelNotString),
        (r#"{"model":"a","stream":1}"#, stream.clone()),
        (r#"{"model":"a","stream":"true"}"#, stream),
        (r#"{"model":"a","stream_options":[]}"#, options.clone()),
        (r#"{"model":"a","stream_options":"{}"}"#, options),
    ] {
        assert_eq!(check(body.as_bytes()), Err(error), "{body}");
    }
    assert!(!check(br#"{"model":"a","stream":null}"#).unwrap().stream);
    let escaped = check(br#"{"model":"\u0073mart\/x"}"#).unwrap();
    assert_eq!(escaped.model_name, "smart/x");
    assert_eq!(escaped.model, 9..24);
}

#[test]
fn what_hides_quotes_from_some_parsers_is_refused() {
    for hidden in [
        r#"[1 /* " */ ]"#,
        "[1 // \"\n]",
        "[1 # \"\n]",
        r#"['"']"#,
        r#"{'a":1}"#,
        r#"[\"1]"#,
        r#"{"b":{"c":[[[ /**/ ]]]}}"#,
        r#"{"b":1e+5,"c":'"'}"#,
    ] {
        for pad in [0, 40, 200] {
            let body = format!(r#"{{"x":"{}","a":{hidden},"model":"m"}}"#, "y".repeat(pad));
            let error = check(body.as_bytes()).unwrap_err();
            assert!(matches!(error, ProbeError::Malformed { .. }), "{body}");
        }
    }
    for plain in [
        r#"["http://a/b", "it's #1", "\"\\", 1e+5, -2E+7]"#,
        r#"{"it's /* no */ // comment":{"\\":"'"}}"#,
    ] {
        let body = format!(r#"{{"a":{plain},"model":"m"}}"#);
        assert_eq!(check(body.as_bytes()).unwrap().model_name, "m");
    }
}

#[test]
fn keys_that_end_early_for_some_parsers_are_refused() {
    for key in [
        r"model\u0000",
        r"model\u0000x",
        r"a\u0000",
        "model\0",
        r"model\ud800",
        r"mod\udc00el",
        "mod\u{1}el",
    ] {
        let body = format!(r#"{{"{key}":"b","model":"a"}}"#);
        let error = check(body.as_bytes()).unwrap_err();
        assert!(matches!(error, ProbeError::Malformed { .. }), "{body}");
    }
    let inside = r#"{"a":{"model\u0000":1,"model":2,"MODEL":3},"model":"m"}"#;
    assert_eq!(check(inside.as_bytes()).unwrap().model_name, "m");
}

#[test]
fn what_must_be_looked_at_again_is_bounded() {
    const STEP: usize = 64 * 1024;
    let with = |front: &str, key: &str, value: &str| {
        let body = format!("{front}{{\"a\":1,{key}:{value},\"model\":\"m\"}}");
        alike(body.as_bytes()).map(|probe| probe.model_name.into_owned())
    };
    let spaces = |count: usize| " ".repeat(count);
    let quoted = |count: usize| format!("\"{}\"", "k".repeat(count));
    let fits = Ok("m".to_owned());
    let malformed = |at, expected| Err(ProbeError::Malformed { at, expected });
    // The comma, two quotes and the colon count.
    assert_eq!(with("", &quoted(STEP - 4), "1"), fits);
    let shorter = "a shorter key, or less white space,";
    assert_eq!(with("", &quoted(STEP - 3), "1"), malformed(6, shorter));
    let padded = |count| spaces(count) + "\"k\"";
    assert_eq!(with("", &padded(STEP - 5), "1"), fits);
    assert_eq!(with("", &padded(STEP - 4), "1"), malformed(6, shorter));
    assert_eq!(with(&spaces(STEP - 1), "\"k\"", "1"), fits);
    assert_eq!(with(&spaces(STEP), "\"k\"", "1"), malformed(0, shorter));
    assert_eq!(with("", "\"k\"", &"1".repeat(STEP - 1)), fits);
    let number = with("", "\"k\"", &"1".repeat(STEP));
    assert_eq!(number, malformed(11, "a value"));
    // What is never looked at twice may be as long as it likes.
    assert_eq!(with("", "\"k\"", &(spaces(2 * STEP) + "1")), fits);
    assert_eq!(with("", "\"k\"", &quoted(2 * STEP)), fits);
}

#[test]
fn what_is_read_to_its_inside_is_bounded() {
    let model = |bytes: usize| {
        let body = format!(r#"{{"model":"{}"}}"#, "m".repeat(bytes - 2));
        alike(body.as_bytes()).map(|probe| probe.model_name.len())
    };
    assert_eq!(model(1024), Ok(1022));
    assert_eq!(model(1025), Err(ProbeError::ModelTooLong));
    let code = ProbeError::ModelTooLong.code();
    assert_eq!(code, ErrorCode::ModelNotFound);
    let options = |bytes: usize| {
        let pad = "x".repeat(bytes - r#"{"a":""}"#.len());
        let body = format!(r#"{{"model":"m","stream_options":{{"a":"{pad}"}}}}"#);
        alike(body.as_bytes()).map(|probe| probe.stream_options.unwrap().len())
    };
    assert_eq!(options(4096), Ok(4096));
    assert!(matches!(options(4097), Err(ProbeError::WrongType { .. })));
}

#[test]
fn what_is_wrong_with_a_body_is_told_before_all_of_it_is_there() {
    for (begun, wrong) in [
        ("[1", true),
        (r#"{"a":1,"a""#, false),
        (r#"{"model":1}"#, false),
        (r#"{"model":"a","model":"b","#, true),
        (r#"{"mod\u0065l":"a","#, true),
        (r#"{"a":[1}"#, true),
        (r#"{"a":tru"#, false),
        (r#"{"a":trux,"#, true),
        (r#"{"a":"b""#, false),
        (r#"{"a":"b"} "#, false),
        (r#"{"a":"b"} x"#, true),
    ] {
        for engine in Engine::all() {
            let looked = Prober::with(engine).look(begun.as_bytes());
            assert_eq!(looked.is_err(), wrong, "{begun}: {looked:?}");
        }
    }
}
