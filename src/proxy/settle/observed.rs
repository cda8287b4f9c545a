//! A finished call as OpenTelemetry is to have it.

use super::super::tracing::Tracing;
use super::{Settlement, Try};
use crate::base::Moment;
use crate::telemetry::AttemptResult;
use crate::telemetry::otlp::{CallRecord, TRIES_MAX, Trace, TryRecord};

impl Settlement<'_> {
    /// Notes what the call is, for those who watch.
    pub fn observed(&mut self, operation: &'static str, trace: Option<Trace>) {
        self.operation = Some(operation);
        self.trace = trace;
    }

    /// Hands the call over. What asked for nothing that is served isn't one.
    #[cold]
    pub(super) fn observe(&self, tracing: &Tracing) {
        let Some(operation) = self.operation else {
            return;
        };
        let mut tries = [None; TRIES_MAX];
        for (place, tried) in tries.iter_mut().zip(self.tries.iter()) {
            *place = Some(short(tried, self.started, self.record.at));
        }
        tracing.put(CallRecord {
            call: self.record,
            operation,
            trace: self.trace,
            tries,
        });
    }
}

/// One that nobody has ended was left by its client.
fn short(tried: &Try, started: Moment, now: Moment) -> TryRecord {
    let micros = |micros: u64| u32::try_from(micros).unwrap_or(u32::MAX);
    let code = tried.jurisdiction.code().as_bytes();
    TryRecord {
        provider: tried.ids.0,
        endpoint: tried.ids.1,
        jurisdiction: code.first_chunk().copied().unwrap_or(*b"??"),
        status: tried.status,
        result: tried.result.unwrap_or(AttemptResult::Cancelled),
        after_us: micros(tried.began.micros_since(started)),
        took_us: micros(match tried.result {
            Some(_) => tried.took_us,
            None => now.micros_since(tried.began),
        }),
    }
}
