//! What a service manager is told and gives, without one: the test listens in its place, and stops
//! single threads, as a fault in a core would. `systemd/prove` does the same with a real one.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

use crate::support::instance::{message, spawn_by};
use crate::support::{Ask, Client, Instance, KEY, Reply, Setup, Upstream, eventually, ms};

/// The service manager's ear.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        Manager { socket, directory }
    }

    /// Starts an instance that is to tell this manager how it is.
    fn start(&self, setup: &Setup, watchdog: Option<Duration>) -> Instance {
        setup.start_by(|command| {
            command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
            if let Some(within) = watchdog {
                command.env("WATCHDOG_USEC", within.as_micros().to_string());
            }
            command.spawn().expect("srpd starts")
        })
    }

    /// The next message within that time.
    fn hear(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).expect("timeout");
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// The next message that isn't about a socket.
    fn word(&self) -> String {
        loop {
            let message = self.hear(ms(5000)).expect("a message");
            if !message.starts_with("FDSTORE=") {
                return message;
            }
        }
    }
}

fn instance(upstream: &Upstream) -> Setup {
    Setup::backstop_only(&upstream.url())
}

#[test]
fn the_manager_is_told_of_the_start_each_reload_and_the_end() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let manager = Manager::new();
    let setup = instance(&upstream);
    let mut srpd = manager.start(&setup, None);
    // One for each core, and the admin plane's.
    for plane in ["admin", "data", "data"] {
        let kept = format!("FDSTORE=1\nFDNAME=srpd-{plane}\n");
        assert_eq!(manager.hear(ms(5000)), Some(kept));
    }
    let ready = manager.word();
    assert!(
        ready.starts_with("READY=1\nSTATUS=serving: 0 calls in flight"),
        "{ready}"
    );
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");

    srpd.reload(&setup);
    let begun = manager.word();
    let since = begun
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .expect(&begun);
    assert!(since.trim().parse::<u64>().expect("microseconds") > 0);
    assert!(manager.word().starts_with("READY=1\nSTATUS=serving"));
    srpd.reload_text("no TOML [");
    assert!(manager.word().starts_with("RELOADING=1\n"));
    let refused = manager.word();
    assert!(refused.starts_with("READY=1\n"), "{refused}");
    assert!(refused.contains("the last reload was refused"), "{refused}");

    srpd.signal("TERM");
    assert_eq!(manager.word(), "FDSTOREREMOVE=1\nFDNAME=srpd-data\n");
    assert_eq!(manager.word(), "FDSTOREREMOVE=1\nFDNAME=srpd-admin\n");
    let stopping = manager.word();
    // As long as timeouts.drain, and somewhat more.
    assert!(
        stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=610000000\n"),
        "{stopping}"
    );
    assert_eq!(srpd.wait_exit(ms(2000)).code(), Some(0));
}

/// A thread that is stopped, alone, until this is dropped: by a debugger's means.
struct Stopped(Pid);

