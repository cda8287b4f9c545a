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
use std::sync::LazyLock;

use super::error::ErrorCode;
use members::Place;
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
    /// There is one, but it is longer than any name.
    #[error("no such model: its name is longer than any")]
    ModelTooLong,
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
            ProbeError::ModelTooLong => ErrorCode::ModelNotFound,
            ProbeError::NotAForm => ErrorCode::UnsupportedMediaType,
            ProbeError::MalformedForm { .. } => ErrorCode::BadRequest,
        }
    }

    /// The error body's `param`.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            ProbeError::Ambiguous { key } | ProbeError::WrongType { key, .. } => Some(key),
            ProbeError::MissingModel | ProbeError::ModelNotString | ProbeError::ModelTooLong => {
                Some("model")
            }
            ProbeError::Malformed { .. }
            | ProbeError::NotAForm
            | ProbeError::MalformedForm { .. } => None,
        }
    }
}

/// Where a skip stands that ran out of bytes. One engine's is not another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inside {
    /// The next byte to be looked at.
    at: usize,
    /// Brackets that are open.
    depth: usize,
    /// A string is open, for a container.
    in_string: bool,
    /// The next byte is escaped.
    escaped: bool,
}

impl Inside {
    /// Just behind an opening quote or bracket.
    #[inline]
    fn from(at: usize) -> Inside {
        Inside {
            at,
            depth: 1,
            in_string: false,
            escaped: false,
        }
    }
}

/// Why a skip did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ran out of bytes.
    End,
    /// Outside of strings, a byte that begins what some parsers take for a comment or a string.
    Alien {
        /// Its offset.
        at: usize,
    },
}

/// What can't stand outside of strings, and hides a quote from some parsers: comments (`//`, `/*`,
/// `#`), single quotes, and a backslash.
#[inline]
fn is_alien(byte: u8) -> bool {
    matches!(byte, b'/' | b'#' | b'\'' | b'\\')
}

/// A way of skipping over JSON. Implementations agree exactly on every input, valid or not.
pub(super) trait Skip: Copy {
    /// The offset of the quote that ends a string.
    fn string_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop>;

    /// The offset just after the bracket that closes a container. Brackets are counted, not
    /// matched by kind.
    fn container_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop>;

    /// The offset of the quote that ends the string whose first byte is at `at`.
    #[inline(always)]
    fn string(self, bytes: &[u8], at: usize) -> Option<usize> {
        self.string_on(bytes, &mut Inside::from(at)).ok()
    }

    /// Marks what holds a text together in its next block.
    fn marks(self, block: &[u8; BLOCK], carry: &mut Carry) -> Marks;
}

/// Bytes looked at together: one bit each in a `u64`.
pub(super) const BLOCK: usize = 64;

/// What one block must know of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carry {
    /// 1 if the first byte of the block is escaped.
    escaped: u64,
    /// All ones if the block begins inside a string.
    in_string: u64,
}

impl Carry {
    /// Whether a string is open.
    #[inline]
    pub(super) fn is_in_string(self) -> bool {
        self.in_string != 0
    }
}

/// Where something is in a block, one bit a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// Quotes that no backslash escapes, and the brackets, colons and commas outside of strings.
    pub(super) signs: u64,
    /// What a backslash in a string escapes.
    pub(super) escaped: u64,
    /// Control characters in strings, and backslashes outside.
    pub(super) flaws: u64,
}

/// Something that skips again and again, to be compiled as a whole for a way of skipping.
pub(super) trait Work {
    /// What comes of it.
    type Done;

    /// Does it. Inlined wherever it is called: see [`Engine::run`].
    fn with(self, skip: impl Skip) -> Self::Done;
}

/// How the probe skips: what the processor can do, found out at run time.
#[derive(Clone, Copy, Debug)]
pub struct Engine(Kind);

/// The implementations of [`Skip`].
#[derive(Clone, Copy, Debug)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(simd::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(simd::Avx512),
}

impl Engine {
    /// Byte by byte, on any processor.
    pub const SCALAR: Engine = Engine(Kind::Scalar);

    /// Does something with code that is compiled for the engine as a whole.
    #[inline]
    pub(super) fn run<W: Work>(self, work: W) -> W::Done {
        match self.0 {
            Kind::Scalar => work.with(Scalar),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => simd::Wide::compiled(avx2, work),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(avx512) => simd::Wide::compiled(avx512, work),
        }
    }

    /// All that this processor runs, the fastest first.
    #[inline]
    pub fn all() -> impl Iterator<Item = Engine> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            simd::Avx512::detect().map(Kind::Avx512),
            simd::Avx2::detect().map(Kind::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [Option<Kind>; 0] = [];
        wide.into_iter()
            .flatten()
            .map(Engine)
            .chain([Engine::SCALAR])
    }

    /// The fastest that this processor runs.
    #[inline]
    pub fn best() -> Engine {
        // To ask six features each time costs more than a small text.
        static BEST: LazyLock<Engine> =
            LazyLock::new(|| Engine::all().next().unwrap_or(Engine::SCALAR));
        *BEST
    }
}

/// Probes a request body with the fastest engine there is.
///
/// # Errors
/// [`ProbeError`]: not one object, no usable `model`, or ambiguous.
pub fn probe(body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    Prober::new().finish(body)
}

