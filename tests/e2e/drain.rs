//! SIGTERM: what has begun is finished, nothing new begins, and the process ends with 0.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Ask, Instance, Reply, Setup, Upstream, delta, ms, within};

fn assert_refuses(srpd: &Instance) {
    within(
        ms(1000),
        "new connections refused",
        || match TcpStream::connect(srpd.data()) {
            Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            Ok(_) => false,
        },
    );
}

#[test]
fn calls_in_flight_are_finished_and_new_ones_refused() {
    let stream = (0..10).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(100)));
    let whole = Reply::new()
        .pause(ms(700))
        .send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
    let upstream = Upstream::start(move |request| {
        if request.json()["stream"] == true {
            stream.clone().done()
        } else {
            whole.clone()
        }
    });
    let mut srpd = Setup::backstop_only(&upstream.url()).start();
    let (mut streaming, mut waiting, mut idle) = (srpd.connect(), srpd.connect(), srpd.connect());
    assert_eq!(idle.ask(&Ask::get("/v1/models")).status, 200);
    streaming.send(Ask::stream("smart").bytes());
    waiting.send(Ask::chat("smart").bytes());
    upstream.wait_requests(2);
    let mut incoming = streaming.incoming();
    incoming.until("data:");
    srpd.signal("TERM");
    assert_refuses(&srpd);
    assert_eq!(srpd.admin("/readyz").status, 503);
    assert_eq!(srpd.admin("/healthz").status, 200);
    let told = Instant::now();
    idle.assert_closed();
    assert!(told.elapsed() < ms(500), "an idle connection was kept");
    let response = incoming.finish();
    assert!(response.complete);
    assert_eq!(response.data().len(), 11);
    let response = waiting.response();
    assert_eq!((response.status, response.complete), (200, true));
    streaming.assert_closed();
    waiting.assert_closed();
    let status = srpd.wait_exit(Duration::from_secs(3));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_idle_instance_ends_at_once() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let mut srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    client.ask(&Ask::chat("smart"));
    srpd.signal("TERM");
    assert_eq!(srpd.wait_exit(ms(1500)).code(), Some(0));
    client.assert_closed();
    let closed = upstream.wait_closed(1);
    assert!(closed.elapsed() < ms(1500));
}

#[test]
fn what_is_not_finished_in_time_is_cut_and_says_so() {
    let upstream = Upstream::always(Reply::events().event(&delta("a")).stall());
    let mut srpd = Setup::backstop_only(&upstream.url())
        .section("timeouts", "drain = \"400ms\"")
        .start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    let mut incoming = client.incoming();
    incoming.until("data:");
    let told = Instant::now();
    srpd.signal("TERM");
    let status = srpd.wait_exit(ms(2500));
    assert_eq!(status.code(), Some(0));
    assert!(told.elapsed() >= ms(350), "{:?}", told.elapsed());
    let response = incoming.finish();
    assert!(!response.complete, "{}", response.text());
    assert!(!response.text().contains("[DONE]"));
}
