//! The time of sending that the simulator puts into each event of a stream, in a member that
//! OpenAI's clients ignore: `"sent_at":"3f9a01c2:0000012345678901234"`, the system and its
//! monotonic nanoseconds. The length is fixed, so that it is written over in place.

use memchr::memmem;

/// What stands in front of the value.
const MARK: &[u8] = b"\"sent_at\":\"";
/// Digits of the system, and of the time.
const SYSTEM_DIGITS: usize = 8;
const TIME_DIGITS: usize = 19;

/// The member with a time of zero.
pub fn member(system: u32) -> String {
    format!("\"sent_at\":\"{system:08x}:{:0TIME_DIGITS$}\"", 0)
}

/// Where the time's digits begin in an event that contains [`member`].
pub fn position(event: &[u8]) -> Option<usize> {
    memmem::find(event, MARK).map(|at| at + MARK.len() + SYSTEM_DIGITS + 1)
}

/// Writes the time over the digits at `at`.
pub fn write(event: &mut [u8], at: usize, nanos: u64) {
    let mut rest = nanos;
    for digit in event[at..at + TIME_DIGITS].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The system and the time in an event, if it has them.
pub fn read(event: &[u8]) -> Option<(u32, u64)> {
    let at = memmem::find(event, MARK)? + MARK.len();
    let value = event.get(at..at + SYSTEM_DIGITS + 1 + TIME_DIGITS)?;
    let text = std::str::from_utf8(value).ok()?;
    let (system, time) = text.split_once(':')?;
    Some((u32::from_str_radix(system, 16).ok()?, time.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_back_as_it_was_written() {
        let mut event = format!("data: {{\"id\":\"a\",{}}}\n\n", member(0xfeed)).into_bytes();
        assert_eq!(read(&event), Some((0xfeed, 0)));
        let at = position(&event).unwrap();
        write(&mut event, at, 1_234_567_890_123_456_789);
        assert_eq!(read(&event), Some((0xfeed, 1_234_567_890_123_456_789)));
        assert!(event.ends_with(b"\"}\n\n"));
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        assert_eq!(read(b"data: [DONE]\n\n"), None);
        assert_eq!(read(b"\"sent_at\":\"00000001:12"), None);
        assert_eq!(read(b"\"sent_at\":\"00000001:00000000000000000x9\""), None);
    }
}
