//! The checks, in the order in which they are made: from whether it answers at all to how much of
//! it at a time.

mod cancellation;
mod capacity;
mod errors;
mod limits;
mod openai;
mod streams;
mod transport;
mod usage;

use serde::Serialize;

use super::probe::{Finding, Probe};

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Calls, borders or bills go wrong: no accreditation.
    Must,
    /// Clients or operators are worse off.
    Should,
}

/// One check.
pub struct Item {
    /// What it is called in reports; `docs/ACCREDITATION.md` lists them.
    pub id: &'static str,
    /// What must hold, in a sentence.
    pub title: &'static str,
    /// Where the demand comes from.
    pub requirement: &'static str,
    /// What a failure means.
    pub severity: Severity,
    pub(super) check: fn(&Probe<'_>) -> Finding,
}

impl Item {
    /// Whether that is its name, or its group's.
    pub fn is(&self, name: &str) -> bool {
        let group = self.id.split('.').next();
        self.id == name || group == Some(name)
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Item> {
    [
        openai::ITEMS,
        streams::ITEMS,
        usage::ITEMS,
        errors::ITEMS,
        limits::ITEMS,
        transport::ITEMS,
        capacity::ITEMS,
        cancellation::ITEMS,
        // What the others have seen on their way.
        transport::SUMMARIES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_its_own_name_and_its_row_in_the_document() {
        let document = include_str!("../../../docs/ACCREDITATION.md");
        let mut seen = BTreeSet::new();
        for item in all() {
            assert!(seen.insert(item.id), "{} is there twice", item.id);
            let severity = format!("{:?}", item.severity).to_lowercase();
            let row = format!("| `{}` | {severity} | {} |", item.id, item.title);
            assert!(document.contains(&row), "not in the document: {row}");
        }
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let named = rows.filter_map(|row| row.split('`').nth(1));
        for id in named.filter(|id| id.contains('.') && !id.contains(' ')) {
            assert!(seen.contains(id), "{id} is in the document only");
        }
    }
}
