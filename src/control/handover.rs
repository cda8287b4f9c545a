//! A live upgrade: the program is started once more, from where this process's own came from, and
//! gets the listening sockets. Once it serves, this process lets go of them and drains. A successor
//! that doesn't get so far changes nothing.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use thiserror::Error;

use super::legacy::Legacy;
use crate::net::handed::{Handed, Successor, TAKES_OVER};

/// How long a successor may take until it serves: reading its configuration, looking names up.
pub const READY_WITHIN: Duration = Duration::from_secs(30);

/// What the service manager said to this process alone.
const OURS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// What a successor runs.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process's own: the file that it was started from, whatever lies there by then. To be
    /// called at the start, while the path still names that file.
    ///
    /// # Errors
    /// The path can't be known: there is no `/proc`.
    pub fn running() -> io::Result<Program> {
        Ok(Program {
            path: env::current_exe()?,
            arguments: env::args_os().skip(1).collect(),
        })
    }
}

/// What an instance leaves behind.
#[derive(Default)]
pub struct Estate {
    /// Its listening sockets.
    pub sockets: Vec<Handed>,
    /// Whether the service manager keeps others for it, that nobody wants any more.
    pub outdated: bool,
    /// What its successor runs; without it, there is none.
    pub program: Option<Program>,
}

/// Why there is no successor.
#[derive(Debug, Error)]
pub(super) enum UpgradeError {
    #[error("{}: {error}", path.display())]
    Start { path: PathBuf, error: io::Error },
    #[error("the new process can't be given the listening sockets: {0}")]
    Give(io::Error),
    #[error("the new process ended before it served ({0}): what it said is above")]
    Ended(ExitStatus),
    #[error("the new process didn't serve within {READY_WITHIN:?}, and was ended")]
    Late,
}

/// A successor that serves, and waits to be told that this process has let go.
pub(super) struct Heir {
    link: Successor,
    child: Child,
}

impl Heir {
    /// Starts a successor and waits until it serves.
    pub(super) fn start(
        program: &Program,
        sockets: &[Handed],
        legacy: &Legacy,
    ) -> Result<Heir, UpgradeError> {
        let (link, theirs) = Successor::new().map_err(UpgradeError::Give)?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .env(TAKES_OVER, "stdin")
            .stdin(Stdio::from(theirs));
        for name in OURS {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(|error| UpgradeError::Start {
            path: program.path.clone(),
            error,
        })?;
        // With it our descriptor of the successor's end: its own is the only one left.
        drop(command);
        let mut heir = Heir { link, child };
        match heir.prepare(sockets, legacy) {
            Ok(()) => Ok(heir),
            Err(error) => Err(heir.bury(error)),
        }
    }

    fn prepare(&mut self, sockets: &[Handed], legacy: &Legacy) -> io::Result<()> {
        self.link.give(sockets, &legacy.line())?;
        match self.link.is_ready(READY_WITHIN)? {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Sees one that doesn't serve to its end.
    fn bury(mut self, error: io::Error) -> UpgradeError {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
        let why = match error.kind() {
            // It ended by itself.
            BrokenPipe | ConnectionReset => None,
            TimedOut | WouldBlock => Some(UpgradeError::Late),
            _ => Some(UpgradeError::Give(error)),
        };
        if why.is_some() {
            // Fails only if it has ended meanwhile.
            let _ = self.child.kill();
        }
        let ended = self.child.wait();
        why.unwrap_or_else(|| ended.map_or_else(UpgradeError::Give, UpgradeError::Ended))
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Makes it the owner.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn release(&mut self) -> io::Result<()> {
        self.link.release()
    }

    /// The way to it, for what is said after that.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub(super) fn link(&self) -> io::Result<UnixStream> {
        self.link.link()
    }

    /// Ends it: it isn't needed.
    pub(super) fn dismiss(mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub(super) fn outlive(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}
