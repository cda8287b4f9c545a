//! What the service manager is told (sd_notify(3)). Without one, nothing is.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::base::Moment;
use crate::net::handed::{Handed, Plane};

/// Of the time that the manager waits for a sign of life: after so much of it, it gets one.
const FEED_PARTS: u32 = 3;

/// Beyond `timeouts.drain`: what the end of a drain takes.
const END_GRACE: Duration = Duration::from_secs(10);

/// The way to the service manager.
pub struct Systemd {
    /// Between two signs of life; none: nobody waits for them.
    feed_every: Option<Duration>,
    fed: Moment,
    failed: bool,
    /// This process is no longer the one that speaks for the service.
    silent: bool,
}

impl Systemd {
    /// As the process's environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
    pub fn new(now: Moment) -> Systemd {
        Systemd {
            feed_every: sd_notify::watchdog_enabled().map(|within| within / FEED_PARTS),
            fed: now,
            failed: false,
            silent: false,
        }
    }

    /// It serves.
    pub fn serving(&mut self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// It reads its configuration again; [`Systemd::serving`] ends that.
    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => self.note(Err(error)),
        }
    }

    /// It goes down, for which it may take so long.
    pub fn stopping(&mut self, within: Duration) {
        let microseconds = (within + END_GRACE).as_micros();
        let microseconds = u32::try_from(microseconds).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(microseconds),
            NotifyState::Status("draining"),
        ]);
    }

    /// Has the sockets kept, so that they outlive a crash with those who wait in them; `outdated`:
    /// instead of others. A unit that keeps none (`FileDescriptorStoreMax=`) ignores it.
    pub fn keep(&mut self, sockets: &[Handed], outdated: bool) {
        if outdated {
            self.forget();
        }
        for socket in sockets.iter().filter(|socket| !socket.lent) {
            if self.silent {
                return;
            }
            let name = NotifyState::FdName(socket.plane.kept_name());
            let kept = sd_notify::notify_with_fds(
                &[NotifyState::FdStore, name],
                &[socket.listener.as_fd()],
            );
            self.note(kept);
        }
    }

    /// Has no socket kept any more.
    pub fn forget(&mut self) {
        for plane in [Plane::Data, Plane::Admin] {
            self.tell(&[
                NotifyState::FdStoreRemove,
                NotifyState::FdName(plane.kept_name()),
            ]);
        }
    }

    /// Another process speaks for the service from now on.
    pub fn hand_over(&mut self, to: u32) {
        self.tell(&[NotifyState::MainPid(to)]);
        self.silent = true;
    }

    /// It does so no longer.
    pub fn take_back(&mut self) {
        self.silent = false;
        self.tell(&[NotifyState::MainPid(std::process::id())]);
    }

    /// Whether a sign of life is due.
    pub fn is_hungry(&self, now: Moment) -> bool {
        self.feed_every
            .is_some_and(|every| now.since(self.fed) >= every)
    }

    /// A sign of life, and how it is.
    pub fn feed(&mut self, now: Moment, status: &str) {
        self.fed = now;
        self.tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
    }

    fn tell(&mut self, state: &[NotifyState<'_>]) {
        if !self.silent {
            let told = sd_notify::notify(state);
            self.note(told);
        }
    }

    /// Said once: what can't be told now won't be a moment later.
    fn note(&mut self, told: io::Result<()>) {
        if let Err(error) = told
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "the service manager can't be told");
        }
    }
}
