//! Disks that are full, or fail.

use std::process::{Child, Command};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::Instance;
use super::instance::spawn_by;

/// Starts a process for which files beyond a bound are an error, and not the end.
pub fn spawn_ignoring_xfsz(command: &Command) -> Child {
    spawn_by("sh", "trap '' XFSZ", command)
}

/// Lets the process's files be no longer than this, or as long as they like.
pub fn bound_files(srpd: &Instance, bytes: Option<u64>) {
    let pid = i32::try_from(srpd.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).expect("the bound is taken");
}

/// Starts a process whose `fdatasync` fails.
pub fn spawn_without_sync(command: &mut Command) -> Child {
    thread::scope(|scope| {
        let denied = scope.spawn(|| {
            let filter = SeccompFilter::new(
                [(libc::SYS_fdatasync, Vec::new())].into_iter().collect(),
                SeccompAction::Allow,
                SeccompAction::Errno(libc::EIO.cast_unsigned()),
                TargetArch::try_from(std::env::consts::ARCH).expect("a known architecture"),
            );
            let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
            seccompiler::apply_filter(&program).expect("the filter is taken");
            command.spawn().expect("srpd starts")
        });
        denied.join().expect("a child")
    })
}
