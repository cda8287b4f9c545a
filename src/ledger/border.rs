//! Whether a call stayed inside the jurisdictions that it was allowed, as its entry says it.

use super::entry::{Entry, RESIDENCY_BYTES_MAX};

/// What an entry says about the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Everybody who was tried stands in a jurisdiction that the call allowed.
    Inside,
    /// This one doesn't.
    Outside([u8; 2]),
    /// The entry doesn't say enough: its residency was too long for it, or is missing although
    /// somebody was tried.
    Unknown,
}

/// What stands for every jurisdiction (SRP section 3).
const ANY: &str = "any";

/// What a jurisdiction's rule ends with.
const ONLY: &str = "-only";

impl Entry<'_> {
    /// Looks at who served the call and at everybody who was tried before: a try that failed has
    /// had the request, too.
    pub fn border(&self) -> Border {
        let text = self.call.residency;
        if text == ANY {
            return Border::Inside;
        }
        let is_cut = text.len() >= RESIDENCY_BYTES_MAX;
        let mut rules: Vec<&str> = text.split(',').collect();
        if is_cut {
            rules.pop();
        }
        let allows = |place: [u8; 2]| {
            let code = |rule: &&str| rule.strip_suffix(ONLY).map(str::as_bytes) == Some(&place[..]);
            rules.iter().any(code)
        };
        let served = self.call.served.then_some(self.call.jurisdiction);
        let tried = self.attempts().map(|attempt| attempt.jurisdiction);
        let mut border = Border::Inside;
        for place in served.into_iter().chain(tried) {
            match place {
                Some(place) if allows(place) => {}
                Some(place) if !is_cut && !text.is_empty() => return Border::Outside(place),
                _ => border = Border::Unknown,
            }
        }
        border
    }
}
