//! Starting what is tested, and reading what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary.
pub const LOAD: &str = env!("CARGO_BIN_EXE_srpd-load");
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulated fleet, that ends with the test.
pub struct Fleet {
    child: Child,
    /// Its endpoints' URLs.
    pub urls: Vec<String>,
}

impl Fleet {
    /// One with these arguments; `endpoints` are awaited.
    pub fn start(endpoints: usize, arguments: &[&str]) -> Fleet {
        let mut child = Command::new(LOAD)
            .arg("fleet")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let urls: Vec<String> = lines.take(endpoints).map(Result::unwrap).collect();
        assert_eq!(urls.len(), endpoints, "the fleet ended");
        Fleet { child, urls }
    }

    /// Endpoints that answer at once.
    pub fn fast(arguments: &[&str]) -> Fleet {
        let speeds = [
            "--prefill",
            "1000000000",
            "--decode",
            "1000000",
            "--output",
            "4",
        ];
        Fleet::start(1, &[&speeds, arguments].concat())
    }

    /// The first one's URL.
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// A metric of the first one, by the beginning of its line.
    pub fn metric(&self, name: &str) -> f64 {
        let page = get(self.url(), "/metrics");
        let line = page.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until it holds.
    pub fn await_metric(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let begin = Instant::now();
        while !holds(self.metric(name)) {
            assert!(
                begin.elapsed() < PATIENCE,
                "{name} is {}",
                self.metric(name)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to `http://ADDRESS`.
pub fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The whole response to a GET.
pub fn get(url: &str, path: &str) -> String {
    let mut stream = connect(url);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Runs the generator.
pub fn load(url: &str, arguments: &[&str]) -> Output {
    let all = [&["--url", url, "--quiet"], arguments].concat();
    Command::new(LOAD).args(all).output().unwrap()
}

/// Runs the generator; its JSON.
pub fn measure(url: &str, arguments: &[&str]) -> Value {
    let output = load(url, &[arguments, &["--json", "-"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The figures of all calls to the first target.
pub fn figures(report: &Value) -> &Value {
    &report["targets"][0]["all"]
}

/// A statistic in ms.
pub fn ms(figures: &Value, metric: &str, statistic: &str) -> f64 {
    let value = figures["times"][metric][statistic].as_f64();
    value.unwrap_or_else(|| panic!("no {metric} {statistic} in {figures:#}"))
}

/// How often calls failed so.
pub fn failures(figures: &Value, status: u64, code: &str) -> u64 {
    let all = figures["failures"].as_array().unwrap();
    let found = all
        .iter()
        .find(|one| one["status"] == status && one["code"] == code);
    found.map_or(0, |one| one["calls"].as_u64().unwrap())
}

/// A server of canned answers.
pub struct Canned {
    /// Its URL.
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    /// One that answers each request with these bytes, and keeps connections open.
    pub fn start(answer: &'static str) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    while let Some(request) = request(&mut stream) {
                        seen.lock().unwrap().push(request);
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Canned { url, requests }
    }

    /// What was asked.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// One request, head and body.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(char::from(byte[0]));
    }
    let (_, rest) = text.split_once("content-length: ")?;
    let mut body = vec![0; rest.split("\r\n").next()?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(text + &String::from_utf8(body).ok()?)
}
