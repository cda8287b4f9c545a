//! `[limits]` and `[timeouts]` at their edges: what is just inside passes, what is just outside is
//! refused, with the right status, and before a provider hears of it.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Ask, Client, Instance, KEY, Reply, Setup, Upstream, chat_body, eventually, ms,
};

const INVALID: &str = "invalid_request_error";

fn serve(section: &str, lines: &str) -> (Upstream, Instance) {
    let upstream = Upstream::always(Reply::chat("hello"));
    let srpd = Setup::backstop_only(&upstream.url())
        .section(section, lines)
        .start();
    (upstream, srpd)
}

/// A call whose head has exactly so many bytes, in `count` padding fields.
fn head_of(bytes: usize, count: usize) -> Vec<u8> {
    let with = |first: usize| {
        let pads = (0..count).map(|n| if n == 0 { first } else { 1 });
        let call = pads.fold(Ask::chat("smart"), |ask, pad| {
            ask.field("x-pad", "v".repeat(pad))
        });
        call.bytes()
    };
    let body = with(1).len() - head_length(&with(1));
    let call = with(bytes + body + 1 - with(1).len());
    assert_eq!(head_length(&call), bytes);
    call
}

fn head_length(message: &[u8]) -> usize {
    let end = memchr::memmem::find(message, b"\r\n\r\n").expect("a head");
    end + 4
}

#[test]
fn a_head_of_head_bytes_passes_and_one_more_is_431() {
    let (upstream, srpd) = serve("limits", "head_bytes = 4096");
    for count in [1, 60] {
        for piece in [usize::MAX, 700] {
            let send = |bytes: Vec<u8>| {
                let mut client = srpd.connect();
                for part in bytes.chunks(piece.min(bytes.len())) {
                    client.send(part);
                    thread::sleep(ms(2));
                }
                client.response()
            };
            let before = upstream.count();
            assert_eq!(send(head_of(4096, count)).said(), "hello");
            send(head_of(4097, count)).assert_error(431, INVALID, None, None);
            assert_eq!(upstream.count(), before + 1);
        }
    }
    // One that has no end within the limit is refused when that can be told, and no sooner.
    let long = head_of(5000, 1);
    let mut client = srpd.connect();
    client.send(&long[..4095]);
    thread::sleep(ms(100));
    client.socket().set_nonblocking(true).expect("a socket");
    let early = client.socket().peek(&mut [0]);
    assert!(early.is_err(), "answered before it was too long");
    client.socket().set_nonblocking(false).expect("a socket");
    client.send(&long[4095..4096]);
    client.response().assert_error(431, INVALID, None, None);
    // One giant field, and one that never ends: no more is read than the limit.
    for length in [100_000, 20_000_000] {
        let mut client = srpd.connect();
        client.send("GET /v1/models HTTP/1.1\r\nx-giant: ");
        client.send("v".repeat(length));
        client.response().assert_error(431, INVALID, None, None);
    }
}

#[test]
fn so_many_fields_pass_and_one_more_is_431() {
    // `host`, `content-length`, `authorization` and `content-type` count.
    let call = |fields: usize| {
        let pads = 4..fields;
        pads.fold(Ask::chat("smart"), |ask, n| ask.field(&format!("x{n}"), ""))
    };
    for (section, most) in [("", 100), ("headers = 7", 7), ("headers = 256", 256)] {
        let (upstream, srpd) = serve("limits", section);
        assert_eq!(srpd.ask(&call(most)).said(), "hello");
        let response = srpd.ask(&call(most + 1));
        response.assert_error(431, INVALID, None, None);
        assert_eq!(upstream.count(), 1);
    }
}

/// The head of a call in chunks.
fn chunked() -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: srpd.test\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
}

/// A body of exactly so many bytes.
fn body_of(bytes: usize) -> String {
    let frame = r#"{"model":"smart","pad":""}"#.len();
    format!(
        r#"{{"model":"smart","pad":"{}"}}"#,
        "x".repeat(bytes - frame)
    )
}

