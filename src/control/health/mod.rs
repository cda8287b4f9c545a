//! Whether endpoints are ready, by their own word. A check can keep calls away from a server that
//! is starting or loading; it opens no breaker, and touches no call that is under way.

pub mod check;
pub mod standing;
pub mod vitals;
pub mod wards;
