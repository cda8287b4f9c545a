//! One call as the access log sees it: a fixed-size record of ids and numbers, cheap to copy into
//! a ring. Never a body, never a key.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::base::{CapabilityId, KeyId, Moment, ProviderId};

/// Text kept inside its owner, of at most `N` bytes (`N` ≤ 255).
#[derive(Clone, Copy)]
pub struct InlineText<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> InlineText<N> {
    /// Nothing.
    pub const EMPTY: InlineText<N> = InlineText {
        length: 0,
        bytes: [0; N],
    };

    /// The bytes, if they fit; else as much as fits, ending in `...`.
    pub fn new(text: &[u8]) -> InlineText<N> {
        const CUT: &[u8] = b"...";
        let mut inline = Self::EMPTY;
        let room = N.min(usize::from(u8::MAX));
        let kept = text.len().min(room);
        inline.bytes[..kept].copy_from_slice(&text[..kept]);
        if text.len() > room && room >= CUT.len() {
            inline.bytes[room - CUT.len()..room].copy_from_slice(CUT);
        }
        inline.length = kept as u8;
        inline
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// As text for a log line: anything but visible ASCII becomes `?`.
    pub fn to_text(&self) -> Cow<'_, str> {
        let shown = |byte: u8| matches!(byte, b' '..=b'~');
        match std::str::from_utf8(self.as_bytes()) {
            Ok(text) if text.bytes().all(shown) => Cow::Borrowed(text),
            _ => {
                let bytes = self.as_bytes().iter().copied();
                bytes
                    .map(|byte| if shown(byte) { byte.into() } else { '?' })
                    .collect()
            }
        }
    }
}

impl<const N: usize> Serialize for InlineText<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<const N: usize> std::fmt::Display for InlineText<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl<const N: usize> std::fmt::Debug for InlineText<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// How a call ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Completed,
    /// An error of our own.
    Failed,
    /// The client left first.
    ClientGone,
    /// The response was cut after its commit point.
    Cut,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 4] = [
        Outcome::Completed,
        Outcome::Failed,
        Outcome::ClientGone,
        Outcome::Cut,
    ];

    /// Its name in the log.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::ClientGone => "client_gone",
            Outcome::Cut => "cut",
        }
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord {
    /// When it ended.
    pub at: Moment,
    /// `x-request-id`: at most 128 visible ASCII characters (SRP section 9).
    pub request_id: InlineText<128>,
    /// The effective residency as a field value; cut if it names more than a handful.
    pub residency: InlineText<48>,
    /// What it asked for, if that exists.
    pub capability: Option<CapabilityId>,
    /// Whose it was, if it was anyone's.
    pub key: Option<KeyId>,
    /// Who served it.
    pub provider: Option<ProviderId>,
    /// Where it was served: ISO 3166-1 alpha-2, lower case.
    pub jurisdiction: Option<[u8; 2]>,
    /// What the client was sent; 499 if it left before that.
    pub status: u16,
    /// Our own error's code, by its index.
    pub code: Option<u8>,
    /// Attempts made.
    pub attempts: u8,
    /// From its start to the first event or body byte sent, in microseconds.
    pub ttft_us: Option<u64>,
    /// From its start to its end, in microseconds.
    pub total_us: u64,
    /// How much of that it waited for a slot (`X-Sovereign-Defer`), in microseconds.
    pub waited_us: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Input tokens, as the provider said.
    pub input_tokens: Option<u64>,
    /// Output tokens, as the provider said.
    pub output_tokens: Option<u64>,
    /// Whether it was served on a reservation.
    pub firm: bool,
    /// What a million of its tokens cost when it was dispatched, in millionths of the currency.
    pub price: Option<u64>,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// How it ended.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_does_not_fit_says_so() {
        assert_eq!(InlineText::<8>::new(b"au-only").to_text(), "au-only");
        assert_eq!(InlineText::<8>::new(b"12345678").to_text(), "12345678");
        assert_eq!(InlineText::<8>::new(b"123456789").to_text(), "12345...");
        assert_eq!(InlineText::<2>::new(b"123").to_text(), "12");
        assert_eq!(InlineText::<8>::EMPTY.to_text(), "");
        assert_eq!(InlineText::<8>::new(b"a\nb\x1b\xff").to_text(), "a?b??");
    }

    #[test]
    fn a_record_stays_small_enough_for_a_ring_of_thousands() {
        assert!(size_of::<AccessRecord>() <= 320);
    }
}
