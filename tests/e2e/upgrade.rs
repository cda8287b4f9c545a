//! SIGUSR2: a new process takes the listening sockets over while the old one finishes what it has
//! begun, and nobody who calls notices.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::support::instance::{attribute, message};
use crate::support::setup::SRPD;
use crate::support::{
    Ask, Client, Instance, Reply, Response, Setup, Upstream, delta, eventually, ms, within,
};

/// The processes that took a place so far, which end with this.
#[derive(Default)]
pub struct Line {
    successors: Vec<u64>,
}

impl Line {
    /// Asks the process whose turn it is to hand over, and waits until it has.
    pub fn succeed(&mut self, srpd: &Instance) {
        let current = self.successors.last().copied();
        signal(current.unwrap_or_else(|| srpd.pid().into()), "USR2");
        let count = self.successors.len();
        within(ms(20_000), "a successor", || {
            self.successors = successors(srpd);
            self.successors.len() > count
        });
    }

    /// Has the last of them end, as SIGTERM does, and waits until it has.
    pub fn end_last(&self) {
        signal(self.last(), "TERM");
        within(ms(5000), "the last one gone", || !is_running(self.last()));
    }

    fn last(&self) -> u64 {
        *self.successors.last().expect("a successor")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for &id in &self.successors {
            if is_running(id) {
                signal(id, "KILL");
            }
        }
    }
}

/// Who has taken a place, by the log, which all of them share.
fn successors(srpd: &Instance) -> Vec<u64> {
    let log = srpd.log();
    let handed = log
        .iter()
        .filter(|line| message(line).is_some_and(|it| it.contains("handed over")));
    handed
        .filter_map(|line| attribute(line, "successor")?.as_u64())
        .collect()
}

fn signal(id: u64, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &id.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

/// Whether the process runs; one that has ended, and nobody has asked for, doesn't.
fn is_running(id: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Answers and streams, as [`Load`] expects them.
pub fn answering() -> Upstream {
    let stream = (0..5).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(30)));
    Upstream::start(move |request| {
        if request.json()["stream"] == true {
            stream.clone().done()
        } else {
            Reply::chat("hi")
        }
    })
}

/// Clients that ask until they are told to stop, each in its way; a call that fails is a panic.
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub fn start(srpd: &Instance) -> Load {
        let (stop, calls) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let address = srpd.data();
        let ways: [fn(&mut Option<Client>) -> Response; 3] = [
            // One connection for as long as it is kept.
            |kept| {
                let client = kept.as_mut().expect("a connection");
                let response = client.ask(&Ask::chat("smart"));
                assert_eq!(response.said(), "hi");
                if response.field("connection") == Some("close") {
                    *kept = None;
                }
                response
            },
            // A new one for each call.
            |kept| {
                let mut client = kept.take().expect("a connection");
                let response = client.ask(&Ask::chat("smart").field("connection", "close"));
                assert_eq!(response.said(), "hi");
                response
            },
            // Streams, on one that is kept.
            |kept| {
                let client = kept.as_mut().expect("a connection");
                let response = client.ask(&Ask::stream("smart"));
                assert!(response.complete, "{}", response.text());
                assert_eq!(response.data().len(), 6, "{}", response.text());
                if response.field("connection") == Some("close") {
                    *kept = None;
                }
                response
            },
        ];
        let callers = (0..9).map(|number| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let way = ways[number % ways.len()];
            thread::spawn(move || {
                let (mut kept, mut receipts) = (None, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    kept.get_or_insert_with(|| Client::connect(address));
                    let response = way(&mut kept);
                    let receipt = response.field("x-sovereign-receipt");
                    receipts.extend(receipt.map(str::to_owned));
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                receipts
            })
        });
        Load {
            callers: callers.collect(),
            stop,
            calls,
        }
    }

    /// Waits until so many more calls have ended.
    pub fn go_on(&self, more: usize) {
        let before = self.calls.load(Ordering::Relaxed);
        within(ms(20_000), "more calls", || {
            self.callers.iter().all(|caller| !caller.is_finished())
                && self.calls.load(Ordering::Relaxed) >= before + more
        });
    }

    /// The receipts of all calls, if there is a ledger.
    pub fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let callers = self.callers.into_iter();
        callers
            .flat_map(|caller| caller.join().expect("no call was lost"))
            .collect()
    }
}

#[test]
fn upgrades_under_load_lose_no_call_whatever_the_number_of_cores() {
    let upstream = answering();
    let cores = |count: usize| {
        Setup::backstop_only(&upstream.url()).section("instance", &format!("cores = {count}"))
    };
    let mut srpd = cores(2).start();
    let mut line = Line::default();
    let load = Load::start(&srpd);
    load.go_on(50);
    for count in [2, 1, 2] {
        cores(count).write(srpd.config_path().parent().expect("a directory"));
        line.succeed(&srpd);
        load.go_on(50);
        assert_eq!(srpd.metric("srpd_cores", &[]), count as f64);
    }
    load.end();
    assert_eq!(srpd.wait_exit(ms(5000)).code(), Some(0));
    let ended = &line.successors[..2];
    within(ms(5000), "the old ones gone", || {
        !ended.iter().any(|&it| is_running(it))
    });
    assert_eq!(srpd.admin("/readyz").status, 200);
    line.end_last();
}

