//! The form probe: finds the `model` field of a `multipart/form-data` body (RFC 7578).
//!
//! As strict as the JSON probe, for the same reason: parsers of forms differ in what they forgive
//! (preambles, bare line feeds, padding, equal names, extended parameters), and the provider must
//! read the same `model` as we do. Every SDK writes forms that pass.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::Finder;

use super::probe::{MODEL_BYTES_MAX, ProbeError};

/// Bytes of a part's header fields, blank line included.
const PART_HEAD_BYTES_MAX: usize = 8192;
/// Bytes of a boundary (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// What routing needs of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormProbe<'b> {
    /// The content of the `model` field, as offsets into the body: what is replaced by the
    /// provider's name for it.
    pub model: Range<usize>,
    /// The same, as text.
    pub model_name: Cow<'b, str>,
}

/// Probes a form. `content_type` is the value of the request's `Content-Type`.
///
/// # Errors
/// [`ProbeError`]: not a form, not exactly one usable `model` field, or a form that some parser
/// might read another way.
pub fn probe_form<'b>(content_type: &[u8], body: &'b [u8]) -> Result<FormProbe<'b>, ProbeError> {
    FormProber::new(content_type)?.finish(body)
}

/// A probe of a form that is still being received: each part of it is looked at when it comes, so
/// that no form takes its core for long, however large it is. Wherever the delimiter's text stands,
/// it must be one.
#[derive(Clone, Debug)]
pub struct FormProber {
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    /// Just after a delimiter's text; 0 before the first.
    at: usize,
    /// No delimiter begins in front of this.
    searched: usize,
    model: Option<Range<usize>>,
}

impl FormProber {
    /// A probe of which nothing has come yet. `content_type` is as for [`probe_form`].
    ///
    /// # Errors
    /// [`ProbeError`]: the content type is not that of a form, or names no usable boundary.
    pub fn new(content_type: &[u8]) -> Result<FormProber, ProbeError> {
        Ok(FormProber {
            delimiter: [b"--", boundary(content_type)?].concat(),
            at: 0,
            searched: 0,
            model: None,
        })
    }

    /// Looks at what has come since the last time. `body` is all that is there.
    ///
    /// # Errors
    /// As [`probe_form`], if it can be told already.
    pub fn look(&mut self, body: &[u8]) -> Result<(), ProbeError> {
        self.walk(body, false)
    }

    /// What the whole form says, however much of it has been looked at.
    ///
    /// # Errors
    /// As [`probe_form`].
    pub fn finish(mut self, body: &[u8]) -> Result<FormProbe<'_>, ProbeError> {
        self.walk(body, true)?;
        let model = self.model.ok_or(ProbeError::MissingModel)?;
        if model.len() > MODEL_BYTES_MAX {
            return Err(ProbeError::ModelTooLong);
        }
        match std::str::from_utf8(&body[model.clone()]) {
            Ok(text) if !text.contains(char::is_control) => Ok(FormProbe {
                model,
                model_name: Cow::Borrowed(text),
            }),
            _ => Err(ProbeError::ModelNotString),
        }
    }

    /// Goes from part to part, as far as the body goes.
    fn walk(&mut self, body: &[u8], whole: bool) -> Result<(), ProbeError> {
        let needle = self.delimiter.len();
        if self.at == 0 {
            let begun = &body[..body.len().min(needle)];
            if begun != &self.delimiter[..begun.len()] || (whole && begun.len() < needle) {
                return Err(malformed(0, "the boundary"));
            }
            if begun.len() < needle {
                return Ok(());
            }
            (self.at, self.searched) = (needle, needle);
        }
        let delimiter = Finder::new(&self.delimiter);
        loop {
            let rest = &body[self.at..];
            if matches!(rest, b"--" | b"--\r\n") {
                return Ok(());
            }
            if !rest.starts_with(b"\r\n") {
                let cut = b"\r\n".starts_with(rest) || b"--\r\n".starts_with(rest);
                if cut && !whole {
                    return Ok(());
                }
                return Err(malformed(self.at, "a line end, or the end of the form"));
            }
            let Some(next) = delimiter.find(&body[self.searched..]) else {
                self.searched = self.searched.max(body.len().saturating_sub(needle - 1));
                return match whole {
                    true => Err(malformed(body.len(), "the boundary")),
                    false => Ok(()),
                };
            };
            let next = self.searched + next;
            // The line end before a delimiter belongs to it; a part without fields has one of its
            // own.
            let start = self.at + 2;
            let Some(part) = body[start..next.max(start)].strip_suffix(b"\r\n") else {
                return Err(malformed(next, "a line end before the boundary"));
            };
            if let Some(content) = model_field(body, start..start + part.len())?
                && self.model.replace(content).is_some()
            {
                return Err(ProbeError::Ambiguous { key: "model" });
            }
            (self.at, self.searched) = (next + needle, next + needle);
        }
    }
}

