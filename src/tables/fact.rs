//! What cores tell the office: only what can't be read off a counter, and only on paths where
//! something went wrong or a breaker is being probed.

use crate::base::{EndpointId, Moment, ProviderId};

/// What a breaker or a gate guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A whole provider.
    Provider(ProviderId),
    /// One endpoint.
    Endpoint(EndpointId),
}

/// How a half-open probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// A clean completion.
    Succeeded,
    /// A breaker failure.
    Failed,
    /// Neither: the client left, or the answer says nothing about the target's health.
    Neutral,
}

/// Something that happened on a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An attempt failed in a way that counts against both its targets.
    Failed {
        /// The provider that was tried.
        provider: ProviderId,
        /// The endpoint that was tried.
        endpoint: EndpointId,
        /// When.
        at: Moment,
    },
    /// A core's own detector tripped: it has stopped using the target, and the others must.
    Tripped {
        /// What tripped.
        target: Target,
        /// When.
        at: Moment,
    },
    /// The target asked for a pause (429, or a quota that is used up).
    Gated {
        /// What asked.
        target: Target,
        /// Until when nothing is sent to it.
        until: Moment,
    },
    /// An endpoint can be reached, and no TLS session begun with it: what an operator must hear of.
    Unshaken {
        /// Whose endpoint.
        provider: ProviderId,
        /// Which one.
        endpoint: EndpointId,
        /// What is wrong with it.
        why: &'static str,
        /// When.
        at: Moment,
    },
    /// A half-open probe ended; the office frees the probe slot when it has taken the result in.
    Probe {
        /// What was probed.
        target: Target,
        /// How it ended.
        outcome: ProbeOutcome,
        /// When.
        at: Moment,
    },
}
