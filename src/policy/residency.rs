//! Where a call may go. The rules of one field are united; from there on sets are only
//! intersected, so that nothing a client says can widen a floor.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// Officially assigned ISO 3166-1 alpha-2 codes, sorted, so that the order of positions is the
/// alphabetical one.
const CODES: [&str; 249] = [
    "ad", "ae", "af", "ag", "ai", "al", "am", "ao", "aq", "ar", "as", "at", "au", "aw", "ax", "az",
    "ba", "bb", "bd", "be", "bf", "bg", "bh", "bi", "bj", "bl", "bm", "bn", "bo", "bq", "br", "bs",
    "bt", "bv", "bw", "by", "bz", "ca", "cc", "cd", "cf", "cg", "ch", "ci", "ck", "cl", "cm", "cn",
    "co", "cr", "cu", "cv", "cw", "cx", "cy", "cz", "de", "dj", "dk", "dm", "do", "dz", "ec", "ee",
    "eg", "eh", "er", "es", "et", "fi", "fj", "fk", "fm", "fo", "fr", "ga", "gb", "gd", "ge", "gf",
    "gg", "gh", "gi", "gl", "gm", "gn", "gp", "gq", "gr", "gs", "gt", "gu", "gw", "gy", "hk", "hm",
    "hn", "hr", "ht", "hu", "id", "ie", "il", "im", "in", "io", "iq", "ir", "is", "it", "je", "jm",
    "jo", "jp", "ke", "kg", "kh", "ki", "km", "kn", "kp", "kr", "kw", "ky", "kz", "la", "lb", "lc",
    "li", "lk", "lr", "ls", "lt", "lu", "lv", "ly", "ma", "mc", "md", "me", "mf", "mg", "mh", "mk",
    "ml", "mm", "mn", "mo", "mp", "mq", "mr", "ms", "mt", "mu", "mv", "mw", "mx", "my", "mz", "na",
    "nc", "ne", "nf", "ng", "ni", "nl", "no", "np", "nr", "nu", "nz", "om", "pa", "pe", "pf", "pg",
    "ph", "pk", "pl", "pm", "pn", "pr", "ps", "pt", "pw", "py", "qa", "re", "ro", "rs", "ru", "rw",
    "sa", "sb", "sc", "sd", "se", "sg", "sh", "si", "sj", "sk", "sl", "sm", "sn", "so", "sr", "ss",
    "st", "sv", "sx", "sy", "sz", "tc", "td", "tf", "tg", "th", "tj", "tk", "tl", "tm", "tn", "to",
    "tr", "tt", "tv", "tw", "tz", "ua", "ug", "um", "us", "uy", "uz", "va", "vc", "ve", "vg", "vi",
    "vn", "vu", "wf", "ws", "ye", "yt", "za", "zm", "zw",
];

/// In [`POSITIONS`]: no such code.
const UNASSIGNED: u8 = u8::MAX;

/// Position in [`CODES`] of each pair of letters.
const POSITIONS: [u8; 26 * 26] = {
    let mut positions = [UNASSIGNED; 26 * 26];
    let mut position = 0;
    let mut pairs = 0;
    while position < CODES.len() {
        let code = CODES[position].as_bytes();
        let pair = pair_of(code[0], code[1]);
        assert!(pair >= pairs, "sorted, none listed twice");
        pairs = pair + 1;
        positions[pair] = position as u8;
        position += 1;
    }
    positions
};

/// Index into [`POSITIONS`] of two ASCII letters.
const fn pair_of(first: u8, second: u8) -> usize {
    let first = first.to_ascii_lowercase() - b'a';
    let second = second.to_ascii_lowercase() - b'a';
    first as usize * 26 + second as usize
}

/// A country or territory with an ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jurisdiction(u8);

