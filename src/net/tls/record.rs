//! Where a TLS record ends (RFC 8446 section 5.1). What is in it is for rustls to judge.

/// Bytes of a record's header.
const HEADER: usize = 5;

/// Bytes of payload in one record, at most.
pub const PAYLOAD_MAX: usize = 16 * 1024;

/// Bytes that protection may add to a record's payload, at most (RFC 5246 section 6.2.3).
const EXPANSION_MAX: usize = 2048;

/// What received bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A record of that many bytes, with its header.
    Whole(usize),
    /// A part of one, which lacks at least that many bytes.
    Partial(usize),
    /// Nothing that TLS would begin with.
    Alien,
}

/// Looks at the header that `bytes` begin with.
pub fn next(bytes: &[u8]) -> Next {
    // change_cipher_spec, alert, handshake, application_data; SSL 3 and its successors.
    let alien = bytes.first().is_some_and(|kind| !(20..=23).contains(kind))
        || bytes.get(1).is_some_and(|&major| major != 3);
    if alien {
        return Next::Alien;
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER>() else {
        return Next::Partial(HEADER - bytes.len());
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PAYLOAD_MAX + EXPANSION_MAX {
        return Next::Alien;
    }
    match (HEADER + length).checked_sub(bytes.len()) {
        None | Some(0) => Next::Whole(HEADER + length),
        Some(missing) => Next::Partial(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_ends_where_its_header_says() {
        let record = [23, 3, 3, 0, 4, 1, 2, 3, 4, 23, 3];
        assert_eq!(next(&record), Next::Whole(9));
        for have in 0..9 {
            let missing = if have < 5 { 5 } else { 9 } - have;
            assert_eq!(next(&record[..have]), Next::Partial(missing), "{have}");
        }
        assert_eq!(next(&[22, 3, 1, 0, 0]), Next::Whole(5));
    }

    #[test]
    fn what_is_no_record_is_known_by_its_first_bytes() {
        assert_eq!(next(b"G"), Next::Alien);
        assert_eq!(next(b"\x16\x02"), Next::Alien);
        assert_eq!(next(b"\x17\x03\x03\x48\x00"), Next::Partial(0x4800));
        assert_eq!(next(b"\x17\x03\x03\x48\x01"), Next::Alien);
    }
}
