//! Large bodies: what they cost those beside them, and what is taken for them before they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Ask, Client, Instance, Reply, Setup, Upstream, delta, eventually, ms, within,
};

const MIB: usize = 1 << 20;

/// A chat call with an image of so many bytes.
fn image(bytes: usize) -> Vec<u8> {
    let data = "iVBORw0KGgoAAAANSUhEUg".repeat(bytes / 22);
    let front = r#"{"messages":[{"role":"user","content":[{"image_url":{"url":""#;
    format!(r#"{front}{data}"}}}}]}}],"stream":true,"model":"smart"}}"#).into_bytes()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    Ask::post("/v1/chat/completions", body).bytes()
}

fn in_chunks(body: &[u8]) -> Vec<u8> {
    let head = Ask::post("/v1/chat/completions", "").bytes();
    let head = String::from_utf8(head).expect("a head");
    let mut bytes = head
        .replace("content-length: 0", "transfer-encoding: chunked")
        .into_bytes();
    for chunk in body.chunks(MIB) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn as_form(bytes: usize) -> Vec<u8> {
    let mut body =
        b"--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n".to_vec();
    body.resize(body.len() + bytes, b'-');
    body.extend(b"\r\n--edge\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nsmart\r\n--edge--\r\n");
    Ask::post("/v1/audio/transcriptions", body)
        .without("content-type")
        .field("content-type", "multipart/form-data; boundary=edge")
        .bytes()
}

/// Uploads the same call over and over until told to stop; counts the answers.
fn upload(
    srpd: &Instance,
    bytes: &Arc<Vec<u8>>,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<usize> {
    let mut client = srpd.connect();
    let (bytes, stop) = (Arc::clone(bytes), Arc::clone(stop));
    thread::spawn(move || {
        let mut uploads = 0;
        while !stop.load(Ordering::Relaxed) {
            client.send(&*bytes);
            assert_eq!(client.response().status, 200);
            uploads += 1;
        }
        uploads
    })
}

/// Small calls, one after the other, until as many large ones have reached the upstream. Returns
/// how long the slowest took but for three: each large call that stood in the way shows, and a
/// machine that was busy with something else now and then does not.
fn slow_beside(srpd: &Instance, large: &AtomicUsize, until: usize) -> Duration {
    let mut client = srpd.connect();
    let mut times = Vec::new();
    while large.load(Ordering::Relaxed) < until {
        let begun = Instant::now();
        assert_eq!(client.ask(&Ask::get("/v1/models")).status, 200);
        times.push(begun.elapsed());
        thread::sleep(ms(1));
    }
    times.sort_unstable();
    times[times.len() - 4]
}

#[test]
fn large_bodies_leave_the_small_ones_their_turns() {
    let body = image(12 * MIB);
    let kinds = [
        ("a length", with_length(&body)),
        ("chunks", in_chunks(&body)),
        ("a form", as_form(12 * MIB)),
    ];
    for driver in ["io_uring", "epoll"] {
        let large = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&large);
        let upstream = Upstream::start(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Reply::chat("hi")
        });
        let srpd = Setup::backstop_only(&upstream.url())
            .section("instance", &format!("cores = 1\ndriver = \"{driver}\""))
            .section("log", "access = false")
            .start();
        for (kind, bytes) in &kinds {
            large.store(0, Ordering::Relaxed);
            let (bytes, stop) = (Arc::new(bytes.clone()), Arc::default());
            let uploads: Vec<_> = (0..2).map(|_| upload(&srpd, &bytes, &stop)).collect();
            let slow = slow_beside(&srpd, &large, 5);
            stop.store(true, Ordering::Relaxed);
            for upload in uploads {
                assert!(upload.join().expect("answers") > 0);
            }
            println!("{driver}, {kind}: {slow:?}");
            assert!(slow < ms(80), "{driver}, {kind}: {slow:?}");
        }
    }
}

#[test]
fn what_is_only_declared_takes_no_memory() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let whole = with_length(&image(60 * MIB));
    let begun = |bytes| {
        let mut client = srpd.connect();
        client.send(&whole[..bytes]);
        client
    };
    let warm = begun(1000);
    eventually("a call that has begun", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 1.0
    });
    let before = srpd.virtual_size();
    let clients: Vec<Client> = (0..40).map(|_| begun(1000)).collect();
    eventually("calls that have begun", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 41.0
    });
    let grown = srpd.virtual_size().saturating_sub(before);
    // Arenas of the allocator included, for 40 times 60 MiB that were declared.
    assert!(grown < 400 * MIB, "{} MiB", grown / MIB);
    drop((clients, warm));
}

#[test]
fn a_body_is_kept_no_longer_than_an_attempt_may_need_it() {
    let upstream = Upstream::always(
        Reply::events()
            .event(&delta("a"))
            .pause(ms(3000))
            .event(&delta("b"))
            .done(),
    );
    let srpd = Setup::backstop_only(&upstream.url()).start();
    assert_eq!(srpd.ask(&Ask::get("/v1/models")).status, 200);
    let before = srpd.resident();
    let mut client = srpd.connect();
    client.send(with_length(&image(40 * MIB)));
    let mut answer = client.incoming();
    answer.until(&delta("a"));
    // What has been free for a second goes back; the stream's second event is further away.
    within(ms(2500), "the body's memory given back", || {
        srpd.resident().saturating_sub(before) < 10 * MIB
    });
    assert!(answer.finish().complete);
}
