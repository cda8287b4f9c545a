//! The fields that tell a client how its limits stand, named and written as OpenAI does.

use std::time::Duration;

/// `x-ratelimit-limit-*`, `-remaining-*` and `-reset-*` of requests.
pub const REQUESTS: [&str; 3] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
];

/// The same of tokens.
pub const TOKENS: [&str; 3] = [
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// A time as `x-ratelimit-reset-*` has it: Go's notation, in milliseconds, rounded up: `120ms`,
/// `8.64s`, `6m0s`, `1h0m0.5s`.
pub struct Wait {
    bytes: [u8; 40],
    length: usize,
}

impl Wait {
    /// Writes a time.
    pub fn new(time: Duration) -> Wait {
        let mut wait = Wait {
            bytes: [0; 40],
            length: 0,
        };
        let millis = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        if (1..1000).contains(&millis) {
            wait.number(millis);
            wait.text(b"ms");
            return wait;
        }
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (minutes, hours) = (seconds / 60 % 60, seconds / 3600);
        if hours > 0 {
            wait.number(hours);
            wait.text(b"h");
        }
        if hours > 0 || minutes > 0 {
            wait.number(minutes);
            wait.text(b"m");
        }
        wait.number(seconds % 60);
        if millis > 0 {
            let digits = [millis / 100, millis / 10 % 10, millis % 10].map(|it| b'0' + it as u8);
            let used = digits
                .iter()
                .rposition(|&digit| digit != b'0')
                .map_or(0, |last| last + 1);
            wait.text(b".");
            wait.text(&digits[..used]);
        }
        wait.text(b"s");
        wait
    }

    /// As it is written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn number(&mut self, number: u64) {
        self.text(itoa::Buffer::new().format(number).as_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        let room = &mut self.bytes[self.length..];
        room[..text.len()].copy_from_slice(text);
        self.length += text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        for (micros, text) in [
            (0, "0s"),
            (1, "1ms"),
            (120_000, "120ms"),
            (999_001, "1s"),
            (1_000_000, "1s"),
            (1_000_001, "1.001s"),
            (8_640_000, "8.64s"),
            (59_999_999, "1m0s"),
            (360_000_000, "6m0s"),
            (90_950_000, "1m30.95s"),
            (3_600_500_000, "1h0m0.5s"),
            (86_460_000_000, "24h1m0s"),
        ] {
            let wait = Wait::new(Duration::from_micros(micros));
            assert_eq!(String::from_utf8_lossy(wait.as_bytes()), text);
        }
        let longest = Wait::new(Duration::MAX);
        assert!(longest.as_bytes().ends_with(b"s"));
    }
}
