//! The office: one thread that decides for every core and never makes one wait.

pub mod breakers;
pub mod build;
pub mod registry;
pub mod resolve;

#[cfg(test)]
mod testing;
