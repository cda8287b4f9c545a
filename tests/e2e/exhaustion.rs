//! What is used up: descriptors, connections, a provider's answers, memory. Calls that need none of
//! it go on, nothing spins, and all is well again as soon as the cause has gone. The same at full
//! size, with figures: `perf/exhaustion`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Ask, Client, Instance, Reply, Request, Setup, Upstream, delta, eventually, ms, spawn_bounded,
    within,
};

/// What an idle or exhausted instance may use, in CPUs: an accept that fails at once, again and
/// again, would use a whole one.
const REST: f64 = 0.2;

/// From the cause's end to everything being well, on a machine that may be busy with other tests:
/// `perf/exhaustion` holds it to one second.
const RECOVERED: Duration = Duration::from_secs(5);

/// A client that makes one call after the other on one connection.
struct Caller {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Caller {
    fn start(srpd: &Instance, capability: &'static str) -> Caller {
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        let (stopped, made) = (Arc::clone(&stop), Arc::clone(&calls));
        let mut client = srpd.connect();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                assert_eq!(client.ask(&Ask::chat(capability)).said(), "hi");
                made.fetch_add(1, Ordering::Relaxed);
                thread::sleep(ms(5));
            }
        });
        Caller {
            stop,
            calls,
            thread,
        }
    }

    /// Asserts that it goes on.
    fn assert_going_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        within(RECOVERED, "further calls", || {
            self.calls.load(Ordering::Relaxed) > before + 3
        });
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every call was served");
    }
}

/// A call on a connection of its own, made by then or the test fails.
fn assert_served_within(srpd: &Instance, time: Duration) {
    let begun = Instant::now();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
    assert!(begun.elapsed() < time, "took {:?}", begun.elapsed());
}

/// A stream that outlasts every test, or an answer.
fn endless_or_short(request: &Request) -> Reply {
    match request.json()["stream"] == true {
        true => (0..3000).fold(Reply::events(), |reply, _| {
            reply.pause(ms(20)).event(&delta("a"))
        }),
        false => Reply::chat("hi"),
    }
}

/// A client whose stream has begun.
fn begin_stream(srpd: &Instance) -> Client {
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    client.incoming().until("data:");
    client
}

#[test]
fn clients_that_hold_every_descriptor_idle_make_way_for_those_who_ask() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start_with_descriptors(128);
    let caller = Caller::start(&srpd, "smart");
    caller.assert_going_on();
    let crowd: Vec<Client> = (0..300).map(|_| srpd.connect()).collect();
    caller.assert_going_on();
    assert_served_within(&srpd, RECOVERED);
    let open = srpd.metric("srpd_connections", &[]);
    assert!((60.0..128.0).contains(&open), "{open} connections");
    let refused = srpd.metric("srpd_connections_refused_total", &[]);
    assert_eq!(refused, 0.0);
    assert!(srpd.metric("srpd_connections_shed_total", &[]) >= 200.0);
    // A caller that calls again and again is never idle for long.
    caller.assert_going_on();
    caller.end();
    let load = srpd.load_over(ms(1000));
    assert!(load < REST, "{load}");
    drop(crowd);
    within(RECOVERED, "the crowd gone", || {
        srpd.metric("srpd_connections", &[]) <= 1.0
    });
    assert_served_within(&srpd, RECOVERED);
}

#[test]
fn where_all_are_at_work_newcomers_are_turned_away_and_streams_go_on() {
    let upstream = Upstream::start(endless_or_short);
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start_with_descriptors(128);
    let mut streams: Vec<Client> = Vec::new();
    let full = loop {
        let mut client = srpd.connect();
        client.send(Ask::stream("smart").bytes());
        let mut incoming = client.incoming();
        if incoming.response.status != 200 {
            break incoming.finish();
        }
        incoming.until("data:");
        streams.push(client);
        assert!(streams.len() < 128, "no bound on calls");
    };
    full.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    assert!(full.field("retry-after").is_some());
    assert!(streams.len() >= 20, "only {} streams", streams.len());
    // Bodies that never come take the rest.
    let body = Ask::chat("smart").body("{").field("x-padding", "x");
    let head = String::from_utf8(body.bytes()).expect("text");
    let head = head.replace("content-length: 1\r\n", "content-length: 9\r\n");
    let mut slow = Vec::new();
    eventually("clients turned away", || {
        let mut client = srpd.connect();
        client.send(&head);
        slow.push(client);
        srpd.metric("srpd_connections_refused_total", &[]) > 20.0
    });
    for client in &mut streams {
        assert!(client.hears_more(), "a stream ended");
    }
    let load = srpd.load_over(ms(1000));
    assert!(load < 2.0 * REST, "{load}");
    drop(slow);
    drop(streams);
    let begun = Instant::now();
    within(RECOVERED, "a place for another call", || {
        let mut client = srpd.connect();
        client.send(Ask::chat("smart").field("connection", "close").bytes());
        client.rest().0.starts_with(b"HTTP/1.1 200")
    });
    assert!(begun.elapsed() < RECOVERED);
}

