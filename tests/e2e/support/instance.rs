//! A running `srpd serve`, with its log in hand.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Ask, Client, Response};
use super::setup::{SRPD, Setup};
use super::tls::NAME;

/// A running instance; it ends with this value, and its log is shown if the test fails.
pub struct Instance {
    child: Child,
    data: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Setup {
    /// Writes the configuration into a directory of its own and serves it.
    pub fn start(&self) -> Instance {
        self.start_by(|command| command.spawn().expect("srpd starts"))
    }

    /// The same with a bound on the descriptors of the process.
    pub fn start_with_descriptors(&self, bound: usize) -> Instance {
        self.start_by(|command| spawn_bounded(command, bound, bound))
    }

    /// The same with the process made by `spawn`.
    pub fn start_by(&self, spawn: impl FnOnce(&mut Command) -> Child) -> Instance {
        let directory = tempfile::tempdir().expect("a directory");
        self.write(directory.path());
        let mut command = Command::new(SRPD);
        command
            .args(["serve", "--config", "srpd.toml"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn(&mut command);
        let log = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stdout.take().expect("stdout"), Arc::clone(&log)),
            collect(child.stderr.take().expect("stderr"), Arc::clone(&log)),
        ];
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut instance = Instance {
            child,
            data: nowhere,
            admin: nowhere,
            log,
            readers,
            directory,
        };
        instance.find_listeners();
        instance
    }
}

/// Makes the process with a soft and a hard bound on descriptors.
pub fn spawn_bounded(command: &Command, soft: usize, hard: usize) -> Child {
    spawn_by(
        "sh",
        &format!("ulimit -Sn {soft} && ulimit -Hn {hard}"),
        command,
    )
}

/// Makes the process by way of a shell, which runs `first` and then becomes it.
pub fn spawn_by(shell: &str, first: &str, command: &Command) -> Child {
    Command::new(shell)
        .args(["-c", &format!("set -e\n{first}\nexec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().expect("a directory"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts")
}

fn collect(output: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            log.lock().expect("log").push(line);
        }
    })
}

impl Instance {
    fn find_listeners(&mut self) {
        let listening = self.wait_log("the line that says where it listens", |line| {
            (message(line)? == "listening").then(|| {
                let text = |value: Value| value.as_str().map(str::to_owned);
                let data = text(attribute(line, "data")?.get(0)?.clone())?;
                Some((data, text(attribute(line, "admin")?)?))
            })?
        });
        self.data = listening.0.parse().expect("the data listener");
        self.admin = listening.1.parse().expect("the admin listener");
    }

    /// Where the data plane listens.
    pub fn data(&self) -> SocketAddr {
        self.data
    }

    /// Where the admin plane listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A new client connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.data)
    }

    /// A new client connection over TLS.
    ///
    /// # Errors
    /// What the handshake fails with.
    pub fn connect_tls(&self, config: &Arc<ClientConfig>) -> std::io::Result<Client> {
        Client::over_tls(self.data, config, NAME)
    }

    /// Sends a request on a connection of its own and reads its response.
    pub fn ask(&self, ask: &Ask) -> Response {
        self.connect().ask(ask)
    }

    /// Asks the admin plane.
    pub fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin).ask(&Ask::get(path).without("authorization"))
    }

    /// The lines of `/metrics` that begin with `name`, then `{` or a space, and hold all `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.admin("/metrics")
            .text()
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// User and system time of all threads so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The name in parentheses may hold spaces: fields count from after it.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum();
        // USER_HZ is 100 on every Linux.
        Duration::from_millis(ticks * 10)
    }

    /// CPU that the process uses while `time` passes, in CPUs.
    pub fn load_over(&self, time: Duration) -> f64 {
        let (begun, used) = (Instant::now(), self.cpu_time());
        thread::sleep(time);
        let used = self.cpu_time().saturating_sub(used);
        used.as_secs_f64() / begun.elapsed().as_secs_f64()
    }

    /// Resident memory of the process's own, files left out, in KiB.
    pub fn memory(&self) -> usize {
        self.memory_of("RssAnon:") / 1024
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(path).expect("/proc")
    }

    /// Open files of the process, sockets included. None for who may not look: the process can't
    /// be dumped, and so is only root's to inspect.
    pub fn open_files(&self) -> Option<usize> {
        let directory = format!("/proc/{}/fd", self.child.id());
        match std::fs::read_dir(directory) {
            Ok(files) => Some(files.count()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Memory of the process that is in RAM, in bytes.
    pub fn resident(&self) -> usize {
        self.memory_of("VmRSS:")
    }

    /// Memory that the process has asked for, in bytes.
    pub fn virtual_size(&self) -> usize {
        self.memory_of("VmSize:")
    }

    fn memory_of(&self, kind: &str) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(kind));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        1024 * kib
            .and_then(|kib| kib.trim().parse::<usize>().ok())
            .expect("a size")
    }

    /// What the kernel holds of a client's connection on the instance's side, in bytes: sent and
    /// not acknowledged, and received and not read.
    pub fn queues(&self, client: &Client) -> (usize, usize) {
        let port = client.socket().local_addr().expect("an address").port();
        let near = format!(":{:04X}", self.data.port());
        let far = format!(":{port:04X}");
        let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
        let queues = table.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let ends = words.next()?.ends_with(&near) && words.next()?.ends_with(&far);
            ends.then(|| words.nth(1)?.split_once(':'))?
        });
        let (sent, received) = queues.expect("the connection in /proc/net/tcp");
        let number = |text| usize::from_str_radix(text, 16).expect("a queue");
        (number(sent), number(received))
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Puts another configuration in the place of the file and asks for a reload.
    pub fn reload(&self, setup: &Setup) {
        setup.write(self.directory.path());
        self.signal("HUP");
    }

    /// Puts any text in the place of the configuration file and asks for a reload.
    pub fn reload_text(&self, text: &str) {
        std::fs::write(self.config_path(), text).expect("srpd.toml");
        self.signal("HUP");
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("srpd.toml")
    }

    /// How the process ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits for the process to end.
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("log").clone()
    }

    /// The log of a process that has ended, to its last line.
    pub fn whole_log(&mut self) -> Vec<String> {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        self.log()
    }

    /// Waits for a log line that `pick` finds something in.
    pub fn wait_log<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let exited = self.child.try_wait().expect("a child");
            if let Some(found) = self.log().iter().find_map(|line| pick(line)) {
                return found;
            }
            assert!(exited.is_none(), "{exited:?} before {what}");
            assert!(Instant::now() < deadline, "not in the log: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if thread::panicking() {
            eprintln!("--- what srpd wrote ---\n{}\n---", log.join("\n"));
        } else {
            let panicked = log.iter().find(|line| line.contains("panicked at"));
            assert_eq!(panicked, None, "srpd panicked");
        }
    }
}

/// A log line's message, if the line is JSON.
pub fn message(line: &str) -> Option<String> {
    attribute(line, "message")?.as_str().map(str::to_owned)
}

/// An attribute of a log line, flat or under `fields`; text that holds JSON is parsed.
pub fn attribute(line: &str, name: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    let value = line.get(name).or_else(|| line.get("fields")?.get(name))?;
    let inner = value.as_str().filter(|text| text.starts_with('['));
    match inner.and_then(|text| serde_json::from_str(text).ok()) {
        Some(inner) => Some(inner),
        None => Some(value.clone()),
    }
}

/// Tries until it holds, for at most five seconds.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(Duration::from_secs(5), what, holds);
}

/// Tries until it holds, for at most `time`.
pub fn within(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
