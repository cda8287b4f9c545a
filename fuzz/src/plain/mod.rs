//! The grammars once more, written for plainness: one rule after another, line by line, with
//! allocations wherever they help. They share nothing with srpd's parsers.

pub mod body;
pub mod events;
pub mod form;
pub mod head;
pub mod rules;
pub mod target;
