//! From the head of a request to what is asked for, by whom, and within which borders. Whatever
//! is wrong is found here, before a byte of the body is read.

use super::core::Core;
use super::reject::Rejection;
use super::supply::Terms;
use crate::base::KeyDigest;
use crate::http::{Fields, RequestFraming, RequestHead, Version, hop};
use crate::net::Buffer;
use crate::openai::{BodyKind, ErrorCode, NoRoute, Operation, Route, route};
use crate::policy::residency::{self, JurisdictionSet};
use crate::tables::Routes;
use crate::tables::routes::Key;
use crate::telemetry::InlineText;
use crate::telemetry::otlp::Trace;

/// Longest `x-request-id` of a client's that is taken over (SRP section 9).
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A request's head, read.
pub struct Received {
    /// Bytes of the head.
    pub bytes: usize,
    /// How its body ends.
    pub framing: RequestFraming,
    /// Its version.
    pub version: Version,
    /// Whether another request may follow on the connection.
    pub persistent: bool,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
    /// Whether it was HEAD.
    pub head_only: bool,
    /// The client's id for it, or ours.
    pub request_id: InlineText<128>,
    /// What is asked for, or why not.
    pub wish: Result<Wish, Rejection>,
}

/// What a request asks for.
pub enum Wish {
    /// A call to be routed.
    Call(Intake),
    /// The list of capabilities.
    ModelList(Key),
    /// One of them.
    Model(Key, String),
}

/// A call as its head has it.
pub struct Intake {
    /// What is asked for.
    pub operation: Operation,
    /// Whose call it is.
    pub key: Key,
    /// What `X-Sovereign-Residency` says, if it was sent.
    pub residency: Option<JurisdictionSet>,
    /// What is asked of the market.
    pub terms: Terms,
    /// The field lines that go on to a provider.
    pub forwarded: Buffer,
    /// `content-type` of a form, for its boundary.
    pub content_type: Vec<u8>,
    /// If the call is recorded as spans.
    pub trace: Option<Trace>,
}

impl Received {
    /// Takes in a head.
    pub fn new(core: &Core, routes: &Routes, head: &RequestHead<'_, '_>) -> Received {
        Received {
            bytes: head.length,
            framing: head.framing,
            version: head.version,
            persistent: head.persistent,
            expect_continue: head.expect_continue,
            head_only: head.method == "HEAD",
            request_id: request_id(core, &head.fields),
            wish: wish(core, routes, head),
        }
    }
}

fn wish(core: &Core, routes: &Routes, head: &RequestHead<'_, '_>) -> Result<Wish, Rejection> {
    let route = route(head.method, head.path).map_err(no_route)?;
    let key = authorise(routes, &head.fields)?;
    let operation = match route {
        Route::ModelList => return Ok(Wish::ModelList(key)),
        Route::Model(id) => return Ok(Wish::Model(key, id.to_owned())),
        Route::Call(operation) => operation,
    };
    let fields = &head.fields;
    let residency = residency::parse_field(
        fields.get_all(residency::FIELD_NAME),
        fields.nominated(residency::FIELD_NAME),
        &routes.groups,
    )
    .map_err(|error| {
        Rejection::new(ErrorCode::InvalidResidency, error.unquoted()).about("X-Sovereign-Residency")
    })?;
    let terms = Terms::read(fields)?;
    let content_type = media_type(fields, operation)?;
    measure(routes, head.framing)?;
    let mut forwarded = Buffer::brief();
    let tracing = core.tracing.as_ref();
    let begun = tracing.map(|it| it.begin(fields, &mut core.prng.borrow_mut(), core.recently()));
    let trace = begun.flatten();
    match &trace {
        None => hop::forward_request_fields(fields, forwarded.vec()),
        Some(trace) => hop::forward_traced_fields(fields, trace.parent != 0, forwarded.vec()),
    }
    Ok(Wish::Call(Intake {
        operation,
        key,
        residency,
        terms,
        forwarded,
        content_type,
        trace,
    }))
}

/// None of these messages, nor any other, quotes the request: what is in the wrong place may be
/// a key.
fn no_route(no: NoRoute) -> Rejection {
    match no {
        NoRoute::UnknownUrl => {
            let message = "no such path: expected one of OpenAI's that this instance serves";
            Rejection::new(ErrorCode::UnknownUrl, message)
        }
        NoRoute::MethodNotAllowed { allow } => {
            let message = format!("the method is not allowed here: expected {allow}");
            let rejection = Rejection::new(ErrorCode::MethodNotAllowed, message);
            Rejection {
                allow: Some(allow),
                ..rejection
            }
        }
    }
}

