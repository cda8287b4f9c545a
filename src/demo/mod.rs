//! `srpd demo`: the whole product on one machine with nothing else installed. Embedded upstreams
//! that answer plausibly and fail on demand, srpd in front of them in the same process, and each
//! call on one line.

mod answers;
mod error;
mod panel;
mod question;
mod run;
mod scene;
mod show;
mod upstreams;

pub use error::DemoError;
pub use run::run;
pub use upstreams::Upstreams;
