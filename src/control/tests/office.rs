//! The office's thread, over real sockets and with real time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::admin::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
use super::super::handover::Estate;
use super::super::market::Order;
use super::super::market::store::Store;
use super::super::office::{CoreLink, Ended, Office, OfficeHandle, Prepared};
use super::super::testing::{config, provider};
use crate::base::{Clock, ProviderId};
use crate::config::fixture::Fixture;
use crate::config::{self, BookingsFile, Config};
use crate::tables::{Board, BreakerView, Fact, Stage, Target};

const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    handle: OfficeHandle,
    board: Arc<Board>,
    links: Vec<CoreLink>,
    admin: SocketAddr,
}

fn start(config: Config, source: Option<PathBuf>) -> Running {
    let Prepared { office, links, .. } =
        Office::prepare(config, source, Clock::new(), 2).expect("prepared");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = listener.local_addr().expect("an address");
    let board = office.board();
    for link in &links {
        link.metrics.listener_opened();
    }
    let handle = office
        .start(listener, false, Estate::default())
        .expect("started");
    Running {
        handle,
        board,
        links,
        admin,
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends bytes, and reads until the server closes.
fn exchange(admin: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(admin).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

fn ask(admin: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    send(admin, method, path, "")
}

fn send(admin: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let length = body.len();
    let length = match length {
        0 => String::new(),
        _ => format!("content-length: {length}\r\n"),
    };
    let response = exchange(
        admin,
        &format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n{length}\r\n{body}"
        ),
    );
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head[9..12].parse().expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn a_trip_on_one_core_reaches_the_board_within_10_ms() {
    const TRIPS: u16 = 11;
    let mut many = config();
    for number in 0..TRIPS {
        let url = format!("http://127.0.0.1:{}", 10_000 + number);
        many.providers
            .push(provider(&format!("p{number}"), "nz", &url));
    }
    let running = start(many, None);
    let mut times: Vec<Duration> = (2..2 + TRIPS)
        .map(|id| {
            let provider = ProviderId(id);
            let tripped = Instant::now();
            let fact = Fact::Tripped {
                target: Target::Provider(provider),
                at: Clock::new().now(),
            };
            running.links[0].facts.try_send(fact).expect("room");
            let is_open = || {
                let snapshot = running.board.snapshot();
                snapshot.states.provider(provider).breaker != BreakerView::Closed
            };
            while !is_open() {
                assert!(tripped.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_micros(100));
            }
            tripped.elapsed()
        })
        .collect();
    times.sort();
    // The middle one: others may be using this machine's CPUs.
    let middle = times[usize::from(TRIPS) / 2];
    assert!(middle < Duration::from_millis(10), "{times:?}");
    running.handle.stop();
    assert_eq!(running.handle.wait(), Ended::Stopped);
}

#[test]
fn a_drain_waits_for_the_last_connection() {
    let running = start(config(), None);
    let core = &running.links[1].metrics;
    core.connection_opened();
    running.handle.drain();
    eventually("draining", || {
        running.board.snapshot().stage == Stage::Ending
    });
    running
        .links
        .iter()
        .for_each(|link| link.metrics.listener_closed());
    std::thread::sleep(Duration::from_millis(100));
    assert!(!running.board.stopped());
    core.connection_closed();
    assert_eq!(running.handle.wait(), Ended::Drained);
    assert!(running.board.stopped());
}

#[test]
fn a_drain_ends_at_its_time_and_at_a_second_request() {
    let mut short = config();
    short.timeouts.drain = Duration::from_millis(50);
    let running = start(short, None);
    running.handle.drain();
    assert_eq!(running.handle.wait(), Ended::DrainTimedOut);
    let running = start(config(), None);
    running.handle.drain();
    running.handle.drain();
    assert_eq!(running.handle.wait(), Ended::Stopped);
    assert!(running.board.stopped());
}

fn file(fixture: &Fixture, capabilities: &str, limits: &str) -> String {
    format!(
        "[instance]\njurisdiction = \"au\"\ncores = 2\n{limits}\n{}\n\
         [[provider]]\nname = \"aloomu\"\njurisdiction = \"au\"\n\
         accreditation = \"aloomu.accreditation.json\"\n\
         endpoints = [\"http://127.0.0.1:9101\"]\nmodels = {{ \"*\" = \"m\" }}\n{capabilities}",
        fixture.authority_table()
    )
}

#[test]
fn a_reload_takes_effect_or_leaves_the_old_in_force() {
    const SMART: &str = "[[capability]]\nname = \"smart\"\nchain = []\n";
    const FAST: &str = "[[capability]]\nname = \"fast\"\nchain = []\n";
    let mut fixture = Fixture::new();
    let seconds = jiff::Timestamp::now().as_second();
    fixture.now = jiff::Timestamp::from_second(seconds).expect("a time");
    let statement = fixture.statement("aloomu", "au", &["127.0.0.1"], 365);
    fixture.accredit("aloomu", statement);
    let path = fixture.write("srpd.toml", &file(&fixture, SMART, ""));
    let loaded = config::load(&path, jiff::Timestamp::now()).expect("valid");
    let running = start(loaded, Some(path));
    let names = || {
        let snapshot = running.board.snapshot();
        let names = snapshot.routes.capabilities.iter();
        names
            .map(|capability| capability.name.to_string())
            .collect::<Vec<_>>()
    };
    let metric = |line: &str| {
        let (_, _, page) = ask(running.admin, "GET", "/metrics");
        page.lines().any(|found| found == line)
    };
    assert_eq!(names(), ["smart"]);

    fixture.write("srpd.toml", &file(&fixture, &format!("{SMART}{FAST}"), ""));
    running.handle.reload();
    eventually("two capabilities", || names() == ["smart", "fast"]);
    assert!(metric("srpd_config_reloads_total 1"));

    fixture.write("srpd.toml", "[instance]\nnonsense = 1\n");
    running.handle.reload();
    eventually("a failure", || {
        metric("srpd_config_reload_failures_total 1")
    });
    assert!(metric("srpd_config_last_reload_successful 0"));
    assert_eq!(names(), ["smart", "fast"]);

    let restart = file(&fixture, FAST, "driver = \"epoll\"");
    fixture.write("srpd.toml", &restart);
    running.handle.reload();
    eventually("another failure", || {
        metric("srpd_config_reload_failures_total 2")
    });
    assert_eq!(names(), ["smart", "fast"]);

    fixture.write("srpd.toml", &file(&fixture, FAST, ""));
    running.handle.reload();
    eventually("one capability", || names() == ["fast"]);
    assert!(metric("srpd_config_last_reload_successful 1"));
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn the_admin_plane_answers() {
    let running = start(config(), None);
    let ask = |method, path| ask(running.admin, method, path);
    assert_eq!(ask("GET", "/healthz").2, "ok\n");
    let (status, _, body) = ask("GET", "/readyz");
    assert_eq!((status, body.as_str()), (200, "ready\n"));
    let (status, head, _) = ask("GET", "/metrics?x=1");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    for path in ["/srp/v1/providers", "/srp/v1/config"] {
        let (status, head, body) = ask("GET", path);
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/json"));
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
    }
    let (status, head, body) = ask("HEAD", "/healthz");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: 3"), "{head}");

    let (status, head, body) = ask("POST", "/metrics");
    assert_eq!(status, 405);
    assert!(head.contains("x-request-id: admin-"), "{head}");
    assert!(head.contains("allow: get, head"), "{head}");
    let error: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(error["error"]["type"], "invalid_request_error");
    let (status, _, body) = ask("GET", "/srp/v1/nothing");
    assert_eq!(status, 404);
    let error: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(error["error"]["code"], "unknown_url");

    running.handle.drain();
    eventually("not ready", || ask("GET", "/readyz").0 == 503);
    let (_, _, body) = ask("GET", "/readyz");
    assert!(body.contains("draining"), "{body}");
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn an_admin_client_that_misbehaves_harms_itself_only() {
    let running = start(config(), None);
    let mut silent = TcpStream::connect(running.admin).expect("a connection");
    silent.write_all(b"GET /metr").expect("sent");
    let _unread: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(running.admin).expect("a connection");
            let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
            stream.set_nonblocking(true).expect("non-blocking");
            let _ = stream.write(&request);
            stream
        })
        .collect();
    assert_eq!(ask(running.admin, "GET", "/healthz").0, 200);
    let target = Target::Provider(ProviderId(1));
    let at = Clock::new().now();
    let fact = Fact::Tripped { target, at };
    running.links[0].facts.try_send(fact).expect("room");
    eventually("open", || {
        let snapshot = running.board.snapshot();
        snapshot.states.provider(ProviderId(1)).breaker != BreakerView::Closed
    });
    let long = "x".repeat(64 * 1024);
    let response = exchange(
        running.admin,
        &format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
    );
    assert!(response.starts_with("HTTP/1.1 4"), "{response}");
    let body =
        "POST /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\n";
    assert!(exchange(running.admin, body).starts_with("HTTP/1.1 405"));
    let body = body.replace("POST", "GET");
    assert!(exchange(running.admin, &body).starts_with("HTTP/1.1 413"));
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn an_admin_request_has_so_many_bytes_and_fields() {
    let running = start(config(), None);
    let asked = |fields: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\nconnection: close\r\n{fields}\r\n");
        exchange(running.admin, &request)
    };
    let fields = |count: usize| "a: b\r\n".repeat(count - 1);
    assert!(asked(&fields(HEADERS_MAX)).starts_with("HTTP/1.1 200"));
    assert!(asked(&fields(HEADERS_MAX + 1)).starts_with("HTTP/1.1 431"));
    let long = |bytes: usize| format!("a: {}\r\n", "b".repeat(bytes));
    assert!(asked(&long(HEAD_BYTES_MAX - 1024)).starts_with("HTTP/1.1 200"));
    assert!(asked(&long(HEAD_BYTES_MAX)).starts_with("HTTP/1.1 431"));
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn an_admin_connection_too_many_waits_for_one_to_end() {
    let running = start(config(), None);
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(running.admin).expect("a connection"))
        .collect();
    let mut waits = TcpStream::connect(running.admin).expect("a connection");
    let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    waits.write_all(request).expect("sent");
    let shortly = Duration::from_millis(300);
    waits.set_read_timeout(Some(shortly)).expect("a time-out");
    let mut answer = [0; 12];
    assert!(waits.read_exact(&mut answer).is_err(), "it was answered");
    drop(held.pop());
    waits.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    waits.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn names_are_looked_up_before_the_start_is_over() {
    let mut named = config();
    named.providers[0].endpoints[0].host = "localhost".into();
    named.providers[1].endpoints[0].host = "localhost".into();
    named.providers[1].addresses = vec!["10.0.0.0/8".parse().expect("a range")];
    let running = start(named, None);
    let snapshot = running.board.snapshot();
    let [local, pinned] = snapshot.routes.providers.as_slice() else {
        panic!("two providers");
    };
    assert!(
        local.endpoints[0]
            .addresses
            .iter()
            .any(|it| it.ip().is_loopback())
    );
    assert!(pinned.endpoints[0].addresses.is_empty());
    running.handle.stop();
    running.handle.wait();
}

const RESERVATIONS: &str = "/srp/v1/reservations";

/// `aloomu` has eight slots, and bookings are kept in a directory of the test's.
fn with_bookings(directory: &std::path::Path) -> Config {
    let mut config = config();
    config.providers[0].capacity = std::num::NonZeroU32::new(8);
    config.market.bookings = BookingsFile {
        path: directory.join("reservations.redb"),
        named: true,
    };
    config
}

/// An order of so many of them for the next hour.
fn order(slots: u32) -> String {
    let hour = jiff::Timestamp::now().as_second() / 3600 + 1;
    let at = |hour: i64| jiff::Timestamp::from_second(hour * 3600).expect("a time");
    serde_json::json!({
        "key": "acme", "provider": "aloomu", "slots": slots,
        "from": at(hour).to_string(), "until": at(hour + 1).to_string(),
    })
    .to_string()
}

#[test]
fn orders_at_the_same_time_never_get_more_than_there_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = start(with_bookings(directory.path()), None);
    running.handle.serving(None);
    let admin = running.admin;
    eventually("open", || {
        send(admin, "POST", RESERVATIONS, &order(9)).0 == 409
    });
    let wanted = order(3);
    let statuses = std::thread::scope(|scope| {
        let ordering: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| send(admin, "POST", RESERVATIONS, &wanted).0))
            .collect();
        let joined = ordering
            .into_iter()
            .map(|one| one.join().expect("an answer"));
        joined.collect::<Vec<u16>>()
    });
    let booked = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(booked, 2, "{statuses:?}");
    assert!(
        statuses.iter().all(|it| [201, 409].contains(it)),
        "{statuses:?}"
    );
    let kept = Store::new(with_bookings(directory.path()).market.bookings);
    assert_eq!(kept.all().expect("read").len(), 2);
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn what_can_not_be_kept_is_not_booked() {
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = with_bookings(&directory.path().join("missing"));
    let running = start(nowhere, None);
    let (status, head, body) = send(running.admin, "POST", RESERVATIONS, &order(1));
    assert_eq!(status, 503, "it doesn't serve yet: {body}");
    assert!(body.contains("bookings_closed") && head.contains("retry-after: 1"));
    running.handle.serving(None);
    eventually("open", || {
        send(running.admin, "POST", RESERVATIONS, &order(9)).0 == 409
    });
    let (status, head, body) = send(running.admin, "POST", RESERVATIONS, &order(8));
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("missing/reservations.redb") && body.contains("bookings_not_kept"));
    assert!(head.contains("x-should-retry: false"), "{head}");
    let (_, _, page) = ask(running.admin, "GET", RESERVATIONS);
    assert_eq!(page, r#"{"reservations":[]}"#);
    // Its slots are free: the disk is well again.
    std::fs::create_dir(directory.path().join("missing")).expect("a directory");
    let (status, _, body) = send(running.admin, "POST", RESERVATIONS, &order(8));
    assert_eq!(status, 201, "{body}");
    let (_, _, page) = ask(running.admin, "GET", "/metrics");
    for expected in [
        "srpd_booking_changes_total{change=\"reserve\",outcome=\"done\"} 1",
        "srpd_booking_changes_total{change=\"reserve\",outcome=\"failed\"} 1",
        "srpd_bookings 1",
    ] {
        assert!(page.lines().any(|line| line == expected), "{expected}");
    }
    running.handle.drain();
    let gone = || send(running.admin, "POST", RESERVATIONS, &order(1));
    eventually("closed", || gone().0 == 503);
    assert!(gone().2.contains("going down"), "{}", gone().2);
    running.handle.stop();
    running.handle.wait();
}

#[test]
fn bookings_that_can_not_be_read_are_no_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = || with_bookings(directory.path());
    let path = config().market.bookings.path;
    let refused = || {
        let prepared = Office::prepare(config(), None, Clock::new(), 1);
        prepared.err().map(|error| error.to_string())
    };
    assert_eq!(refused(), None);
    assert!(
        !path.exists(),
        "an instance that books nothing makes no file"
    );
    std::fs::write(&path, b"scrap").expect("written");
    let said = refused().expect("refused");
    assert!(said.contains("reservations.redb"), "{said}");
    std::fs::remove_file(&path).expect("removed");
    // What a smaller instance has no room for is named.
    let store = Store::new(config().market.bookings);
    let kept: Order = serde_json::from_str(&order(9)).expect("an order");
    store.add(255, &kept, &[], 0).expect("kept");
    let said = refused().expect("refused");
    assert!(said.contains("res_00000000000000ff was booked"), "{said}");
    assert!(said.contains("at most 8 slots"), "{said}");
}
