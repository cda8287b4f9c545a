//! Why a demo doesn't start.

use std::io;

use crate::config::ConfigErrors;
use crate::policy::accreditation::KeyError;
use crate::server::StartError;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No socket, thread or directory to be had.
    #[error("the demo can't be set up: {0}")]
    Io(#[from] io::Error),
    /// No random bytes for the authority's key.
    #[error("the operating system has no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The clock shows a year that accreditations can't name.
    #[error("the clock is wrong: {0}")]
    Clock(#[from] jiff::Error),
    /// The authority's key can't be written down.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// `au` is gone from ISO 3166-1.
    #[error("there is no jurisdiction au")]
    NoAustralia,
    /// srpd rejects the demo's own configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// srpd doesn't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The office panicked.
    #[error("the office panicked: this is a defect")]
    Panicked,
}
