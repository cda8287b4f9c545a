//! Small types that every room shares: ids, time, secrets, a pseudo-random generator.

pub mod digest;
pub mod ids;
pub mod prng;
pub mod secret;
pub mod time;

pub use digest::KeyDigest;
pub use ids::{CapabilityId, EndpointId, KeyId, ProviderId};
pub use prng::Prng;
pub use secret::Secret;
pub use time::{Clock, Moment};