impl Stopped {
    /// Stops the thread of that name. None if that isn't allowed here.
    fn thread(srpd: &Instance, name: &str) -> Option<Stopped> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", srpd.pid())).expect("/proc");
        let id = tasks
            .map(|task| task.expect("a task").path())
            .find(|task| {
                let comm = std::fs::read_to_string(task.join("comm"));
                comm.is_ok_and(|comm| comm.trim() == name)
            })
            .and_then(|task| task.file_name()?.to_str()?.parse().ok())
            .expect("a thread of that name");
        let id = Pid::from_raw(id);
        match ptrace::seize(id, ptrace::Options::empty()) {
            Ok(()) => {}
            // srpd can't be dumped: only root may do that.
            Err(nix::Error::EPERM) => {
                eprintln!("skipped: threads of a process that can't be dumped are root's to stop");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        ptrace::interrupt(id).expect("it is traced");
        waitpid(id, Some(WaitPidFlag::__WALL)).expect("it stops");
        Some(Stopped(id))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if ptrace::detach(self.0, None).is_err() {
            // It died: it is gone once its tracer has heard of it.
            let _ = waitpid(self.0, Some(WaitPidFlag::__WALL));
        }
    }
}

#[test]
fn a_core_that_is_stuck_is_told_of_and_ends_the_process_within_a_second_or_so() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let mut srpd = instance(&upstream)
        .section("timeouts", "stall = \"1s\"")
        .start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
    let begun = Instant::now();
    let Some(stopped) = Stopped::thread(&srpd, "srpd-core-1") else {
        return;
    };
    let warned = srpd.wait_log("that the core is held up", |line| {
        (message(line)? == "a core is held up").then(Instant::now)
    });
    assert!(warned - begun < ms(1000), "{:?}", warned - begun);
    eventually("the silence in the metrics", || {
        srpd.metric("srpd_core_silence_seconds", &["core=\"1\""]) >= 0.5
    });
    assert!(srpd.metric("srpd_core_silence_seconds", &["core=\"0\""]) < 0.4);
    srpd.wait_log("that the process ends", |line| {
        message(line)?.contains("a core is stuck").then_some(())
    });
    drop(stopped);
    let status = srpd.wait_exit(ms(1000));
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status:?}");
    assert!(!status.core_dumped());
    // A second, two looks of the office, and what this machine makes of it.
    assert!(begun.elapsed() < ms(2500), "{:?}", begun.elapsed());
}

#[test]
fn a_core_that_is_held_up_for_less_is_forgiven() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let setup = instance(&upstream).section("timeouts", "stall = \"30s\"");
    let srpd = setup.start();
    let Some(stopped) = Stopped::thread(&srpd, "srpd-core-0") else {
        return;
    };
    thread::sleep(ms(1500));
    assert!(srpd.metric("srpd_core_silence_seconds", &["core=\"0\""]) >= 1.0);
    drop(stopped);
    eventually("the core at work again", || {
        srpd.metric("srpd_core_silence_seconds", &[]) == 0.0
    });
    for _ in 0..4 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
    }
}

#[test]
fn a_process_that_was_stopped_as_a_whole_has_no_core_that_is_stuck() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = instance(&upstream).start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
    srpd.signal("STOP");
    thread::sleep(ms(2500));
    srpd.signal("CONT");
    thread::sleep(ms(500));
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
}

#[test]
fn the_watchdog_is_fed_only_while_every_core_ticks() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let manager = Manager::new();
    let setup = instance(&upstream).section("timeouts", "stall = \"60s\"");
    let srpd = manager.start(&setup, Some(ms(900)));
    assert!(manager.word().starts_with("READY=1"));
    for _ in 0..3 {
        let fed = manager.hear(ms(900)).expect("fed in time");
        assert!(fed.starts_with("WATCHDOG=1\nSTATUS=serving"), "{fed}");
    }
    for core in ["srpd-core-0", "srpd-core-1"] {
        let Some(stopped) = Stopped::thread(&srpd, core) else {
            return;
        };
        // One may have been on its way.
        while manager.hear(ms(500)).is_some() {}
        assert_eq!(manager.hear(ms(1500)), None, "fed, with {core} stopped");
        drop(stopped);
        assert!(
            manager
                .hear(ms(900))
                .expect("fed again")
                .starts_with("WATCHDOG=1")
        );
    }
}

/// A listening socket as a unit's would be; several at one address with `ReusePort=yes`.
fn listening(address: &str) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("its option");
    let address: std::net::SocketAddr = address.parse().expect("an address");
    socket.bind(&address.into()).expect("bound");
    socket.listen(128).expect("listening");
    socket.into()
}

