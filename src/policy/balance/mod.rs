//! Which of a provider's endpoints a call goes to. Pure: what is known of the endpoints, the time
//! and random numbers are arguments.

pub mod hash;
pub mod memory;
pub mod pace;
pub mod prefix;
pub mod trail;
pub mod weigh;

pub use memory::Memory;
pub use pace::Pace;
pub use prefix::{Choice, Chosen, Replica, remember};
pub use trail::Trail;
pub use weigh::{Burden, SLOW_START, grown, two_of};

/// How a provider's endpoints are chosen: `balance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The one of two with less to do.
    #[default]
    LeastLoaded,
    /// The one that knows the beginning of the prompt, within a bound.
    Prefix,
}
