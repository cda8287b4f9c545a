//! What the ledger says of one call, and how that lies in a payload.

use super::bytes::{Eye, Pen};
use super::frame::Kind;
use super::text::Text;
use crate::telemetry::{AttemptResult, Outcome};

/// The version of an entry that this program writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// Bytes of an entry before its texts.
pub const FIXED_BYTES: usize = 88;

/// Where the number of attempts is.
const ATTEMPTS_AT: usize = 13;

/// Bytes of an attempt before its texts.
const ATTEMPT_BYTES: usize = 24;

/// Bytes of each text at most: what is longer is cut.
pub const TEXT_BYTES_MAX: usize = 128;

/// Bytes of the residency at most, which are 31 jurisdictions: what is longer is cut.
pub const RESIDENCY_BYTES_MAX: usize = 250;

/// Bytes that a payload with so many attempts takes at most.
pub const fn payload_bytes_max(attempts: usize) -> usize {
    FIXED_BYTES
        + 4 * TEXT_BYTES_MAX
        + RESIDENCY_BYTES_MAX
        + attempts * (ATTEMPT_BYTES + 2 * TEXT_BYTES_MAX)
}

/// One call, but for its attempts. Its texts are `&str` where it was read, and may be [`Text`] where
/// it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<T> {
    /// Its number: with run and core, its [`EntryId`](super::EntryId).
    pub number: u64,
    /// When it began, in microseconds since 1970.
    pub began_us: i64,
    /// How long it took, in microseconds.
    pub total_us: u64,
    /// How long until its first event or body byte went out, in microseconds; None if none did.
    pub ttft_us: Option<u64>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Input tokens and output tokens as the provider said. None: it didn't, and nobody guesses.
    pub tokens: Option<(u64, u64)>,
    /// What a million tokens cost when it was last dispatched, in millionths of the currency; None
    /// if it never was.
    pub price: Option<u64>,
    /// Whether it was dispatched on a reservation.
    pub firm: bool,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// Whether the provider of its last attempt served it.
    pub served: bool,
    /// Where it was served: ISO 3166-1 alpha-2, lower case.
    pub jurisdiction: Option<[u8; 2]>,
    /// What the client was sent; 499 if it left before that.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Our own error's code, or nothing.
    pub code: T,
    /// `x-request-id`
    pub request_id: T,
    /// The effective residency as a field value; nothing if the call didn't get that far.
    pub residency: T,
    /// The key's name, or nothing.
    pub key: T,
    /// The capability's name, or nothing.
    pub capability: T,
}

/// One try at one endpoint, with texts as in [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<T> {
    /// How it ended. None: it hadn't when the call did.
    pub result: Option<AttemptResult>,
    /// What the provider answered with; 0 if it didn't.
    pub status: u16,
    /// When it began, in microseconds since the call did.
    pub after_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// The provider's name.
    pub provider: T,
    /// The endpoint's host and port.
    pub endpoint: T,
    /// Where the provider is: ISO 3166-1 alpha-2, lower case.
    pub jurisdiction: Option<[u8; 2]>,
}

/// A call and its attempts, read.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    /// Whether it is in another's place.
    pub amends: bool,
    /// The call.
    pub call: Call<&'e str>,
    attempts: (u8, Eye<'e>),
}

const HAS_TTFT: u8 = 1;
const HAS_TOKENS: u8 = 2;
const HAS_PRICE: u8 = 4;
const FIRM: u8 = 8;
const STREAM: u8 = 16;
const SERVED: u8 = 32;

