//! What changes in a body on its way to a provider: the values of a few members, replaced where
//! they lie, or put in front of the others.

use std::borrow::Cow;
use std::ops::Range;

use super::message::Edit;
use crate::market::Supply;
use crate::openai::Operation;
use crate::tables::routes::{Model, Provider, TierMember, Tiers};

/// Members that change at most: `model`, `stream_options`, and the provider's tier.
const EDITS_MAX: usize = 3;

/// Where what may change lies in a body.
pub struct Sites<'b> {
    /// The value of `model`.
    pub model: Range<usize>,
    /// It is a form: the provider's name for the model is written as it is.
    pub form: bool,
    /// The new `stream_options`, if they must change: where, and whether the key is missing too.
    pub options: Option<(Range<usize>, Cow<'b, [u8]>, bool)>,
    /// Behind the opening brace.
    pub open: usize,
    /// The value of `service_tier`.
    pub service_tier: Option<Range<usize>>,
    /// The value of `priority`; looked for only where a provider may be told of it.
    pub priority: Option<Range<usize>>,
    /// What is asked for: not everything has tiers.
    pub operation: Operation,
}

/// A few edits, in the order of the body.
pub struct Edits<'e> {
    list: [Edit<'e>; EDITS_MAX],
    used: usize,
}

impl<'e> Edits<'e> {
    /// The edits.
    pub fn as_slice(&self) -> &[Edit<'e>] {
        &self.list[..self.used]
    }

    fn of(list: [Edit<'e>; EDITS_MAX], used: usize) -> Edits<'e> {
        Edits { list, used }
    }

    /// Adds one, in its place.
    fn insert(mut self, edit: Edit<'e>) -> Edits<'e> {
        let before = |other: &Edit<'_>| other.at.start <= edit.at.start;
        let at = self.as_slice().iter().take_while(|it| before(it)).count();
        if self.used < EDITS_MAX {
            self.list[self.used] = edit;
            self.list[at..=self.used].rotate_right(1);
            self.used += 1;
        }
        self
    }
}

impl<'b> Sites<'b> {
    /// What changes for a call that this provider serves as `supply`.
    pub fn edits<'e>(
        &'e self,
        model: &'e Model,
        provider: &'e Provider,
        supply: Supply,
    ) -> Edits<'e> {
        let edits = self.without_tier(model);
        match &provider.tiers {
            None => edits,
            Some(tiers) => self.with_tier(edits, tiers, supply),
        }
    }

    fn without_tier<'e>(&'e self, model: &'e Model) -> Edits<'e> {
        let name: &[u8] = if self.form { &model.plain } else { &model.json };
        let model = Edit {
            at: self.model.clone(),
            by: [name, b"", b""],
        };
        let Some((at, value, key_missing)) = &self.options else {
            return Edits::of([model, Edit::NONE, Edit::NONE], 1);
        };
        let by: [&[u8]; 3] = match key_missing {
            true => [b"\"stream_options\":", value, b","],
            false => [value, b"", b""],
        };
        let options = Edit { at: at.clone(), by };
        let list = if options.at.start < model.at.start {
            [options, model, Edit::NONE]
        } else {
            [model, options, Edit::NONE]
        };
        Edits::of(list, 2)
    }

    fn with_tier<'e>(&'e self, edits: Edits<'e>, tiers: &'e Tiers, supply: Supply) -> Edits<'e> {
        let value = match supply {
            Supply::Firm => &tiers.firm,
            Supply::Floating => &tiers.floating,
        };
        let Some(value) = value.as_deref() else {
            return edits;
        };
        let (found, key, known): (_, &[u8], _) = match tiers.member {
            TierMember::ServiceTier => {
                let known = self.operation.has_service_tier();
                (&self.service_tier, b"\"service_tier\":", known)
            }
            TierMember::Priority => {
                let known = self.operation.has_priority();
                (&self.priority, b"\"priority\":", known)
            }
        };
        if !known {
            return edits;
        }
        edits.insert(match found {
            Some(at) => Edit {
                at: at.clone(),
                by: [value, b"", b""],
            },
            None => Edit {
                at: self.open..self.open,
                by: [key, value, b","],
            },
        })
    }
}
