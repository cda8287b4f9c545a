//! The first step of a frame's checksum.

/// CRC-32C (Castagnoli) of four bytes: the little-endian ones of `word`. To be continued with
/// [`crc32c::crc32c_append`]. The crate has instructions for it, but a call of it costs more than they
/// do, and an entry needs one for its length and one for the rest.
#[inline]
pub(super) fn of_word(word: u32) -> u32 {
    let [a, b, c, d] = (!word).to_le_bytes().map(usize::from);
    !(TABLES[3][a] ^ TABLES[2][b] ^ TABLES[1][c] ^ TABLES[0][d])
}

/// The polynomial, its bits reversed (RFC 3720, appendix B.4).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What becomes of a byte after one step, and after one to three more with zeros.
static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 32 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
            if bit % 8 == 0 {
                tables[bit / 8 - 1][byte] = crc;
            }
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_is_four_bytes(word: u32) {
            prop_assert_eq!(super::of_word(word), crc32c::crc32c(&word.to_le_bytes()));
        }
    }
}