/// Probes a request body with a given engine; all engines give the same answer.
///
/// # Errors
/// As [`probe`].
pub fn probe_with(engine: Engine, body: &[u8]) -> Result<Probe<'_>, ProbeError> {
    Prober::with(engine).finish(body)
}

const KEYS: [&str; 6] = [
    "model",
    "stream",
    "stream_options",
    "service_tier",
    "prompt_cache_key",
    "user",
];

/// The longest `model` that is looked at, in bytes as it is written: no capability's name needs
/// more, were all of it escapes.
pub(super) const MODEL_BYTES_MAX: usize = 1024;

/// The longest `stream_options`, in bytes: it is read to its inside.
const STREAM_OPTIONS_BYTES_MAX: usize = 4096;

/// A probe of a body that is still being received: each part is looked at when it comes, so that
/// no body takes its core for long, however large it is.
#[derive(Clone, Debug)]
pub struct Prober {
    engine: Engine,
    /// None before the object has been entered.
    place: Option<Place>,
    object_open: usize,
    found: [Option<Range<usize>>; KEYS.len()],
}

impl Prober {
    /// A probe with the fastest engine there is.
    #[inline]
    pub fn new() -> Prober {
        Prober::with(Engine::best())
    }

    /// A probe with a given engine; all engines give the same answer.
    #[inline]
    pub fn with(engine: Engine) -> Prober {
        Prober {
            engine,
            place: None,
            object_open: 0,
            found: [const { None }; KEYS.len()],
        }
    }

    /// Looks at what has come since the last time. `body` is all that is there.
    ///
    /// # Errors
    /// As [`probe`], if it can be told already.
    pub fn look(&mut self, body: &[u8]) -> Result<(), ProbeError> {
        match self.advance(body) {
            Err(ProbeError::Malformed { at, .. }) if at == body.len() => Ok(()),
            other => other,
        }
    }

    /// What the whole body says, however much of it has been looked at.
    ///
    /// # Errors
    /// As [`probe`].
    #[inline]
    pub fn finish(mut self, body: &[u8]) -> Result<Probe<'_>, ProbeError> {
        self.advance(body)?;
        self.conclude(body)
    }

    fn advance(&mut self, body: &[u8]) -> Result<(), ProbeError> {
        let engine = self.engine;
        engine.run(Walk(self, body))
    }

    /// Goes on as far as the body goes. An error at its very end says that more is needed.
    #[inline(always)]
    fn walk<S: Skip>(&mut self, skip: S, body: &[u8]) -> Result<(), ProbeError> {
        let mut members = match self.place.take() {
            Some(place) => Members::resume(skip, body, place),
            None => {
                let members = Members::open(skip, body)?;
                self.object_open = members.at();
                members
            }
        };
        let walked = loop {
            let member = match members.next() {
                Ok(Some(member)) => member,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if let Some(index) = known_key(&KEYS, body, &member.key)?
                && self.found[index].replace(member.value).is_some()
            {
                return Err(ProbeError::Ambiguous { key: KEYS[index] });
            }
        };
        self.place = Some(members.place());
        walked
    }

    fn conclude(self, body: &[u8]) -> Result<Probe<'_>, ProbeError> {
        let [
            model,
            stream,
            stream_options,
            service_tier,
            prompt_cache_key,
            user,
        ] = self.found;
        let model = model.ok_or(ProbeError::MissingModel)?;
        let model_name = model_name(body, &model)?;
        if let Some(range) = &stream_options {
            let expected = match body[range.start] {
                b'{' | b'n' if range.len() <= STREAM_OPTIONS_BYTES_MAX => None,
                b'{' => Some("an object of at most 4096 bytes"),
                _ => Some("an object"),
            };
            let key = "stream_options";
            expected.map_or(Ok(()), |expected| {
                Err(ProbeError::WrongType { key, expected })
            })?;
        }
        Ok(Probe {
            model,
            model_name,
            stream: stream.map_or(Ok(false), |range| boolean("stream", &body[range]))?,
            stream_options,
            object_open: self.object_open,
            service_tier,
            prompt_cache_key,
            user,
        })
    }
}

/// A prober's walk through what has come.
struct Walk<'w, 'b>(&'w mut Prober, &'b [u8]);

impl Work for Walk<'_, '_> {
    type Done = Result<(), ProbeError>;

    #[inline(always)]
    fn with(self, skip: impl Skip) -> Self::Done {
        let Walk(prober, body) = self;
        prober.walk(skip, body)
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the value of one more member lies, in a body that has been probed.
///
/// # Errors
/// It stands there twice, or in a spelling that some parsers take for it.
pub fn find_member(body: &[u8], key: &'static str) -> Result<Option<Range<usize>>, ProbeError> {
    Engine::best().run(Find(body, key))
}

/// The search for a member.
struct Find<'b>(&'b [u8], &'static str);

impl Work for Find<'_> {
    type Done = Result<Option<Range<usize>>, ProbeError>;

    #[inline(always)]
    fn with(self, skip: impl Skip) -> Self::Done {
        let Find(body, key) = self;
        let mut members = Members::open(skip, body)?;
        let mut found = None;
        while let Some(member) = members.next()? {
            if known_key(&[key], body, &member.key)?.is_some()
                && found.replace(member.value).is_some()
            {
                return Err(ProbeError::Ambiguous { key });
            }
        }
        Ok(found)
    }
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
    if range.len() > MODEL_BYTES_MAX {
        return Err(ProbeError::ModelTooLong);
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
