//! The decisions of the office at one moment: what the configuration says ([`Routes`]) and how
//! the targets are ([`States`]).

use std::sync::Arc;

use super::fact::Target;
use super::routes::Routes;
use crate::base::ids::{ENDPOINTS_MAX, PROVIDERS_MAX};
use crate::base::{EndpointId, Moment, ProviderId};

/// Everything that a core decides by. Immutable once published.
#[derive(Clone)]
pub struct Snapshot {
    /// From the configuration: changes at a reload only. Cores copy what is inside, so that the
    /// reference count is touched once a refresh, never on a call.
    pub routes: Arc<Routes>,
    /// Breakers and gates: small, and copied whole.
    pub states: States,
    /// Whether the instance takes new calls.
    pub stage: Stage,
}

/// How far an instance's life has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It takes calls.
    #[default]
    Serving,
    /// Another process has its listening sockets: connections that it still has may bring one more
    /// request, and are told to come again elsewhere.
    HandedOver,
    /// It goes down: idle connections are closed.
    Ending,
}

/// A breaker as the cores see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerView {
    /// Calls pass.
    #[default]
    Closed,
    /// No call passes before `until`; after it, one probe at a time (half-open).
    Open {
        /// When probing may begin.
        until: Moment,
    },
}

/// Whether a target may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    /// The office's word on the breaker.
    pub breaker: BreakerView,
    /// Grows with each transition of the breaker, and with each trip that a core reports while it
    /// is open: a core knows by it that a trip of its own has been answered.
    pub generation: u32,
    /// Nothing is sent before this moment (429, quota).
    pub gated_until: Moment,
}

/// The state of every target, by id.
#[derive(Clone, Debug)]
pub struct States {
    providers: Box<[TargetState]>,
    endpoints: Box<[TargetState]>,
}

impl States {
    /// All closed, none gated.
    pub fn new() -> States {
        States {
            providers: vec![TargetState::default(); PROVIDERS_MAX].into(),
            endpoints: vec![TargetState::default(); ENDPOINTS_MAX].into(),
        }
    }

    /// A provider's state.
    #[inline]
    pub fn provider(&self, id: ProviderId) -> &TargetState {
        &self.providers[id.index()]
    }

    /// An endpoint's state.
    #[inline]
    pub fn endpoint(&self, id: EndpointId) -> &TargetState {
        &self.endpoints[id.index()]
    }

    /// A target's state.
    #[inline]
    pub fn target(&self, target: Target) -> &TargetState {
        match target {
            Target::Provider(id) => self.provider(id),
            Target::Endpoint(id) => self.endpoint(id),
        }
    }

    /// A target's state, to be changed by the office.
    pub fn target_mut(&mut self, target: Target) -> &mut TargetState {
        match target {
            Target::Provider(id) => &mut self.providers[id.index()],
            Target::Endpoint(id) => &mut self.endpoints[id.index()],
        }
    }

    /// Takes over another's values without allocating.
    pub fn copy_from(&mut self, other: &States) {
        self.providers.copy_from_slice(&other.providers);
        self.endpoints.copy_from_slice(&other.endpoints);
    }
}

impl Default for States {
    fn default() -> Self {
        Self::new()
    }
}
