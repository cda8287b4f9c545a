//! Values as people write them: spans of time, shares, rates, stages. Each says what was expected.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};

use crate::arrivals::Stage;

/// The highest rate, calls per second.
pub const RATE_MAX: f64 = 1_000_000.0;
/// The longest span.
const SPAN_MAX_SECONDS: u64 = 7 * 24 * 3600;

/// A span of time, ns: `300ms`, `5s`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong = || format!("expected a time with its unit, as 300ms, 5s or 2m; got {text:?}");
        let span: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
        let span = std::time::Duration::try_from(span).map_err(|_| wrong())?;
        if span.as_secs() > SPAN_MAX_SECONDS {
            return Err(format!("{text}: a week is the longest time"));
        }
        u64::try_from(span.as_nanos())
            .map(Span)
            .map_err(|_| wrong())
    }
}

/// A share of 1: `0.1%` or `0.001`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let (digits, scale) = match text.trim().strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (text.trim(), 1.0),
        };
        let share = digits.trim().parse::<f64>().map(|number| number / scale);
        match share {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Share(share)),
            _ => Err(format!("expected 0% to 100%, or 0 to 1; got {text:?}")),
        }
    }
}

/// Calls per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        match text.trim().parse::<f64>() {
            Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(Rate(rate)),
            _ => Err(format!(
                "expected calls per second, 0 to {RATE_MAX}; got {text:?}"
            )),
        }
    }
}

/// A stage: `30s:100` or, as a ramp, `30s:100..500`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageText(pub Stage);

impl FromStr for StageText {
    type Err = String;

    fn from_str(text: &str) -> Result<StageText, String> {
        let (span, rates) = text.split_once(':').ok_or_else(|| {
            format!("expected TIME:RATE or TIME:FROM..TO, as 30s:100..500; got {text:?}")
        })?;
        let Span(span) = span.parse()?;
        if span == 0 {
            return Err(format!("{text}: a stage lasts longer than no time"));
        }
        let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
        let (Rate(from), Rate(to)) = (from.parse()?, to.parse()?);
        let seconds = crate::clock::seconds(span);
        Ok(StageText(Stage { seconds, from, to }))
    }
}

/// Reads a value from a file, where it is a string or a bare number.
pub fn deserialize<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Text<T>(std::marker::PhantomData<T>);
    impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }
    deserializer.deserialize_any(Text(std::marker::PhantomData))
}

/// Lets a file say such a value as the command line does.
macro_rules! from_text {
    ($($type:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                $crate::scenario::values::deserialize(deserializer)
            }
        }
    )+};
}
pub(crate) use from_text;

from_text!(Span, Share, Rate, StageText);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_their_unit() {
        assert_eq!("300ms".parse(), Ok(Span(300_000_000)));
        assert_eq!("1.5s".parse(), Ok(Span(1_500_000_000)));
        assert_eq!("2m".parse(), Ok(Span(120_000_000_000)));
        assert_eq!("250us".parse(), Ok(Span(250_000)));
        for wrong in ["", "5", "-5s", "5 parsecs", "900h"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_of_one_or_of_a_hundred() {
        assert_eq!("0.1%".parse(), Ok(Share(0.001)));
        assert_eq!("0.25".parse(), Ok(Share(0.25)));
        for wrong in ["", "101%", "-1", "2", "x%", "NaN"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn stages_are_flat_or_ramps() {
        let stage = |text: &str| text.parse::<StageText>().map(|StageText(stage)| stage);
        let flat = Stage {
            seconds: 30.0,
            from: 100.0,
            to: 100.0,
        };
        assert_eq!(stage("30s:100"), Ok(flat));
        assert_eq!(stage("30s:100..500"), Ok(Stage { to: 500.0, ..flat }));
        for wrong in ["30s", "0s:5", "30s:x", "30s:1..x", "30s:-1", "5:5"] {
            assert!(stage(wrong).is_err(), "{wrong}");
        }
    }
}
