//! Which of a provider's endpoints a call goes to. Pure: what is known of the endpoints, the time
//! and random numbers are arguments.

pub mod pace;
pub mod weigh;

pub use pace::Pace;
pub use weigh::{Burden, SLOW_START, grown, two_of};