/// Starts a process with sockets from the third descriptor on, as systemd does.
fn spawn_with(command: &Command, sockets: &[BorrowedFd<'_>], names: &str) -> Child {
    let (mut moves, mut after) = (String::new(), String::new());
    for (index, socket) in sockets.iter().enumerate() {
        let passed = SockRef::from(socket);
        passed.set_cloexec(false).expect("its flag");
        // By way of numbers that none of the others has.
        moves.push_str(&format!("exec {}<&{}\n", 200 + index, socket.as_raw_fd()));
        after.push_str(&format!("exec {}<&{1} {1}<&-\n", 3 + index, 200 + index));
    }
    let count = sockets.len();
    let script =
        format!("{moves}{after}export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}");
    let child = spawn_by("bash", &script, command);
    for socket in sockets {
        SockRef::from(socket).set_cloexec(true).expect("its flag");
    }
    child
}

fn say_at(address: std::net::SocketAddr) -> String {
    Client::connect(address).ask(&Ask::chat("smart")).said()
}

#[test]
fn sockets_of_the_manager_are_served_all_of_them_and_outlive_the_process() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let one = listening("127.0.0.1:0");
    let twin = listening(&one.local_addr().expect("an address").to_string());
    let other = listening("127.0.0.1:0");
    let admin = listening("127.0.0.1:0");
    let [first, second, operators] = [&one, &other, &admin].map(|it| it.local_addr().expect("one"));
    let sockets = [one.as_fd(), twin.as_fd(), other.as_fd(), admin.as_fd()];
    // One that couldn't be bound: it isn't used.
    let setup = instance(&upstream)
        .section("instance", "cores = 2")
        .section("limits", "calls_per_core = 100");
    let mut srpd = setup.start_by(|command| spawn_with(command, &sockets, "web:web:more:admin"));
    assert_eq!(srpd.data(), first);
    for _ in 0..20 {
        assert_eq!(say_at(first), "hi");
        assert_eq!(say_at(second), "hi");
    }
    let ready = Client::connect(operators).ask(&Ask::get("/readyz").without("authorization"));
    assert_eq!(ready.status, 200, "{}", ready.text());
    srpd.signal("TERM");
    assert_eq!(srpd.wait_exit(ms(3000)).code(), Some(0));
    // It listens on: whoever comes between two processes waits for the next.
    let early = [first, second].map(|address| {
        let mut client = Client::connect(address);
        client.send(Ask::chat("smart").bytes());
        client
    });
    let next = setup.start_by(|command| spawn_with(command, &sockets, "web:web:more:admin"));
    for mut client in early {
        assert_eq!(client.response().said(), "hi");
    }
    assert_eq!(next.data(), first);
}

#[test]
fn sockets_that_the_manager_kept_are_used_again_with_those_who_wait_in_them() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let kept = listening("127.0.0.1:0");
    let stranger = listening("127.0.0.1:0");
    let address = kept.local_addr().expect("an address");
    let mut waiting = Client::connect(address);
    waiting.send(Ask::chat("smart").bytes());
    let sockets = [stranger.as_fd(), kept.as_fd()];
    let setup = Setup::bare(&upstream.url())
        .capability("smart", &[], "")
        .key("acme", KEY, "capabilities = [\"*\"]")
        .listening_at(&address.to_string());
    let srpd = setup.start_by(|command| spawn_with(command, &sockets, "srpd-data:srpd-data"));
    assert_eq!(srpd.data(), address);
    assert_eq!(waiting.response().said(), "hi");
    for _ in 0..20 {
        assert_eq!(say_at(address), "hi");
    }
}

#[test]
fn what_is_no_listening_tcp_socket_is_refused_by_name() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let directory = tempfile::tempdir().expect("a directory");
    instance(&upstream).write(directory.path());
    let (local, _peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut command = Command::new(crate::support::setup::SRPD);
    command
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(directory.path());
    let child = spawn_with(&command, &[local.as_fd()], "web");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("socket 3 (web) of the service manager: expected a TCP socket"),
        "{said}"
    );
}
