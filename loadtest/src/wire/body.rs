//! Bodies, taken out of their framing across any cuts.

use super::{Broken, Framing};

/// A body being received.
#[derive(Debug)]
pub struct Body(State);

#[derive(Debug)]
enum State {
    /// So many bytes to come.
    Length(u64),
    /// To the end of the connection.
    Close,
    /// In a chunk's size; whether a digit was seen, and whether its extension has begun.
    Size {
        size: u64,
        digits: bool,
        extension: bool,
    },
    Payload(u64),
    AfterPayload,
    /// In the trailers; whether the line is empty so far.
    Trailer {
        empty: bool,
    },
}

/// A chunk's size before its first digit.
const SIZE: State = State::Size {
    size: 0,
    digits: false,
    extension: false,
};

impl Body {
    /// A body that ends as `framing` says.
    pub fn new(framing: Framing) -> Body {
        Body(match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Close => State::Close,
            Framing::Chunked => SIZE,
        })
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.0, State::Close)
    }

    /// Takes in bytes and hands payload to `sink`: how many were used, and whether it is over.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(usize, bool), Broken> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match &mut self.0 {
                State::Length(left) | State::Payload(left) => {
                    let take = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if take > 0 {
                        sink(&rest[..take]);
                    }
                    at += take;
                    *left -= take as u64;
                    match (&self.0, bytes.len() - at) {
                        (State::Length(0), _) => return Ok((at, true)),
                        (State::Payload(0), _) => self.0 = State::AfterPayload,
                        _ => return Ok((at, false)),
                    }
                }
                State::Close => {
                    if !rest.is_empty() {
                        sink(rest);
                    }
                    return Ok((bytes.len(), false));
                }
                _ => {
                    let Some(&byte) = rest.first() else {
                        return Ok((at, false));
                    };
                    at += 1;
                    if self.frame(byte)? {
                        return Ok((at, true));
                    }
                }
            }
        }
    }

    /// Takes in one byte of framing; whether it was the last.
    fn frame(&mut self, byte: u8) -> Result<bool, Broken> {
        let wrong = Err(Broken("bad_chunk"));
        match &mut self.0 {
            State::Size {
                digits,
                size,
                extension,
            } => match byte {
                b'\n' if !*digits => return wrong,
                b'\n' if *size == 0 => self.0 = State::Trailer { empty: true },
                b'\n' => self.0 = State::Payload(*size),
                b'\r' | b' ' => {}
                b';' if *digits => *extension = true,
                _ if *extension => {}
                _ => {
                    let digit = char::from(byte).to_digit(16).ok_or(Broken("bad_chunk"))?;
                    let grown = size.checked_mul(16).ok_or(Broken("bad_chunk"))?;
                    (*size, *digits) = (grown + u64::from(digit), true);
                }
            },
            State::AfterPayload => match byte {
                b'\r' => {}
                b'\n' => self.0 = SIZE,
                _ => return wrong,
            },
            State::Trailer { empty } => match byte {
                b'\n' if *empty => return Ok(true),
                b'\n' => *empty = true,
                b'\r' => {}
                _ => *empty = false,
            },
            State::Length(_) | State::Payload(_) | State::Close => {}
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(body: &mut Body, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let (mut payload, mut used, mut done) = (Vec::new(), 0, false);
        for piece in pieces {
            assert!(!done || piece.is_empty());
            let fed = body.feed(piece, |bytes| payload.extend_from_slice(bytes));
            let (taken, over) = fed.unwrap();
            used += taken;
            done = over;
        }
        (payload, used, done)
    }

    proptest! {
        #[test]
        fn chunks_survive_every_cut(sizes in prop::collection::vec(1usize..40, 0..5), cut: prop::sample::Index) {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for size in &sizes {
                let payload = vec![b'a' + (*size % 26) as u8; *size];
                wire.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                wire.extend_from_slice(&payload);
                wire.extend_from_slice(b"\r\n");
                expected.extend_from_slice(&payload);
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let cut = cut.index(wire.len());
            let mut body = Body::new(Framing::Chunked);
            let got = feed(&mut body, &[&wire[..cut], &wire[cut..]]);
            prop_assert_eq!(got, (expected, wire.len(), true));
        }
    }

    #[test]
    fn bytes_behind_the_end_are_left() {
        let mut body = Body::new(Framing::Chunked);
        assert_eq!(body.feed(b"0\r\n\r\nHTTP", |_| {}), Ok((5, true)));
        let mut body = Body::new(Framing::Length(3));
        assert_eq!(body.feed(b"abcd", |_| {}), Ok((3, true)));
        assert_eq!(
            Body::new(Framing::Length(0)).feed(b"", |_| {}),
            Ok((0, true))
        );
    }

    #[test]
    fn extensions_and_trailers_are_stepped_over() {
        let wire = b"2;a=b\r\nhi\r\n0\r\nx: y\r\n\r\n";
        let got = feed(&mut Body::new(Framing::Chunked), &[wire]);
        assert_eq!(got, (b"hi".to_vec(), wire.len(), true));
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        for wrong in [
            b"xyz\r\n".as_slice(),
            b"1\r\nab\r\n",
            b"\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert!(Body::new(Framing::Chunked).feed(wrong, |_| {}).is_err());
        }
    }

    #[test]
    fn a_body_without_framing_lasts_as_long_as_the_connection() {
        let mut body = Body::new(Framing::Close);
        assert!(body.ends_with_connection());
        assert_eq!(feed(&mut body, &[b"ab", b"c"]), (b"abc".to_vec(), 3, false));
    }
}
