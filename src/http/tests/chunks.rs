//! Chunked bodies, whole, cut and broken.

use proptest::prelude::*;

use super::*;
use crate::http::chunked::{EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
use crate::http::encode::{CHUNK_SIZE_ROOM, CRLF, write_chunk_size};

/// What a body turns out to be: its payload, how many bytes it took, whether it ended.
type Read = Result<(Vec<u8>, usize, bool), BadChunk>;

/// What a row expects: the payload, what is left for the next message, whether the body ended.
type Verdict = Result<(&'static str, &'static str, bool), BadChunk>;

/// Reads a body that comes in pieces, cut at `cuts`.
fn read_in_pieces(bytes: &[u8], cuts: &[usize]) -> Read {
    let mut decoder = ChunkedDecoder::new();
    let (mut payload, mut consumed) = (Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    for end in ends {
        let mut piece = bytes[consumed..end].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        payload.extend_from_slice(&piece[decoded.payload]);
        consumed += decoded.consumed;
        if decoded.done {
            return Ok((payload, consumed, true));
        }
        assert_eq!(decoded.consumed, piece.len());
    }
    Ok((payload, consumed, false))
}

/// The same again, in the plainest words: lines first, then what they say.
fn read_plainly(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut payload = Vec::new();
    let mut at = 0;
    let line = |at: &mut usize| {
        let length = bytes[*at..].windows(2).position(|pair| pair == CRLF)?;
        let line = &bytes[*at..*at + length];
        *at += length + 2;
        let text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
        line.iter().all(text).then_some(line)
    };
    loop {
        let size = line(&mut at)?;
        let digits = size.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let rest = size[digits..].iter().find(|b| !b" \t".contains(b));
        if digits == 0 || digits > 16 || digits < size.len() && rest != Some(&b';') {
            return None;
        }
        let digits = std::str::from_utf8(&size[..digits]).ok()?;
        let size = usize::try_from(u64::from_str_radix(digits, 16).ok()?).ok()?;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size)?;
        payload.extend_from_slice(bytes.get(at..end)?);
        if bytes.get(end..end.checked_add(2)?)? != CRLF {
            return None;
        }
        at = end + 2;
    }
    loop {
        let trailer = line(&mut at)?;
        if trailer.is_empty() {
            return Some((payload, at));
        }
        let name = trailer.split(|&b| b == b':').next()?;
        if name.is_empty() || name == trailer || !name.iter().all(|&b| fields::is_token_byte(b)) {
            return None;
        }
    }
}

#[rustfmt::skip]
const BODIES: &[(&str, Verdict)] = &[
    ("5⏎hello⏎0⏎⏎", Ok(("hello", "", true))),
    ("0⏎⏎", Ok(("", "", true))),
    ("0000000000000000⏎⏎", Ok(("", "", true))),
    ("0⏎⏎GET /", Ok(("", "GET /", true))),
    ("5⏎hello⏎6⏎ world⏎0⏎⏎next", Ok(("hello world", "next", true))),
    ("A⏎0123456789⏎0⏎⏎", Ok(("0123456789", "", true))),
    ("a⏎0123456789⏎0⏎⏎", Ok(("0123456789", "", true))),
    ("2⏎⏎⏎0⏎⏎", Ok(("\r\n", "", true))),
    ("5⏎hel", Ok(("hel", "", false))),
    ("5⏎hello", Ok(("hello", "", false))),
    ("5⏎hello⏎0⏎", Ok(("hello", "", false))),
    ("", Ok(("", "", false))),
    ("ffffffffffffffff⏎x", Ok(("x", "", false))),
    ("1;a⏎x⏎1;a=b;c=\"d e\"⏎y⏎0;last⏎⏎", Ok(("xy", "", true))),
    ("1 ;a⏎x⏎1\t ; a = b⏎y⏎0⏎⏎", Ok(("xy", "", true))),
    ("1⏎x⏎0⏎A: b⏎C-D:⏎⏎", Ok(("x", "", true))),
    ("⏎", Err(BadChunk::Size)),
    ("1⏎x⏎⏎⏎", Err(BadChunk::Size)),
    ("g⏎", Err(BadChunk::Size)),
    ("0x1⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    ("+1⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    ("-1⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    (" 1⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    ("1 ⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    ("1_0⏎", Err(BadChunk::Size)),
    ("1 0⏎", Err(BadChunk::Size)),
    ("00000000000000001⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    ("10000000000000001⏎x⏎0⏎⏎", Err(BadChunk::Size)),
    ("1\nx⏎0⏎⏎", Err(BadChunk::Size)),
    ("1\rx⏎0⏎⏎", Err(BadChunk::LineEnd)),
    ("1⏎x\n0⏎⏎", Err(BadChunk::LineEnd)),
    ("1⏎x\r0⏎⏎", Err(BadChunk::LineEnd)),
    ("1⏎xy⏎0⏎⏎", Err(BadChunk::LineEnd)),
    ("2⏎x⏎0⏎⏎", Err(BadChunk::LineEnd)),
    ("1;a\nx⏎0⏎⏎", Err(BadChunk::Extension)),
    ("1;a\u{0}⏎x⏎0⏎⏎", Err(BadChunk::Extension)),
    ("1;a\u{7f}⏎x⏎0⏎⏎", Err(BadChunk::Extension)),
    ("0⏎\n", Err(BadChunk::Trailer)),
    ("0⏎A: b\n⏎", Err(BadChunk::Trailer)),
    ("0⏎A: b\u{0}⏎⏎", Err(BadChunk::Trailer)),
    ("0⏎A: b⏎ folded⏎⏎", Err(BadChunk::Trailer)),
    ("0⏎A : b⏎⏎", Err(BadChunk::Trailer)),
    ("0⏎: b⏎⏎", Err(BadChunk::Trailer)),
    ("0⏎A⏎⏎", Err(BadChunk::Trailer)),
    ("0⏎A: b\rC⏎⏎", Err(BadChunk::LineEnd)),
    ("0⏎\rx", Err(BadChunk::LineEnd)),
    ("0⏎GET / HTTP/1.1⏎⏎", Err(BadChunk::Trailer)),
];

#[test]
fn bodies_are_read_however_they_are_cut() {
    for (text, expected) in BODIES {
        let bytes = wire(text);
        let expected = expected.map(|(payload, rest, done)| {
            (payload.as_bytes().to_vec(), bytes.len() - rest.len(), done)
        });
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(read_in_pieces(&bytes, &[]), expected, "{text:?}");
        assert_eq!(
            read_in_pieces(&bytes, &every),
            expected,
            "{text:?}, byte by byte"
        );
        for cut in every {
            assert_eq!(
                read_in_pieces(&bytes, &[cut]),
                expected,
                "{text:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn the_payload_of_one_chunk_stays_where_it_is() {
    let mut bytes = *b"5\r\nhello\r\n0\r\n\r\n";
    let decoded = ChunkedDecoder::new().decode(&mut bytes).unwrap();
    assert_eq!(decoded.payload, 3..8);

    let mut decoder = ChunkedDecoder::new();
    decoder.decode(&mut { *b"ff\r\n" }).unwrap();
    assert_eq!(decoder.decode(&mut [b'x'; 100]).unwrap().payload, 0..100);
    let mut rest = [b'x'; 157];
    rest[155..].copy_from_slice(CRLF);
    assert_eq!(decoder.decode(&mut rest).unwrap().payload, 0..155);
}

#[test]
fn several_chunks_are_moved_together_behind_the_first() {
    let mut bytes = *b"1\r\na\r\n3\r\nbcd\r\n2\r\nef";
    let decoded = ChunkedDecoder::new().decode(&mut bytes).unwrap();
    assert_eq!(
        (&bytes[decoded.payload.clone()], decoded.payload),
        (&b"abcdef"[..], 3..9)
    );
}

#[test]
fn what_is_dropped_is_bounded() {
    let trailers = |bytes: usize| wire(&format!("0⏎a:{}⏎⏎", "x".repeat(bytes - 4)));
    assert!(take_chunked(&trailers(TRAILER_BYTES_MAX)).unwrap().2);
    let over = take_chunked(&trailers(TRAILER_BYTES_MAX + 1));
    assert_eq!(over, Err(BadChunk::TrailersTooLong));

    let extensions = |bytes: usize| {
        let rest = "x".repeat(bytes - 5);
        wire(&format!("1;abc⏎x⏎1;{rest}⏎y⏎0⏎⏎"))
    };
    assert!(take_chunked(&extensions(EXTENSION_BYTES_MAX)).unwrap().2);
    let over = take_chunked(&extensions(EXTENSION_BYTES_MAX + 1));
    assert_eq!(over, Err(BadChunk::ExtensionsTooLong));
    // The two are bounded apart from each other.
    let extended = wire(&format!("0;{}⏎", "x".repeat(EXTENSION_BYTES_MAX - 1)));
    let both = [&extended, &trailers(TRAILER_BYTES_MAX)[3..]].concat();
    assert!(take_chunked(&both).unwrap().2);
    let spaces = wire(&format!("1{};a⏎x⏎0⏎⏎", " ".repeat(EXTENSION_BYTES_MAX)));
    assert_eq!(take_chunked(&spaces), Err(BadChunk::ExtensionsTooLong));
}

#[test]
fn an_end_and_an_error_are_final() {
    let mut decoder = ChunkedDecoder::new();
    assert!(decoder.decode(&mut { *b"0\r\n\r\n" }).unwrap().done);
    let again = decoder.decode(&mut { *b"1\r\nx" }).unwrap();
    assert_eq!((again.payload, again.consumed, again.done), (0..0, 0, true));

    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.decode(&mut { *b"1\n" }), Err(BadChunk::Size));
    assert_eq!(decoder.decode(&mut { *b"1\r\nx\r\n" }), Err(BadChunk::Size));
    assert_eq!(decoder.decode(&mut []), Err(BadChunk::Size));
}

/// Bytes that are a whole body often enough, and otherwise nearly one.
fn almost_chunked() -> impl Strategy<Value = Vec<u8>> {
    let chunk = |n: usize| [format!("{n:x}\r\n").as_bytes(), &vec![b'p'; n], CRLF].concat();
    let piece = prop_oneof![
        12 => (1_usize..40).prop_map(chunk),
        6 => "0{0,14}1[ \t]{0,2};[ -~]{0,4}\r\nz\r\n".prop_map(String::into_bytes),
        1 => "[0-9a-fA-F]{1,2}".prop_map(String::into_bytes),
        1 => Just(CRLF.to_vec()),
        1 => "[;: \t\r\na=\"]".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    let end = prop_oneof![
        1 => Just(String::new()),
        6 => "0{1,17}(;[ -~]{0,3})?\r\n([a-c:é \t]{1,3}:[b-d:é \t]{0,3}\r\n){0,2}\r\n",
    ];
    (prop::collection::vec(piece, 0..6), end)
        .prop_map(|(pieces, end)| [pieces.concat(), end.into_bytes()].concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..12),
        extensions in prop::collection::vec("(;[a-z]{1,8}(=[a-z]{1,8})?)?", 12),
        trailers in prop::collection::vec("[A-Za-z-]{1,8}:[ -~]{0,20}", 0..3),
        rest in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        for (chunk, extension) in chunks.iter().zip(&extensions) {
            let mut room = [0; CHUNK_SIZE_ROOM];
            let size = write_chunk_size(chunk.len(), &mut room);
            bytes.extend_from_slice(&size[..size.len() - 2]);
            bytes.extend_from_slice(extension.as_bytes());
            for part in [CRLF, chunk, CRLF] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"0\r\n");
        for trailer in &trailers {
            bytes.extend_from_slice(trailer.as_bytes());
            bytes.extend_from_slice(CRLF);
        }
        bytes.extend_from_slice(CRLF);
        let length = bytes.len();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(read_in_pieces(&bytes, &cuts), Ok((chunks.concat(), length, true)));
    }

    #[test]
    fn the_verdict_does_not_depend_on_the_cuts(
        bytes in almost_chunked(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        prop_assert_eq!(read_in_pieces(&bytes, &cuts), read_in_pieces(&bytes, &[]));
    }

    #[test]
    fn what_ends_is_what_the_grammar_says(bytes in almost_chunked()) {
        let ended = match take_chunked(&bytes) {
            Ok((payload, consumed, true)) => Some((payload, consumed)),
            _ => None,
        };
        prop_assert_eq!(ended, read_plainly(&bytes));
    }
}
