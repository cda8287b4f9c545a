//! A finished call with its attempts, cheap to copy into a ring.

use super::super::metrics::AttemptResult;
use super::super::record::AccessRecord;
use crate::base::{EndpointId, Prng, ProviderId};

/// Attempts of a call that are recorded. Those beyond are in its count only.
pub const TRIES_MAX: usize = 8;

/// The ids of a call that is recorded as spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace's.
    pub id: u128,
    /// Of the client's span; 0 if the trace begins here.
    pub parent: u64,
    /// Of the call's own span.
    pub span: u64,
    /// Whether the trace's id is random.
    pub random: bool,
}

impl Trace {
    /// The id of an attempt's span, by its number from 0: no two of a call are the same, and nobody
    /// has to keep them.
    pub fn attempt(&self, number: usize) -> u64 {
        Prng::new(self.span.wrapping_add(number as u64))
            .next_u64()
            .max(1)
    }
}

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryRecord {
    /// Who was tried.
    pub provider: ProviderId,
    /// Where.
    pub endpoint: EndpointId,
    /// Where that is: ISO 3166-1 alpha-2, lower case.
    pub jurisdiction: [u8; 2],
    /// What the provider answered with; 0 if it didn't.
    pub status: u16,
    /// How it ended.
    pub result: AttemptResult,
    /// From the call's start to its own, in microseconds; at most 71 minutes.
    pub after_us: u32,
    /// How long it took, in microseconds; at most 71 minutes.
    pub took_us: u32,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord {
    /// What the access log has of it.
    pub call: AccessRecord,
    /// What was asked for: `gen_ai.operation.name`.
    pub operation: &'static str,
    /// If it is to be recorded as spans.
    pub trace: Option<Trace>,
    /// Its attempts, in order.
    pub tries: [Option<TryRecord>; TRIES_MAX],
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn spans_of_one_call_have_ids_of_their_own() {
        for span in [1, u64::MAX, 0x00f0_67aa_0ba9_02b7] {
            let trace = Trace {
                id: 1,
                parent: 0,
                span,
                random: true,
            };
            let ids: BTreeSet<u64> = (0..1000).map(|number| trace.attempt(number)).collect();
            assert_eq!(ids.len(), 1000);
            assert!(!ids.contains(&0) && !ids.contains(&span));
        }
    }

    #[test]
    fn a_record_stays_small_enough_for_a_ring_of_thousands() {
        assert!(
            size_of::<CallRecord>() <= 640,
            "{}",
            size_of::<CallRecord>()
        );
    }
}
