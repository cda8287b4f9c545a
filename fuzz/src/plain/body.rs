//! The chunked coding (RFC 9112 section 7.1), taken off a body that is all in hand.

use srpd::http::chunked::{EXTENSION_BYTES_MAX, SIZE_DIGITS_MAX, TRAILER_BYTES_MAX};

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunked {
    /// A body with this payload, which ends at this offset.
    Whole(Vec<u8>, usize),
    /// The beginning of one, with this payload so far.
    Cut(Vec<u8>),
    /// Nothing that can become one.
    Broken,
}

/// Bytes that are at hand, and none of which is skipped.
struct Rest<'b>(&'b [u8]);

/// Why reading stopped.
enum Stop {
    Cut,
    Broken,
}

impl<'b> Rest<'b> {
    /// What stands before the next CR LF. No other control byte than the tab may.
    fn line(&mut self) -> Result<&'b [u8], (Stop, &'b [u8])> {
        let odd = |byte: &u8| *byte == 0x7f || (*byte < b' ' && *byte != b'\t');
        let Some(end) = self.0.iter().position(odd) else {
            return Err((Stop::Cut, self.0));
        };
        let (line, behind) = self.0.split_at(end);
        match behind {
            [b'\r', b'\n', rest @ ..] => {
                self.0 = rest;
                Ok(line)
            }
            [b'\r'] => Err((Stop::Cut, line)),
            _ => Err((Stop::Broken, line)),
        }
    }
}

/// Reads a chunked body.
pub fn chunked(bytes: &[u8]) -> Chunked {
    let mut rest = Rest(bytes);
    let mut payload = Vec::new();
    match read(&mut rest, &mut payload) {
        Ok(()) => Chunked::Whole(payload, bytes.len() - rest.0.len()),
        Err(Stop::Cut) => Chunked::Cut(payload),
        Err(Stop::Broken) => Chunked::Broken,
    }
}

fn read(rest: &mut Rest<'_>, payload: &mut Vec<u8>) -> Result<(), Stop> {
    let mut extensions = 0;
    loop {
        let size = match rest.line() {
            Ok(line) => {
                let (size, extension) = size_line(line).ok_or(Stop::Broken)?;
                extensions += extension;
                // White space must lead to an extension, and there must be digits.
                if line.is_empty() || is_space_only(line, extension) {
                    return Err(Stop::Broken);
                }
                size
            }
            Err((Stop::Broken, _)) => return Err(Stop::Broken),
            Err((Stop::Cut, line)) => {
                let (_, extension) = size_line(line).ok_or(Stop::Broken)?;
                let too_long = extensions + extension > EXTENSION_BYTES_MAX;
                let ends_early =
                    rest.0.ends_with(b"\r") && (line.is_empty() || is_space_only(line, extension));
                return Err(match too_long || ends_early {
                    true => Stop::Broken,
                    false => Stop::Cut,
                });
            }
        };
        if extensions > EXTENSION_BYTES_MAX {
            return Err(Stop::Broken);
        }
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let data = &rest.0[..rest.0.len().min(size)];
        payload.extend_from_slice(data);
        rest.0 = &rest.0[data.len()..];
        match rest.0 {
            _ if data.len() < size => return Err(Stop::Cut),
            [] | [b'\r'] => return Err(Stop::Cut),
            [b'\r', b'\n', behind @ ..] => rest.0 = behind,
            _ => return Err(Stop::Broken),
        }
    }
    trailers(rest)
}

/// The size that a line says, and the bytes behind its digits; `None` if it can't become one.
fn size_line(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits > SIZE_DIGITS_MAX as usize {
        return None;
    }
    let behind = &line[digits..];
    let extension = behind.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if !matches!(extension, None | Some(b';')) || (digits == 0 && !line.is_empty()) {
        return None;
    }
    let text = String::from_utf8_lossy(&line[..digits]);
    let size = u64::from_str_radix(&text, 16).unwrap_or(0);
    Some((size, behind.len()))
}

/// Whether what stands behind the digits of a line is there, but is no extension.
fn is_space_only(line: &[u8], behind: usize) -> bool {
    behind > 0 && !line.contains(&b';')
}

/// Fields up to the blank line; line ends count against the bound, the blank line doesn't.
fn trailers(rest: &mut Rest<'_>) -> Result<(), Stop> {
    let section = rest.0;
    loop {
        let before = section.len() - rest.0.len();
        match rest.line() {
            Ok([]) => return Ok(()),
            Ok(line) if is_trailer(line, true) => {
                let used = section.len() - rest.0.len();
                if used > TRAILER_BYTES_MAX {
                    return Err(Stop::Broken);
                }
            }
            Ok(_) | Err((Stop::Broken, _)) => return Err(Stop::Broken),
            Err((Stop::Cut, line)) => {
                let has_return = rest.0.ends_with(b"\r");
                let whole = has_return && !line.is_empty();
                let used = before + line.len() + usize::from(whole);
                let fits = line.is_empty() || is_trailer(line, whole);
                return Err(match fits && used <= TRAILER_BYTES_MAX {
                    true => Stop::Cut,
                    false => Stop::Broken,
                });
            }
        }
    }
}

/// Whether a line is a field, or can become one.
fn is_trailer(line: &[u8], whole: bool) -> bool {
    let colon = line.iter().position(|&byte| byte == b':');
    let name = &line[..colon.unwrap_or(line.len())];
    let special = b"!#$%&'*+-.^_`|~";
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || special.contains(byte);
    !name.is_empty() && name.iter().all(token) && (colon.is_some() || !whole)
}
