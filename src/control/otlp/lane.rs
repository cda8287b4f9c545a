//! Exports of one kind: one at a time, and a pause after each that failed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::post::{Collector, Trouble};

/// The first pause; each one after it is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest of our own accord.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The longest that a collector can have us wait.
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(300);

/// The pause after so many failures in a row.
pub(super) fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let own = doubled.min(PAUSE_MAX);
    asked.map_or(own, |asked| asked.clamp(PAUSE_MIN, PAUSE_ASKED_MAX))
}

/// What is sent, and how many items it has.
#[derive(Clone)]
pub(super) struct Parcel {
    pub(super) body: Bytes,
    pub(super) items: u64,
}

/// How an export ended.
pub(super) enum Ended {
    /// The collector took it, but for so many items.
    Taken(Parcel, u64),
    /// It failed, and may be tried again after a pause.
    Later(Parcel),
    /// It failed for good.
    Never(Parcel),
}

type Sending = JoinHandle<Result<u64, Trouble>>;

pub(super) struct Lane {
    path: &'static str,
    sending: Option<(Parcel, Sending)>,
    failures: u32,
    /// No export begins before.
    ready_at: Instant,
}

impl Lane {
    pub(super) fn new(path: &'static str, now: Instant) -> Lane {
        Lane {
            path,
            sending: None,
            failures: 0,
            ready_at: now,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.sending.is_some()
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        !self.is_busy() && now >= self.ready_at
    }

    pub(super) fn send(&mut self, collector: &Rc<Collector>, parcel: Parcel) {
        let (collector, path, body) = (Rc::clone(collector), self.path, parcel.body.clone());
        let sending = tokio::task::spawn_local(async move { collector.post(path, body).await });
        self.sending = Some((parcel, sending));
    }

    /// How the export under way ended, if it has.
    pub(super) async fn ended(&mut self, now: Instant) -> Option<Ended> {
        let (parcel, sending) = self.sending.take_if(|(_, sending)| sending.is_finished())?;
        let lost = |error: tokio::task::JoinError| Err(Trouble::Never(error.to_string()));
        Some(match sending.await.unwrap_or_else(lost) {
            Ok(refused) => {
                if self.failures > 0 {
                    tracing::info!(path = self.path, "otlp: the collector takes exports again");
                }
                self.failures = 0;
                Ended::Taken(parcel, refused)
            }
            Err(Trouble::Later { why, after }) => {
                self.fail(&why, now, after);
                Ended::Later(parcel)
            }
            Err(Trouble::Never(why)) => {
                self.fail(&why, now, None);
                Ended::Never(parcel)
            }
        })
    }

    /// Says so once for all failures in a row.
    fn fail(&mut self, why: &str, now: Instant, asked: Option<Duration>) {
        if self.failures == 0 {
            tracing::warn!(path = self.path, why, "otlp: the collector took no export");
        }
        self.failures = self.failures.saturating_add(1);
        self.ready_at = now + pause(self.failures, asked);
    }
}
