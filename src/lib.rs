//! srpd: a sovereign routing proxy that speaks plain OpenAI. `docs/ARCHITECTURE.md` is the map.

pub mod base;
pub mod openai;
pub mod telemetry;

pub mod http;
pub mod ledger;
pub mod market;
pub mod net;
pub mod policy;

pub mod config;
pub mod tables;

pub mod control;
pub mod proxy;

pub mod cli;
pub mod conformance;
pub mod demo;
pub mod server;
pub mod worker;
