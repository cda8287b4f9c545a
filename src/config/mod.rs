//! The configuration: one parser for `check`, `serve` and reload.

pub mod model;

pub use model::*;
