//! Residency rules (SRP section 3), as sets of codes.

use std::collections::BTreeSet;

use srpd::policy::residency::Jurisdiction;

/// What rules come to.
#[derive(Debug)]
pub enum Codes {
    /// Every code there is.
    All,
    /// These, in lower case.
    These(BTreeSet<String>),
}

/// The groups that rules may name.
pub const GROUPS: [(&str, &[&str]); 4] = [
    ("anz", &["au", "nz"]),
    ("Five-Eyes", &["au", "ca", "gb", "nz", "us"]),
    ("eu", &["de", "fr"]),
    ("nowhere", &[]),
];

/// The union of the rules in a field's value; `None` if any of them is none.
pub fn rules(value: &[u8]) -> Option<Codes> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.is_ascii() || text.len() > 256 {
        return None;
    }
    let text = text.to_ascii_lowercase();
    if text == "any" {
        return Some(Codes::All);
    }
    let mut codes = BTreeSet::new();
    for rule in text.split(',') {
        let name = rule.strip_suffix("-only")?;
        let group = GROUPS
            .iter()
            .find(|(group, _)| group.eq_ignore_ascii_case(name));
        if Jurisdiction::parse(name).is_some() {
            codes.insert(name.to_owned());
        } else if let Some((_, members)) = group {
            codes.extend(members.iter().map(|code| (*code).to_owned()));
        } else {
            return None;
        }
    }
    Some(Codes::These(codes))
}
