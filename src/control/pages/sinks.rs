//! The sinks' part of `/metrics`.

use std::sync::atomic::Ordering::Relaxed;

use super::super::ledger::sent::{SinkState, SinkStates};
use crate::telemetry::exposition::{Exposition, Kind};

/// Of one sink, at a time in seconds since 1970.
type Figure = fn(&SinkState, i64) -> u64;

const FAMILIES: [(&str, Kind, &str, Figure); 5] = [
    (
        "srpd_sink_lag_seconds",
        Kind::Gauge,
        "How long ago the sink had sent everything that was on disk.",
        |state, now| state.lag(now),
    ),
    (
        "srpd_sink_failing",
        Kind::Gauge,
        "1 while the sink's last try has failed.",
        |state, _| u64::from(state.is_failing()),
    ),
    (
        "srpd_sink_sent_total",
        Kind::Counter,
        "Entries and amendments that the sink's server has acknowledged, to this process.",
        |state, _| state.sent.load(Relaxed),
    ),
    (
        "srpd_sink_errors_total",
        Kind::Counter,
        "Tries of the sink that failed, and what it couldn't read.",
        |state, _| state.errors.load(Relaxed),
    ),
    (
        "srpd_sink_removed_unsent_total",
        Kind::Counter,
        "Segments that ledger.bytes_max removed before the sink had sent them.",
        |state, _| state.removed_unsent.load(Relaxed),
    ),
];

/// Writes every family, if there are sinks.
pub fn metrics(states: &SinkStates, page: &mut Exposition) {
    let states = states.load();
    if states.is_empty() {
        return;
    }
    let now = jiff::Timestamp::now().as_second();
    for (name, kind, help, figure) in FAMILIES {
        page.family(name, kind, help);
        for state in states.iter() {
            page.sample(&[("sink", &state.name)], figure(state, now));
        }
    }
}
