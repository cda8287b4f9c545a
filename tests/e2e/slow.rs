//! Slow clients: what one that takes its answer drop by drop may hold, and for how long.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Ask, Client, Instance, Reply, Setup, Upstream, delta, eventually, ms};

const MIB: usize = 1 << 20;

/// A stream without end, as far as these tests go: always more than its reader has taken.
fn endless_stream() -> Reply {
    let event = delta(&"x".repeat(60_000));
    (0..1000).fold(Reply::events(), |reply, _| reply.event(&event))
}

/// The same as one body.
fn endless_body() -> Reply {
    let fields = [
        ("content-type", "audio/mpeg"),
        ("content-length", "999999999"),
    ];
    Reply::head(200, &fields).send(vec![b'x'; 60 * MIB])
}

/// Takes `bytes` at each turn, until the connection ends or it is told to stop.
fn drip(client: &Client, bytes: usize, pause: Duration, stop: &AtomicBool) {
    let begun = Instant::now();
    let mut room = vec![0; bytes];
    while let Ok(count) = client.socket().read(&mut room)
        && count > 0
        && !stop.load(Ordering::Relaxed)
    {
        assert!(begun.elapsed() < ms(12_000), "still served");
        thread::sleep(pause);
    }
}

fn assert_released(srpd: &Instance, upstream: &Upstream) {
    upstream.wait_closed(1);
    eventually("nothing in flight and nobody there", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 0.0
            && srpd.metric("srpd_connections", &[]) == 0.0
    });
}

#[test]
fn one_that_always_takes_a_little_is_cut_off_when_the_calls_time_is_up() {
    for reply in [endless_stream(), endless_body()] {
        let upstream = Upstream::always(reply);
        let srpd = Setup::backstop_only(&upstream.url())
            .section("timeouts", "call = \"1500ms\"\nstream_idle = \"1s\"")
            .start();
        let mut client = srpd.connect();
        client.send(Ask::stream("smart").bytes());
        // More than a write's worth within each `stream_idle`: each makes its way.
        let begun = Instant::now();
        drip(&client, MIB / 4, ms(80), &AtomicBool::new(false));
        let took = begun.elapsed();
        assert!(took > ms(1400), "{took:?}");
        upstream.wait_closed(1);
        // What the kernels still hold may come for a while.
        assert!(begun.elapsed() < ms(6000), "{:?}", begun.elapsed());
        assert_released(&srpd, &upstream);
    }
}

#[test]
fn one_that_takes_a_byte_now_and_then_is_cut_off_after_stream_idle() {
    for reply in [endless_stream(), endless_body()] {
        let upstream = Upstream::always(reply);
        let srpd = Setup::backstop_only(&upstream.url())
            .section("timeouts", "stream_idle = \"700ms\"")
            .start();
        let mut client = srpd.connect();
        client.send(Ask::stream("smart").bytes());
        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let dripping = thread::spawn(move || drip(&client, 1, ms(50), &stopping));
        upstream.wait_closed(1);
        let took = begun.elapsed();
        assert!(took > ms(650) && took < ms(4000), "{took:?}");
        assert_released(&srpd, &upstream);
        stop.store(true, Ordering::Relaxed);
        dripping.join().expect("a reader");
    }
}

#[test]
fn one_that_takes_nothing_has_no_longer_than_the_call() {
    for reply in [endless_stream(), endless_body()] {
        let upstream = Upstream::always(reply);
        let srpd = Setup::backstop_only(&upstream.url())
            .section("timeouts", "call = \"700ms\"")
            .start();
        let mut client = srpd.connect();
        client.send(Ask::stream("smart").bytes());
        let begun = Instant::now();
        upstream.wait_closed(1);
        let took = begun.elapsed();
        assert!(took > ms(650) && took < ms(4000), "{took:?}");
        assert_released(&srpd, &upstream);
    }
}

#[test]
fn one_that_takes_nothing_holds_little_of_the_kernels_memory() {
    let upstream = Upstream::always(endless_stream());
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let before = srpd.resident();
    let mut clients: Vec<Client> = (0..8).map(|_| srpd.connect()).collect();
    for client in &mut clients {
        client.send(Ask::stream("smart").bytes());
        let mut room = [0; 1000];
        client.socket().read_exact(&mut room).expect("a beginning");
    }
    // Until what is on its way no longer changes.
    let queued = || clients.iter().map(|client| srpd.queues(client).0).max();
    let (mut most, mut since) = (queued(), Instant::now());
    while since.elapsed() < ms(400) {
        thread::sleep(ms(20));
        let now = queued();
        if now != most {
            (most, since) = (now, Instant::now());
        }
    }
    let most = most.expect("a queue");
    let grown = srpd.resident().saturating_sub(before) / clients.len();
    assert!(most > 0 && most < 400 * 1024, "{most} bytes in the kernel");
    assert!(grown < 700 * 1024, "{grown} bytes of buffers each");
}
