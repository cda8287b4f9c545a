//! A TOML document as the sections read it: by key, with the place of everything, and with a
//! complaint about every key that no section asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::Problems;

/// A table. Whoever has read what it knows calls [`Table::finish`].
pub(super) struct Table<'t> {
    path: String,
    span: Range<usize>,
    entries: Option<&'t DeTable<'t>>,
    asked: RefCell<BTreeSet<&'static str>>,
    problems: &'t Problems<'t>,
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Value<'t> {
    path: String,
    span: Range<usize>,
    value: &'t DeValue<'t>,
    problems: &'t Problems<'t>,
}

/// A string and its place.
#[derive(Clone)]
pub(super) struct Text<'t> {
    pub(super) text: &'t str,
    pub(super) at: Value<'t>,
}

impl<'t> Table<'t> {
    /// The whole document.
    pub(super) fn root(document: &'t Spanned<DeTable<'t>>, problems: &'t Problems<'t>) -> Self {
        Table {
            path: String::new(),
            span: document.span(),
            entries: Some(document.get_ref()),
            asked: RefCell::default(),
            problems,
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.asked.borrow_mut().insert(key);
        self.entry(key)
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str, expected: &str) -> Option<Value<'t>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("missing: expected {expected}");
            self.problems.error(&self.span, &self.path_of(key), message);
        }
        value
    }

    /// A table of this table. One that is left out, or isn't a table, reads as an empty one: its
    /// keys have their defaults.
    pub(super) fn table(&self, key: &'static str) -> Table<'t> {
        self.get(key)
            .and_then(|value| value.table())
            .unwrap_or_else(|| Table {
                path: self.path_of(key),
                span: self.span.clone(),
                entries: None,
                asked: RefCell::default(),
                problems: self.problems,
            })
    }

    /// The tables of an array of tables; none if the key is left out.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'t>> {
        let elements = self.get(key).and_then(|value| value.array());
        let tables = elements.into_iter().flatten();
        tables.filter_map(|element| element.table()).collect()
    }

    /// Complains about every key that was not asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.entries.into_iter().flat_map(|entries| entries.keys()) {
            let name = key.get_ref().as_ref();
            if asked.contains(name) {
                continue;
            }
            let message = match nearest(name, asked.iter().copied()) {
                Some(known) => format!("unknown key; did you mean `{known}`?"),
                None => {
                    let known: Vec<&str> = asked.iter().copied().collect();
                    format!("unknown key; expected one of: {}", known.join(", "))
                }
            };
            self.problems
                .error(&key.span(), &self.path_of(name), message);
        }
    }

    /// Whether there is a key that was not asked for: for who must not show what it is called.
    pub(super) fn has_more(&self) -> bool {
        let asked = self.asked.borrow();
        let mut keys = self.entries.into_iter().flat_map(|entries| entries.keys());
        keys.any(|key| !asked.contains(key.get_ref().as_ref()))
    }

    /// All keys and values, where the keys are names of the operator's choice.
    pub(super) fn named(&self) -> Vec<(Text<'t>, Value<'t>)> {
        let entries = self.entries.into_iter().flat_map(|entries| entries.iter());
        let pairs = entries.filter_map(|(key, _)| {
            let text = key.get_ref().as_ref();
            let value = self.entry(text)?;
            let at = Value {
                span: key.span(),
                ..value.clone()
            };
            Some((Text { text, at }, value))
        });
        pairs.collect()
    }

    /// Complains about the table as a whole.
    pub(super) fn fail(&self, message: impl Into<String>) {
        self.problems.error(&self.span, &self.path, message);
    }

    /// Warns about the table as a whole.
    pub(super) fn warn(&self, message: impl Into<String>) {
        self.problems.warn(&self.span, &self.path, message);
    }

    fn entry(&self, key: &str) -> Option<Value<'t>> {
        let value = self.entries?.get(key)?;
        Some(Value {
            path: self.path_of(key),
            span: value.span(),
            value: value.get_ref(),
            problems: self.problems,
        })
    }

    fn path_of(&self, key: &str) -> String {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let quoted = if !key.is_empty() && key.bytes().all(bare) {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        match self.path.as_str() {
            "" => quoted,
            path => format!("{path}.{quoted}"),
        }
    }
}

impl<'t> Value<'t> {
    /// A string; anything else is an error that says what was expected, and doesn't show it.
    pub(super) fn text(&self, expected: &str) -> Option<Text<'t>> {
        let text = self.typed(DeValue::as_str, expected)?;
        let at = self.clone();
        Some(Text { text, at })
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.typed(DeValue::as_bool, "true or false")
    }

    /// A whole number as written in any of TOML's radixes.
    pub(super) fn integer(&self, expected: &str) -> Option<i64> {
        let integer = self.typed(DeValue::as_integer, expected)?;
        let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
        if parsed.is_err() {
            self.fail(format!("expected {expected}, found {integer}"));
        }
        parsed.ok()
    }

    /// A number, with a fraction or without.
    pub(super) fn number(&self, expected: &str) -> Option<f64> {
        let number = match self.value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.fail_kind(expected);
        }
        number
    }

    /// A number as it is written: what binary fractions would round is left to the reader.
    pub(super) fn decimal(&self, expected: &str) -> Option<&'t str> {
        match self.value {
            DeValue::Float(float) => Some(float.as_str()),
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            _ => {
                self.fail(format!("expected {expected}, found {}", self.kind()));
                None
            }
        }
    }

    pub(super) fn array(&self) -> Option<Vec<Value<'t>>> {
        let array = self.typed(DeValue::as_array, "an array")?;
        let elements = array.iter().enumerate().map(|(index, element)| Value {
            path: format!("{}[{index}]", self.path),
            span: element.span(),
            value: element.get_ref(),
            problems: self.problems,
        });
        Some(elements.collect())
    }

    pub(super) fn table(&self) -> Option<Table<'t>> {
        let entries = self.typed(DeValue::as_table, "a table")?;
        Some(Table {
            path: self.path.clone(),
            span: self.span.clone(),
            entries: Some(entries),
            asked: RefCell::default(),
            problems: self.problems,
        })
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn fail(&self, message: impl Into<String>) {
        self.problems.error(&self.span, &self.path, message);
    }

    /// Complains about the kind of the value: it should be `expected`.
    pub(super) fn fail_kind(&self, expected: &str) {
        self.fail(format!("expected {expected}, found {}", self.kind()));
    }

    pub(super) fn warn(&self, message: impl Into<String>) {
        self.problems.warn(&self.span, &self.path, message);
    }

    fn typed<T>(
        &self,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let read = read(self.value);
        if read.is_none() {
            self.fail_kind(expected);
        }
        read
    }

    fn kind(&self) -> String {
        let kind = self.value.type_str();
        let article = if kind.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        format!("{article} {kind}")
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distances = known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known));
    let (distance, known) = distances.min()?;
    let near = 1.max(name.len() / 3);
    (distance <= near).then_some(known)
}
