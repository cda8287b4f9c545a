//! One runtime per thread, on a CPU of its own: io_uring in the best form that the kernel grants,
//! epoll where it grants none.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;

use io_uring::IoUring;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock;

/// Submission queue entries.
const ENTRIES: u32 = 4096;
/// The time left at the end for operations that were cancelled to complete.
const CANCELLED: std::time::Duration = std::time::Duration::from_millis(5);

thread_local! {
    /// Whether this thread's runtime is on io_uring.
    static IS_URING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's runtime is on io_uring, which wants sockets that block.
pub fn is_uring() -> bool {
    IS_URING.get()
}

/// The CPUs that this process may use, ascending.
///
/// # Errors
/// What the kernel says.
pub fn cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// The forms of io_uring, best first: completions when they are asked for (Linux 6.1), completions
/// that don't interrupt (5.19), plain.
fn forms() -> [io_uring::Builder; 3] {
    let mut forms = [IoUring::builder(), IoUring::builder(), IoUring::builder()];
    forms[0].setup_single_issuer().setup_defer_taskrun();
    forms[1].setup_coop_taskrun();
    forms
}

/// Runs `work`, and what it spawns, on this thread, pinned if a CPU is given.
///
/// # Errors
/// A CPU that isn't there or isn't allowed; a kernel that grants neither io_uring nor epoll.
pub fn block_on<F: Future>(cpu: Option<usize>, work: F) -> io::Result<F::Output> {
    if let Some(cpu) = cpu {
        monoio::utils::bind_to_cpu_set([cpu]).map_err(io::Error::from)?;
    }
    let work = async {
        let output = work.await;
        monoio::time::sleep(CANCELLED).await;
        output
    };
    let granted = forms().into_iter().find(|form| form.build(8).is_ok());
    IS_URING.set(granted.is_some());
    match granted {
        Some(form) => Ok(RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(form)
            .with_entries(ENTRIES)
            .enable_timer()
            .build()?
            .block_on(work)),
        None => Ok(RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()?
            .block_on(work)),
    }
}

/// Waits for times on the monotonic clock. The runtime's own timers are good to a millisecond; on
/// io_uring this is good to some tens of microseconds.
pub struct Timer {
    /// The kernel's timer, twice: to set it, and to read from.
    precise: Option<(OwnedFd, monoio::fs::File)>,
    ticks: Vec<u8>,
}

impl Timer {
    /// A timer for this thread's runtime.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new() -> io::Result<Timer> {
        let precise = match IS_URING.get() {
            false => None,
            true => {
                let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
                let file = std::fs::File::from(timer.try_clone()?);
                Some((timer, monoio::fs::File::from_std(file)?))
            }
        };
        Ok(Timer {
            precise,
            ticks: vec![0; 8],
        })
    }

    /// Returns when the clock says `when` or later. Must not be dropped before.
    ///
    /// # Errors
    /// None that a timer has by right.
    pub async fn until(&mut self, when: u64) -> io::Result<()> {
        let now = clock::now();
        if when <= now {
            return Ok(());
        }
        let Some((timer, file)) = &self.precise else {
            monoio::time::sleep(std::time::Duration::from_nanos(when - now)).await;
            return Ok(());
        };
        let time = |nanos: u64| Timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as _,
        };
        let once = Itimerspec {
            it_interval: time(0),
            it_value: time(when),
        };
        timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once)?;
        // A timer has no position to read at: -1 says so.
        let (read, ticks) = file
            .read_at(std::mem::take(&mut self.ticks), u64::MAX)
            .await;
        self.ticks = ticks;
        read.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_never_early() {
        let late = block_on(None, async {
            let mut timer = Timer::new().unwrap();
            let mut late = Vec::new();
            for _ in 0..20 {
                let due = clock::now() + 300_000;
                timer.until(due).await.unwrap();
                late.push(clock::now().checked_sub(due).expect("early"));
            }
            timer.until(0).await.unwrap();
            late
        })
        .unwrap();
        assert_eq!(late.len(), 20);
    }

    #[test]
    fn a_thread_may_be_put_on_any_of_its_cpus() {
        let cpus = cpus().unwrap();
        let last = *cpus.last().unwrap();
        let pinned = std::thread::spawn(move || {
            block_on(Some(last), async { self::cpus() })
                .unwrap()
                .unwrap()
        });
        assert_eq!(pinned.join().unwrap(), [last]);
    }
}
