//! The chunked coding, against the grammar and against itself on the same bytes cut elsewhere.

use srpd::http::{BadChunk, ChunkedDecoder};

use crate::dice::Dice;
use crate::plain::body::{self, Chunked};

/// Decodes a body in one piece and in many.
pub fn run(bytes: &[u8]) {
    let whole = decode([bytes]);
    match (body::chunked(bytes), &whole) {
        (Chunked::Whole(payload, end), Ok(read)) => {
            assert_eq!(
                (&read.payload, read.consumed, read.done),
                (&payload, end, true)
            );
        }
        (Chunked::Cut(payload), Ok(read)) => {
            assert_eq!(
                (&read.payload, read.consumed, read.done),
                (&payload, bytes.len(), false)
            );
        }
        (Chunked::Broken, Err(_)) => {}
        (plain, ours) => panic!("{plain:?}, but srpd: {ours:?}"),
    }
    for pieces in Dice::of(bytes).cuts(bytes) {
        assert_eq!(decode(pieces), whole);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Read {
    payload: Vec<u8>,
    consumed: usize,
    done: bool,
}

fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Read, BadChunk> {
    let mut decoder = ChunkedDecoder::new();
    let mut read = Read {
        payload: Vec::new(),
        consumed: 0,
        done: false,
    };
    for piece in pieces {
        let mut copy = piece.to_vec();
        match decoder.decode(&mut copy) {
            Ok(decoded) => {
                // What lies behind the end is the next message's, and is not touched.
                assert_eq!(copy[decoded.consumed..], piece[decoded.consumed..]);
                assert!(decoded.done || decoded.consumed == piece.len());
                assert!(!read.done || decoded.consumed == 0);
                read.payload.extend_from_slice(&copy[decoded.payload]);
                read.consumed += decoded.consumed;
                read.done = decoded.done;
            }
            Err(bad) => {
                assert_eq!(
                    decoder.decode(&mut [b'0']),
                    Err(bad),
                    "an error is for ever"
                );
                return Err(bad);
            }
        }
    }
    Ok(read)
}
