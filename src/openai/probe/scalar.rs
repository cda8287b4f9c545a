//! Skipping over JSON on any processor.

use super::Skip;

/// Byte by byte, but for what `memchr` does better.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Scalar;

impl Skip for Scalar {
    fn string(self, bytes: &[u8], mut at: usize) -> Option<usize> {
        loop {
            at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
            if bytes[at] == b'"' {
                return Some(at);
            }
            at += 2;
        }
    }

    fn plain(self, bytes: &[u8], at: usize) -> Option<usize> {
        let stops = |&byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        Some(at + bytes.get(at..)?.iter().position(stops)?)
    }

    fn container(self, bytes: &[u8], mut at: usize) -> Option<usize> {
        let mut depth = 1_usize;
        loop {
            match bytes.get(at)? {
                b'"' => at = self.string(bytes, at + 1)?,
                // Never in valid text; it escapes there too, as in `simd`.
                b'\\' if matches!(bytes.get(at + 1), Some(b'"' | b'\\')) => at += 1,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
}
