//! The access log: a thread that empties every core's ring and writes what it finds in batches.
//! A slow log costs records (counted by the core that could not place them), never a call's time.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};

use super::line::{AccessLine, Format};
use super::names::{CodeNames, NameLists, Names};
use super::record::{AccessRecord, InlineText};
use crate::base::{Clock, Moment};

/// Records that one core's ring holds: at 25 ms between drains, 160 000 calls a second.
pub const RING_RECORDS: usize = 4096;

/// Between two drains of the rings.
const DRAIN_EVERY: Duration = Duration::from_millis(25);

/// How long the end of the process waits for a log that does not take what is left.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// A core's ring: the core keeps the producer, the log takes the consumer.
pub fn ring() -> (Producer<AccessRecord>, Consumer<AccessRecord>) {
    RingBuffer::new(RING_RECORDS)
}

/// Is shown each line, on the log's thread.
pub type LineObserver = Box<dyn FnMut(&AccessLine<'_>) + Send>;

/// Where the lines go.
pub enum Sink {
    /// Standard output, one write a batch.
    Stdout(Format),
    /// Some other writer, one write a batch.
    Writer(Format, Box<dyn Write + Send>),
    /// Each line to a function.
    Observer(LineObserver),
}

impl Sink {
    fn take(
        &mut self,
        lines: impl Iterator<Item = AccessRecord>,
        log: &Lines<'_>,
        batch: &mut Vec<u8>,
    ) -> io::Result<()> {
        batch.clear();
        let (format, writer): (_, &mut dyn Write) = match self {
            Sink::Stdout(format) => (*format, &mut io::stdout().lock()),
            Sink::Writer(format, writer) => (*format, writer),
            Sink::Observer(observe) => {
                lines.for_each(|record| observe(&log.line(&record)));
                return Ok(());
            }
        };
        lines.for_each(|record| log.line(&record).write(format, batch));
        writer.write_all(batch)?;
        writer.flush()
    }
}

/// What turns a batch of records into lines: names, and where the monotonic clock stands in the
/// day.
struct Lines<'n> {
    names: &'n NameLists,
    codes: CodeNames,
    /// The day and time at the clock's zero, in microseconds since 1970.
    zero_us: i64,
    /// The second that was formatted last, and how: most records of a batch share it.
    second: Cell<(i64, [u8; 24])>,
}

impl<'n> Lines<'n> {
    fn new(names: &'n NameLists, codes: CodeNames) -> Lines<'n> {
        let since_zero = i64::try_from(Clock::new().now().0).unwrap_or(i64::MAX);
        Lines {
            names,
            codes,
            zero_us: jiff::Timestamp::now()
                .as_microsecond()
                .saturating_sub(since_zero),
            second: Cell::new((i64::MIN, [b' '; 24])),
        }
    }

    fn line<'r>(&'r self, record: &'r AccessRecord) -> AccessLine<'r> {
        AccessLine::new(record, self.time(record.at), self.names, self.codes)
    }

    /// RFC 3339, UTC, milliseconds.
    fn time(&self, at: Moment) -> InlineText<24> {
        let at = i64::try_from(at.0).unwrap_or(i64::MAX);
        let us = self.zero_us.saturating_add(at);
        let (second, millis) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000) / 1000);
        let (mut cached, mut text) = self.second.get();
        if cached != second {
            let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            cached = second;
            text = *format!("{time:.3}")
                .as_bytes()
                .first_chunk()
                .unwrap_or(&text);
            self.second.set((cached, text));
        }
        for (digit, scale) in text[20..23].iter_mut().zip([100, 10, 1]) {
            *digit = b'0' + (millis / scale % 10) as u8;
        }
        InlineText::new(&text)
    }
}

