//! Requests ahead of their turn: how many are read, what they cost the others, and what is left
//! of a client that sends nothing else.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::support::{Ask, Instance, Reply, Setup, Upstream, eventually, ms};

/// An upstream that answers the call of user 0 when it is told to, and all others at once.
fn held_back() -> (Upstream, Sender<()>) {
    let (release, released) = channel();
    let released = Arc::new(Mutex::new(released));
    let upstream = Upstream::start(move |request| {
        let user = request.json()["user"].as_u64().expect("a number");
        if user == 0 {
            let _ = released.lock().expect("the gate").recv();
        }
        Reply::chat(&format!("call {user}"))
    });
    (upstream, release)
}

fn call(user: usize) -> Vec<u8> {
    let body = format!(r#"{{"model":"smart","user":{user}}}"#);
    Ask::post("/v1/chat/completions", body).bytes()
}

fn setup(upstream: &Upstream, pipelined: usize) -> Setup {
    Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .section("limits", &format!("pipelined_requests = {pipelined}"))
}

#[test]
fn so_many_are_read_ahead_and_more_wait_in_the_kernel() {
    for most in [1, 3] {
        let (upstream, release) = held_back();
        let srpd = setup(&upstream, most).start();
        let mut client = srpd.connect();
        client.send(call(0));
        upstream.wait_requests(1);
        let length = call(1).len();
        for sent in 1..=5_usize {
            client.send(call(sent));
            let unread = sent.saturating_sub(most) * length;
            eventually("as many unread as are over the limit", || {
                srpd.queues(&client).1 == unread
            });
        }
        thread::sleep(ms(100));
        assert_eq!(srpd.queues(&client).1, (5 - most) * length);
        release.send(()).expect("the upstream waits");
        for user in 0..=5 {
            assert_eq!(client.response().said(), format!("call {user}"));
        }
        assert_eq!(upstream.count(), 6);
    }
}

#[test]
fn a_client_that_left_with_more_behind_it_than_is_read_is_noticed() {
    let (upstream, _release) = held_back();
    let srpd = setup(&upstream, 2).start();
    let mut client = srpd.connect();
    client.send(call(0));
    upstream.wait_requests(1);
    eventually("unread requests", || {
        client.send(call(1));
        srpd.queues(&client).1 > 0
    });
    let left = Instant::now();
    client.close();
    eventually("nothing in flight", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 0.0
    });
    assert!(left.elapsed() < ms(2000), "{:?}", left.elapsed());
    assert_eq!(upstream.count(), 1, "a request of a client that had left");
}

/// Sends the same requests over and over, and reads and drops the answers, until both ends end.
fn flood(srpd: &Instance, bytes: Vec<u8>, times: usize) -> thread::JoinHandle<usize> {
    let client = srpd.connect();
    let mut sending = client.socket().try_clone().expect("a socket");
    let mut reading = sending.try_clone().expect("a socket");
    let sender = thread::spawn(move || {
        for _ in 0..times {
            if sending.write_all(&bytes).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        let (mut answered, mut room) = (0, vec![0; 1 << 20]);
        let mut carry = Vec::new();
        while let Ok(count) = reading.read(&mut room)
            && count > 0
        {
            carry.extend_from_slice(&room[..count]);
            let heads: Vec<_> = memchr::memmem::find_iter(&carry, "HTTP/1.1 200").collect();
            answered += heads.len();
            let kept = carry.len().min(11);
            carry.drain(..carry.len() - kept);
            if answered >= times {
                break;
            }
        }
        let _ = reading.shutdown(Shutdown::Both);
        sender.join().expect("a sender");
        drop(client);
        answered
    })
}

#[test]
fn a_connection_that_is_never_idle_leaves_no_trace_in_memory() {
    const CALLS: usize = 1500;
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = setup(&upstream, 16)
        .section("log", "access = false")
        .start();
    let pad = "x".repeat(12_000);
    let body = format!(r#"{{"model":"smart","pad":"{pad}"}}"#);
    let bytes = Ask::post("/v1/chat/completions", body).bytes();
    let sent = bytes.len() * CALLS;
    assert_eq!(flood(&srpd, bytes.clone(), 20).join().expect("answers"), 20);
    let before = srpd.resident();
    let flooding = flood(&srpd, bytes, CALLS);
    let mut most = 0;
    while !flooding.is_finished() {
        most = most.max(srpd.resident());
        thread::sleep(ms(5));
    }
    assert_eq!(flooding.join().expect("answers"), CALLS);
    let grown = most.saturating_sub(before);
    assert!(grown < sent / 4, "{grown} bytes more, of {sent} sent");
}

#[test]
fn answers_that_nobody_reads_stop_the_reading() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = setup(&upstream, 16).start();
    let before = srpd.resident();
    let client = srpd.connect();
    client.socket().set_nonblocking(true).expect("a socket");
    let some = Ask::get("/v1/models").bytes().repeat(200);
    let (mut sent, mut since) = (0, Instant::now());
    // Until nothing more has been taken for a while: the kernel's buffers on the way are full.
    while since.elapsed() < ms(500) {
        match client.socket().write(&some[sent % some.len()..]) {
            Ok(count) => (sent, since) = (sent + count, Instant::now()),
            Err(_) => thread::sleep(ms(5)),
        }
        assert!(sent < 1 << 30, "all of it is taken");
    }
    let grown = srpd.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more for {sent} sent");
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
}

#[test]
fn a_flood_on_one_connection_leaves_the_others_their_turns() {
    let upstream = Upstream::always(Reply::chat("hi"));
    for driver in ["io_uring", "epoll"] {
        let srpd = setup(&upstream, 16)
            .section("instance", &format!("driver = \"{driver}\""))
            .section("timeouts", "head = \"300ms\"")
            .start();
        let some = Ask::get("/v1/models").bytes().repeat(100);
        let floods: Vec<_> = (0..3)
            .map(|_| flood(&srpd, some.clone(), usize::MAX))
            .collect();
        thread::sleep(ms(200));
        let mut client = srpd.connect();
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
            assert!(begun.elapsed() < ms(1000), "{:?}", begun.elapsed());
        }
        // The sweeper has its turn too.
        let begun = Instant::now();
        client.send("GET /v1/mod");
        assert_eq!(client.response().status, 408);
        assert!(begun.elapsed() < ms(1300), "{:?}", begun.elapsed());
        assert!(floods.iter().all(|flood| !flood.is_finished()));
        drop(srpd);
        for flood in floods {
            assert!(flood.join().expect("answers") > 0);
        }
    }
}