/// Writes an entry where nothing but zeros is. None if there is no room, or it has more than 255
/// attempts.
#[inline]
pub fn encode<'t, T: Copy + Into<Text<'t>>>(
    pen: &mut Pen<'_>,
    kind: Kind,
    call: &Call<T>,
    mut attempts: impl Iterator<Item = Attempt<T>>,
) -> Option<()> {
    let texts = [
        (call.code, TEXT_BYTES_MAX),
        (call.request_id, TEXT_BYTES_MAX),
        (call.residency, RESIDENCY_BYTES_MAX),
        (call.key, TEXT_BYTES_MAX),
        (call.capability, TEXT_BYTES_MAX),
    ];
    let texts = texts.map(|(text, bytes_max)| text.into().cut(bytes_max));
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(call.ttft_us.is_some(), HAS_TTFT)
        | flag(call.tokens.is_some(), HAS_TOKENS)
        | flag(call.price.is_some(), HAS_PRICE)
        | flag(call.firm, FIRM)
        | flag(call.stream, STREAM)
        | flag(call.served, SERVED);
    let (input, output) = call.tokens.unwrap_or_default();
    let fixed = pen.array::<FIXED_BYTES>()?;
    fixed[0] = kind as u8;
    fixed[1] = VERSION;
    fixed[2] = flags;
    fixed[3] = outcome_number(call.outcome);
    fixed[4..6].copy_from_slice(&call.status.to_le_bytes());
    fixed[6..8].copy_from_slice(&call.jurisdiction.unwrap_or_default());
    for (at, text) in texts.iter().enumerate() {
        fixed[8 + at] = text.len() as u8;
    }
    let numbers = [
        call.number,
        call.began_us as u64,
        call.total_us,
        call.ttft_us.unwrap_or_default(),
        call.bytes_in,
        call.bytes_out,
        input,
        output,
        call.price.unwrap_or_default(),
    ];
    for (place, number) in fixed[16..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    for text in texts {
        pen.bytes(text)?;
    }
    attempts.try_for_each(|attempt| {
        fixed[ATTEMPTS_AT] = fixed[ATTEMPTS_AT].checked_add(1)?;
        encode_attempt(pen, &attempt)
    })
}

#[inline]
fn encode_attempt<'t, T: Copy + Into<Text<'t>>>(
    pen: &mut Pen<'_>,
    attempt: &Attempt<T>,
) -> Option<()> {
    let [provider, endpoint] =
        [attempt.provider, attempt.endpoint].map(|text| text.into().cut(TEXT_BYTES_MAX));
    let fixed = pen.array::<ATTEMPT_BYTES>()?;
    fixed[0] = attempt.result.map_or(0, result_number);
    fixed[1] = provider.len() as u8;
    fixed[2] = endpoint.len() as u8;
    fixed[4..6].copy_from_slice(&attempt.status.to_le_bytes());
    fixed[6..8].copy_from_slice(&attempt.jurisdiction.unwrap_or_default());
    fixed[8..16].copy_from_slice(&attempt.after_us.to_le_bytes());
    fixed[16..].copy_from_slice(&attempt.took_us.to_le_bytes());
    pen.bytes(provider)?;
    pen.bytes(endpoint)
}

impl<'e> Entry<'e> {
    /// Reads a frame's payload. None if it is of another kind or version, or isn't what an entry
    /// can be.
    pub fn decode(payload: &'e [u8]) -> Option<Entry<'e>> {
        let mut eye = Eye(payload);
        let fixed = eye.array::<FIXED_BYTES>()?;
        let amends = fixed[0] == Kind::Amendment as u8;
        if (fixed[0] != Kind::Entry as u8 && !amends) || fixed[1] != VERSION {
            return None;
        }
        let number = |index: usize| {
            let at = 16 + 8 * index;
            fixed[at..].first_chunk().map(|it| u64::from_le_bytes(*it))
        };
        let has = |flag: u8| fixed[2] & flag != 0;
        let mut text = |index: usize| eye.text(usize::from(fixed[8 + index]));
        let (code, request_id, residency) = (text(0)?, text(1)?, text(2)?);
        let (key, capability) = (text(3)?, text(4)?);
        let jurisdiction = [fixed[6], fixed[7]];
        let entry = Entry {
            amends,
            call: Call {
                number: number(0)?,
                began_us: number(1)? as i64,
                total_us: number(2)?,
                ttft_us: has(HAS_TTFT).then_some(number(3)?),
                bytes_in: number(4)?,
                bytes_out: number(5)?,
                tokens: has(HAS_TOKENS).then_some((number(6)?, number(7)?)),
                price: has(HAS_PRICE).then_some(number(8)?),
                firm: has(FIRM),
                stream: has(STREAM),
                served: has(SERVED),
                jurisdiction: (jurisdiction != [0; 2]).then_some(jurisdiction),
                status: u16::from_le_bytes([fixed[4], fixed[5]]),
                outcome: outcome_of(fixed[3])?,
                code,
                request_id,
                residency,
                key,
                capability,
            },
            attempts: (fixed[ATTEMPTS_AT], eye),
        };
        // Here, so that whoever has an entry need not ask whether its attempts can be read.
        let (count, rest) = (usize::from(fixed[ATTEMPTS_AT]), entry.attempts());
        (rest.clone().count() == count && rest.end_there(count)).then_some(entry)
    }

    /// Its attempts, in order.
    pub fn attempts(&self) -> Attempts<'e> {
        let (left, eye) = self.attempts;
        Attempts { left, eye }
    }

    /// Who served it.
    pub fn provider(&self) -> Option<&'e str> {
        let last = self.attempts().last().filter(|_| self.call.served);
        last.map(|attempt| attempt.provider)
    }

    /// The price of its tokens, in millionths of a millionth of the currency; None if either isn't
    /// known, or nobody served it.
    pub fn cost(&self) -> Option<u128> {
        let ((input, output), price) = (self.call.tokens?, self.call.price?);
        let tokens = u128::from(input) + u128::from(output);
        self.call.served.then(|| tokens * u128::from(price))
    }
}

