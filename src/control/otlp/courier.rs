//! The courier: the thread that waits for the collector, so that nobody else has to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtrb::Consumer;
use tokio::task::LocalSet;

use super::lane::{Ended, Lane, Parcel};
use super::post::Collector;
use super::{Counts, OtlpView};
use crate::base::Clock;
use crate::config::{Config, Otlp};
use crate::policy::residency::Jurisdiction;
use crate::telemetry::otlp::json::Resource;
use crate::telemetry::otlp::spans::Spans;
use crate::telemetry::otlp::{self, CallRecord, Link, Meters, Sampling};
use crate::telemetry::{CodeNames, Names};

/// Between two drains of the rings.
const DRAIN_EVERY: Duration = Duration::from_millis(25);

/// Spans that wait for the collector at most: some 4 MB.
pub const SPANS_MAX: usize = 4096;

/// Spans of one export at most.
const SPANS_PER_EXPORT: usize = 512;

/// How long a span waits for others to go with.
const GATHER: Duration = Duration::from_secs(1);

/// How long the end of the process waits for what is left to be taken.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// The courier, before its thread is started.
pub struct Courier {
    otlp: Otlp,
    /// Who is asked for names.
    servers: Vec<SocketAddr>,
    jurisdiction: Jurisdiction,
    rings: Vec<Consumer<CallRecord>>,
    counts: Arc<Counts>,
}

/// The courier at work.
pub struct CourierHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Courier {
    /// A courier, the links of so many cores, and what the admin plane sees. None if the
    /// configuration names no collector.
    pub fn open(config: &Config, cores: usize) -> Option<(Courier, Vec<Link>, OtlpView)> {
        let otlp = config.otlp.as_ref()?;
        let sampling = Sampling {
            share: otlp.sample,
            per_second: f64::from(otlp.traces_per_second) / cores.max(1) as f64,
        };
        let (links, rings): (Vec<Link>, Vec<_>) = (0..cores).map(|_| otlp::link(sampling)).unzip();
        let view = OtlpView {
            counts: Arc::default(),
            tallies: links.iter().map(|link| Arc::clone(&link.tally)).collect(),
        };
        let courier = Courier {
            otlp: otlp.clone(),
            servers: config.dns.servers.clone(),
            jurisdiction: config.instance.jurisdiction,
            rings,
            counts: Arc::clone(&view.counts),
        };
        Some((courier, links, view))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// It, or its runtime, can't be had.
    pub fn start(self, names: Arc<Names>, codes: CodeNames) -> io::Result<CourierHandle> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("srpd-otlp-names")
            .build()?;
        let thread = std::thread::Builder::new()
            .name("srpd-otlp".into())
            .spawn(move || {
                let local = LocalSet::new();
                let mut rounds = Rounds::new(self, names, codes);
                local.block_on(&runtime, rounds.run(&stopped));
                drop(local);
                // A name that is still being looked up must not keep the process.
                runtime.shutdown_background();
            })?;
        Ok(CourierHandle { thread, stop })
    }
}

impl CourierHandle {
    /// Sends what is left and ends. To be called when no core puts anything in any more. Takes two
    /// seconds at most: a collector that is gone must not keep the process.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the thread of [otlp] panicked");
        }
    }
}

struct Rounds {
    rings: Vec<Consumer<CallRecord>>,
    names: Arc<Names>,
    codes: CodeNames,
    counts: Arc<Counts>,
    collector: Rc<Collector>,
    resource: Resource,
    interval: Duration,
    meters: Meters,
    /// Each as JSON.
    spans: VecDeque<String>,
    /// When the oldest of them has waited for long enough.
    gathered_at: Option<Instant>,
    measured_at: Instant,
    traces: Lane,
    metrics: Lane,
    /// Spans that are to be tried again.
    again: Option<Parcel>,
}