/// The running log.
pub struct AccessLog {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl AccessLog {
    /// Starts the thread.
    pub fn start(
        mut rings: Vec<Consumer<AccessRecord>>,
        names: Arc<Names>,
        codes: CodeNames,
        mut sink: Sink,
    ) -> io::Result<AccessLog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut broken = false;
            let mut batch = Vec::new();
            loop {
                // Read first: what was put in before the stop is drained after it.
                let last = stopped.load(Ordering::Acquire);
                let result = drain(&mut rings, (&names, codes), &mut sink, &mut batch);
                if let (Err(error), false) = (&result, broken) {
                    tracing::error!(%error, "the access log can't be written");
                }
                broken = result.is_err();
                if last {
                    return;
                }
                std::thread::park_timeout(DRAIN_EVERY);
            }
        };
        let thread = std::thread::Builder::new()
            .name("srpd-access".into())
            .spawn(run)?;
        Ok(AccessLog { thread, stop })
    }

    /// Writes what is left and ends. To be called when no core puts anything in any more. Waits
    /// two seconds at most: a log that nobody reads must not keep the process.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let deadline = Instant::now() + FINISH_WITHIN;
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                tracing::warn!("the access log took too long; what is left of it is lost");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.thread.join().is_err() {
            tracing::error!("the access log's thread panicked");
        }
    }
}

fn drain(
    rings: &mut [Consumer<AccessRecord>],
    (names, codes): (&Names, CodeNames),
    sink: &mut Sink,
    batch: &mut Vec<u8>,
) -> io::Result<()> {
    if rings.iter().all(|ring| ring.slots() == 0) {
        return Ok(());
    }
    let names = names.read();
    let log = Lines::new(&names, codes);
    for ring in rings {
        let found = ring.slots();
        if found > 0
            && let Ok(chunk) = ring.read_chunk(found)
        {
            sink.take(chunk.into_iter(), &log, batch)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::line::tests::{code, names, record};
    use super::*;

    fn shared_names() -> Arc<Names> {
        let shared = Names::new();
        *shared.write() = names();
        Arc::new(shared)
    }

    #[test]
    fn everything_put_in_before_the_end_is_seen() {
        let (mut first, first_ring) = ring();
        let (mut second, second_ring) = ring();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observer = {
            let seen = Arc::clone(&seen);
            move |line: &AccessLine<'_>| {
                seen.lock()
                    .expect("unpoisoned")
                    .push((line.provider.map(str::to_owned), line.attempts));
            }
        };
        let sink = Sink::Observer(Box::new(observer));
        let log = AccessLog::start(vec![first_ring, second_ring], shared_names(), code, sink)
            .expect("a thread");
        for attempts in 0..200u8 {
            let ring = if attempts % 2 == 0 {
                &mut first
            } else {
                &mut second
            };
            let mut call = record();
            call.attempts = attempts;
            ring.push(call).expect("room");
        }
        log.finish();
        let mut seen = seen.lock().expect("unpoisoned").clone();
        seen.sort();
        let expected: Vec<_> = (0..200).map(|n| (Some("aloomu".to_owned()), n)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_batch_is_one_write_of_whole_lines() {
        struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("unpoisoned").push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut producer, consumer) = ring();
        for _ in 0..50 {
            producer.push(record()).expect("room");
        }
        let writes = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink::Writer(Format::Json, Box::new(Writes(Arc::clone(&writes))));
        AccessLog::start(vec![consumer], shared_names(), code, sink)
            .expect("a thread")
            .finish();
        let writes = writes.lock().expect("unpoisoned");
        assert_eq!(writes.len(), 1);
        let lines = writes[0].split_inclusive(|byte| *byte == b'\n');
        assert_eq!(lines.clone().count(), 50);
        for line in lines {
            serde_json::from_slice::<serde_json::Value>(line).expect("JSON");
        }
    }

    #[test]
    fn a_log_that_nobody_reads_does_not_keep_the_process() {
        let (mut producer, consumer) = ring();
        producer.push(record()).expect("room");
        let stuck = Box::new(|_: &AccessLine<'_>| std::thread::sleep(Duration::from_secs(60)));
        let log = AccessLog::start(vec![consumer], shared_names(), code, Sink::Observer(stuck))
            .expect("a thread");
        let begun = Instant::now();
        log.finish();
        assert!(begun.elapsed() < FINISH_WITHIN + Duration::from_secs(5));
    }
}
