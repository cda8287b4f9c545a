//! The body probe, against serde_json and simd-json: what routing reads in a body is what any
//! provider reads in it, before and after the model's name is replaced, and however it arrives.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use srpd::openai::probe::{Engine, Probe, ProbeError, Prober, probe_with};
use srpd::openai::{with_include_usage, write_json_string};

use crate::dice::Dice;

/// The members of an object in order; equal keys stay.
struct Members<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Deserialize<'b> for Members<'b> {
    fn deserialize<D: serde::Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'b>(#[serde(borrow)] Cow<'b, str>);
        struct All;
        impl<'b> Visitor<'b> for All {
            type Value = Members<'b>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Members<'b>, A::Error> {
                let mut all = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    all.push((key, value));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl<'b> Members<'b> {
    /// The values of every member that some reader may take for `name`: whatever its case, and
    /// with the two letters that Unicode folds into ASCII.
    fn like(&self, name: &str) -> Vec<(&Cow<'b, str>, &'b str)> {
        let same = |key: &str| {
            let key = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
            key.eq_ignore_ascii_case(name)
        };
        let like = self.0.iter().filter(|(key, _)| same(key));
        like.map(|(key, value)| (key, value.get())).collect()
    }

    fn raw(&self, name: &str) -> Option<&'b str> {
        self.like(name).first().map(|(_, value)| *value)
    }
}

const KEYS: [&str; 6] = [
    "model",
    "stream",
    "stream_options",
    "service_tier",
    "prompt_cache_key",
    "user",
];

/// Probes a body with all engines and readers.
pub fn run(body: &[u8]) {
    let probed = probe_with(Engine::SCALAR, body);
    for engine in Engine::all() {
        assert_eq!(probe_with(engine, body), probed, "{engine:?}");
        for pieces in Dice::of(body).cuts(body) {
            assert_eq!(in_pieces(engine, body, &pieces), probed, "{engine:?}, cut");
        }
    }
    let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else {
        // The provider refuses it, or is no JSON parser. What was found is in the body all the same.
        if let Ok(probe) = &probed {
            assert_eq!(body[probe.model.start], b'"');
        }
        return;
    };
    match (expected(&members), &probed) {
        (Ok(()), Ok(probe)) => {
            assert_same(&members, body, probe);
            assert_rewritten(&members, body, probe);
        }
        (Err(()), Err(_)) => {}
        (expected, _) => panic!("{expected:?}, but srpd: {probed:?}"),
    }
    if let Err(error) = &probed {
        assert!(!error.to_string().is_empty());
        let status = error.code();
        assert!(
            error.param().is_some() || matches!(error, ProbeError::Malformed { .. }),
            "{status:?}"
        );
    }
}

/// Probes a body that is still coming.
fn in_pieces<'b>(
    engine: Engine,
    body: &'b [u8],
    pieces: &[&[u8]],
) -> Result<Probe<'b>, ProbeError> {
    let mut prober = Prober::with(engine);
    let mut end = 0;
    for piece in pieces {
        end += piece.len();
        prober.look(&body[..end])?;
    }
    prober.finish(body)
}

/// Bytes of a model's name as it is written, and of `stream_options`.
const LONGEST: (usize, usize) = (1024, 4096);

/// Whether a valid body may be accepted: one plain key of each kind at most, of the right type.
fn expected(members: &Members<'_>) -> Result<(), ()> {
    for name in KEYS {
        let like = members.like(name);
        let plain = |key: &Cow<'_, str>| matches!(key, Cow::Borrowed(key) if *key == name);
        if like.len() > 1 || like.iter().any(|(key, _)| !plain(key)) {
            return Err(());
        }
    }
    if members.0.iter().any(|(key, _)| key.contains('\0')) {
        return Err(());
    }
    let model = members.raw("model").ok_or(())?;
    if model.len() > LONGEST.0 {
        return Err(());
    }
    serde_json::from_str::<String>(model).map_err(|_| ())?;
    let stream = matches!(
        members.raw("stream"),
        None | Some("true" | "false" | "null")
    );
    let options = members.raw("stream_options");
    let options =
        options.is_none_or(|text| text.len() <= LONGEST.1 && text.starts_with(['{', 'n']));
    if stream && options { Ok(()) } else { Err(()) }
}

fn assert_same(members: &Members<'_>, body: &[u8], probe: &Probe<'_>) {
    let text = |range: &Range<usize>| std::str::from_utf8(&body[range.clone()]).ok();
    let found = |range: &Option<Range<usize>>| range.as_ref().and_then(text);
    assert_eq!(text(&probe.model), members.raw("model"));
    let name = serde_json::from_slice::<String>(&body[probe.model.clone()]);
    assert_eq!(name.ok().as_deref(), Some(&*probe.model_name));
    assert_eq!(probe.stream, members.raw("stream") == Some("true"));
    assert_eq!(found(&probe.stream_options), members.raw("stream_options"));
    assert_eq!(found(&probe.service_tier), members.raw("service_tier"));
    assert_eq!(
        found(&probe.prompt_cache_key),
        members.raw("prompt_cache_key")
    );
    assert_eq!(found(&probe.user), members.raw("user"));
    let mut copy = body.to_vec();
    if let Ok(value) = simd_json::serde::from_slice::<Value>(&mut copy) {
        assert_eq!(value["model"], *probe.model_name);
        assert_eq!(value["stream"].as_bool().unwrap_or(false), probe.stream);
    }
}

/// A name that a provider may have for its model, at its worst.
const NAME: &str = "a\"b\\c\u{1}/\u{e9}\u{1f600}";

/// As the corridor does it: the model's value replaced, and a stream asked for its usage.
fn assert_rewritten(members: &Members<'_>, body: &[u8], probe: &Probe<'_>) {
    let mut name = Vec::new();
    write_json_string(&mut name, NAME);
    let mut edits = vec![(probe.model.clone(), name)];
    let options = probe.stream_options.clone();
    if probe.stream
        && let Ok((value, _)) = with_include_usage(options.clone().map(|range| &body[range]))
    {
        edits.push(match options {
            Some(range) => (range, value.into_owned()),
            None => {
                let member = [b"\"stream_options\":", &*value, b","].concat();
                (probe.object_open..probe.object_open, member)
            }
        });
    }
    let asks = edits.len() == 2;
    edits.sort_by_key(|(range, _)| range.start);
    let mut new = Vec::new();
    let mut from = 0;
    for (range, by) in edits {
        new.extend_from_slice(&body[from..range.start]);
        new.extend_from_slice(&by);
        from = range.end;
    }
    new.extend_from_slice(&body[from..]);
    let again = serde_json::from_slice::<Members<'_>>(&new).expect("it stays an object");
    let others = |members: &Members<'_>| {
        let other = |key: &&(Cow<'_, str>, &RawValue)| {
            key.0 != "model" && !(asks && key.0 == "stream_options")
        };
        let others = members.0.iter().filter(other);
        let pairs = others.map(|(key, value)| (key.to_string(), value.get().to_owned()));
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(others(&again), others(members));
    let read = probe_with(Engine::best(), &new).expect("it can be probed again");
    assert_eq!(read.model_name, NAME);
    assert_eq!(read.stream, probe.stream);
    if asks {
        let value = again.raw("stream_options").expect("options");
        // Half a surrogate pair is skipped by some parsers and refused by others.
        if let Ok(value) = serde_json::from_str::<Value>(value) {
            assert_eq!(value["include_usage"], true);
        }
    }
}