impl Jurisdiction {
    /// The jurisdiction with this two-letter code, in either case; none if ISO 3166-1 does not
    /// assign it (`eu` and `uk`, for instance, are not assigned).
    pub fn parse(code: &str) -> Option<Jurisdiction> {
        let &[first, second] = code.as_bytes() else {
            return None;
        };
        if !first.is_ascii_alphabetic() || !second.is_ascii_alphabetic() {
            return None;
        }
        match POSITIONS[pair_of(first, second)] {
            UNASSIGNED => None,
            position => Some(Jurisdiction(position)),
        }
    }

    /// The code in lower case: `au`.
    #[inline]
    pub fn code(self) -> &'static str {
        CODES[usize::from(self.0)]
    }
}

impl fmt::Display for Jurisdiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Debug for Jurisdiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A set of jurisdictions, as a bit for each code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JurisdictionSet([u64; 4]);

impl JurisdictionSet {
    /// No jurisdiction.
    pub const EMPTY: JurisdictionSet = JurisdictionSet([0; 4]);

    /// Every jurisdiction: what `any` says, and a floor that is not configured.
    pub const ALL: JurisdictionSet = JurisdictionSet([
        u64::MAX,
        u64::MAX,
        u64::MAX,
        (1 << (CODES.len() - 3 * 64)) - 1,
    ]);

    /// The set of this one.
    #[inline]
    pub fn of(jurisdiction: Jurisdiction) -> JurisdictionSet {
        let mut words = [0; 4];
        words[usize::from(jurisdiction.0 >> 6)] = 1 << (jurisdiction.0 & 63);
        JurisdictionSet(words)
    }

    /// Whether it is in the set.
    #[inline]
    pub fn contains(&self, jurisdiction: Jurisdiction) -> bool {
        self.0[usize::from(jurisdiction.0 >> 6)] >> (jurisdiction.0 & 63) & 1 == 1
    }

    /// What is in either.
    #[inline]
    pub fn union(self, other: JurisdictionSet) -> JurisdictionSet {
        self.combine(other, |a, b| a | b)
    }

    /// What is in both.
    #[inline]
    pub fn intersection(self, other: JurisdictionSet) -> JurisdictionSet {
        self.combine(other, |a, b| a & b)
    }

    #[inline]
    fn combine(self, other: JurisdictionSet, word: fn(u64, u64) -> u64) -> JurisdictionSet {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = other.0;
        JurisdictionSet([word(a, e), word(b, f), word(c, g), word(d, h)])
    }

    /// Whether everything in it is in `other` too.
    #[inline]
    pub fn is_subset(&self, other: &JurisdictionSet) -> bool {
        self.intersection(*other) == *self
    }

    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        *self == JurisdictionSet::EMPTY
    }

    /// Whether every jurisdiction is in it.
    #[inline]
    pub fn is_all(&self) -> bool {
        *self == JurisdictionSet::ALL
    }

    /// Its jurisdictions, in alphabetical order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = Jurisdiction> + use<> {
        let words = self.0.into_iter().zip([0, 64, 128, 192]);
        words.flat_map(|(mut word, first)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                word &= word.wrapping_sub(1);
                (bit < u64::BITS).then(|| Jurisdiction(first + bit as u8))
            })
        })
    }
}

impl FromIterator<Jurisdiction> for JurisdictionSet {
    fn from_iter<I: IntoIterator<Item = Jurisdiction>>(jurisdictions: I) -> JurisdictionSet {
        jurisdictions
            .into_iter()
            .map(JurisdictionSet::of)
            .fold(JurisdictionSet::EMPTY, JurisdictionSet::union)
    }
}

impl fmt::Debug for JurisdictionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            f.write_str("{any}")
        } else {
            f.debug_set().entries(self.iter()).finish()
        }
    }
}

/// Bytes of a group's name.
pub const GROUP_NAME_BYTES_MAX: usize = 64;

/// `[instance.groups]`: names for sets of jurisdictions, ASCII case-insensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<(Box<str>, JurisdictionSet)>);

impl Groups {
    /// No groups.
    pub fn new() -> Groups {
        Groups::default()
    }

