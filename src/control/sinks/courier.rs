//! One sink at work: batch after batch, and what is done when that fails.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::super::ledger::sent::{Sent, SinkState, lock_file};
use super::batch::{Batch, Failure};
use super::server::Server;
use crate::config::Sink;

/// Between two looks at what is new.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Between two tries to be the one who sends.
const LOCK_EVERY: Duration = Duration::from_millis(250);

/// After a failure; doubled with each that follows.
const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// After many failures.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long a batch may take, or a connection and a batch.
const BATCH_WITHIN: Duration = Duration::from_secs(60);

/// How often it is written down how far the sink has come, while it is busy. What is sent again
/// after a crash changes nothing.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What is left at the end has so long.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// What a sink is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send.
    Send,
    /// End at once: somebody else goes on.
    Leave,
    /// Send what is left, and end.
    Finish,
}

/// A sink.
pub struct Courier {
    directory: PathBuf,
    sink: Sink,
    state: Arc<SinkState>,
    /// While this process is the one who sends.
    lock: Option<File>,
    sent: Sent,
    saved: Sent,
    saved_at: Instant,
    server: Server,
    /// What was said last of what can't be read.
    complained: Vec<String>,
    /// Why the last try failed.
    trouble: String,
}

impl Courier {
    /// A sink of a ledger's directory.
    pub fn new(directory: PathBuf, sink: Sink, state: Arc<SinkState>) -> Courier {
        Courier {
            server: Server::new(&sink),
            directory,
            sink,
            state,
            lock: None,
            sent: Sent::default(),
            saved: Sent::default(),
            saved_at: Instant::now(),
            complained: Vec::new(),
            trouble: String::new(),
        }
    }

    /// Works until it is told to end.
    pub async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let order = tokio::select! {
            biased;
            order = ended(&mut orders) => order,
            never = self.work() => match never {},
        };
        if order == Order::Finish && self.lock.is_some() {
            let last = timeout(LAST_WITHIN, self.catch_up()).await;
            let left = match last {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure.text),
                Err(_) => Some(format!("not done within {LAST_WITHIN:?}")),
            };
            if let Some(error) = left {
                let sink = &self.sink.name;
                tracing::warn!(%sink, %error, "ledger: what is left for a sink is sent after the next start");
            }
        }
        if self.lock.is_some()
            && let Err(error) = self.save()
        {
            self.failed(&error.to_string());
        }
    }

    async fn work(&mut self) -> std::convert::Infallible {
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.turn().await {
                Ok(pause) => {
                    backoff = BACKOFF_MIN;
                    sleep(pause).await;
                }
                Err(Failure { text, again }) => {
                    self.failed(&text);
                    for owner in again {
                        self.sent.0.remove(&owner);
                    }
                    sleep(backoff).await;
                    backoff = (2 * backoff).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Sends all there is, if it is this process's to send; how long to wait then.
    async fn turn(&mut self) -> Result<Duration, Failure> {
        if self.lock.is_none() && !self.begin().map_err(said)? {
            // Whoever sends says how far it is.
            self.state.set_current(now());
            return Ok(LOCK_EVERY);
        }
        self.catch_up().await?;
        Ok(LOOK_EVERY)
    }

    /// Whether this process is the one who sends.
    fn begin(&mut self) -> io::Result<bool> {
        let lock = lock_file(&self.directory, &self.sink.name)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // Not before: whoever had it has written down how far it came.
        self.sent = Sent::load(&Sent::path(&self.directory, &self.sink.name))?;
        self.saved = self.sent.clone();
        self.lock = Some(lock);
        Ok(true)
    }

    /// Sends until nothing is left.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            let begun = now();
            let (kind, most) = (self.server.rows(), self.sink.batch);
            let mut batch = Batch::gather(&self.directory, &self.sent, kind, most).map_err(said)?;
            let done = !batch.is_full();
            if !batch.is_empty() {
                let putting = self.server.put(&self.sink, &mut batch);
                timeout(BATCH_WITHIN, putting)
                    .await
                    .unwrap_or_else(|_| Err(format!("no answer within {BATCH_WITHIN:?}").into()))?;
                self.state.sent.fetch_add(batch.frames, Relaxed);
            }
            self.sent = std::mem::take(&mut batch.sent);
            self.complain(&batch);
            if done || self.saved_at.elapsed() >= SAVE_EVERY {
                self.save().map_err(said)?;
            }
            if !done {
                continue;
            }
            if batch.stuck.is_empty() {
                if self.state.set_failing(false) {
                    tracing::info!(sink = %self.sink.name, "ledger: the sink has everything again");
                }
                self.state.set_current(begun);
            }
            return Ok(());
        }
    }

    fn save(&mut self) -> io::Result<()> {
        self.saved_at = Instant::now();
        if self.sent != self.saved {
            self.sent
                .save(&Sent::path(&self.directory, &self.sink.name))?;
            self.saved = self.sent.clone();
        }
        Ok(())
    }

    /// What can't be read is said once.
    fn complain(&mut self, batch: &Batch) {
        let sink = &self.sink.name;
        for what in &batch.skipped {
            self.state.errors.fetch_add(1, Relaxed);
            tracing::error!(%sink, "ledger: a sink has passed over what can't be read: {what}");
        }
        if !batch.stuck.is_empty() {
            self.state.errors.fetch_add(1, Relaxed);
            self.state.set_failing(true);
        }
        if batch.stuck != self.complained {
            for what in &batch.stuck {
                tracing::error!(%sink, "ledger: a sink waits for what can't be read: {what}");
            }
            self.complained.clone_from(&batch.stuck);
        }
    }

    /// The same trouble is said once.
    fn failed(&mut self, error: &str) {
        self.state.errors.fetch_add(1, Relaxed);
        let sink = &self.sink.name;
        if self.state.set_failing(true) && self.trouble == error {
            tracing::debug!(%sink, %error, "ledger: the sink still fails");
            return;
        }
        tracing::error!(%sink, %error, "ledger: the sink fails, and is tried again");
        error.clone_into(&mut self.trouble);
    }
}

/// When it is to end, and how. A sender that is gone has nobody left who could say.
async fn ended(orders: &mut watch::Receiver<Order>) -> Order {
    let ended = orders.wait_for(|order| *order != Order::Send).await;
    ended.map_or(Order::Leave, |order| *order)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn said(error: io::Error) -> Failure {
    error.to_string().into()
}
