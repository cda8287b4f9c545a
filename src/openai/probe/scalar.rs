//! Skipping over JSON on any processor.

use super::{Inside, Skip, Stop, is_alien};

/// Byte by byte, but for what `memchr` does better.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Scalar;

impl Skip for Scalar {
    fn string_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
        loop {
            let rest = bytes.get(inside.at..).ok_or(Stop::End)?;
            let Some(offset) = memchr::memchr2(b'"', b'\\', rest) else {
                inside.at = bytes.len();
                return Err(Stop::End);
            };
            if rest[offset] == b'"' {
                return Ok(inside.at + offset);
            }
            inside.at += offset + 2;
        }
    }

    fn plain(self, bytes: &[u8], at: usize) -> Option<usize> {
        let stops = |&byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        Some(at + bytes.get(at..)?.iter().position(stops)?)
    }

    fn container_on(self, bytes: &[u8], inside: &mut Inside) -> Result<usize, Stop> {
        loop {
            if inside.in_string {
                inside.at = self.string_on(bytes, inside)? + 1;
                inside.in_string = false;
            }
            let at = inside.at;
            match *bytes.get(at).ok_or(Stop::End)? {
                b'"' => inside.in_string = true,
                b'{' | b'[' => inside.depth += 1,
                b'}' | b']' => inside.depth -= 1,
                byte if is_alien(byte) => return Err(Stop::Alien { at }),
                _ => {}
            }
            inside.at += 1;
            if inside.depth == 0 {
                return Ok(inside.at);
            }
        }
    }
}