    /// Whether a rule can name a group so: 1 to [`GROUP_NAME_BYTES_MAX`] letters, digits, `-` or
    /// `_`; neither `any` nor an ISO code, which always mean themselves.
    pub fn is_valid_name(name: &str) -> bool {
        name.len() <= GROUP_NAME_BYTES_MAX
            && is_name(name)
            && !name.eq_ignore_ascii_case(ANY)
            && Jurisdiction::parse(name).is_none()
    }

    /// Names a set. Returns the one that had the name before.
    pub fn insert(
        &mut self,
        name: impl Into<Box<str>>,
        set: JurisdictionSet,
    ) -> Option<JurisdictionSet> {
        let name = name.into();
        match self.position(&name) {
            Ok(found) => Some(std::mem::replace(&mut self.0[found].1, set)),
            Err(gap) => {
                self.0.insert(gap, (name, set));
                None
            }
        }
    }

    /// The set of that name, in either case.
    pub fn get(&self, name: &str) -> Option<JurisdictionSet> {
        self.position(name).ok().map(|found| self.0[found].1)
    }

    /// Names as they were given, and their sets, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, JurisdictionSet)> {
        self.0.iter().map(|(name, set)| (&**name, *set))
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(other, _)| compare_ignoring_case(other, name))
    }
}

fn compare_ignoring_case(a: &str, b: &str) -> Ordering {
    fn lower(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().map(|byte| byte.to_ascii_lowercase())
    }
    lower(a).cmp(lower(b))
}

/// The request field that carries residency rules, in lower case.
pub const FIELD_NAME: &str = "x-sovereign-residency";

/// Bytes of the value of [`FIELD_NAME`].
pub const FIELD_VALUE_BYTES_MAX: usize = 256;

const ANY: &str = "any";
const ONLY: &str = "-only";

/// Why a residency field is not one: 400 `invalid_residency` (SRP section 3).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// The field is there, but says nothing.
    #[error("the residency field is empty: expected at least one rule, such as `au-only`")]
    Empty,
    /// More than [`FIELD_VALUE_BYTES_MAX`] bytes.
    #[error("the residency field is too long: expected at most {FIELD_VALUE_BYTES_MAX} bytes")]
    TooLong,
    /// A byte above 0x7f.
    #[error("the residency field is not ASCII")]
    NotAscii,
    /// A rule of no known form.
    #[error(
        "`{rule}` is not a residency rule: expected `<jurisdiction>-only`, `<group>-only` or \
         `any`, with commas and no spaces between several rules"
    )]
    Unparsable {
        /// The rule, escaped for display.
        rule: Box<str>,
    },
    /// A rule for what is neither an ISO code nor a group.
    #[error(
        "`{name}` is not a jurisdiction: expected an ISO 3166-1 alpha-2 code or a group that is \
         configured here"
    )]
    UnknownJurisdiction {
        /// What the rule named.
        name: Box<str>,
    },
    /// `any` next to other rules.
    #[error("`any` must be the only residency rule")]
    AnyNotAlone,
    /// Two field lines or more.
    #[error("the residency field was sent more than once: expected one field with all rules")]
    SentTwice,
    /// `Connection` lists the field, so that a hop might drop it.
    #[error("the residency field is listed in Connection: it is an end-to-end field")]
    HopByHop,
}

impl RuleError {
    /// What is wrong, without a word of what was sent.
    pub fn unquoted(&self) -> Cow<'static, str> {
        match self {
            RuleError::Unparsable { .. } => Cow::Borrowed(
                "not a residency rule: expected `<jurisdiction>-only`, `<group>-only` or `any`, \
                 with commas and no spaces between several rules",
            ),
            RuleError::UnknownJurisdiction { .. } => Cow::Borrowed(
                "not a jurisdiction: expected an ISO 3166-1 alpha-2 code or a group that is \
                 configured here",
            ),
            other => Cow::Owned(other.to_string()),
        }
    }
}

