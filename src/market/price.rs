//! Prices per million tokens, in whole millionths of the instance's currency: sums come out the
//! same in whatever order they are made, which binary fractions don't promise.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use thiserror::Error;

/// Digits behind the decimal point.
const FRACTION_DIGITS: usize = 6;

const ONE: u64 = 1_000_000;

/// A price per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected a decimal number from 0 to {}, with at most {FRACTION_DIGITS} digits behind the \
     point, such as 2.40",
    Price::MAX
)]
pub struct PriceError;

impl Price {
    /// Nothing.
    pub const ZERO: Price = Price(0);

    /// The highest price that can be said: a million per million tokens.
    pub const MAX: Price = Price(1_000_000 * ONE);

    /// So many millionths of the currency; None above [`Price::MAX`].
    pub fn from_micros(micros: u64) -> Option<Price> {
        (micros <= Price::MAX.0).then_some(Price(micros))
    }

    /// The price in millionths of the currency.
    pub fn micros(self) -> u64 {
        self.0
    }

    /// What so many tokens cost, in millionths of the currency; what is less than one is dropped.
    pub fn of_tokens(self, tokens: u64) -> u64 {
        let cost = u128::from(self.0) * u128::from(tokens) / 1_000_000;
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}

/// A price as text, without an allocation.
#[derive(Clone, Copy)]
pub struct PriceText {
    bytes: [u8; PriceText::BYTES_MAX],
    length: usize,
}

impl PriceText {
    /// Bytes of the longest: that of [`Price::MAX`], with all its digits.
    const BYTES_MAX: usize = 7 + 1 + FRACTION_DIGITS;

    /// The text, in ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Price {
    /// The price as it is shown: with two digits behind the point at least, and no more than it
    /// takes.
    pub fn text(self) -> PriceText {
        let mut bytes = [b'0'; PriceText::BYTES_MAX];
        let mut digits = itoa::Buffer::new();
        let whole = digits.format(self.0 / ONE).as_bytes();
        bytes[..whole.len()].copy_from_slice(whole);
        bytes[whole.len()] = b'.';
        let mut fraction = self.0 % ONE;
        let first = whole.len() + 1;
        let mut length = first + 2;
        for at in (0..FRACTION_DIGITS).rev() {
            let digit = (fraction % 10) as u8;
            bytes[first + at] = b'0' + digit;
            fraction /= 10;
            if digit != 0 {
                length = length.max(first + at + 1);
            }
        }
        PriceText { bytes, length }
    }
}

impl Add for Price {
    type Output = Price;

    /// The sum, at most [`Price::MAX`].
    fn add(self, other: Price) -> Price {
        Price((self.0 + other.0).min(Price::MAX.0))
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads `DIGITS[.DIGITS]`: no sign, no exponent, no spaces, nothing that two readers could
    /// take for two numbers.
    fn from_str(text: &str) -> Result<Price, PriceError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, max: usize| {
            (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 7) || !digits(fraction, FRACTION_DIGITS) {
            return Err(PriceError);
        }
        let whole: u64 = whole.parse().map_err(|_| PriceError)?;
        let padded = format!("{fraction:0<FRACTION_DIGITS$}");
        let fraction: u64 = padded.parse().map_err(|_| PriceError)?;
        Price::from_micros(whole * ONE + fraction).ok_or(PriceError)
    }
}

impl fmt::Display for Price {
    /// As [`Price::text`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.pad(std::str::from_utf8(text.as_bytes()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_is_a_plain_decimal_number() {
        for (text, micros) in [
            ("0", 0),
            ("2.40", 2_400_000),
            ("0.000001", 1),
            ("007", 7_000_000),
            ("1000000", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Price(micros)), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            " 1",
            "1 ",
            "1,5",
            "0x1",
            "NaN",
            "inf",
            "١",
            "0.0000001",
            "1000000.000001",
            "10000000",
            "1.2.3",
        ] {
            assert_eq!(text.parse::<Price>(), Err(PriceError), "{text:?}");
        }
    }

    #[test]
    fn a_price_is_shown_with_cents() {
        let shown = |micros| Price(micros).to_string();
        assert_eq!(shown(2_400_000), "2.40");
        assert_eq!(shown(0), "0.00");
        assert_eq!(shown(1_234_567), "1.234567");
    }

    #[test]
    fn tokens_cost_by_the_million() {
        let price = Price(2_400_000);
        assert_eq!(price.of_tokens(1_000_000), 2_400_000);
        assert_eq!(price.of_tokens(1), 2);
        assert_eq!(Price::MAX.of_tokens(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(micros in 0..=Price::MAX.0) {
            prop_assert_eq!(Price(micros).to_string().parse(), Ok(Price(micros)));
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,24}") {
            if let Ok(price) = text.parse::<Price>() {
                let read: f64 = text.parse().expect("a number to others too");
                prop_assert!((read * 1e6 - price.0 as f64).abs() <= 1.0 + read * 1e-6);
            }
        }
    }
}
