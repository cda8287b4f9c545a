//! One file for each target: what must hold of any bytes at all.

pub mod audit_paper;
pub mod audit_tree;
pub mod body_probe;
pub mod chunked;
pub mod configuration;
pub mod event_stream;
pub mod form_probe;
pub mod forwarded;
pub mod ledger_segment;
pub mod request_head;
pub mod request_peers;
pub mod residency;
pub mod response_head;
pub mod response_peers;
pub mod stream_options;
pub mod usage;