#[test]
fn slow_strangers_hold_no_place_for_long_when_places_are_short() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start_with_descriptors(128);
    let caller = Caller::start(&srpd, "smart");
    caller.assert_going_on();
    let mut slow: Vec<Client> = (0..200).map(|_| srpd.connect()).collect();
    for byte in b"POST /v1/cha" {
        for client in &mut slow {
            client.send([*byte]);
        }
        assert_served_within(&srpd, RECOVERED);
    }
    caller.assert_going_on();
    caller.end();
    assert!(srpd.metric("srpd_connections_shed_total", &[]) >= 100.0);
    assert!(srpd.load_over(ms(500)) < REST);
}

#[test]
fn slow_heads_cost_nothing_and_end_in_time() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("timeouts", "head = \"1500ms\"")
        .start();
    let caller = Caller::start(&srpd, "smart");
    let begun = Instant::now();
    let mut slow: Vec<Client> = (0..200).map(|_| srpd.connect()).collect();
    for byte in b"POST /v1" {
        for client in &mut slow {
            client.send([*byte]);
        }
        thread::sleep(ms(50));
    }
    caller.assert_going_on();
    assert!(srpd.metric("srpd_connections", &[]) >= 200.0);
    for client in &mut slow {
        client
            .response()
            .assert_error(408, "invalid_request_error", None, None);
    }
    assert!(begun.elapsed() >= ms(1400));
    drop(slow);
    within(RECOVERED, "the slow ones gone", || {
        srpd.metric("srpd_connections", &[]) <= 1.0
    });
    caller.assert_going_on();
    caller.end();
}

#[test]
fn a_provider_that_hangs_holds_up_nobody_else() {
    const HANGING: usize = 100;
    let hanging = Upstream::always(Reply::new().stall());
    let healthy = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::bare(&healthy.url())
        .provider("vendor-us", "us", &[&hanging.url()], "")
        .capability("hung", &["vendor-us"], "")
        .capability("smart", &[], "")
        .patient_breakers()
        .start();
    let caller = Caller::start(&srpd, "smart");
    let mut hung: Vec<Client> = (0..HANGING).map(|_| srpd.connect()).collect();
    for client in &mut hung {
        client.send(Ask::chat("hung").bytes());
    }
    hanging.wait_requests(HANGING);
    caller.assert_going_on();
    assert_served_within(&srpd, RECOVERED);
    caller.end();
    assert!(srpd.load_over(ms(500)) < REST);
    let begun = Instant::now();
    drop(hanging);
    for client in &mut hung {
        // The provider has gone: the backstop answers.
        assert_eq!(client.response().said(), "hi");
    }
    assert!(begun.elapsed() < RECOVERED, "took {:?}", begun.elapsed());
    eventually("no call in flight", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 0.0
    });
}

/// Sets the bounds on descriptors of a running process.
fn bound_descriptors(srpd: &Instance, soft: u64) {
    let status = std::process::Command::new("prlimit")
        .args([format!("--pid={}", srpd.pid()), format!("--nofile={soft}:")])
        .status();
    assert!(status.expect("prlimit runs").success());
}

#[test]
fn without_a_single_descriptor_streams_go_on_and_newcomers_wait() {
    let upstream = Upstream::start(endless_or_short);
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start();
    let mut streams: Vec<Client> = (0..5).map(|_| begin_stream(&srpd)).collect();
    bound_descriptors(&srpd, 3);
    // The accept that is under way may still succeed.
    let _first = srpd.connect();
    let mut waiting: Vec<Client> = (0..20).map(|_| srpd.connect()).collect();
    for client in &mut waiting {
        client.send(Ask::chat("smart").bytes());
    }
    for client in &mut streams {
        assert!(client.hears_more() && client.hears_more(), "a stream ended");
    }
    let load = srpd.load_over(ms(1000));
    assert!(load < 2.0 * REST, "{load}");
    bound_descriptors(&srpd, 512);
    let begun = Instant::now();
    for client in &mut waiting {
        assert_eq!(client.response().said(), "hi");
    }
    assert!(begun.elapsed() < RECOVERED, "took {:?}", begun.elapsed());
    for client in &mut streams {
        assert!(client.hears_more(), "a stream ended");
    }
}

