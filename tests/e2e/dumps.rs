//! A core dump would hold every secret: there is none, whatever the process dies of.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use crate::support::{Ask, Reply, Setup, Upstream, ms};

/// What the shell ends with if the limit can't be lifted.
const LIMITED: i32 = 77;

/// A shell that lifts the limit on core dumps, and then runs `script`.
fn unlimited(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("ulimit -c unlimited || exit {LIMITED}\n{script}"),
    ]);
    command
}

fn dumped_into(directory: &Path) -> bool {
    let names = std::fs::read_dir(directory).expect("a directory");
    let mut names = names.map(|entry| entry.expect("an entry").file_name());
    names.any(|name| name.to_string_lossy().starts_with("core"))
}

/// Whether a process that forbids nothing is dumped here; why not, if it isn't.
fn control() -> Result<(), String> {
    let directory = tempfile::tempdir().expect("a directory");
    let status = unlimited("kill -ABRT $$")
        .current_dir(directory.path())
        .stderr(Stdio::null())
        .status()
        .expect("a shell");
    if status.core_dumped() {
        return Ok(());
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    Err(match status.code() {
        Some(LIMITED) => "the hard limit on core dumps can't be lifted here".to_owned(),
        _ => format!("core_pattern {:?} dumps nothing here", pattern.trim()),
    })
}

fn spawn_unlimited(command: &mut Command) -> Child {
    let mut shell = unlimited("exec \"$0\" \"$@\"");
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().expect("a directory"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell.spawn().expect("srpd starts")
}

#[test]
fn no_signal_leaves_a_core_dump() {
    if let Err(reason) = control() {
        eprintln!("skipped: {reason}");
        return;
    }
    let upstream = Upstream::always(Reply::chat("hi"));
    for (name, number) in [
        ("ABRT", libc::SIGABRT),
        ("SEGV", libc::SIGSEGV),
        ("BUS", libc::SIGBUS),
        ("QUIT", libc::SIGQUIT),
        ("TRAP", libc::SIGTRAP),
    ] {
        if is_ignored(number) {
            eprintln!("skipped: SIG{name} is ignored here, as for what a shell runs behind `&`");
            continue;
        }
        let mut srpd = Setup::backstop_only(&upstream.url()).start_by(spawn_unlimited);
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
        let status = die(&mut srpd, name);
        assert_eq!(status.signal(), Some(number), "{name}: {status:?}");
        assert!(!status.core_dumped(), "{name}: {status:?}");
        let directory = srpd.config_path();
        assert!(!dumped_into(directory.parent().expect("a directory")));
    }
}

/// Whether this process was started with the signal ignored: so are those that it starts.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .expect("a mask");
    mask >> (number - 1) & 1 == 1
}

/// Sends a signal until the process is gone: Rust's own handler of SIGSEGV and SIGBUS lets the
/// first one that no stack overflow explains pass, so that it comes again.
fn die(srpd: &mut crate::support::Instance, name: &str) -> ExitStatus {
    for _ in 0..100 {
        srpd.signal(name);
        thread::sleep(ms(20));
        if let Some(status) = srpd.exited() {
            return status;
        }
    }
    srpd.wait_exit(ms(5000))
}
