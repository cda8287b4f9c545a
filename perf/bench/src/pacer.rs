//! When calls are due: a thread that sleeps until each one's time and tells the runtime. The
//! runtime's own timers are a millisecond coarse, which is more than a proxy adds.

use std::io::{self, Write};
use std::os::unix::net::UnixStream as Pipe;
use std::thread;
use std::time::{Duration, Instant};

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// Bytes of one message: nanoseconds after the start.
const MESSAGE: usize = 8;
/// Messages that one read takes.
const READ_MESSAGES: usize = 512;

/// Gives the times of calls as they come.
pub struct Pacer {
    start: Instant,
    pipe: UnixStream,
    buffer: Vec<u8>,
}

impl Pacer {
    /// One call each `interval` from `start` until `end`. Call inside of the runtime.
    pub fn start(start: Instant, end: Instant, interval: Duration) -> io::Result<Pacer> {
        let (mut tell, listen) = Pipe::pair()?;
        listen.set_nonblocking(true)?;
        // A thread may sleep up to so much longer than it asked to, for the sake of batteries.
        thread::Builder::new().name("pacer".into()).spawn(move || {
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
            let mut due = start;
            while due < end {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let after = u64::try_from((due - start).as_nanos()).unwrap_or(u64::MAX);
                // Nobody listens any more: the run is over.
                if tell.write_all(&after.to_ne_bytes()).is_err() {
                    return;
                }
                due += interval;
            }
        })?;
        Ok(Pacer {
            start,
            pipe: UnixStream::from_std(listen)?,
            buffer: Vec::with_capacity(MESSAGE * READ_MESSAGES),
        })
    }

    /// Waits, and appends the times of the calls that are due now. False at the end.
    pub async fn next(&mut self, into: &mut Vec<Instant>) -> io::Result<bool> {
        let buffer = std::mem::take(&mut self.buffer);
        let (from, to) = (buffer.len(), buffer.capacity());
        let slice = monoio::buf::IoBufMut::slice_mut(buffer, from..to);
        let (read, slice) = self.pipe.read(slice).await;
        self.buffer = slice.into_inner();
        if read? == 0 {
            return Ok(false);
        }
        let whole = self.buffer.len() / MESSAGE * MESSAGE;
        for message in self.buffer[..whole].as_chunks::<MESSAGE>().0 {
            into.push(self.start + Duration::from_nanos(u64::from_ne_bytes(*message)));
        }
        self.buffer.drain(..whole);
        Ok(true)
    }
}