/// What a request says about residency: none if it says nothing. `lines` are the values of all
/// [`FIELD_NAME`] fields; `listed_in_connection` is whether `Connection` has that name.
///
/// # Errors
/// Whatever SRP section 3 calls malformed. There is no default to fall back on.
pub fn parse_field<'v>(
    lines: impl IntoIterator<Item = &'v [u8]>,
    listed_in_connection: bool,
    groups: &Groups,
) -> Result<Option<JurisdictionSet>, RuleError> {
    if listed_in_connection {
        return Err(RuleError::HopByHop);
    }
    let mut lines = lines.into_iter();
    let Some(value) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(RuleError::SentTwice);
    }
    parse_rules(value, groups).map(Some)
}

/// The union of the rules in one field value, or in a floor of the configuration. White space is
/// not part of the grammar: the value is expected without the optional white space around it
/// (RFC 9110 section 5.5), and has none inside.
///
/// # Errors
/// Whatever SRP section 3 calls malformed in a value.
pub fn parse_rules(field_value: &[u8], groups: &Groups) -> Result<JurisdictionSet, RuleError> {
    if field_value.is_empty() {
        return Err(RuleError::Empty);
    }
    if field_value.len() > FIELD_VALUE_BYTES_MAX {
        return Err(RuleError::TooLong);
    }
    let text = match std::str::from_utf8(field_value) {
        Ok(text) if text.is_ascii() => text,
        _ => return Err(RuleError::NotAscii),
    };
    let mut union = JurisdictionSet::EMPTY;
    for rule in text.split(',') {
        if rule.eq_ignore_ascii_case(ANY) {
            let alone = rule.len() == text.len();
            return alone
                .then_some(JurisdictionSet::ALL)
                .ok_or(RuleError::AnyNotAlone);
        }
        union = union.union(parse_only(rule, groups)?);
    }
    Ok(union)
}

/// `<jurisdiction>-only` or `<group>-only`. A code is looked up first: no group can redefine it.
fn parse_only(rule: &str, groups: &Groups) -> Result<JurisdictionSet, RuleError> {
    let name = rule
        .len()
        .checked_sub(ONLY.len())
        .and_then(|end| rule.split_at_checked(end))
        .filter(|(name, only)| only.eq_ignore_ascii_case(ONLY) && is_name(name))
        .map(|(name, _)| name)
        .ok_or_else(|| RuleError::Unparsable {
            rule: rule.escape_default().to_string().into(),
        })?;
    Jurisdiction::parse(name)
        .map(JurisdictionSet::of)
        .or_else(|| groups.get(name))
        .ok_or_else(|| RuleError::UnknownJurisdiction { name: name.into() })
}

fn is_name(name: &str) -> bool {
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(in_names)
}

/// The effective jurisdictions of one call. Only [`Residency::effective`] makes one, and nothing
/// changes it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residency(JurisdictionSet);

impl Residency {
    /// header ∩ the key's floor ∩ the capability's floor; without a header, the floors alone.
    #[inline]
    pub fn effective(
        header: Option<JurisdictionSet>,
        key_floor: JurisdictionSet,
        capability_floor: JurisdictionSet,
    ) -> Residency {
        let floors = key_floor.intersection(capability_floor);
        Residency(header.map_or(floors, |header| header.intersection(floors)))
    }

    /// Whether the call may be served there.
    #[inline]
    pub fn allows(&self, jurisdiction: Jurisdiction) -> bool {
        self.0.contains(jurisdiction)
    }

    /// Whether anywhere at all is out of bounds.
    #[inline]
    pub fn is_restricted(&self) -> bool {
        !self.0.is_all()
    }

    /// Appends the field value that the provider gets: `any`, or each jurisdiction's rule in
    /// alphabetical order. Nothing if no jurisdiction is left: a value that no reader accepts.
    pub fn write_field_value(&self, out: &mut Vec<u8>) {
        if self.0.is_all() {
            out.extend_from_slice(ANY.as_bytes());
            return;
        }
        for (written, jurisdiction) in self.0.iter().enumerate() {
            if written > 0 {
                out.push(b',');
            }
            out.extend_from_slice(jurisdiction.code().as_bytes());
            out.extend_from_slice(ONLY.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