/// The attempts of an entry.
#[derive(Clone, Debug)]
pub struct Attempts<'e> {
    left: u8,
    eye: Eye<'e>,
}

impl<'e> Attempts<'e> {
    fn read(&mut self) -> Option<Attempt<&'e str>> {
        let fixed = self.eye.array::<ATTEMPT_BYTES>()?;
        let result = match fixed[0] {
            0 => None,
            number => Some(result_of(number)?),
        };
        let (provider, endpoint) = (usize::from(fixed[1]), usize::from(fixed[2]));
        let jurisdiction = [fixed[6], fixed[7]];
        Some(Attempt {
            result,
            status: u16::from_le_bytes([fixed[4], fixed[5]]),
            after_us: fixed[8..].first_chunk().map(|it| u64::from_le_bytes(*it))?,
            took_us: fixed[16..]
                .first_chunk()
                .map(|it| u64::from_le_bytes(*it))?,
            provider: self.eye.text(provider)?,
            endpoint: self.eye.text(endpoint)?,
            jurisdiction: (jurisdiction != [0; 2]).then_some(jurisdiction),
        })
    }

    /// Whether nothing follows the last.
    fn end_there(mut self, count: usize) -> bool {
        self.by_ref().take(count).for_each(|_| {});
        self.eye.0.is_empty()
    }
}

impl<'e> Iterator for Attempts<'e> {
    type Item = Attempt<&'e str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.read()
    }
}

fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 1,
        Outcome::Failed => 2,
        Outcome::ClientGone => 3,
        Outcome::Cut => 4,
    }
}

fn outcome_of(number: u8) -> Option<Outcome> {
    Outcome::ALL
        .into_iter()
        .find(|it| outcome_number(*it) == number)
}

/// Numbers of the file, which must stay what they are whatever becomes of the program's own.
fn result_number(result: AttemptResult) -> u8 {
    match result {
        AttemptResult::Succeeded => 1,
        AttemptResult::ClientError => 2,
        AttemptResult::Connect => 3,
        AttemptResult::Timeout => 4,
        AttemptResult::Reset => 5,
        AttemptResult::ServerError => 6,
        AttemptResult::RateLimited => 7,
        AttemptResult::QuotaExhausted => 8,
        AttemptResult::Credential => 9,
        AttemptResult::UnknownModel => 10,
        AttemptResult::Invalid => 11,
        AttemptResult::ErrorEvent => 12,
        AttemptResult::Truncated => 13,
        AttemptResult::Stalled => 14,
        AttemptResult::Cancelled => 15,
        AttemptResult::Deadline => 16,
        AttemptResult::Curtailed => 17,
    }
}

fn result_of(number: u8) -> Option<AttemptResult> {
    let known = AttemptResult::ALL.get(usize::from(number).checked_sub(1)?)?;
    if result_number(*known) == number {
        return Some(*known);
    }
    AttemptResult::ALL
        .into_iter()
        .find(|it| result_number(*it) == number)
}