#[test]
fn a_call_that_finds_no_descriptor_anywhere_is_503_overloaded() {
    let (vendor, backstop) = (
        Upstream::start(endless_or_short),
        Upstream::start(endless_or_short),
    );
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("instance", "cores = 1")
        .start();
    let mut client = srpd.connect();
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    let _streams: Vec<Client> = (0..3).map(|_| begin_stream(&srpd)).collect();
    bound_descriptors(&srpd, 3);
    let refused = client.ask(&Ask::chat("smart"));
    refused.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    assert_eq!(refused.field("retry-after"), Some("1"));
    bound_descriptors(&srpd, 512);
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    assert_eq!(srpd.metric("srpd_breaker_transitions_total", &[]), 0.0);
}

#[test]
fn an_accept_and_a_connect_that_find_no_descriptor_are_made_room_for() {
    let upstream = Upstream::start(endless_or_short);
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start();
    let mut crowd: Vec<Client> = (0..60).map(|_| srpd.connect()).collect();
    for client in &mut crowd {
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    }
    // Lower than the core reckons with: only the kernel says so.
    bound_descriptors(&srpd, 60);
    let mut streams: Vec<Client> = (0..10).map(|_| begin_stream(&srpd)).collect();
    for client in &mut streams {
        assert!(client.hears_more(), "a stream ended");
    }
    assert!(srpd.metric("srpd_connections_shed_total", &[]) >= 10.0);
    assert_eq!(srpd.metric("srpd_attempts_total", &["\"connect\""]), 0.0);
}

#[test]
fn the_bound_on_descriptors_is_raised_and_a_low_one_is_told() {
    let setup = Setup::backstop_only("http://127.0.0.1:9101").section("instance", "cores = 2");
    let srpd = setup.start_by(|command| spawn_bounded(command, 64, 900));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", srpd.pid())).expect("/proc");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let bounds: Vec<&str> = files.expect("a line").split_whitespace().skip(3).collect();
    assert_eq!(bounds[..2], ["900", "900"]);
    let told = |lines: &[String]| {
        let warnings = lines.iter().filter(|line| line.contains("\"WARN\""));
        warnings.filter(|line| line.contains("descriptors")).count()
    };
    assert_eq!(told(&srpd.log()), 1, "{:?}", srpd.log());
    let few = setup
        .clone()
        .section("limits", "connections_per_core = 300");
    let srpd = few.start_by(|command| spawn_bounded(command, 64, 900));
    assert_eq!(told(&srpd.log()), 0, "{:?}", srpd.log());
}

#[test]
fn too_few_descriptors_are_no_start() {
    let directory = tempfile::tempdir().expect("a directory");
    Setup::backstop_only("http://127.0.0.1:9101").write(directory.path());
    let mut command = std::process::Command::new(crate::support::setup::SRPD);
    command
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(directory.path());
    let output = spawn_bounded(&command, 40, 40).wait_with_output();
    let output = output.expect("an end");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("40 file descriptors"), "{said}");
}

