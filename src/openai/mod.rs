//! What srpd knows of OpenAI's dialect: its paths, the few fields of a request that routing needs,
//! the events of a stream, token counts, and errors in the shape that its SDKs can type.
//!
//! Everything here is a function of its input: no socket, no clock, no document tree. A body is
//! read where it lies and never written again but for the one value that the corridor replaces.

pub mod check;
pub mod error;
pub mod fault;
pub mod json;
pub mod multipart;
pub mod options;
pub mod probe;
pub mod prompt;
pub mod ratelimit;
pub mod route;
pub mod stream;
pub mod usage;

pub use check::InvalidJson;
pub use error::{ErrorCode, write_body, write_error_event};
pub use json::write_json_string;
pub use multipart::{FormProbe, FormProber, probe_form};
pub use options::with_include_usage;
pub use probe::{Probe, ProbeError, Prober, find_member, probe};
pub use prompt::{Prompt, read_prompt};
pub use route::{BodyKind, NoRoute, Operation, Route, route};
pub use stream::{First, StreamScanner, Sweep, first_event};
pub use usage::{Usage, UsageSearch, inspect_json};
