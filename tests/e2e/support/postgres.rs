//! A PostgreSQL server of the test's own, in a directory that goes with it. Where none is
//! installed, tests that need one say so and pass, unless `SRPD_E2E_SERVERS=required`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::instance::within;
use super::skipped;
use super::tls::Identity;

/// Where Debian and its children keep each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// PostgreSQL doesn't run as root: then it runs as nobody.
const NOBODY: u32 = 65_534;

const PASSWORD: &str = "correct-horse-battery";

/// A server.
pub struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
    secured: bool,
    process: Option<Child>,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?;
    let programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.filter(|bin| bin.join("initdb").exists()).max()
}

impl Postgres {
    /// A server that only its Unix socket leads to. None if there is no PostgreSQL here.
    pub fn start() -> Option<Postgres> {
        Postgres::make(None)
    }

    /// A server at 127.0.0.1 that shows this, and takes no plaintext.
    pub fn over_tls(identity: &Identity) -> Option<Postgres> {
        Postgres::make(Some(identity))
    }

    fn make(identity: Option<&Identity>) -> Option<Postgres> {
        let Some(programs) = programs() else {
            skipped(&format!("no PostgreSQL below {VERSIONS}"));
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        fs::write(path.join("password"), PASSWORD).expect("a file");
        // Its port is only the end of its socket's name, if nobody is to find it elsewhere.
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = identity.map_or(5432, |_| free().expect("a port").port());
        let mut server = Postgres {
            programs,
            port,
            secured: identity.is_some(),
            process: None,
            directory,
        };
        if is_root() {
            for owned in [server.path(""), server.path("password")] {
                chown(owned, Some(NOBODY), Some(NOBODY)).expect("another owner");
            }
        }
        let made = server
            .command("initdb")
            .args(["--auth", "scram-sha-256", "--username", "srpd"])
            .args(["--no-sync", "--encoding", "UTF8", "--locale", "C"])
            .arg("--pwfile")
            .arg(server.path("password"))
            .arg("--pgdata")
            .arg(server.path("data"))
            .output()
            .expect("initdb runs");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        if let Some(identity) = identity {
            server.show(identity);
        }
        server.resume();
        Some(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn show(&self, identity: &Identity) {
        let data = self.path("data");
        for (name, content) in [
            ("server.crt", &identity.certificate),
            ("server.key", &identity.key),
            (
                "pg_hba.conf",
                &"local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n".into(),
            ),
        ] {
            let path = data.join(name);
            fs::write(&path, content).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
            if is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).expect("another owner");
            }
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.directory.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it (again), and waits until it answers.
    pub fn resume(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.path("data"))
            .arg("-k")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "shared_buffers=16MB", "-c", "max_connections=20"]);
        match self.secured {
            true => command.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]),
            false => command.args(["-c", "listen_addresses="]),
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("postgres starts"));
        within(Duration::from_secs(60), "PostgreSQL answers", || {
            self.try_ask("SELECT 1").is_ok()
        });
    }

    /// Ends it at once, without a checkpoint, as a crash does.
    pub fn crash(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let sent = Command::new("kill")
            .args(["-QUIT", &process.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        process.wait().expect("it ends");
    }

    /// What a sink's `url` is.
    pub fn url(&self) -> String {
        match self.secured {
            true => format!(
                "postgresql://srpd:{PASSWORD}@127.0.0.1:{}/postgres?sslmode=require",
                self.port
            ),
            false => {
                let host = self.directory.path().to_str().expect("a path");
                let host = host.replace('/', "%2F");
                format!("postgresql://srpd:{PASSWORD}@{host}:{}/postgres", self.port)
            }
        }
    }

    fn try_ask(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "srpd",
            ])
            .args(["-d", "postgres", "-p", &self.port.to_string(), "-c", sql])
            .arg("-h")
            .arg(self.directory.path())
            .env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .expect("psql runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// What it answers: a row a line.
    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}{}", self.log()))
    }

    /// As [`Postgres::ask`]; None if it refuses, as where there is no such table.
    pub fn may_ask(&self, sql: &str) -> Option<String> {
        self.try_ask(sql).ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("kill")
                .args(["-QUIT", &process.id().to_string()])
                .status();
            let _ = process.wait();
        }
    }
}
