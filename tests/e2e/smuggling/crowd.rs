//! Two customers with several connections each, all through one pool, towards a provider that
//! breaks every rule now and then. Each request and each answer bears its caller's mark in many
//! places. No mark is ever seen by anybody else: no caller reads another's, and no request at a
//! provider has two.
//!
//! One thing is left out, since no intermediary can tell it: a whole response that the provider
//! sends unasked just when the connection has been given to another call (docs/THREAT_MODEL.md).
//! What comes unasked here is no response.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::support::{Ask, KEY, Reply, Request, Setup, Upstream, chat_body, delta, ms};

const CUSTOMERS: [&str; 2] = ["alice", "bob"];
/// Connections that each customer has at a time.
const CONNECTIONS: usize = 4;
/// Conversations on each, one after the other.
const CONVERSATIONS: usize = 150;

/// A number below `bound` that is the same for the same subject.
fn dice(subject: &str, question: &str, bound: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (subject, question).hash(&mut hasher);
    hasher.finish() % bound
}

/// Every mark in some bytes, in order.
fn marks(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let pieces = text.split("<<").skip(1);
    let marks = pieces.filter_map(|piece| Some(piece.split_once(">>")?.0.to_owned()));
    marks.collect()
}

/// A call that bears a mark in its head and in its body, which may be too large for one piece.
fn request(mark: &str, last: bool) -> Vec<u8> {
    let filler = "x".repeat([10, 1_000, 40_000][dice(mark, "size", 3) as usize]);
    let stream = dice(mark, "stream", 2) == 0;
    let body = format!(
        r#"{{"user":"<<{mark}>>","filler":"{filler}","stream":{stream},"model":"smart","note":"<<{mark}>>"}}"#
    );
    let ask = Ask::post("/v1/chat/completions", "")
        .field("x-note", format!("<<{mark}>>"))
        .field("connection", if last { "close" } else { "keep-alive" });
    let text = String::from_utf8(ask.bytes()).expect("text");
    assert!(text.contains(KEY));
    let framed = match dice(mark, "chunks", 3) {
        0 => {
            let (front, back) = body.split_at(body.len() / 3);
            let (a, b) = (front.len(), back.len());
            format!(
                "transfer-encoding: chunked\r\n\r\n{a:x};x=y\r\n{front}\r\n{b:x}\r\n{back}\r\n0\r\n\r\n"
            )
        }
        _ => format!("content-length: {}\r\n\r\n{body}", body.len()),
    };
    let head = text.replacen("content-length: 0\r\n", "", 1);
    let head = head.strip_suffix("\r\n").expect("a blank line");
    format!("{head}{framed}").into_bytes()
}

/// What the provider does with a request, decided by its mark.
fn misbehave(request: &Request) -> Reply {
    let mark = marks(&request.body).pop().unwrap_or_default();
    let text = format!("<<{mark}>>").repeat(1 + dice(&mark, "length", 400) as usize);
    let (whole, body) = (Reply::chat(&text), chat_body(&text));
    let json = "content-type: application/json\r\n";
    let stream = (0..4).fold(Reply::events(), |reply, piece| {
        let reply = reply.event(&delta(&format!("<<{mark}>> {piece}")));
        if piece % 2 == 0 {
            reply.pause(ms(1))
        } else {
            reply
        }
    });
    let unasked = format!("<<{mark}>> is nobody's business\r\n\r\n");
    match dice(&mark, "vendor", 18) {
        // A whole second response in the same breath.
        0 => whole.send(format!("HTTP/1.1 200 OK\r\n{json}content-length: {}\r\n\r\n{body}", body.len())),
        1 => stream.done().send(&unasked),
        // Something later, when the connection may serve somebody else.
        2 => whole.pause(ms(1)).send(&unasked),
        3 => stream.done().pause(ms(3)).send(&unasked).reset(),
        4 => whole.pause(ms(2)).close(),
        5 => whole.pause(ms(2)).reset(),
        // Less than was promised.
        6 => Reply::new().send(format!("HTTP/1.1 200 OK\r\n{json}content-length: {}\r\n\r\n{body}", body.len() + 9)).close(),
        7 => stream.close(),
        8 => stream.reset(),
        // Not what was promised.
        9 => Reply::new().send(&unasked),
        10 => Reply::json(500, &body),
        11 => Reply::new().send(format!("HTTP/1.1 200 OK\r\n{json}content-length: 5\r\ntransfer-encoding: chunked\r\nx: <<{mark}>>\r\n\r\n{body}")),
        12 => Reply::new().send(format!("HTTP/1.1 103 Early Hints\r\nlink: <<{mark}>>\r\n\r\n")).pause(ms(1)).send(format!("HTTP/1.1 200 OK\r\n{json}content-length: {}\r\n\r\n{body}", body.len())),
        13 => stream.done(),
        // A stream that reads like one answer after the other, to whoever comes in the middle.
        14 | 15 => {
            let answer = format!("HTTP/1.1 200 OK\r\n{json}content-length: {}\r\n\r\n{body}", body.len());
            let first = format!("data: {}\n\n", delta(&format!("<<{mark}>>")));
            let length = first.len() + 6 * answer.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{first}");
            (0..6).fold(Reply::new().send(head), |reply, _| reply.pause(ms(1)).send(&answer))
        }
        _ => whole,
    }
}

