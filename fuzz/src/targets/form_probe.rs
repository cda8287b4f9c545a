//! The form probe, against multer and against a forgiving reader: if a form is accepted, nobody
//! reads another `model` in it. The first line of an input is the content type, the rest the body.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::stream;
use srpd::openai::{FormProbe, FormProber, ProbeError, probe_form};

use crate::dice::Dice;
use crate::plain::form;

/// Probes a form and reads it with others.
pub fn run(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n');
    let end = end.unwrap_or(input.len());
    let (content_type, body) = (&input[..end], &input[input.len().min(end + 1)..]);
    let probed = probe_form(content_type, body);
    for pieces in Dice::of(body).cuts(body) {
        assert_eq!(in_pieces(content_type, body, &pieces), probed, "cut");
    }
    let probe = match probed {
        Ok(probe) => probe,
        Err(error) => {
            let described =
                matches!(error, ProbeError::MalformedForm { at, .. } if at > body.len());
            assert!(!described, "{error} of {}", body.len());
            return;
        }
    };
    assert_eq!(&body[probe.model.clone()], probe.model_name.as_bytes());
    let content_type = std::str::from_utf8(content_type);
    let boundary = content_type.ok().map(multer::parse_boundary);
    if let Some(Ok(boundary)) = boundary {
        let readers = [
            with_multer(&boundary, body),
            Some(with_forgiveness(&boundary, body)),
        ];
        for models in readers.into_iter().flatten() {
            assert_eq!(models, [probe.model_name.as_bytes()]);
        }
        assert_replaced(content_type.unwrap_or_default(), body, &probe.model);
    }
}

/// Probes a form that is still coming.
fn in_pieces<'b>(
    content_type: &[u8],
    body: &'b [u8],
    pieces: &[&[u8]],
) -> Result<FormProbe<'b>, ProbeError> {
    let mut prober = FormProber::new(content_type)?;
    let mut end = 0;
    for piece in pieces {
        end += piece.len();
        prober.look(&body[..end])?;
    }
    prober.finish(body)
}

/// Another name in the place of the model's is read back, and nothing else has changed.
fn assert_replaced(content_type: &str, body: &[u8], model: &std::ops::Range<usize>) {
    const NAME: &[u8] = b"whisper-1";
    let new = [&body[..model.start], NAME, &body[model.end..]].concat();
    match probe_form(content_type.as_bytes(), &new) {
        Ok(again) => assert_eq!(again.model_name.as_bytes(), NAME),
        // The boundary may happen to be a part of the name.
        Err(error) => {
            let boundary = multer::parse_boundary(content_type).unwrap_or_default();
            let delimiter = format!("--{boundary}");
            let found = String::from_utf8_lossy(&new).matches(&delimiter).count();
            let before = String::from_utf8_lossy(body).matches(&delimiter).count();
            assert!(found > before, "{error}");
        }
    }
}

/// The contents of all fields called `model`; `None` if the form is refused.
fn with_multer(boundary: &str, body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let whole = Bytes::copy_from_slice(body);
    let chunks = stream::iter([Ok::<Bytes, Infallible>(whole)]);
    let mut form = multer::Multipart::new(chunks, boundary);
    let mut models = Vec::new();
    while let Some(field) = ready(form.next_field()).ok()? {
        let named = field.name() == Some("model");
        let content = ready(field.bytes()).ok()?;
        if named {
            models.push(content.to_vec());
        }
    }
    Some(models)
}

fn with_forgiveness(boundary: &str, body: &[u8]) -> Vec<Vec<u8>> {
    let fields = form::fields(boundary.as_bytes(), body).into_iter();
    let models = fields.filter(|field| field.name == b"model");
    models.map(|field| field.content).collect()
}

/// The outcome of what has nothing to wait for.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return outcome;
        }
    }
    panic!("multer waits for nothing");
}
