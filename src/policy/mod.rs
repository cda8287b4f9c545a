//! Where a call may go and in which order: pure decisions. Time and randomness are arguments.

pub mod accreditation;
pub mod balance;
pub mod breaker;
pub mod chain;
pub mod limits;
pub mod meter;
pub mod residency;
pub mod retry;
