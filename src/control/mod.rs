//! The office: one thread that decides for every core and never makes one wait. It hears of
//! failures as facts and reads the rest off counters; what it decides, it publishes.

pub mod admin;
pub mod bookings;
pub mod breakers;
pub mod build;
pub mod desk;
pub mod discovery;
pub mod drains;
pub mod handover;
pub mod health;
pub mod history;
pub mod ledger;
pub mod legacy;
pub mod market;
pub mod notary;
pub mod office;
pub mod otlp;
pub mod pages;
pub mod pulse;
pub mod registry;
pub mod reload;
mod signals;
pub mod sinks;
pub mod supply;
pub mod systemd;

pub use office::{CoreLink, Ended, Office, OfficeHandle, Prepared};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