fn malformed(at: usize, expected: &'static str) -> ProbeError {
    ProbeError::MalformedForm { at, expected }
}

/// The boundary that the content type names.
fn boundary(content_type: &[u8]) -> Result<&[u8], ProbeError> {
    let (media_type, parameters) = Parameters::split(content_type);
    if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        return Err(ProbeError::NotAForm);
    }
    let bad = || {
        malformed(
            0,
            "one boundary of 1 to 70 plain characters in the content type",
        )
    };
    let mut boundary = None;
    for parameter in parameters {
        let (name, value) = parameter.ok_or_else(bad)?;
        let is_boundary = name.len() >= 8 && name[..8].eq_ignore_ascii_case(b"boundary");
        if is_boundary && (name.len() > 8 || boundary.replace(value).is_some()) {
            return Err(bad());
        }
    }
    let boundary = boundary.ok_or_else(bad)?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(b);
    let fits = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len());
    match fits && boundary.iter().all(plain) {
        true => Ok(boundary),
        false => Err(bad()),
    }
}

/// The content of a part, if it is the `model` field.
fn model_field(body: &[u8], part: Range<usize>) -> Result<Option<Range<usize>>, ProbeError> {
    let bytes = &body[part.clone()];
    let window = &bytes[..bytes.len().min(PART_HEAD_BYTES_MAX)];
    let end = memchr::memmem::find(window, b"\r\n\r\n");
    let end = end.ok_or_else(|| malformed(part.start, "header fields and a blank line"))?;
    let mut disposition = None;
    let mut encoded = false;
    for line in Lines(Some(&bytes[..end])) {
        let bad = || malformed(part.start, "well-formed header fields");
        let colon = memchr::memchr(b':', line).ok_or_else(bad)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let control = |b: &u8| *b != b'\t' && b.is_ascii_control();
        let token = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
        if name.is_empty() || !name.iter().all(token) || value.iter().any(control) {
            return Err(bad());
        }
        encoded |= name.eq_ignore_ascii_case(b"content-transfer-encoding");
        if name.eq_ignore_ascii_case(b"content-disposition") && disposition.replace(value).is_some()
        {
            return Err(bad());
        }
    }
    let disposition = disposition.ok_or_else(|| malformed(part.start, "a content disposition"))?;
    match disposition_is_model(disposition, part.start)? {
        true if encoded => Err(ProbeError::Ambiguous { key: "model" }),
        true => Ok(Some(part.start + end + 4..part.end)),
        false => Ok(None),
    }
}

