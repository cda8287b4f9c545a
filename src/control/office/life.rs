//! What the office does about the process itself: it says that it serves, looks whether its cores
//! are alive, and gives its place to a successor.

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;

use super::super::desk::Desk;
use super::super::handover::{Heir, UpgradeError};
use super::super::legacy::Other;
use super::super::pulse::LOOK_EVERY;
use super::share::share;
use super::{Event, Loop};
use crate::tables::Stage;

impl Loop {
    /// Ends the process if a core is stuck: whoever waits for it waits in vain, and a restart is
    /// the only cure.
    pub(super) fn look_at_cores(&mut self) {
        let mut desk = self.desk.borrow_mut();
        let desk = &mut *desk;
        desk.pulse.look(desk.cores.iter().map(|core| core.ticks()));
        let bound = desk.config.timeouts.stall;
        for (core, silence) in desk.pulse.silences().enumerate() {
            if silence >= bound {
                tracing::error!(core, ?silence, "a core is stuck: the process ends itself");
                // Not by a panic or an exit, which could wait for what is stuck.
                std::process::abort();
            }
            if silence >= bound / 2 && silence < bound / 2 + LOOK_EVERY {
                tracing::warn!(core, ?silence, "a core is held up");
            }
        }
        let now = self.clock.now();
        if self.systemd.is_hungry(now) && desk.pulse.have_all_ticked() {
            self.systemd.feed(now, &status(desk));
        }
    }

    pub(super) fn begin_serving(&mut self, predecessor: Option<UnixStream>) {
        self.serving = true;
        if let Some(link) = predecessor {
            self.share_with(Other::Predecessor, Ok(link));
        }
        self.desk.borrow_mut().counter.is_open = true;
        self.systemd
            .keep(&self.estate.sockets, self.estate.outdated);
        self.systemd.serving(&status(&self.desk.borrow()));
    }

    /// Goes on sharing slots with another process of the instance, while both have calls.
    fn share_with(&self, other: Other, link: io::Result<UnixStream>) {
        let link = link.and_then(|link| {
            link.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(link)
        });
        match link {
            Ok(link) => drop(spawn_local(share(Rc::clone(&self.desk), link, other))),
            Err(error) => tracing::warn!(%error, ?other, "it can't be told what is in use"),
        }
    }

    pub(super) fn begin_upgrade(&mut self) {
        let Some(program) = self.estate.program.clone() else {
            tracing::warn!("upgrade asked for, but this instance has no program of its own");
            return;
        };
        if self.upgrading || self.drain_until.is_some() {
            tracing::warn!("upgrade asked for, but one is under way or the instance drains");
            return;
        }
        self.upgrading = true;
        tracing::info!("upgrade: starting a successor");
        let estate = Arc::clone(&self.estate);
        let turn = Arc::clone(&self.desk.borrow().counter.turn);
        let desk = Rc::clone(&self.desk);
        self.send_when_done(async move {
            // The successor reads what is booked: nothing may change until it is the one that
            // books, or has failed.
            let turn = turn.lock_owned().await;
            let legacy = desk.borrow().legacy();
            let start = move || Heir::start(&program, &estate.sockets, &legacy);
            let started = tokio::task::spawn_blocking(start).await;
            let started =
                started.unwrap_or_else(|error| Err(UpgradeError::Give(io::Error::other(error))));
            Event::Upgraded(started, turn)
        });
    }

    /// The successor has the sockets, too: only now this process stops accepting.
    pub(super) fn end_upgrade(&mut self, result: Result<Heir, UpgradeError>) {
        self.upgrading = false;
        let mut heir = match result {
            Ok(heir) => heir,
            Err(error) => {
                tracing::error!("upgrade failed, this process goes on: {error}");
                return;
            }
        };
        if self.drain_until.is_some() {
            tracing::warn!("upgrade given up: this process was told to end meanwhile");
            return heir.dismiss();
        }
        let successor = heir.id();
        self.systemd.hand_over(successor);
        if let Err(error) = heir.release() {
            self.systemd.take_back();
            tracing::error!(%error, "upgrade failed, this process goes on: the new one is gone");
            return;
        }
        let mut desk = self.desk.borrow_mut();
        let within = desk.config.timeouts.drain;
        tracing::info!(successor, ?within, "handed over: draining");
        desk.begin_drain(Stage::HandedOver);
        self.drain_until = Some(self.clock.now() + within);
        self.admin.abort();
        // Else they would listen on, and nobody would accept.
        self.estate = Arc::default();
        self.share_with(Other::Successor, heir.link());
        tokio::task::spawn_blocking(move || match heir.outlive() {
            Ok(status) => tracing::warn!(%status, "the successor has ended, before this process"),
            Err(error) => tracing::warn!(%error, "the successor can't be waited for"),
        });
    }
}

/// In the words of `systemctl status`.
pub(super) fn status(desk: &Desk) -> String {
    let connections = desk.sum(|core| core.connections());
    let calls = desk.sum(|core| core.in_flight());
    let refused = match desk.counts.last_reload_refused {
        true => "; the last reload was refused",
        false => "",
    };
    format!("serving: {calls} calls in flight, {connections} connections{refused}")
}
