//! The part of `/metrics` that is about signed entries.

use std::sync::atomic::Ordering::Relaxed;

use super::super::notary::NotaryView;
use crate::telemetry::exposition::{Exposition, Kind};

/// Writes every family.
pub fn metrics(view: &NotaryView, page: &mut Exposition) {
    page.single(
        "srpd_audit_failing",
        Kind::Gauge,
        "1 while entries can't be signed.",
        u64::from(view.trouble().is_some()),
    );
    page.single(
        "srpd_audit_failures_total",
        Kind::Counter,
        "Times that entries could not be signed.",
        view.failures.load(Relaxed),
    );
    page.single(
        "srpd_audit_active",
        Kind::Gauge,
        "1 if this process signs; 0 while another that shares the directory does.",
        u64::from(view.active.load(Relaxed)),
    );
    page.single(
        "srpd_audit_leaves",
        Kind::Gauge,
        "Entries and amendments that are in the tree.",
        view.leaves.load(Relaxed),
    );
    page.single(
        "srpd_audit_head_timestamp_seconds",
        Kind::Gauge,
        "When this process signed last; 0 if it hasn't.",
        view.head_ms.load(Relaxed).max(0) as u64 / 1000,
    );
}
