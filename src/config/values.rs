//! Values that many sections have: names, numbers in a range, durations, choices.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

use crate::market::Price;

use super::reader::{Table, Text, Value, nearest};

/// No name of a configuration is longer, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest and the shortest wait that can be configured.
const DURATIONS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

/// Whether a text can name a provider, a capability, a key, a group or an authority: 1 to 64
/// characters of `A-Z a-z 0-9 . _ -`.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// What [`is_name`] accepts, in words.
pub const NAME_EXPECTED: &str = "1 to 64 characters of A-Z a-z 0-9 . _ -";

impl<'t> Table<'t> {
    /// A whole number within the range.
    pub(super) fn whole<N>(&self, key: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        let read = |value: Value<'_>| {
            let (least, most) = (range.start(), range.end());
            let expected = format!("a whole number from {least} to {most}");
            let integer = value.integer(&expected)?;
            let number = N::try_from(integer).ok().filter(|n| range.contains(n));
            if number.is_none() {
                value.fail(format!("expected {expected}, found {integer}"));
            }
            number
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    /// A number that `accepted` holds for, `expected` in words.
    pub(super) fn share(
        &self,
        key: &'static str,
        default: f64,
        expected: &str,
        accepted: impl FnOnce(f64) -> bool,
    ) -> f64 {
        let read = |value: Value<'_>| {
            let number = value.number(expected)?;
            if accepted(number) {
                return Some(number);
            }
            value.fail(format!("expected {expected}, found {number}"));
            None
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    /// A duration such as `"10s"`.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        const EXPECTED: &str = "a duration from \"1ms\" to \"24h\", such as \"250ms\" or \"10s\"";
        let read = |value: Value<'_>| {
            let text = value.text(EXPECTED)?.text;
            let parsed = text.parse::<SignedDuration>().ok();
            let duration = parsed.and_then(|signed| Duration::try_from(signed).ok());
            let accepted = duration.filter(|duration| DURATIONS.contains(duration));
            if accepted.is_none() {
                value.fail(format!("expected {EXPECTED}, found {text:?}"));
            }
            accepted
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    /// A price; none if the key is left out.
    pub(super) fn price(&self, key: &'static str) -> Option<Price> {
        self.get(key)?.price()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.get(key)
            .and_then(|value| value.flag())
            .unwrap_or(default)
    }

    /// One of a few words; the first is the default.
    pub(super) fn choice<T: Copy, const N: usize>(
        &self,
        key: &'static str,
        choices: [(&str, T); N],
    ) -> T {
        let read = |value: Value<'_>| {
            let words = choices.map(|(word, _)| format!("{word:?}"));
            let expected = words.join(" or ");
            let text = value.text(&expected)?.text;
            let chosen = choices.iter().find(|(word, _)| *word == text);
            if chosen.is_none() {
                value.fail(format!("expected {expected}, found {text:?}"));
            }
            chosen.map(|&(_, meaning)| meaning)
        };
        self.get(key).and_then(read).unwrap_or(choices[0].1)
    }

    /// The name of what this table describes.
    pub(super) fn name(&self) -> Option<Text<'t>> {
        self.required("name", NAME_EXPECTED)?.name()
    }
}

impl<'t> Value<'t> {
    /// A price per million tokens.
    pub(super) fn price(&self) -> Option<Price> {
        const EXPECTED: &str = "a price per million tokens from 0 to 1000000 with at most six \
                                digits behind the point";
        let digits = self.decimal(EXPECTED)?;
        let price = digits.parse().ok();
        if price.is_none() {
            self.fail(format!("expected {EXPECTED}, found {digits}"));
        }
        price
    }

    /// The elements of an array of strings; those that are none have been complained about.
    pub(super) fn texts(&self, expected: &str) -> Vec<Text<'t>> {
        let elements = self.array().unwrap_or_default();
        let texts = elements.iter().filter_map(|element| element.text(expected));
        texts.collect()
    }

    /// A string that is a name. One that isn't is not shown: a name is what a key stands behind,
    /// and may be the key itself.
    pub(super) fn name(&self) -> Option<Text<'t>> {
        let text = self.text(NAME_EXPECTED)?;
        if is_name(text.text) {
            return Some(text);
        }
        self.fail(format!("expected {NAME_EXPECTED}"));
        None
    }
}

/// The names of one kind of table, those of tables with other faults included, so that one bad
/// table doesn't bring a complaint about each mention of another.
pub(super) struct Names<'t> {
    kind: &'static str,
    positions: HashMap<&'t str, usize>,
}

impl<'t> Names<'t> {
    pub(super) fn new(kind: &'static str) -> Names<'t> {
        let positions = HashMap::new();
        Names { kind, positions }
    }

    /// Reads the `name` of the table at `position`; one that was there before is an error.
    pub(super) fn read(&mut self, table: &Table<'t>, position: usize) -> Option<&'t str> {
        let name = table.name()?;
        if self.positions.insert(name.text, position).is_some() {
            let kind = self.kind;
            name.at.fail(format!(
                "expected a unique name, found a second [[{kind}]] named {:?}",
                name.text
            ));
        }
        Some(name.text)
    }

    /// The position of a name; an unknown one is an error.
    pub(super) fn find(&self, name: &Text<'_>) -> Option<usize> {
        let position = self.positions.get(name.text).copied();
        if position.is_none() {
            let kind = self.kind;
            let mut message = format!("no [[{kind}]] is named {:?}", name.text);
            if let Some(near) = nearest(name.text, self.positions.keys().copied()) {
                message.push_str(&format!("; did you mean {near:?}?"));
            }
            name.at.fail(message);
        }
        position
    }
}