/// Has many calls wait for their answers, with bodies of all sizes, and leaves. The memory that the
/// instance has at the height of it, in KiB.
fn burst(srpd: &Instance, upstream: &Upstream, calls: usize) -> usize {
    let (asked, left) = (upstream.count(), upstream.closed());
    let mut crowd: Vec<Client> = (0..calls).map(|_| srpd.connect()).collect();
    for (number, client) in crowd.iter_mut().enumerate() {
        let padding = "x".repeat(10_000 + number * 7919 % 200_000);
        let body = format!(r#"{{"model":"smart","user":"{padding}"}}"#);
        client.send(Ask::chat("smart").body(body).bytes());
    }
    upstream.wait_requests(asked + calls);
    let height = srpd.memory();
    drop(crowd);
    upstream.wait_closed(left + calls);
    height
}

#[test]
#[cfg_attr(not(feature = "jemalloc"), ignore = "glibc keeps part of it")]
fn memory_is_given_back_after_a_burst_and_used_again_in_the_next() {
    const CALLS: usize = 400;
    let upstream = Upstream::always(Reply::new().stall());
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start();
    let before = srpd.memory();
    let mut heights = Vec::new();
    for _ in 0..4 {
        heights.push(burst(&srpd, &upstream, CALLS) - before);
        let bound = before + heights[0] / 2;
        eventually("memory given back", || srpd.memory() < bound);
    }
    let (first, last) = (heights[0], heights[3]);
    assert!(last < first * 5 / 4, "{heights:?} KiB above {before}");
}

#[test]
#[cfg_attr(not(feature = "jemalloc"), ignore = "glibc keeps part of it")]
fn an_idle_connection_keeps_little() {
    const HALF: usize = 400;
    const EACH_BYTES_MAX: usize = 8 * 1024;
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .start();
    let mut crowd = Vec::new();
    // What the first half needs beside its connections is there for the second.
    let [first, second] = [(); 2].map(|()| {
        for _ in 0..HALF {
            let mut client = srpd.connect();
            assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
            crowd.push(client);
        }
        srpd.memory() * 1024
    });
    let each = second.saturating_sub(first) / HALF;
    assert!(each <= EACH_BYTES_MAX, "{each} bytes each");
}

/// An instance with so much memory, its backstop, and a provider that takes connections, never
/// reads, and has the capability `hung`.
fn short_of_memory(backstop: &Upstream, mib: usize) -> (Instance, TcpListener) {
    let sink = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    sink.bind(&any.into()).expect("a port");
    sink.listen(4096).expect("listening");
    let sink = TcpListener::from(sink);
    let url = format!("http://{}", sink.local_addr().expect("its address"));
    let srpd = Setup::bare(&backstop.url())
        .provider("vendor-us", "us", &[&url], "")
        .capability("hung", &["vendor-us"], "")
        .capability("smart", &[], "")
        .section("limits", &format!("memory_bytes = {}", mib << 20))
        .patient_breakers()
        .start();
    (srpd, sink)
}

/// A call with so much in its body.
fn ask_with(capability: &str, kib: usize) -> Ask {
    let padding = "x".repeat(kib * 1024);
    let body = format!(r#"{{"model":"{capability}","user":"{padding}"}}"#);
    Ask::chat(capability).body(body)
}

/// Has calls with so much in their bodies hang until `count` of them were refused.
fn hang_until_refused(srpd: &Instance, kib: usize, count: f64) -> Vec<Client> {
    const MOST: usize = 2000;
    let ask = ask_with("hung", kib);
    let mut hung = Vec::new();
    let refused = || {
        srpd.metric("srpd_rejections_total", &["\"overloaded\""])
            + srpd.metric("srpd_connections_refused_total", &[])
            + srpd.metric("srpd_connections_shed_total", &[])
    };
    while refused() < count {
        for _ in 0..10 {
            let mut client = srpd.connect();
            client.send(ask.bytes());
            hung.push(client);
        }
        assert!(hung.len() < MOST, "{} KiB and none refused", srpd.memory());
    }
    hung
}

#[test]
fn where_memory_is_short_large_bodies_are_refused_and_small_calls_go_on() {
    // Bodies that have begun when three quarters are in use must not come to nine tenths.
    const MIB: usize = 256;
    let healthy = Upstream::always(Reply::chat("hi"));
    let (srpd, _sink) = short_of_memory(&healthy, MIB);
    let caller = Caller::start(&srpd, "smart");
    let large = ask_with("smart", 2048);
    assert_eq!(srpd.ask(&large).said(), "hi");
    let hung = hang_until_refused(&srpd, 2048, 20.0);
    assert!(hung.len() > 40, "refused with {} bodies", hung.len());
    let memory = srpd.memory();
    assert!(memory < MIB * 1024, "{memory} KiB");
    let refused = srpd.ask(&large);
    refused.assert_error(503, "service_unavailable_error", Some("overloaded"), None);
    assert_eq!(refused.field("retry-after"), Some("1"));
    caller.assert_going_on();
    drop(hung);
    within(RECOVERED, "a large body taken", || {
        srpd.ask(&large).status == 200
    });
    caller.end();
}

#[test]
#[cfg_attr(not(feature = "jemalloc"), ignore = "glibc keeps part of it")]
fn where_memory_is_at_its_end_no_call_is_taken_until_there_is_some() {
    const MIB: usize = 64;
    let healthy = Upstream::always(Reply::chat("hi"));
    let (srpd, _sink) = short_of_memory(&healthy, MIB);
    let mut hung = hang_until_refused(&srpd, 60, 20.0);
    assert!(hung.len() > 200, "refused with {} bodies", hung.len());
    let memory = srpd.memory();
    assert!(memory < MIB * 1024, "{memory} KiB");
    assert!(srpd.load_over(ms(500)) < 2.0 * REST);
    hung.clear();
    within(RECOVERED, "calls taken", || {
        let mut client = srpd.connect();
        client.send(Ask::chat("smart").field("connection", "close").bytes());
        client.rest().0.starts_with(b"HTTP/1.1 200")
    });
}
