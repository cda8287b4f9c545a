//! What the office does about the process itself: it says that it serves, looks whether its cores
//! are alive, and gives its place to a successor.

use std::io;
use std::sync::Arc;

use super::super::desk::Desk;
use super::super::handover::{Heir, UpgradeError};
use super::super::pulse::LOOK_EVERY;
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

    pub(super) fn begin_serving(&mut self) {
        self.serving = true;
        self.desk.borrow_mut().counter.is_open = true;
        self.systemd
            .keep(&self.estate.sockets, self.estate.outdated);
        self.systemd.serving(&status(&self.desk.borrow()));
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
        self.send_when_done(async move {
            // The successor reads what is booked: nothing may change until it is the one that
            // books, or has failed.
            let turn = turn.lock_owned().await;
            let start = move || Heir::start(&program, &estate.sockets);
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
