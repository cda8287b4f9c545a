//! The process's signals, as the office hears them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGHUP
    Reload,
    /// SIGUSR2
    Upgrade,
    /// SIGTERM or SIGINT
    End,
}

/// The signals that the office acts on.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

impl Signals {
    /// Takes the signals over from their default action.
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined2())?,
        })
    }

    async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.user.recv() => Asked::Upgrade,
        }
    }
}

/// The next signal; never, if the office doesn't listen to any.
pub(super) async fn next(signals: &mut Option<Signals>) -> Asked {
    match signals {
        Some(signals) => signals.asked().await,
        None => std::future::pending().await,
    }
}
