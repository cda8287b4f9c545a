//! Skipping over JSON on any processor.

use super::{BLOCK, Carry, Inside, Marks, Skip, Stop, is_alien};

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

    fn marks(self, block: &[u8; BLOCK], carry: &mut Carry) -> Marks {
        let (mut signs, mut escaped, mut flaws) = (0, 0, 0);
        for (index, &byte) in block.iter().enumerate() {
            let bit = 1 << index;
            let in_string = carry.in_string != 0;
            if std::mem::take(&mut carry.escaped) != 0 {
                if in_string {
                    escaped |= bit;
                    flaws |= if byte <= 0x1f { bit } else { 0 };
                }
                continue;
            }
            match (byte, in_string) {
                (b'"', _) => {
                    signs |= bit;
                    carry.in_string = !carry.in_string;
                }
                (b'\\', _) => {
                    carry.escaped = 1;
                    flaws |= if in_string { 0 } else { bit };
                }
                (0..=0x1f, true) => flaws |= bit,
                (b'{' | b'}' | b'[' | b']' | b':' | b',', false) => signs |= bit,
                _ => {}
            }
        }
        Marks {
            signs,
            escaped,
            flaws,
        }
    }
}