/// How a customer behaves in one conversation.
enum Manners {
    Patient,
    /// All requests in one go.
    Pipelined,
    /// Leaves in the middle of the last request.
    HalfAsked,
    /// Leaves in the middle of an answer.
    HalfHeard,
}

/// One connection from its first byte to its last.
fn converse(address: std::net::SocketAddr, name: &str) {
    let count = 1 + dice(name, "count", 4) as usize;
    let own: Vec<String> = (0..count).map(|n| format!("{name}-{n}")).collect();
    let manners = match dice(name, "manners", 8) {
        0 => Manners::HalfAsked,
        1 | 2 => Manners::HalfHeard,
        3 | 4 => Manners::Pipelined,
        _ => Manners::Patient,
    };
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("nodelay");
    let time = Some(Duration::from_secs(30));
    stream.set_read_timeout(time).expect("a time-out");
    if dice(name, "reset", 2) == 0 {
        let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.expect("linger");
    }
    let mut heard = Vec::new();
    let requests: Vec<Vec<u8>> = own
        .iter()
        .enumerate()
        .map(|(n, mark)| request(mark, n + 1 == count))
        .collect();
    let all = requests.concat();
    // Whoever is gone needs no more requests: the answers so far are looked at all the same.
    let _ = match manners {
        Manners::Patient => requests.iter().try_for_each(|request| {
            stream.write_all(request)?;
            listen(
                &mut stream,
                &mut heard,
                1 + dice(name, "glance", 400) as usize,
            )
        }),
        Manners::Pipelined => stream.write_all(&all),
        Manners::HalfAsked => stream.write_all(&all[..all.len() - 7]),
        Manners::HalfHeard => {
            let sent = stream.write_all(&all);
            thread::sleep(ms(dice(name, "pause", 4)));
            sent.and_then(|()| listen(&mut stream, &mut heard, 200))
        }
    };
    if matches!(manners, Manners::Patient | Manners::Pipelined) {
        let _ = listen(&mut stream, &mut heard, usize::MAX);
        assert!(heard.starts_with(b"HTTP/1.1 "), "{name} got no answer");
    }
    assert_own(name, &own, &heard);
}

/// Reads until so many more bytes have come, or no more do.
fn listen(stream: &mut TcpStream, heard: &mut Vec<u8>, count: usize) -> std::io::Result<()> {
    let enough = heard.len().saturating_add(count);
    let mut space = [0; 16384];
    while heard.len() < enough {
        match stream.read(&mut space) {
            Ok(0) => return Ok(()),
            Ok(read) => heard.extend_from_slice(&space[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(error),
            Err(error) => panic!("{error} while waiting for an answer"),
        }
    }
    Ok(())
}

/// Everything that was heard is about one's own requests, in their order.
fn assert_own(name: &str, own: &[String], heard: &[u8]) {
    let mut position = 0;
    for mark in marks(heard) {
        let found = own[position..].iter().position(|it| *it == mark);
        let further = found
            .unwrap_or_else(|| panic!("{name} hears {mark}: {}", String::from_utf8_lossy(heard)));
        position += further;
    }
    let text = String::from_utf8_lossy(heard);
    for customer in CUSTOMERS {
        assert!(
            name.starts_with(customer) || !text.contains(customer),
            "{text}"
        );
    }
}

/// Each request bears one mark, in all its places. Returns whom each connection has served.
fn served(upstream: &Upstream) -> BTreeMap<usize, BTreeSet<&'static str>> {
    let mut connections: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for request in upstream.requests() {
        let whole = [request.head.as_bytes(), &request.body].concat();
        let marks = marks(&whole);
        assert_eq!(marks.len(), 3, "{}", request.head);
        assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
        let text = String::from_utf8_lossy(&whole);
        let names: Vec<_> = CUSTOMERS.into_iter().filter(|n| text.contains(n)).collect();
        assert_eq!(names.len(), 1, "{text}");
        connections
            .entry(request.connection)
            .or_default()
            .insert(names[0]);
    }
    connections
}

#[test]
fn no_mark_of_one_is_ever_seen_by_another() {
    let vendor = Upstream::start(misbehave);
    let backstop = Upstream::start(|request| {
        Reply::chat(&format!(
            "<<{}>>",
            marks(&request.body).pop().unwrap_or_default()
        ))
    });
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("instance", "cores = 1")
        .section("log", "access = false")
        .patient_breakers()
        .start();
    thread::scope(|scope| {
        for (customer, connection) in CUSTOMERS
            .iter()
            .flat_map(|c| (0..CONNECTIONS).map(move |n| (c, n)))
        {
            let address = srpd.data();
            scope.spawn(move || {
                for conversation in 0..CONVERSATIONS {
                    converse(address, &format!("{customer}-{connection}-{conversation}"));
                }
            });
        }
    });
    let connections = served(&vendor);
    served(&backstop);
    assert!(vendor.count() > 1500, "{} calls", vendor.count());
    let shared = connections
        .values()
        .filter(|names| names.len() == CUSTOMERS.len())
        .count();
    assert!(shared > 40, "{shared} connections were shared");
}