#[test]
fn chunks_of_body_bytes_pass_and_one_more_byte_is_413_at_once() {
    let (upstream, srpd) = serve("limits", "body_bytes = 2000");
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let in_two = |bytes| {
        let body = body_of(bytes);
        let (one, two) = body.split_at(1500);
        chunked() + &chunk(one) + &chunk(two) + "0\r\n\r\n"
    };
    let mut client = srpd.connect();
    client.send(in_two(2000));
    assert_eq!(client.response().said(), "hello");
    client.send(in_two(2001));
    client.response().assert_error(413, INVALID, None, None);
    client.assert_closed();

    // A size that can't fit is enough; `timeouts.body` is a minute.
    let begun = chunked() + &chunk(&body_of(1000));
    for (sent, fits) in [
        (chunked() + "7d0\r\n", true),
        (chunked() + "7d1\r\n", false),
        (chunked() + "7d1", false),
        (chunked() + "ffffffffffffffff\r\n", false),
        (begun.clone() + "3e8\r\n", true),
        (begun.clone() + "3e9\r\n", false),
    ] {
        let (mut client, since) = (srpd.connect(), Instant::now());
        client.send(&sent);
        if fits {
            thread::sleep(ms(100));
            assert_eq!(srpd.queues(&client).1, 0, "read, and waited for");
            assert_eq!(srpd.metric("srpd_calls_in_flight", &[]), 1.0);
            client.close();
            eventually("nothing in flight", || {
                srpd.metric("srpd_calls_in_flight", &[]) == 0.0
            });
        } else {
            client.response().assert_error(413, INVALID, None, None);
            client.assert_closed();
            assert!(since.elapsed() < ms(5000), "{:?}", since.elapsed());
        }
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn calls_are_counted_exactly_whatever_becomes_of_them() {
    let upstream = Upstream::always(Reply::new().stall());
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .section("limits", "calls_per_core = 3")
        .start();
    let overloaded = || {
        let (mut client, begun) = (srpd.connect(), Instant::now());
        let response = client.ask(&Ask::chat("smart"));
        let code = Some("overloaded");
        response.assert_error(503, "service_unavailable_error", code, None);
        response.assert_should_retry(true);
        assert_eq!(response.field("retry-after"), Some("1"));
        // The connection is as good as before: the client may come back on it.
        assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
        assert!(begun.elapsed() < ms(5000));
    };
    let whole = Ask::chat("smart").bytes();
    let mut sent = 0;
    for round in 0..3 {
        // One waits for its answer, one for the rest of its body, one leaves in between.
        let (mut waiting, mut reading, mut leaving) =
            (srpd.connect(), srpd.connect(), srpd.connect());
        waiting.send(&whole);
        leaving.send(&whole);
        sent += 2;
        upstream.wait_requests(sent);
        reading.send(&whole[..whole.len() - 5]);
        eventually("three in flight", || {
            srpd.metric("srpd_calls_in_flight", &[]) == 3.0
        });
        overloaded();
        leaving.close();
        eventually("room for one", || {
            srpd.metric("srpd_calls_in_flight", &[]) == 2.0
        });
        let mut third = srpd.connect();
        third.send(&whole);
        sent += 1;
        upstream.wait_requests(sent);
        overloaded();
        // What is refused, and what is no call, takes no place.
        assert_eq!(srpd.ask(&Ask::chat("smart").key("nobody")).status, 401);
        assert_eq!(upstream.count(), sent, "in round {round}");
        for client in [waiting, reading, third] {
            client.close();
        }
        eventually("nothing in flight", || {
            srpd.metric("srpd_calls_in_flight", &[]) == 0.0
        });
    }
}

/// Sends bytes one after the other, so many to a turn, until an answer comes.
fn drip(client: &mut Client, bytes: &[u8], size: usize, pause: Duration) -> Duration {
    let begun = Instant::now();
    client.socket().set_nonblocking(true).expect("a socket");
    for piece in bytes.chunks(size) {
        client.send(piece);
        thread::sleep(pause);
        if !matches!(client.socket().peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        {
            break;
        }
    }
    let took = begun.elapsed();
    client.socket().set_nonblocking(false).expect("a socket");
    took
}

#[test]
fn a_head_that_drips_on_has_no_longer_than_a_whole_one() {
    let (upstream, srpd) = serve("timeouts", "head = \"600ms\"");
    let call = Ask::chat("smart").bytes();
    let head = head_length(&call);
    // In three quarters of the time, and not in it.
    let mut client = srpd.connect();
    drip(&mut client, &call, head / 4, ms(100));
    assert_eq!(client.response().said(), "hello");
    let mut client = srpd.connect();
    let took = drip(&mut client, &call[..head - 1], 1, ms(30));
    assert!(took >= ms(550) && took < ms(2500), "{took:?}");
    client.response().assert_error(408, INVALID, None, None);
    client.assert_closed();
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_body_that_drips_on_has_no_longer_than_the_call() {
    let (upstream, srpd) = serve("timeouts", "body = \"400ms\"\ncall = \"1200ms\"");
    let body = body_of(400);
    let (with_length, in_chunks) = (Ask::post("/v1/chat/completions", &body).bytes(), {
        let chunks = body.as_bytes().chunks(1);
        let chunks: String = chunks
            .map(|byte| format!("1\r\n{}\r\n", byte[0] as char))
            .collect();
        (chunked() + &chunks + "0\r\n\r\n").into_bytes()
    });
    for call in [with_length, in_chunks] {
        // Never still for as long as `body`, and there before the call's time is up.
        let head = head_length(&call);
        let before = upstream.count();
        let mut client = srpd.connect();
        client.send(&call[..head]);
        let rest = &call[head..];
        drip(&mut client, rest, rest.len() / 4 + 1, ms(150));
        assert_eq!(client.response().said(), "hello");
        let mut client = srpd.connect();
        client.send(&call[..head]);
        let took = drip(&mut client, &rest[..rest.len() - 1], 1, ms(50));
        assert!(took >= ms(1100) && took < ms(3500), "{took:?}");
        client.response().assert_error(408, INVALID, None, None);
        client.assert_closed();
        assert_eq!(upstream.count(), before + 1);
    }
}

#[test]
fn first_byte_is_until_the_first_byte_of_the_body() {
    let body = chat_body("late");
    let head = |length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let in_time = Reply::new()
        .pause(ms(250))
        .send(head(body.len()))
        .pause(ms(250))
        .send(&body);
    let too_late = Reply::new()
        .send(head(body.len()))
        .pause(ms(1600))
        .send(&body);
    for (reply, said) in [(in_time, "late"), (too_late, "from home")] {
        let vendor = Upstream::always(reply);
        let backstop = Upstream::always(Reply::chat("from home"));
        let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
            .section("timeouts", "first_byte = \"800ms\"")
            .start();
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), said);
    }
}

#[test]
fn a_connection_that_sends_nothing_is_closed_after_keep_alive_without_a_word() {
    let (_upstream, srpd) = serve("timeouts", "keep_alive = \"500ms\"\nhead = \"5s\"");
    let (mut silent, begun) = (srpd.connect(), Instant::now());
    let mut prompt = srpd.connect();
    thread::sleep(ms(250));
    assert_eq!(prompt.ask(&Ask::chat("smart")).said(), "hello");
    silent.assert_closed();
    let took = begun.elapsed();
    assert!(took >= ms(480) && took < ms(2500), "{took:?}");
    eventually("nobody there", || {
        srpd.metric("srpd_connections", &[]) == 0.0
    });
}