#[test]
fn what_has_begun_is_finished_and_idle_connections_get_one_more_answer() {
    let stream = (0..8).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(200)));
    let upstream = Upstream::start(move |request| {
        if request.json()["stream"] == true {
            stream.clone().done()
        } else {
            Reply::chat("hi")
        }
    });
    let mut srpd = Setup::backstop_only(&upstream.url()).start();
    let mut line = Line::default();
    let (mut streaming, mut idle, mut fresh) = (srpd.connect(), srpd.connect(), srpd.connect());
    assert_eq!(idle.ask(&Ask::chat("smart")).said(), "hi");
    streaming.send(Ask::stream("smart").bytes());
    let mut incoming = streaming.incoming();
    incoming.until("data:");
    line.succeed(&srpd);
    for client in [&mut idle, &mut fresh] {
        thread::sleep(ms(100));
        let response = client.ask(&Ask::chat("smart"));
        assert_eq!(response.said(), "hi");
        assert_eq!(response.field("connection"), Some("close"));
        client.assert_closed();
    }
    assert_eq!(srpd.exited(), None, "a stream is under way");
    let response = incoming.finish();
    assert!(response.complete, "{}", response.text());
    assert_eq!(response.data().len(), 9);
    // Its head had said that the connection goes on.
    let response = streaming.ask(&Ask::chat("smart"));
    assert_eq!(response.said(), "hi");
    assert_eq!(response.field("connection"), Some("close"));
    streaming.assert_closed();
    // Each of the clients may take its time to close (proxy/client.rs, LINGER).
    assert_eq!(srpd.wait_exit(ms(8000)).code(), Some(0));
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
}

#[test]
fn an_old_process_can_be_ended_while_it_drains() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let mut srpd = Setup::backstop_only(&upstream.url()).start();
    let mut line = Line::default();
    let mut idle = srpd.connect();
    assert_eq!(idle.ask(&Ask::chat("smart")).said(), "hi");
    line.succeed(&srpd);
    thread::sleep(ms(300));
    assert_eq!(srpd.exited(), None, "it waits for the idle client");
    srpd.signal("TERM");
    assert_eq!(srpd.wait_exit(ms(3000)).code(), Some(0));
    idle.assert_closed();
    assert_eq!(
        srpd.ask(&Ask::chat("smart")).said(),
        "hi",
        "the new one serves on"
    );
}

/// An instance of a program of its own, which can be replaced.
fn start_from(setup: &Setup, program: &Path) -> Instance {
    // By another process: a file that this one writes can't be run while others are started.
    let copied = Command::new("cp").arg(SRPD).arg(program).status();
    assert!(copied.expect("cp runs").success());
    setup.start_by(|command| -> Child {
        Command::new(program)
            .args(command.get_args())
            .current_dir(command.get_current_dir().expect("a directory"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("srpd starts")
    })
}

/// Puts another file in the program's place, as packages do; `make` is a shell's command.
fn replace(program: &Path, make: &str) {
    let script = format!("{make} >new && chmod 755 new && mv new srpd");
    let made = Command::new("sh")
        .args(["-c", &script])
        .env("SRPD", SRPD)
        .current_dir(program.parent().expect("a directory"))
        .status();
    assert!(made.expect("sh runs").success());
}

fn failures(srpd: &Instance) -> Vec<String> {
    let log = srpd.log();
    let failed = log
        .iter()
        .filter_map(|line| message(line))
        .filter(|said| said.starts_with("upgrade failed, this process goes on"));
    failed.collect()
}

#[test]
fn a_successor_that_does_not_get_to_serve_changes_nothing() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let setup = Setup::backstop_only(&upstream.url());
    let directory = tempfile::tempdir().expect("a directory");
    let program: PathBuf = directory.path().join("srpd");
    let mut srpd = start_from(&setup, &program);
    let mut client = srpd.connect();
    let valid = std::fs::read_to_string(srpd.config_path()).expect("the file");
    let broken = valid.replace("[log]", "[log]\nunknown_key = 1");
    let steps: [(&dyn Fn(), &str); 4] = [
        (
            &|| std::fs::write(srpd.config_path(), &broken).expect("written"),
            "ended before it served (exit status: 1)",
        ),
        (
            &|| replace(&program, r"printf '#!/bin/sh\nkill -9 $$\n'"),
            "ended before it served (signal: 9",
        ),
        (
            &|| replace(&program, "echo no program"),
            "srpd: Exec format error",
        ),
        (
            &|| std::fs::remove_file(&program).expect("removed"),
            "srpd: No such file",
        ),
    ];
    for (count, (break_it, expected)) in (1..).zip(steps) {
        break_it();
        srpd.signal("USR2");
        within(ms(10_000), "a failure in the log", || {
            failures(&srpd).len() == count
        });
        let said = failures(&srpd).pop().expect("a failure");
        assert!(said.contains(expected), "{said}");
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
        assert_eq!(srpd.admin("/readyz").status, 200);
    }
    srpd.wait_log("what is wrong with the file", |line| {
        line.contains("unknown_key").then_some(())
    });
    replace(&program, "cat \"$SRPD\"");
    std::fs::write(srpd.config_path(), &valid).expect("written");
    let mut line = Line::default();
    line.succeed(&srpd);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
    let exe = std::fs::read_link(format!("/proc/{}/exe", line.last()));
    // Not dumpable, and so only root's to look at.
    if let Ok(exe) = exe {
        assert_eq!(exe, program);
    }
}

#[test]
fn an_address_that_is_no_longer_configured_is_let_go_and_a_new_one_bound() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let before = srpd.data();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let elsewhere = free.local_addr().expect("an address");
    drop(free);
    let setup = Setup::backstop_only(&upstream.url()).listening_at(&elsewhere.to_string());
    setup.write(srpd.config_path().parent().expect("a directory"));
    let mut line = Line::default();
    line.succeed(&srpd);
    assert_eq!(
        Client::connect(elsewhere).ask(&Ask::chat("smart")).said(),
        "hi"
    );
    eventually("the old address refused", || {
        std::net::TcpStream::connect(before).is_err()
    });
}
