//! Drivers: io_uring where it is allowed, epoll where it isn't, with one warning.

use std::process::{Child, Command};
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::support::{Ask, Instance, Reply, Setup, Upstream, delta};

/// Starts a process for which the kernel answers `io_uring_setup` with `errno`. A filter is
/// inherited by what a thread starts: so it is set in a thread that does nothing else.
fn spawn_denied(command: &mut Command, errno: i32) -> Child {
    thread::scope(|scope| {
        let denied = scope.spawn(|| {
            let filter = SeccompFilter::new(
                [(libc::SYS_io_uring_setup, Vec::new())]
                    .into_iter()
                    .collect(),
                SeccompAction::Allow,
                SeccompAction::Errno(errno.cast_unsigned()),
                TargetArch::try_from(std::env::consts::ARCH).expect("a known architecture"),
            );
            let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
            seccompiler::apply_filter(&program).expect("the filter is taken");
            command.spawn().expect("srpd starts")
        });
        denied.join().expect("a child")
    })
}

fn assert_serves(srpd: &Instance, upstream: &Upstream) {
    upstream.set_always(Reply::chat("whole"));
    let mut client = srpd.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "whole");
    }
    upstream.set_always(Reply::chat_stream(&["a", "b"]));
    let response = client.ask(&Ask::stream("smart"));
    assert!(response.complete);
    assert_eq!(response.data(), [delta("a"), delta("b"), "[DONE]".into()]);
}

/// Lines about the driver at the level of warnings.
fn warnings(srpd: &Instance) -> Vec<String> {
    let mut lines = srpd.log();
    lines.retain(|line| line.contains("\"WARN\"") && line.contains("io_uring"));
    lines
}

#[test]
fn where_io_uring_is_denied_epoll_serves_after_one_warning() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let upstream = Upstream::always(Reply::chat("whole"));
        let setup = Setup::backstop_only(&upstream.url()).section("instance", "driver = \"auto\"");
        let srpd = setup.start_by(|command| spawn_denied(command, errno));
        assert_serves(&srpd, &upstream);
        let warnings = warnings(&srpd);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("epoll"), "{warnings:?}");
    }
}

#[test]
fn epoll_when_asked_for_needs_no_warning() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "driver = \"epoll\"")
        .start();
    assert_serves(&srpd, &upstream);
    assert_eq!(warnings(&srpd), [""; 0]);
}

#[test]
fn io_uring_when_insisted_on_is_no_start_where_it_is_denied() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let setup = Setup::backstop_only(&upstream.url()).section("instance", "driver = \"io_uring\"");
    let directory = tempfile::tempdir().expect("a directory");
    setup.write(directory.path());
    let mut command = Command::new(crate::support::setup::SRPD);
    command
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(directory.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = spawn_denied(&mut command, libc::EPERM)
        .wait_with_output()
        .expect("an end");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("io_uring"), "{said}");
}
