//! Where endpoints are: files of targets, services and names, looked at side by side and each in
//! its own time. What a source says is the last good answer; what a provider may have of it is
//! decided anew whenever something changes.

pub mod agenda;
pub mod fleet;
pub mod known;
pub mod resolver;
pub mod survey;

use std::path::PathBuf;

use crate::config::targets::Pattern;

/// Something that is looked at again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Files of targets.
    Files(Pattern),
    /// A service's servers, by the name that is asked for.
    Service(String),
    /// A host's addresses.
    Name(String),
}

/// For people.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Files(pattern) => f.write_str(&pattern.written),
            Source::Service(name) | Source::Name(name) => f.write_str(name),
        }
    }
}

impl Source {
    /// What kind it is, for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Files(_) => "file",
            Source::Service(_) => "service",
            Source::Name(_) => "name",
        }
    }
}

/// The path of a file of targets.
pub type FilePath = PathBuf;
