//! The conformance suite that an accreditation stands on (SRP section 4): asks a backstop what
//! SRP and OpenAI's API demand of it, and writes down what it did.
//!
//! It reads answers with the parser that the proxy reads them with (`http/`): what that refuses,
//! an instance would refuse. All else is written apart from the proxy, so that a fault there
//! can't hide itself here. Blocking sockets and threads: nothing here is in a hurry.
//!
//! A check is a function of a [`Probe`], which asks and keeps what was said as evidence. The
//! checks are listed in [`checks`], each with where its demand comes from.

mod ask;
pub mod checks;
mod events;
mod line;
mod plan;
mod probe;
pub mod report;
mod run;
mod shape;
mod trouble;

pub use checks::{Item, Severity};
pub use plan::{Plan, Unreachable};
pub use report::{Checked, Report, Verdict};
pub use run::{Progress, run};
