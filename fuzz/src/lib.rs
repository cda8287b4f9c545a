//! What srpd reads from strangers, under a fuzzer. Each target is a function of bytes that panics
//! if what must hold doesn't; `fuzz_targets/` hands them libFuzzer's bytes, the tests
//! the corpus.
//!
//! Inputs are messages as they stand on the wire: whatever else a target needs, such as places to
//! cut at, is derived from them. So a corpus can be read, and a vector of a test put into it.

pub mod dice;
pub mod notary;
pub mod peers;
pub mod plain;
pub mod targets;

#[cfg(test)]
mod tests;

/// A target and its name, which is also that of its corpus and of its binary.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 16] = [
    ("audit_paper", targets::audit_paper::run),
    ("audit_tree", targets::audit_tree::run),
    ("body_probe", targets::body_probe::run),
    ("chunked", targets::chunked::run),
    ("configuration", targets::configuration::run),
    ("event_stream", targets::event_stream::run),
    ("form_probe", targets::form_probe::run),
    ("forwarded", targets::forwarded::run),
    ("ledger_segment", targets::ledger_segment::run),
    ("request_head", targets::request_head::run),
    ("request_peers", targets::request_peers::run),
    ("residency", targets::residency::run),
    ("response_head", targets::response_head::run),
    ("response_peers", targets::response_peers::run),
    ("stream_options", targets::stream_options::run),
    ("usage", targets::usage::run),
];
