//! `traceparent`: which trace a request belongs to, and whose part of it it is (W3C Trace Context,
//! level 2, section 3.2).

/// The field's name.
pub const FIELD_NAME: &str = "traceparent";

/// What goes with it, for those who know it: vendors' own words on the trace (section 3.3).
pub const STATE_FIELD_NAME: &str = "tracestate";

/// Bytes of a value of version 00.
const LENGTH: usize = 55;

/// The flag that says: the caller may have recorded its part.
const SAMPLED: u8 = 0x01;

/// The flag that says: the trace's id is random, at least its last 56 bits.
const RANDOM: u8 = 0x02;

/// A value of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace's id; never 0.
    pub trace: u128,
    /// The id of the caller's span; never 0.
    pub parent: u64,
    /// Whether the caller may have recorded its part.
    pub sampled: bool,
    /// Whether the trace's id is random.
    pub random: bool,
}

impl TraceParent {
    /// Reads a value. None if it is malformed: then it is as if there were none, and what else came
    /// with it counts for nothing (section 4.2). A version that is not known yet is read as far as
    /// this one goes (section 4.3).
    pub fn parse(value: &[u8]) -> Option<TraceParent> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [version, trace, parent, flags] = parts(known)?;
        let version = number(version)?;
        let well_formed = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with(b"-"),
        };
        let (trace, parent, flags) = (number(trace)?, number(parent)?, number(flags)? as u8);
        (well_formed && trace != 0 && parent != 0).then_some(TraceParent {
            trace,
            parent: parent as u64,
            sampled: flags & SAMPLED != 0,
            random: flags & RANDOM != 0,
        })
    }

    /// The value as this version writes it.
    pub fn to_value(self) -> [u8; LENGTH] {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.sampled, SAMPLED) | flag(self.random, RANDOM);
        let mut value = [b'-'; LENGTH];
        write(&mut value[..2], 0);
        write(&mut value[3..35], self.trace);
        write(&mut value[36..52], self.parent.into());
        write(&mut value[53..], flags.into());
        value
    }
}

/// `VERSION-TRACE-PARENT-FLAGS`
fn parts(value: &[u8]) -> Option<[&[u8]; 4]> {
    let dashes = [2, 35, 52].iter().all(|&at| value.get(at) == Some(&b'-'));
    dashes.then(|| [&value[..2], &value[3..35], &value[36..52], &value[53..]])
}

/// Hexadecimal digits, in lower case only, as many as a `u128` has at most.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The last digits of a number, as many as there is room for.
fn write(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(value: &str) -> Option<TraceParent> {
        TraceParent::parse(value.as_bytes())
    }

    #[test]
    fn the_example_of_the_recommendation_is_read() {
        let read = parse(GOOD).expect("a value");
        assert_eq!(read.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(read.parent, 0x00f0_67aa_0ba9_02b7);
        assert!(read.sampled && !read.random);
        assert_eq!(read.to_value(), GOOD.as_bytes());
        let flags = |flags: &str| parse(&GOOD.replace("-01", flags)).expect("a value");
        assert!(!flags("-00").sampled);
        assert!(flags("-03").random);
        // What the other flags mean is not known, and not passed on.
        assert_eq!(flags("-fd").to_value(), GOOD.as_bytes());
    }

    #[test]
    fn what_is_malformed_is_no_value() {
        let malformed = [
            "",
            "00",
            &GOOD[1..],
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}-00"),
            &format!(" {GOOD}"),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0g", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("4736-", "473-6"),
            &GOOD.replacen("00", "01", 1).replace("-01", "-01x"),
        ];
        for value in malformed {
            assert_eq!(parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(parse(&later), parse(GOOD));
        assert_eq!(parse(&format!("{later}-what-will-be")), parse(GOOD));
        assert_eq!(parse(&format!("{later}.what-will-be")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            trace in 1..=u128::MAX,
            parent in 1..=u64::MAX,
            sampled: bool,
            random: bool,
        ) {
            let value = TraceParent { trace, parent, sampled, random };
            prop_assert_eq!(TraceParent::parse(&value.to_value()), Some(value));
        }

        #[test]
        fn no_bytes_are_a_panic_and_what_is_read_has_one_form(
            value in prop::collection::vec(prop::sample::select(b"0123456789abcdefA-g \xff".to_vec()), 0..80),
        ) {
            if let Some(read) = TraceParent::parse(&value) {
                let (written, read_from) = (read.to_value(), &value[3..53]);
                prop_assert_eq!(&written[3..53], read_from);
            }
        }

        #[test]
        fn one_byte_that_is_wrong_is_not_repaired(at in 0..55_usize, byte: u8) {
            let mut value = GOOD.as_bytes().to_vec();
            value[at] = byte;
            let allowed = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let dash = matches!(at, 2 | 35 | 52);
            let read = TraceParent::parse(&value);
            prop_assert_eq!(read.is_some(), match dash {
                true => byte == b'-',
                false => allowed && &value[..2] != b"ff",
            });
        }
    }
}
