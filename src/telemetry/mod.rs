//! What happened, in numbers and lines. Each core writes counters that only it writes, histograms
//! that it hands over now and then, and access records into a ring of its own; the office and the
//! log thread read them. Nothing here can make a call wait.

pub mod access;
mod counter;
pub mod exposition;
pub mod handshakes;
pub mod histograms;
pub mod line;
pub mod metrics;
pub mod names;
pub mod otlp;
pub mod record;
pub mod report;
pub mod waits;

pub use access::{AccessLog, Sink};
pub use counter::Counter;
pub use handshakes::Handshake;
pub use histograms::{CoreHistograms, HistogramSlot, Lately, Times};
pub use line::{AccessLine, Format};
pub use metrics::{AttemptResult, CoreMetrics};
pub use names::{CodeNames, Names};
pub use record::{AccessRecord, InlineText, Outcome};
pub use waits::{WaitEnd, Waits};
