//! Many short lives: a process under load is killed at a random instant, again and again. A call
//! whose client has its whole answer is in the ledger, once.
//!
//! `SRPD_E2E_LIVES=10000` makes it as many, `SRPD_E2E_LIVES_OF` of another binary; `perf/kills` does
//! that and writes down what came of it.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::entries;
use crate::support::instance::{attribute, message};
use crate::support::setup::SRPD;
use crate::support::{Ask, Reply, Setup, Upstream, delta, usage_only};

/// How many, if nobody says.
const LIVES: usize = 25;

/// Lives in one directory, before it is looked at and another is begun.
const BATCH: usize = 250;

const CLIENTS: usize = 4;

/// A whole answer: by its length, or by what ends a stream for who reads it.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => body.contains("[DONE]"),
    }
}

/// Calls until the connection dies; the ids of calls that were answered whole.
pub(super) fn call(address: SocketAddr, name: &str) -> Vec<String> {
    let mut answered = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else {
        return answered;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    for number in 0.. {
        let id = format!("{name}-{number}");
        let ask = match number % 2 {
            0 => Ask::chat("smart"),
            _ => Ask::stream("smart"),
        };
        let ask = ask.field("x-request-id", &id);
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        if stream.write_all(&ask.bytes()).is_err() {
            break;
        }
        while !is_whole(&answer) {
            match stream.read(&mut part) {
                Ok(count) if count > 0 => answer.extend(&part[..count]),
                _ => return answered,
            }
        }
        // Who is refused for want of room is told so, and is nobody's to bill.
        if answer.starts_with(b"HTTP/1.1 200 ") {
            answered.push(id);
        }
        // What may still come of a stream's framing.
        while number % 2 == 1 && !answer.ends_with(b"\r\n0\r\n\r\n") {
            match stream.read(&mut part) {
                Ok(count) if count > 0 => answer.extend(&part[..count]),
                _ => return answered,
            }
        }
    }
    answered
}

/// Begins a life. The rings of processes that were killed are freed a while after: until then there
/// may be no memory for those of another.
pub(super) fn live(directory: &Path) -> (Child, SocketAddr) {
    for _ in 0..50 {
        match try_live(directory) {
            Ok(begun) => return begun,
            Err(said) if said.contains("Cannot allocate memory") => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(said) => panic!("it doesn't listen: {said}"),
        }
    }
    panic!("the kernel has no memory for another life");
}

fn try_live(directory: &Path) -> Result<(Child, SocketAddr), String> {
    let binary = std::env::var("SRPD_E2E_LIVES_OF").unwrap_or_else(|_| SRPD.to_owned());
    let mut child = Command::new(binary)
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("srpd starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let mut said = String::new();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        said.push_str(&line);
        (message(&line)? == "listening").then(|| attribute(&line, "data"))?
    });
    let Some(address) = address else {
        let status = child.wait().expect("it has ended");
        return Err(format!("{said} ({status})"));
    };
    thread::spawn(move || lines.for_each(drop));
    let address = address[0].as_str().expect("an address").parse();
    Ok((child, address.expect("an address")))
}

/// A pseudo-random number below `bound`.
pub(super) fn random(state: &mut u64, bound: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) % bound
}

/// So many lives in one directory; how many calls were answered.
fn batch(setup: &Setup, lives: usize, state: &mut u64) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    setup.write(directory.path());
    let mut answered = Vec::new();
    for life in 0..lives {
        let (mut child, address) = live(directory.path());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| thread::spawn(move || call(address, &format!("{life}-{client}"))))
            .collect();
        thread::sleep(Duration::from_micros(random(state, 25_000)));
        child.kill().expect("it is killed");
        child.wait().expect("it has ended");
        for client in clients {
            answered.extend(client.join().expect("a client"));
        }
    }
    let mut found: HashMap<String, usize> = HashMap::new();
    for entry in entries(&directory.path().join("ledger")) {
        let id = entry["request_id"].as_str().expect("an id");
        *found.entry(id.to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let lost: HashSet<_> = answered
        .iter()
        .filter(|id| !found.contains_key(*id))
        .collect();
    assert!(lost.is_empty(), "answered and not recorded: {lost:?}");
    answered.len()
}

#[test]
fn no_call_that_was_answered_is_lost_to_a_kill_and_none_is_there_twice() {
    let lives = std::env::var("SRPD_E2E_LIVES").ok();
    let lives = lives.map_or(LIVES, |lives| lives.parse().expect("a number"));
    let upstream = Upstream::start(|request| {
        match String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            false => Reply::chat("whole"),
            true => Reply::events()
                .event(&delta("a"))
                .event(usage_only())
                .done(),
        }
    });
    let setup = Setup::backstop_only(&upstream.url())
        .section("ledger", "directory = \"ledger\"\nsegment_bytes = 1048576");
    let begun = Instant::now();
    let (mut state, mut done, mut answered) = (u64::from(std::process::id()), 0, 0);
    while done < lives {
        let now = BATCH.min(lives - done);
        answered += batch(&setup, now, &mut state);
        done += now;
        println!("{done} lives, {answered} answered calls");
    }
    assert!(answered > lives, "{answered} answers in {lives} lives");
    println!(
        "lives {lives} answered {answered} seconds {}",
        begun.elapsed().as_secs()
    );
}

/// Nine lives under load of an instance that sends its entries on; in every other one `fall` has the
/// other side die, and rise after a pause. Returns where the ledger is.
pub(super) fn nine_lives(setup: Setup, mut fall: impl FnMut(&dyn Fn())) -> TempDir {
    // Room for what comes while the disk is busy with both: a call that finds none leaves a gap.
    let ledger = "directory = \"ledger\"\nsegment_bytes = 16777216";
    let place = tempfile::tempdir().expect("a directory");
    setup.section("ledger", ledger).write(place.path());
    let state = Cell::new(u64::from(std::process::id()));
    let pause = || {
        let mut next = state.get();
        thread::sleep(Duration::from_millis(random(&mut next, 400)));
        state.set(next);
    };
    for life in 0..9 {
        let (mut child, address) = live(place.path());
        let clients: Vec<_> = (0..2)
            .map(|client| thread::spawn(move || call(address, &format!("{life}-{client}"))))
            .collect();
        pause();
        if life % 2 == 1 {
            fall(&pause);
        }
        pause();
        child.kill().expect("it is killed");
        child.wait().expect("it has ended");
        for client in clients {
            client.join().expect("a client");
        }
    }
    place
}
