//! What a successor is left beside the sockets: which endpoints drain, and how many slots calls of
//! its predecessor go on to occupy. Without it both would fill a provider to its capacity.
//!
//! The way between the two stays open after the handover, and each tells the other in lines of JSON
//! what its own calls occupy, when that changes. Where firm calls in the successor need slots that
//! floating calls in the predecessor have, those are curtailed. When the predecessor has ended,
//! however it did, the way is closed and what was its own is free.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

/// What is left, or in use, in names: two processes need not have the same configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Legacy {
    /// Endpoints that drain: their provider's name and their URL.
    pub drains: Vec<(String, String)>,
    /// Slots in use: by provider, on reservations there, on reservations in its jurisdiction, and
    /// by floating calls.
    pub slots: BTreeMap<String, [u32; 3]>,
    /// Reservations in use.
    pub reserved: Vec<Reserved>,
}

/// What is in use of a key's reservations at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// The key's name.
    pub key: String,
    /// Where they are.
    pub place: Spot,
    /// Slots in use.
    pub used: u32,
}

/// A place, in names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spot {
    /// At one provider.
    Provider(String),
    /// Anywhere in a jurisdiction: its code.
    Jurisdiction(String),
}

/// Another process of this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Whose place this one has taken.
    Predecessor,
    /// Who has taken this one's.
    Successor,
}

impl Legacy {
    /// As a line, without its end.
    pub fn line(&self) -> String {
        // Names and numbers: there is nothing that JSON couldn't say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a line.
    ///
    /// # Errors
    /// It is something else.
    pub fn of_line(line: &str) -> io::Result<Legacy> {
        Ok(serde_json::from_str(line)?)
    }
}
