//! The I/O driver of a core: io_uring in the best form that the kernel grants, else epoll.

use std::future::Future;
use std::io;

use io_uring::IoUring;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use super::turn;

/// Submission queue entries of each core's ring.
const ENTRIES: u32 = 4096;

/// A core's runtime, on whichever driver it got.
pub enum Ring {
    /// io_uring.
    Uring(Runtime<TimeDriver<IoUringDriver>>),
    /// epoll.
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

/// A form of io_uring, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Completions are handled when the core asks for them (Linux 6.1).
    DeferTaskrun,
    /// Completions don't interrupt the core (Linux 5.19).
    CoopTaskrun,
    /// Plain.
    Plain,
}

impl Form {
    const ALL: [Form; 3] = [Form::DeferTaskrun, Form::CoopTaskrun, Form::Plain];

    fn builder(self) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        match self {
            Form::DeferTaskrun => builder.setup_single_issuer().setup_defer_taskrun(),
            Form::CoopTaskrun => builder.setup_coop_taskrun(),
            Form::Plain => &mut builder,
        };
        builder
    }

    /// How logs call it.
    pub fn name(self) -> &'static str {
        match self {
            Form::DeferTaskrun => "io_uring (defer_taskrun)",
            Form::CoopTaskrun => "io_uring (coop_taskrun)",
            Form::Plain => "io_uring",
        }
    }
}

/// The best form of io_uring that this process may use.
///
/// # Errors
/// The kernel's reason for denying even the plain form: `EPERM` and `ENOSYS` where a sandbox or
/// `kernel.io_uring_disabled` forbids it.
pub fn probe() -> io::Result<Form> {
    let mut denied = io::Error::from(io::ErrorKind::Unsupported);
    for form in Form::ALL {
        match form.builder().build(8) {
            Ok(_ring) => return Ok(form),
            Err(error) => denied = error,
        }
    }
    Err(denied)
}

impl Ring {
    /// A runtime on io_uring of that form, for the calling thread.
    pub fn io_uring(form: Form) -> io::Result<Ring> {
        RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(form.builder())
            .with_entries(ENTRIES)
            .enable_timer()
            .build()
            .map(Ring::Uring)
    }

    /// A runtime on epoll, for the calling thread.
    pub fn epoll() -> io::Result<Ring> {
        RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()
            .map(Ring::Epoll)
    }

    /// Runs the future, and what it spawns, until it ends.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        turn::io_is_a_turn(matches!(self, Ring::Uring(_)));
        match self {
            Ring::Uring(runtime) => runtime.block_on(future),
            Ring::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn sleeps(mut ring: Ring) {
        let before = Instant::now();
        let answer = ring.block_on(async {
            let task = monoio::spawn(async { 42 });
            monoio::time::sleep(Duration::from_millis(5)).await;
            task.await
        });
        assert_eq!(answer, 42);
        assert!(before.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn epoll_runs_tasks_and_timers() {
        sleeps(Ring::epoll().unwrap());
    }

    #[test]
    fn whatever_form_the_probe_finds_runs_tasks_and_timers() {
        match probe() {
            Ok(form) => {
                assert!(form.name().starts_with("io_uring"));
                sleeps(Ring::io_uring(form).unwrap());
            }
            Err(denied) => assert!(denied.raw_os_error().is_some(), "{denied}"),
        }
    }

    #[test]
    fn the_forms_are_probed_from_the_best_down() {
        let granted = Form::ALL.map(|form| form.builder().build(8).is_ok());
        let best = Form::ALL.into_iter().zip(granted).find(|(_, ok)| *ok);
        assert_eq!(probe().ok(), best.map(|(form, _)| form));
    }
}
