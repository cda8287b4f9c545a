//! The body probe: finds the few members of a request that routing needs, where they lie.
//!
//! One pass over the members of the top-level object; what is inside of them is skipped 64 bytes
//! at a time where the processor can (`simd`), else byte by byte (`scalar`). No document is built
//! and no byte is changed. The probe doesn't check what it skips: that is the provider's job. It
//! does insist that a provider can't read another `model` or `stream` out of the same bytes:
//! what parsers are known to disagree on (equal keys, keys in escapes or in another case, bytes
//! after the object) is an error.

mod members;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use super::error::ErrorCode;
pub(super) use members::{Members, known_key};
pub(super) use scalar::Scalar;

/// What routing needs of a JSON request. Ranges are offsets into the body that was probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe<'b> {
    /// The value of `model`, with its quotes: what is replaced by the provider's name for it.
    pub model: Range<usize>,
    /// The text of `model`, escapes decoded.
    pub model_name: Cow<'b, str>,
    /// Whether the answer shall be a stream of events.
    pub stream: bool,
    /// The value of `stream_options`: an object or `null`.
    pub stream_options: Option<Range<usize>>,
    /// The offset just after the top-level `{`. A member and a comma may be inserted there, since
    /// the object isn't empty.
    pub object_open: usize,
    /// The value of `service_tier`, of whatever type.
    pub service_tier: Option<Range<usize>>,
    /// The value of `prompt_cache_key`, of whatever type.
    pub prompt_cache_key: Option<Range<usize>>,
    /// The value of `user`, of whatever type.
    pub user: Option<Range<usize>>,
}

/// Why a request body can't be routed. Always a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Not one JSON object.
    #[error("the body is not valid JSON: {expected} expected at byte {at}")]
    Malformed {
        /// Offset of the first byte that doesn't fit; the body's length if it is cut short.
        at: usize,
        /// What would have fitted.
        expected: &'static str,
    },
    /// A member or field stands there twice, or in a spelling that some parsers take for it.
    #[error("'{key}' is ambiguous: write it once, in plain letters")]
    Ambiguous {
        /// The member or field in question.
        key: &'static str,
    },
    /// A member has a type that the endpoint doesn't define.
    #[error("'{key}' must be {expected}")]
    WrongType {
        /// The member in question.
        key: &'static str,
        /// The type that it should have.
        expected: &'static str,
    },
    /// There is no `model`.
    #[error("you must provide a model parameter")]
    MissingModel,
    /// There is one, but it isn't text.
    #[error("'model' must be a string")]
    ModelNotString,
    /// The content type is not `multipart/form-data`.
    #[error("this endpoint takes multipart/form-data")]
    NotAForm,
    /// Not a form as RFC 7578 has it, or one that parsers may read differently.
    #[error("the form is malformed: {expected} expected at byte {at}")]
    MalformedForm {
        /// Offset of the first byte that doesn't fit; the body's length if it is cut short.
        at: usize,
        /// What would have fitted.
        expected: &'static str,
    },
}

impl ProbeError {
    /// The error to answer with.
    pub const fn code(&self) -> ErrorCode {
        match self {
            ProbeError::Malformed { .. }
            | ProbeError::Ambiguous { .. }
            | ProbeError::WrongType { .. } => ErrorCode::InvalidJson,
            ProbeError::MissingModel | ProbeError::ModelNotString => ErrorCode::MissingModel,
            ProbeError::NotAForm => ErrorCode::UnsupportedMediaType,
            ProbeError::MalformedForm { .. } => ErrorCode::BadRequest,
        }
    }

    /// The error body's `param`.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            ProbeError::Ambiguous { key } | ProbeError::WrongType { key, .. } => Some(key),
            ProbeError::MissingModel | ProbeError::ModelNotString => Some("model"),
            ProbeError::Malformed { .. }
            | ProbeError::NotAForm
            | ProbeError::MalformedForm { .. } => None,
        }
    }
}

/// A way of skipping over JSON. Implementations agree exactly on every input, valid or not.
pub(super) trait Skip: Copy {
    /// The offset of the quote that ends the string whose first byte is at `at`.
    fn string(self, bytes: &[u8], at: usize) -> Option<usize>;