/// Whether a content disposition names the field `model`.
fn disposition_is_model(value: &[u8], at: usize) -> Result<bool, ProbeError> {
    let bad = || malformed(at, "form-data, its one name first");
    let (kind, parameters) = Parameters::split(value);
    if !kind.eq_ignore_ascii_case(b"form-data") {
        return Err(bad());
    }
    let mut field = None;
    let mut is_file = false;
    for parameter in parameters {
        let (name, value) = parameter.ok_or_else(bad)?;
        // Some parsers look for the first `name` in the text, whatever it is a part of, so nothing
        // may stand before it. Every SDK begins with it.
        if field.is_none() && name != b"name" {
            return Err(bad());
        }
        // `name*` and `name*0` are other ways to write it that RFC 7578 section 4.2 rules out.
        let starred = name.len() > 4 && name[..5].eq_ignore_ascii_case(b"name*");
        let named = name.eq_ignore_ascii_case(b"name");
        if starred || (named && field.replace(value).is_some()) {
            return Err(bad());
        }
        is_file |= name.len() >= 8 && name[..8].eq_ignore_ascii_case(b"filename");
    }
    let field = field.ok_or_else(bad)?;
    if field == b"model" {
        return if is_file {
            Err(ProbeError::ModelNotString)
        } else {
            Ok(true)
        };
    }
    match amounts_to_model(field) {
        true => Err(ProbeError::Ambiguous { key: "model" }),
        false => Ok(false),
    }
}

/// Whether a name that isn't `model` may be taken for it: in another case, with white space or
/// brackets around it, or with backslashes or percent signs that some parsers decode.
fn amounts_to_model(field: &[u8]) -> bool {
    let letters = field.iter().filter(|b| b.is_ascii_alphabetic());
    let escaped = field.iter().any(|b| matches!(b, b'\\' | b'%'));
    escaped && field.len() <= 3 * b"model".len()
        || letters.map(u8::to_ascii_lowercase).eq(*b"model")
}

/// Lines ended by CRLF.
struct Lines<'b>(Option<&'b [u8]>);

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let rest = self.0?;
        match memchr::memmem::find(rest, b"\r\n") {
            Some(end) => {
                self.0 = Some(&rest[end + 2..]);
                Some(&rest[..end])
            }
            None => self.0.take(),
        }
    }
}

/// `; name=value` of a field value (RFC 9110 section 5.6.6), one after another; `None` is one
/// that doesn't parse. Backslashes in quotes are left as they are.
struct Parameters<'b>(&'b [u8]);

impl<'b> Parameters<'b> {
    /// What stands before the first semicolon, and the parameters after it.
    fn split(value: &'b [u8]) -> (&'b [u8], Parameters<'b>) {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        (value[..end].trim_ascii(), Parameters(&value[end..]))
    }

    fn parse(&mut self) -> Option<(&'b [u8], &'b [u8])> {
        let rest = self.0.strip_prefix(b";")?.trim_ascii_start();
        let equals = memchr::memchr2(b'=', b';', rest)?;
        let (name, rest) = rest.split_at(equals);
        let rest = rest.strip_prefix(b"=")?;
        let (value, rest) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted_end(quoted)?;
                (&quoted[..end], quoted[end + 1..].trim_ascii_start())
            }
            None => {
                let (value, rest) = rest.split_at(memchr::memchr(b';', rest).unwrap_or(rest.len()));
                // To some parsers a quote opens quoted text wherever it stands.
                if value.contains(&b'"') {
                    return None;
                }
                (value.trim_ascii_end(), rest)
            }
        };
        let token = |b: &u8| b.is_ascii_graphic() && !b"\"\\(),/:<>?@[]{}".contains(b);
        let good = !name.is_empty() && name.iter().all(token);
        (good && (rest.is_empty() || rest[0] == b';')).then(|| {
            self.0 = rest;
            (name, value)
        })
    }
}

fn quoted_end(quoted: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', quoted.get(at..)?)?;
        if quoted[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

impl<'b> Iterator for Parameters<'b> {
    type Item = Option<(&'b [u8], &'b [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.trim_ascii();
        if self.0.is_empty() {
            return None;
        }
        let parsed = self.parse();
        if parsed.is_none() {
            self.0 = &[];
        }
        Some(parsed)
    }
}
