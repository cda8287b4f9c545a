//! What a call has tried, for its entry in the ledger and its spans.

use crate::base::{EndpointId, Moment, ProviderId};
use crate::config::NAME_BYTES_MAX;
use crate::ledger::Kept;
use crate::ledger::entry::TEXT_BYTES_MAX;
use crate::policy::residency::Jurisdiction;
use crate::telemetry::AttemptResult;

/// Attempts that are kept without an allocation: as many as `retry.max_attempts` is by default.
const INLINE: usize = 3;

/// One try, and how it ended. It has names of its own: a call that waits goes on with other tables.
#[derive(Clone, Copy)]
pub struct Try {
    /// Who was tried.
    pub provider: Kept<NAME_BYTES_MAX>,
    /// Where.
    pub endpoint: Kept<TEXT_BYTES_MAX>,
    /// Both by their numbers, which other tables have too.
    pub ids: (ProviderId, EndpointId),
    /// Where that is.
    pub jurisdiction: Jurisdiction,
    /// When it began.
    pub began: Moment,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What the provider answered with; 0 if it didn't.
    pub status: u16,
    /// None while it is under way.
    pub result: Option<AttemptResult>,
}

/// All of them, in order. There are no more than `retry.max_attempts`.
#[derive(Default)]
pub struct Tries {
    first: [Option<Try>; INLINE],
    more: Vec<Try>,
    count: usize,
}

impl Tries {
    /// One more.
    pub fn push(&mut self, tried: Try) {
        match self.first.get_mut(self.count) {
            Some(place) => *place = Some(tried),
            None => self.more.push(tried),
        }
        self.count += 1;
    }

    /// The newest.
    pub fn last_mut(&mut self) -> Option<&mut Try> {
        match self.count.checked_sub(1)? {
            at if at < INLINE => self.first[at].as_mut(),
            _ => self.more.last_mut(),
        }
    }

    /// The newest.
    pub fn last(&self) -> Option<&Try> {
        match self.count.checked_sub(1)? {
            at if at < INLINE => self.first[at].as_ref(),
            _ => self.more.last(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// All of them, in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Try> + Clone {
        self.first
            .iter()
            .map_while(Option::as_ref)
            .chain(&self.more)
    }
}
