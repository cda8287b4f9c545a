//! What a call asks of the market: firm or floating, and at which price at most (SRP section 7).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reject::Rejection;
use crate::http::Fields;
use crate::market::{Price, Supply};
use crate::openai::ErrorCode;

const SUPPLY: &str = "X-Sovereign-Supply";
const MAX_PRICE: &str = "X-Sovereign-Max-Price";
const DEFER: &str = "X-Sovereign-Defer";
const SERVICE_TIER: &str = "service_tier";

/// How long a call may wait (SRP section 7).
const DEFER_SECONDS: RangeInclusive<u64> = 1..=86_400;

/// What the head of a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `X-Sovereign-Supply`
    pub supply: Option<Supply>,
    /// `X-Sovereign-Max-Price`
    pub max_price: Option<Price>,
    /// `X-Sovereign-Defer`: how long a floating call waits for a slot.
    pub defer: Option<Duration>,
}

impl Terms {
    /// Reads the fields.
    ///
    /// # Errors
    /// One that is there twice, or can't be read: never a default.
    pub fn read(fields: &Fields<'_, '_>) -> Result<Terms, Rejection> {
        Ok(Terms {
            supply: read(
                fields,
                SUPPLY,
                ErrorCode::InvalidSupply,
                "firm or floating",
                |value| match value {
                    _ if value.eq_ignore_ascii_case("firm") => Some(Supply::Firm),
                    _ if value.eq_ignore_ascii_case("floating") => Some(Supply::Floating),
                    _ => None,
                },
            )?,
            max_price: read(
                fields,
                MAX_PRICE,
                ErrorCode::InvalidMaxPrice,
                "a decimal number, such as 2.40",
                |value| value.parse().ok(),
            )?,
            defer: read(
                fields,
                DEFER,
                ErrorCode::InvalidDefer,
                "a whole number of seconds, from 1 to 86400",
                seconds,
            )?,
        })
    }
}

/// One field, if it is there.
fn read<T>(
    fields: &Fields<'_, '_>,
    name: &'static str,
    code: ErrorCode,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Rejection> {
    // Whoever names it there has it removed on the way, or would have.
    let nominated = fields.nominated(name);
    let wrong = || {
        let message = format!("expected one {name} of {expected}");
        Rejection::new(code, message).about(name)
    };
    match fields.single(name) {
        _ if nominated => Err(wrong()),
        Ok(None) => Ok(None),
        Ok(Some(value)) => {
            let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| wrong())?;
            parse(text).map(Some).ok_or_else(wrong)
        }
        Err(_) => Err(wrong()),
    }
}

/// Seconds to wait: digits alone, nothing that two readers could take for two numbers.
fn seconds(text: &str) -> Option<Duration> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    let seconds: u64 = digits.then(|| text.parse().ok())??;
    DEFER_SECONDS
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// The supply that `service_tier` stands for, given as it stands in the body. None for what leaves
/// it to the key.
///
/// # Errors
/// A tier that OpenAI doesn't have.
pub fn of_tier(value: &[u8]) -> Result<Option<Supply>, Rejection> {
    match value {
        b"\"priority\"" | b"\"scale\"" | b"\"fast\"" => Ok(Some(Supply::Firm)),
        b"\"flex\"" => Ok(Some(Supply::Floating)),
        b"\"auto\"" | b"\"default\"" | b"null" => Ok(None),
        _ => {
            let message =
                "expected service_tier to be auto, default, flex, priority, scale or fast";
            let rejection = Rejection::new(ErrorCode::InvalidServiceTier, message);
            Err(rejection.about(SERVICE_TIER))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeadLimits, HeadSlots, parse_request};

    fn read(lines: &str) -> Result<Terms, ErrorCode> {
        let head = format!("GET / HTTP/1.1\r\nhost: h\r\n{lines}\r\n");
        let limits = HeadLimits {
            bytes: 4096,
            fields: 16,
        };
        let mut slots = HeadSlots::new();
        let head = parse_request(head.as_bytes(), &limits, &mut slots);
        let head = head.expect("a request").expect("whole");
        Terms::read(&head.fields).map_err(|rejection| rejection.code)
    }

    #[test]
    fn what_is_asked_for_is_read() {
        assert_eq!(read(""), Ok(Terms::default()));
        let all = "X-Sovereign-Supply: FIRM\r\nX-Sovereign-Max-Price: 2.40\r\n\
                   X-Sovereign-Defer: 86400\r\n";
        let expected = Terms {
            supply: Some(Supply::Firm),
            max_price: Price::from_micros(2_400_000),
            defer: Some(Duration::from_secs(86_400)),
        };
        assert_eq!(read(all), Ok(expected));
    }

    #[test]
    fn what_can_not_be_read_is_never_a_default() {
        for (name, code, values) in [
            (
                SUPPLY,
                ErrorCode::InvalidSupply,
                &[
                    "",
                    "solid",
                    "firm, floating",
                    "firm\r\nx-sovereign-supply: firm",
                ][..],
            ),
            (
                MAX_PRICE,
                ErrorCode::InvalidMaxPrice,
                &["", "-1", "1e3", "nan", "1\r\nx-sovereign-max-price: 1"],
            ),
            (
                DEFER,
                ErrorCode::InvalidDefer,
                &[
                    "",
                    "0",
                    "86401",
                    "-1",
                    "+1",
                    "1.0",
                    "1s",
                    "0x1",
                    "000001",
                    "1, 1",
                    "1\r\nx-sovereign-defer: 1",
                ],
            ),
        ] {
            for value in values {
                assert_eq!(
                    read(&format!("{name}: {value}\r\n")),
                    Err(code),
                    "{name}: {value}"
                );
            }
        }
    }

    #[test]
    fn what_is_named_in_connection_is_never_a_default_either() {
        for (name, code) in [
            (SUPPLY, ErrorCode::InvalidSupply),
            (MAX_PRICE, ErrorCode::InvalidMaxPrice),
            (DEFER, ErrorCode::InvalidDefer),
        ] {
            let nominated = format!("connection: close, {name}\r\n");
            assert_eq!(read(&nominated), Err(code));
            assert_eq!(read(&format!("{nominated}{name}: 1\r\n")), Err(code));
        }
    }

    #[test]
    fn tiers_stand_for_supplies() {
        let tier = |value: &str| of_tier(value.as_bytes()).map_err(|it| it.code);
        for firm in ["priority", "scale", "fast"] {
            assert_eq!(tier(&format!("\"{firm}\"")), Ok(Some(Supply::Firm)));
        }
        assert_eq!(tier("\"flex\""), Ok(Some(Supply::Floating)));
        for neither in ["\"auto\"", "\"default\"", "null"] {
            assert_eq!(tier(neither), Ok(None));
        }
        for unknown in ["\"gold\"", "\"Flex\"", "\"\"", "1", "true", "{}"] {
            assert_eq!(
                tier(unknown),
                Err(ErrorCode::InvalidServiceTier),
                "{unknown}"
            );
        }
    }
}
