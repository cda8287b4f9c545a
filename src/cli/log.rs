//! The log of what isn't a call: starts, reloads, transitions, alarms. On standard error, so that
//! the access log has standard output to itself.

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{Log, LogFormat};

/// What the NATS client says of each try is said by its sink, once.
const UNHEARD: &str = "async_nats";

/// Sets the process's log up. A second call changes nothing.
pub(super) fn begin(log: Log) {
    let is_heard = move |about: &Metadata<'_>| {
        *about.level() <= log.level && !about.target().starts_with(UNHEARD)
    };
    let heard = filter_fn(is_heard).with_max_level_hint(LevelFilter::from_level(log.level));
    let lines = fmt::layer().with_target(false).with_writer(std::io::stderr);
    // Fails only if there is one already.
    let _ = match log.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter(heard);
            registry().with(lines).try_init()
        }
        LogFormat::Text => registry().with(lines.with_filter(heard)).try_init(),
    };
}