    /// The offset of the first byte from `at` on that can't stand in a string as it is: a quote, a
    /// backslash, or a control character.
    fn plain(self, bytes: &[u8], at: usize) -> Option<usize>;

    /// The offset just after the bracket that closes the container whose first byte is at `at`.
    /// Brackets are counted, not matched by kind.
    fn container(self, bytes: &[u8], at: usize) -> Option<usize>;
}

/// How the probe skips: what the processor can do, found out at run time.
#[derive(Clone, Copy, Debug)]
pub struct Engine(pub(super) Kind);

/// The implementations of [`Skip`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Simd(simd::Avx2),
}

impl Engine {
    /// Byte by byte, on any processor.
    pub const SCALAR: Engine = Engine(Kind::Scalar);

    /// 64 bytes at a time, where the processor has AVX2 and CLMUL.
    pub fn simd() -> Option<Engine> {
        #[cfg(target_arch = "x86_64")]
        return simd::Avx2::detect().map(|avx2| Engine(Kind::Simd(avx2)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// The fastest that this processor runs.
    #[inline]
    pub fn best() -> Engine {
        Engine::simd().unwrap_or(Engine::SCALAR)
    }
}

/// Probes a request body with the fastest engine there is.
///
/// # Errors
/// [`ProbeError`]: not one object, no usable `model`, or ambiguous.
pub fn probe(body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    probe_with(Engine::best(), body)
}

/// Probes a request body with a given engine; all engines give the same answer.
///
/// # Errors
/// As [`probe`].
pub fn probe_with(engine: Engine, body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    match engine.0 {
        Kind::Scalar => walk(Scalar, body),
        #[cfg(target_arch = "x86_64")]
        Kind::Simd(avx2) => walk(avx2, body),
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

fn walk<S: Skip>(skip: S, body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    let mut members = Members::open(skip, body)?;
    let object_open = members.at();
    let mut found: [Option<Range<usize>>; KEYS.len()] = [const { None }; KEYS.len()];
    while let Some(member) = members.next()? {
        if let Some(index) = known_key(&KEYS, body, &member.key)? {
            if found[index].is_some() {
                return Err(ProbeError::Ambiguous { key: KEYS[index] });
            }
            found[index] = Some(member.value);
        }
    }
    let [
        model,
        stream,
        stream_options,
        service_tier,
        prompt_cache_key,
        user,
    ] = found;
    let model = model.ok_or(ProbeError::MissingModel)?;
    let model_name = model_name(body, &model)?;
    if let Some(range) = &stream_options
        && !matches!(body[range.start], b'{' | b'n')
    {
        let (key, expected) = ("stream_options", "an object");
        return Err(ProbeError::WrongType { key, expected });
    }
    Ok(Probe {
        model,
        model_name,
        stream: stream.map_or(Ok(false), |range| boolean("stream", &body[range]))?,
        stream_options,
        object_open,
        service_tier,
        prompt_cache_key,
        user,
    })
}

/// A boolean or `null`. Some servers take `"true"` or `1` for one: that is ambiguous.
pub(super) fn boolean(key: &'static str, value: &[u8]) -> Result<bool, ProbeError> {
    match value {
        b"true" => Ok(true),
        b"false" | b"null" => Ok(false),
        _ => Err(ProbeError::WrongType {
            key,
            expected: "a boolean",
        }),
    }
}

fn model_name<'b>(body: &'b [u8], range: &Range<usize>) -> Result<Cow<'b, str>, ProbeError> {
    match body[range.start] {
        b'"' => {}
        b'n' => return Err(ProbeError::MissingModel),
        _ => return Err(ProbeError::ModelNotString),
    }
    let text = &body[range.start + 1..range.end - 1];
    if text.iter().all(|&b| b >= b' ' && b != b'\\')
        && let Ok(text) = std::str::from_utf8(text)
    {
        return Ok(Cow::Borrowed(text));
    }
    serde_json::from_slice::<String>(&body[range.clone()])
        .map(Cow::Owned)
        .map_err(|_| ProbeError::Malformed {
            at: range.start,
            expected: "a valid string",
        })
}