/// Finds the key by its digest. The table holds no key, and the time that a look-up takes says
/// nothing about a digest ([`Keys`](crate::tables::routes::Keys)).
fn authorise(routes: &Routes, fields: &Fields<'_, '_>) -> Result<Key, Rejection> {
    let unknown = |message: &'static str| Rejection::new(ErrorCode::InvalidApiKey, message);
    let Ok(value) = fields.single("authorization") else {
        return Err(unknown("more than one Authorization field: expected one"));
    };
    let value = value.ok_or_else(|| {
        unknown("you didn't provide an API key: expected `Authorization: Bearer KEY`")
    })?;
    let key = match value.split_first_chunk::<7>() {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ => return Err(unknown("expected `Authorization: Bearer KEY`")),
    };
    let known = routes.keys.get(&KeyDigest::of(key));
    known
        .cloned()
        .ok_or_else(|| unknown("the API key is not known here"))
}

/// Checks that the body is one that routing can read, and returns its type if that has more to say.
fn media_type(fields: &Fields<'_, '_>, operation: Operation) -> Result<Vec<u8>, Rejection> {
    let unsupported = |message| Rejection::new(ErrorCode::UnsupportedMediaType, message);
    let coded = |value: &[u8]| !value.trim_ascii().eq_ignore_ascii_case(b"identity");
    if fields.get_all("content-encoding").any(coded) {
        return Err(unsupported(
            "a compressed body can't be routed: expected no Content-Encoding",
        ));
    }
    let Ok(value) = fields.single("content-type") else {
        return Err(unsupported("more than one Content-Type: expected one"));
    };
    let value = value.unwrap_or_default();
    let media = value
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let (expected, message) = match operation.body() {
        BodyKind::Json => (
            "application/json",
            "expected Content-Type: application/json",
        ),
        BodyKind::Multipart => (
            "multipart/form-data",
            "expected Content-Type: multipart/form-data",
        ),
    };
    if media.eq_ignore_ascii_case(expected.as_bytes()) {
        return Ok(match operation.body() {
            BodyKind::Json => Vec::new(),
            BodyKind::Multipart => value.to_vec(),
        });
    }
    Err(unsupported(message))
}

/// Checks the body's declared length.
fn measure(routes: &Routes, framing: RequestFraming) -> Result<(), Rejection> {
    match framing {
        RequestFraming::None => Err(Rejection::new(
            ErrorCode::LengthRequired,
            "expected a body, with Content-Length or chunked",
        )),
        RequestFraming::Length(length) if length > routes.limits.body_bytes as u64 => {
            Err(too_large(routes))
        }
        _ => Ok(()),
    }
}

/// The body is over its bound.
pub fn too_large(routes: &Routes) -> Rejection {
    let message = format!(
        "the body is too large: expected at most {} bytes",
        routes.limits.body_bytes
    );
    Rejection::new(ErrorCode::ContentTooLarge, message)
}

/// The client's own id, if it is one that can be passed on, else a new one.
fn request_id(core: &Core, fields: &Fields<'_, '_>) -> InlineText<128> {
    match fields.single("x-request-id") {
        Ok(Some(id))
            if (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
                && id.iter().all(u8::is_ascii_graphic) =>
        {
            InlineText::new(id)
        }
        _ => new_request_id(core),
    }
}

/// An id for a request that brought none.
pub fn new_request_id(core: &Core) -> InlineText<128> {
    let mut id = *b"req_00000000000000000000000000000000";
    let mut prng = core.prng.borrow_mut();
    for eight in id[4..].as_chunks_mut::<8>().0 {
        *eight = hex(prng.next_u64() as u32);
    }
    InlineText::new(&id)
}

/// The eight hexadecimal digits of a number, all at once: each digit has a byte of a word.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & (0x0f * ONES);
    // 1 in each byte that is a letter's: from 10 on, 6 more carry into the fifth bit.
    let letters = ((digits + 6 * ONES) >> 4) & ONES;
    let text = digits + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'9' - 1);
    text.to_be_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_written_as_they_are_read() {
        for number in [0, 0x0123_4567, 0x89ab_cdef, 0xa9f0_9a0f, u32::MAX] {
            let text = super::hex(number);
            assert_eq!(text, format!("{number:08x}").as_bytes());
        }
    }
}