impl Rounds {
    fn new(courier: Courier, names: Arc<Names>, codes: CodeNames) -> Rounds {
        let now = Instant::now();
        Rounds {
            rings: courier.rings,
            names,
            codes,
            counts: courier.counts,
            interval: courier.otlp.interval,
            collector: Rc::new(Collector::new(courier.otlp, &courier.servers)),
            resource: Resource {
                // A predictable one would do no harm.
                instance: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())),
                jurisdiction: courier.jurisdiction.code(),
            },
            meters: Meters::new(unix_us()),
            spans: VecDeque::new(),
            gathered_at: None,
            measured_at: now,
            traces: Lane::new("/traces", now),
            metrics: Lane::new("/metrics", now),
            again: None,
        }
    }

    async fn run(&mut self, stopped: &AtomicBool) {
        loop {
            // Read first: what was put in before the stop is drained after it.
            let last = stopped.load(Ordering::Acquire);
            let now = Instant::now();
            self.drain(now);
            self.look_at_exports(now).await;
            if last {
                return self.finish(now + FINISH_WITHIN).await;
            }
            self.export_spans(now, false);
            if now.duration_since(self.measured_at) >= self.interval {
                self.export_metrics(now);
            }
            tokio::time::sleep(DRAIN_EVERY).await;
        }
    }

    /// Takes in what the cores have put into their rings.
    fn drain(&mut self, now: Instant) {
        if self.rings.iter().all(|ring| ring.slots() == 0) {
            return;
        }
        let names = self.names.read();
        let spans = Spans {
            names: &names,
            codes: self.codes,
            zero_us: unix_us().saturating_sub_unsigned(Clock::new().now().0),
        };
        for ring in &mut self.rings {
            let Ok(chunk) = ring.read_chunk(ring.slots()) else {
                continue;
            };
            for record in chunk {
                self.meters.add(&record, self.codes);
                let Some(trace) = &record.trace else { continue };
                for span in spans.of(&record, trace) {
                    match self.spans.len() < SPANS_MAX {
                        true => self.spans.push_back(span),
                        false => drop(self.counts.dropped.fetch_add(1, Relaxed)),
                    }
                }
                self.gathered_at.get_or_insert(now + GATHER);
            }
        }
    }

    async fn look_at_exports(&mut self, now: Instant) {
        let counts = &self.counts;
        match self.traces.ended(now).await {
            None => {}
            Some(Ended::Taken(parcel, refused)) => {
                let refused = refused.min(parcel.items);
                counts.sent.fetch_add(parcel.items - refused, Relaxed);
                counts.refused.fetch_add(refused, Relaxed);
            }
            Some(Ended::Later(parcel)) => {
                counts.failed_traces.fetch_add(1, Relaxed);
                self.again = Some(parcel);
            }
            Some(Ended::Never(parcel)) => {
                counts.failed_traces.fetch_add(1, Relaxed);
                counts.refused.fetch_add(parcel.items, Relaxed);
            }
        }
        if let Some(Ended::Later(_) | Ended::Never(_)) = self.metrics.ended(now).await {
            counts.failed_metrics.fetch_add(1, Relaxed);
        }
    }

    /// Sends what failed before, or else what has gathered. `all` waits for no more.
    fn export_spans(&mut self, now: Instant, all: bool) {
        if !self.traces.is_ready(now) {
            return;
        }
        if let Some(parcel) = self.again.take() {
            return self.traces.send(&self.collector, parcel);
        }
        let gathered = self.gathered_at.is_some_and(|at| now >= at);
        let due = all || gathered || self.spans.len() >= SPANS_PER_EXPORT;
        if self.spans.is_empty() || !due {
            return;
        }
        let count = self.spans.len().min(SPANS_PER_EXPORT);
        let spans: Vec<String> = self.spans.drain(..count).collect();
        self.gathered_at = (!self.spans.is_empty()).then_some(now);
        let parcel = Parcel {
            body: Bytes::from(self.resource.spans(&spans)),
            items: count as u64,
        };
        self.traces.send(&self.collector, parcel);
    }

    fn export_metrics(&mut self, now: Instant) {
        if !self.metrics.is_ready(now) {
            return;
        }
        self.measured_at = now;
        let metrics = self.meters.metrics(&self.names.read(), unix_us());
        if !metrics.is_empty() {
            let parcel = Parcel {
                body: Bytes::from(self.resource.metrics(&metrics)),
                items: metrics.len() as u64,
            };
            self.metrics.send(&self.collector, parcel);
        }
    }

    /// Whatever the collector takes until then.
    async fn finish(&mut self, until: Instant) {
        self.export_metrics(Instant::now());
        loop {
            let now = Instant::now();
            self.look_at_exports(now).await;
            self.export_spans(now, true);
            let busy = self.traces.is_busy() || self.metrics.is_busy();
            // What has to wait for its next try can't be waited for.
            if !busy || now >= until {
                break;
            }
            tokio::time::sleep(DRAIN_EVERY).await;
        }
        let waiting = self.again.as_ref().map_or(0, |parcel| parcel.items);
        let left = self.spans.len() as u64 + waiting;
        if left > 0 {
            tracing::warn!(
                spans = left,
                "otlp: the collector didn't take what was left"
            );
        }
    }
}

/// The day and time, in microseconds since 1970.
fn unix_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
