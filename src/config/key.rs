//! `[[key]]`.

use std::collections::HashSet;

use super::Named;
use super::capability::residency;
use super::model::{Allowed, Key};
use super::reader::Table;
use super::values::Names;
use crate::base::KeyDigest;
use crate::market::Supply;
use crate::policy::meter::{PER_MINUTE_MAX, Rate};
use crate::policy::residency::Groups;

pub(super) fn read(
    tables: Vec<Named<'_>>,
    capabilities: &Names<'_>,
    groups: &Groups,
) -> Vec<Option<Key>> {
    let mut digests = HashSet::new();
    let mut keys = Vec::new();
    for (table, name) in tables {
        let sha256 = digest(&table, &mut digests);
        if let (Some(name), Some(sha256)) = (name, sha256)
            && KeyDigest::of(name.as_bytes()) == sha256
        {
            table.fail("expected a name that may be shown, found the key itself");
        }
        let allowed = allowed(&table, capabilities);
        let residency = residency(&table, groups);
        let requests = per_minute(&table, "requests_per_minute");
        let tokens = per_minute(&table, "tokens_per_minute");
        let supply = table.choice(
            "supply",
            [("floating", Supply::Floating), ("firm", Supply::Firm)],
        );
        table.finish();
        keys.push(name.zip(sha256).zip(allowed).zip(residency).map(
            |(((name, sha256), capabilities), residency)| Key {
                name: name.to_owned(),
                sha256,
                capabilities,
                residency,
                supply,
                requests,
                tokens,
            },
        ));
    }
    keys
}

/// Never shows what it found: it may be the key itself, pasted into the wrong place.
fn digest(table: &Table<'_>, earlier: &mut HashSet<KeyDigest>) -> Option<KeyDigest> {
    const EXPECTED: &str = "the SHA-256 of the key as 64 hexadecimal digits";
    let value = table.required("sha256", EXPECTED)?;
    let text = value.text(EXPECTED)?.text;
    let Some(digest) = hexadecimal(text) else {
        value.fail(format!("expected {EXPECTED}"));
        return None;
    };
    if !earlier.insert(digest) {
        value.fail("expected a digest of its own: another [[key]] has the same");
    }
    Some(digest)
}

fn hexadecimal(text: &str) -> Option<KeyDigest> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(KeyDigest::from(bytes))
}

/// A limit; none if the key is left out.
fn per_minute(table: &Table<'_>, key: &'static str) -> Option<Rate> {
    Rate::new(table.whole(key, 0, 1..=PER_MINUTE_MAX))
}

fn allowed(table: &Table<'_>, capabilities: &Names<'_>) -> Option<Allowed> {
    const EXPECTED: &str = "an array of capabilities, or [\"*\"] for all";
    let value = table.required("capabilities", EXPECTED)?;
    let names = value.texts("a capability's name");
    if value.is_array() && names.is_empty() {
        value.fail(format!("expected {EXPECTED}"));
    }
    if let Some(all) = names.iter().find(|name| name.text == "*") {
        if names.len() > 1 {
            all.at.fail("expected \"*\" to stand alone");
        }
        return Some(Allowed::All);
    }
    let mut positions = Vec::new();
    for name in &names {
        match capabilities.find(name) {
            Some(position) if positions.contains(&position) => {
                name.at.fail(format!(
                    "expected each capability once, found {:?} again",
                    name.text
                ));
            }
            Some(position) => positions.push(position),
            None => {}
        }
    }
    Some(Allowed::Some(positions))
}
