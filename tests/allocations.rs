//! What a call asks of the allocator: nothing, once as many have been made at a time as are made now.
//! A process of its own, since an allocator that counts is the whole process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use srpd::config;
use srpd::policy::accreditation::{AuthorityKey, Statement};
use srpd::policy::residency::Jurisdiction;
use srpd::server::{self, Line, Options};
use srpd::telemetry::{Format, Sink};
use zeroize::Zeroizing;

const KEY: &str = "sk-allocations";
const CALLS: usize = 200;

/// Allocations of the core's own in the meantime: once a second it hands its histograms over.
const HOUSEKEEPING_MAX: usize = CALLS / 10;

/// The core's allocations. Its thread is known by its name, which is asked for once.
static COUNTED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_CORE: Cell<Option<bool>> = const { Cell::new(None) };
}

struct Counting;

impl Counting {
    fn count() {
        // Fails only while the thread is going down.
        let counts = IS_CORE.try_with(|known| {
            let is_core = known.get().unwrap_or_else(|| {
                let mut name = [0_u8; 16];
                // SAFETY: the name of a thread has at most 16 bytes, its NUL included.
                unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
                name.starts_with(b"srpd-core-")
            });
            known.set(is_core.then_some(true));
            is_core
        });
        if counts == Ok(true) {
            COUNTED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads a message with a `content-length` to its end.
fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut message, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1)?;
            let length: usize = length.lines().next()?.parse().ok()?;
            if message.len() >= end + 4 + length {
                return Some(message);
            }
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => message.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A provider that answers each call with as many bytes.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = format!(
        r#"{{"id":"c","choices":[{{"message":{{"content":"{}"}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":4}}}}"#,
        "tide ".repeat(150)
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: p\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            thread::spawn(move || {
                while read_message(&mut stream).is_some() {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

/// A configuration with that one provider, the backstop, and one core. Every call is recorded as
/// spans; the collector is as good as a provider for that.
fn configuration(directory: &Path, provider: SocketAddr, collector: SocketAddr) -> config::Config {
    let authority = AuthorityKey::from_seed(&Zeroizing::new([7; 32]));
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let statement = Statement {
        provider: "aloomu".to_owned(),
        jurisdiction: Jurisdiction::parse("au").unwrap(),
        hosts: ["127.0.0.1".to_owned()].into(),
        not_before: now,
        not_after: now + SignedDuration::from_hours(24 * 60),
    };
    let signed = statement.sign(&authority).to_string();
    fs::write(directory.join("aloomu.json"), signed).unwrap();
    let public_key = authority.public_key().encode().unwrap();
    let digest = Sha256::digest(KEY);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = directory.join("srpd.toml");
    let text = format!(
        r#"
[instance]
jurisdiction = "au"
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
cores = 1

[ledger]
directory = "ledger"
segment_bytes = 1048576

[otlp]
endpoint = "http://{collector}"
sample = 1
traces_per_second = 10000

[[authority]]
name = "tests"
public_key = "{public_key}"

[[provider]]
name = "aloomu"
jurisdiction = "au"
accreditation = "aloomu.json"
endpoints = ["http://{provider}"]
models = {{ "*" = "model-1" }}

[[capability]]
name = "smart"
chain = []

[[key]]
name = "tests"
sha256 = "{digest}"
capabilities = ["*"]
requests_per_minute = 1000000
tokens_per_minute = 100000000
"#
    );
    fs::write(&file, text).unwrap();
    config::load(&file, Timestamp::now()).unwrap()
}

fn request() -> String {
    let body = format!(
        r#"{{"model":"smart","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "tide ".repeat(180)
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: srpd.test\r\nauthorization: Bearer {KEY}\r\n\
         accept: application/json\r\ncontent-type: application/json\r\nuser-agent: tests\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_call_on_connections_that_are_there_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), provider(), provider());
    let running = server::start(
        config,
        Options {
            source: None,
            access: Sink::Writer(Format::Json, Box::new(std::io::sink())),
            signals: false,
            line: Line::default(),
        },
    )
    .unwrap();
    let mut client = TcpStream::connect(running.data_addresses()[0]).unwrap();
    let request = request();
    let mut calls = |count| {
        for _ in 0..count {
            client.write_all(request.as_bytes()).unwrap();
            let answer = read_message(&mut client).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    };
    calls(CALLS);
    let before = COUNTED.load(Ordering::Relaxed);
    calls(CALLS);
    let allocations = COUNTED.load(Ordering::Relaxed) - before;
    assert!(before > 0, "the core's allocations are not counted");
    assert!(
        allocations <= HOUSEKEEPING_MAX,
        "{allocations} allocations in {CALLS} calls"
    );
    drop(client);
    running.drain();
    running.wait();
}
