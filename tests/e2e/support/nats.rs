//! A NATS server of the test's own, with JetStream in a directory that goes with it. Where none is
//! installed, tests that need one say so and pass, unless `SRPD_E2E_SERVERS=required`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, HeaderMap};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::instance::within;
use super::skipped;
use super::tls::{self, Authority, Identity};

/// Where Debian and who follows its example keep it: not on everybody's path.
const PLACES: [&str; 3] = [
    "/usr/sbin/nats-server",
    "/usr/local/bin/nats-server",
    "/usr/bin/nats-server",
];

const PASSWORD: &str = "correct-horse-battery";

/// The name of the stream.
pub const STREAM: &str = "LEDGER";

/// A server.
pub struct Nats {
    program: PathBuf,
    directory: TempDir,
    port: u16,
    secured: Option<(Identity, ClientConfig)>,
    process: Option<Child>,
    runtime: Runtime,
}

/// A message of a stream.
pub struct Stored {
    /// Where it went.
    pub subject: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// What it says.
    pub said: Value,
}

impl Stored {
    /// A field.
    pub fn field(&self, name: &str) -> String {
        let value = self.headers.get(name).expect("the field");
        value.as_str().to_owned()
    }
}

/// What the sink wants. The window for duplicates is the shortest there is: it must not be what
/// makes entries arrive once.
pub fn config() -> Config {
    Config {
        name: STREAM.to_owned(),
        subjects: vec!["srpd.ledger.>".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..Config::default()
    }
}

impl Nats {
    /// A server at 127.0.0.1. None if there is no NATS here.
    pub fn start() -> Option<Nats> {
        Nats::make(None)
    }

    /// One that this vouches for, and that takes no plaintext.
    pub fn over_tls(authority: &Authority) -> Option<Nats> {
        let client = ClientConfig::clone(&tls::client(authority));
        Nats::make(Some((authority.server(), client)))
    }

    fn make(secured: Option<(Identity, ClientConfig)>) -> Option<Nats> {
        let Some(program) = PLACES.map(PathBuf::from).into_iter().find(|it| it.exists()) else {
            skipped(&format!("no NATS at {PLACES:?}"));
            return None;
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let mut server = Nats {
            program,
            directory: tempfile::tempdir().expect("a directory"),
            port: 0,
            secured,
            process: None,
            runtime: runtime.expect("a runtime"),
        };
        server.resume();
        Some(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where what it stores is.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    fn configure(&self) {
        // The sink may do what docs/LEDGER.md says that it needs, and nothing else.
        let allowed = format!(
            "[\"srpd.ledger.>\", \"$JS.API.STREAM.INFO.{STREAM}\", \
             \"$JS.API.STREAM.MSG.GET.{STREAM}\"]"
        );
        let mut text = format!(
            "jetstream {{ store_dir: {:?} }}\n\
             authorization {{ users = [\n\
             {{ user: test, password: {PASSWORD:?} }}\n\
             {{ user: srpd, password: {PASSWORD:?}, permissions: \
             {{ publish: {allowed}, subscribe: [\"_INBOX.>\"] }} }}\n] }}\n",
            self.store()
        );
        if let Some((identity, _)) = &self.secured {
            for (name, content) in [("crt", &identity.certificate), ("key", &identity.key)] {
                fs::write(self.path(name), content).expect("a file");
            }
            let (certificate, key) = (self.path("crt"), self.path("key"));
            text += &format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n");
        }
        fs::write(self.path("conf"), text).expect("a file");
    }

    /// Starts it (again), and waits until it answers. The system picks its port; it keeps it.
    pub fn resume(&mut self) {
        self.configure();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let port = match self.port {
            0 => "-1".to_owned(),
            port => port.to_string(),
        };
        let process = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &port, "-c"])
            .arg(self.path("conf"))
            .arg("--ports_file_dir")
            .arg(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        let ports = self.path(&format!("nats-server_{}.ports", process.id()));
        self.process = Some(process);
        within(Duration::from_secs(60), "NATS listens", || {
            self.port = port_of(&ports).unwrap_or(self.port);
            ports.exists() && self.port != 0
        });
        within(Duration::from_secs(60), "JetStream answers", || {
            let asked = async {
                let client = self.client().await?;
                client.request("$JS.API.INFO", "".into()).await.ok()
            };
            self.runtime.block_on(asked).is_some()
        });
    }

    /// Ends it as a kill does.
    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is killed");
            process.wait().expect("it ends");
        }
    }

    /// What a sink's `url` is, with a password that may be another.
    pub fn url_with(&self, password: &str) -> String {
        let query = match self.secured {
            Some(_) => "?tls=require",
            None => "",
        };
        format!("nats://srpd:{password}@127.0.0.1:{}{query}", self.port)
    }

    /// What a sink's `url` is.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    async fn context(&self) -> Option<Context> {
        self.client().await.map(jetstream::new)
    }

    async fn client(&self) -> Option<Client> {
        let mut options = ConnectOptions::with_user_and_password("test".into(), PASSWORD.into());
        if let Some((_, client)) = &self.secured {
            options = options.tls_client_config(client.clone());
        }
        let client = options.connect(format!("nats://127.0.0.1:{}", self.port));
        client.await.ok()
    }

    /// Makes a stream.
    pub fn create(&self, config: Config) {
        self.runtime.block_on(async {
            let context = self.context().await.expect("NATS");
            context.create_stream(config).await.expect("a stream");
        });
    }

    /// Removes the stream.
    pub fn delete(&self) {
        self.runtime.block_on(async {
            let context = self.context().await.expect("NATS");
            context.delete_stream(STREAM).await.expect("it was there");
        });
    }

    /// Publishes what isn't the ledger's.
    pub fn publish(&self, subject: &str, text: &str) {
        self.runtime.block_on(async {
            let context = self.context().await.expect("NATS");
            let sent = context.publish(subject.to_owned(), text.to_owned().into());
            sent.await.expect("it is sent").await.expect("a stream");
        });
    }

    /// All messages of the stream in order. None if there is no server or no stream.
    pub fn stored(&self) -> Option<Vec<Stored>> {
        self.runtime.block_on(async {
            let mut stream: Stream = self.context().await?.get_stream(STREAM).await.ok()?;
            let state = stream.info().await.ok()?.state.clone();
            let mut stored = BTreeMap::new();
            if state.messages == 0 {
                return Some(Vec::new());
            }
            let sequences: Vec<u64> = (state.first_sequence..=state.last_sequence).collect();
            for some in sequences.chunks(500) {
                let mut asked = JoinSet::new();
                for &sequence in some {
                    let stream = stream.clone();
                    asked.spawn(async move { stream.get_raw_message(sequence).await });
                }
                while let Some(answer) = asked.join_next().await {
                    let message = answer.ok()?.ok()?;
                    let one = Stored {
                        subject: message.subject.to_string(),
                        headers: message.headers,
                        said: serde_json::from_slice(&message.payload).unwrap_or_default(),
                    };
                    stored.insert(message.sequence, one);
                }
            }
            Some(stored.into_values().collect())
        })
    }
}

fn port_of(ports: &Path) -> Option<u16> {
    let text = fs::read_to_string(ports).ok()?;
    let said: Value = serde_json::from_str(&text).ok()?;
    let url = said["nats"][0].as_str().or(said["tls"][0].as_str())?;
    url.rsplit_once(':')?.1.parse().ok()
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
