//! How an attempt ended, and what follows from it: for the call, for the breakers, for the
//! counters (SRP sections 5 and 6). A table, so that it can be read as one.

use std::time::Duration;

use crate::telemetry::AttemptResult;

/// The end of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A clean completion.
    Succeeded,
    /// The provider's word on the client's request: passed on, and neutral.
    ClientError,
    /// No connection.
    Connect,
    /// No connection, for want of something on our side; or no answer in time, as far as a core
    /// that is behind can tell.
    OwnShortage,
    /// The connection died. `stale` if it was a reused one and no response byte had come.
    Reset {
        /// Whether the provider may simply have closed an idle connection.
        stale: bool,
    },
    /// Nothing within `timeouts.first_byte`.
    TimedOut,
    /// 408, 498, or 500 and above.
    ServerError,
    /// 429: the target asks for a pause.
    RateLimited {
        /// `retry-after`, if it said how long.
        pause: Option<Duration>,
    },
    /// 402, or `insufficient_quota`.
    QuotaExhausted,
    /// 401, 403 or a redirect: our credential or address is at fault.
    Credential,
    /// The provider doesn't know the model that our mapping names.
    UnknownModel,
    /// A response that can't be read: its framing, or its JSON.
    Invalid,
    /// A stream whose first event is an error, or that carried one later.
    ErrorEvent,
    /// The response ended before its end.
    Truncated,
    /// Nothing within `timeouts.stream_idle`.
    Stalled,
    /// The client left.
    Cancelled,
    /// The whole call ran out of time while this attempt was waiting.
    Deadline,
    /// A firm call needed the slot.
    Curtailed,
}

impl Verdict {
    /// Whether the breakers of provider and endpoint count it as a failure. That a provider
    /// closed an idle connection says nothing about its health, nor does what we lack.
    pub fn is_failure(self) -> bool {
        let innocent = matches!(self, Verdict::Reset { stale: true } | Verdict::OwnShortage);
        self.result().is_failure() && !innocent
    }

    /// Whether an endpoint that ended an attempt so counts as slow: whatever gave the client no
    /// answer and is not our own or the client's doing. More than what breakers count: who refuses
    /// every call at once, for want of a key or a model, must not look like the fastest.
    pub fn is_slow(self) -> bool {
        let innocent = matches!(
            self,
            Verdict::Succeeded
                | Verdict::ClientError
                | Verdict::Cancelled
                | Verdict::Deadline
                | Verdict::Curtailed
                | Verdict::OwnShortage
                | Verdict::Reset { stale: true }
        );
        !innocent
    }

    /// Whether the same provider may be asked once more, on another endpoint.
    pub fn may_repeat(self) -> bool {
        self.is_failure() || matches!(self, Verdict::RateLimited { .. })
    }

    /// Whether our configuration of the provider is at fault, which an operator must hear of.
    pub fn is_our_fault(self) -> bool {
        matches!(self, Verdict::Credential | Verdict::UnknownModel)
    }

    /// How the counters call it.
    pub fn result(self) -> AttemptResult {
        match self {
            Verdict::Succeeded => AttemptResult::Succeeded,
            Verdict::ClientError => AttemptResult::ClientError,
            Verdict::Connect | Verdict::OwnShortage => AttemptResult::Connect,
            Verdict::Reset { .. } => AttemptResult::Reset,
            Verdict::TimedOut => AttemptResult::Timeout,
            Verdict::ServerError => AttemptResult::ServerError,
            Verdict::RateLimited { .. } => AttemptResult::RateLimited,
            Verdict::QuotaExhausted => AttemptResult::QuotaExhausted,
            Verdict::Credential => AttemptResult::Credential,
            Verdict::UnknownModel => AttemptResult::UnknownModel,
            Verdict::Invalid => AttemptResult::Invalid,
            Verdict::ErrorEvent => AttemptResult::ErrorEvent,
            Verdict::Truncated => AttemptResult::Truncated,
            Verdict::Stalled => AttemptResult::Stalled,
            Verdict::Cancelled => AttemptResult::Cancelled,
            Verdict::Deadline => AttemptResult::Deadline,
            Verdict::Curtailed => AttemptResult::Curtailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_about_a_provider_is_no_failure() {
        assert!(Verdict::Reset { stale: false }.is_failure());
        assert!(!Verdict::Reset { stale: true }.is_failure());
        assert!(Verdict::Connect.is_failure() && !Verdict::OwnShortage.is_failure());
        assert!(!Verdict::Cancelled.is_failure() && !Verdict::ClientError.is_failure());
        assert!(Verdict::Truncated.is_failure());
    }
}
