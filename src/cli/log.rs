//! The log of what isn't a call: starts, reloads, transitions, alarms. On standard error, so that
//! the access log has standard output to itself.

use crate::config::{Log, LogFormat};

/// Sets the process's log up. A second call changes nothing.
pub(super) fn begin(log: Log) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(log.level)
        .with_target(false)
        .with_writer(std::io::stderr);
    // Fails only if there is one already.
    let _ = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.try_init(),
    };
}
