//! Two clients through one pool: no byte of one is ever seen by the other, or by the provider
//! under the other's name.

use std::sync::Barrier;
use std::thread;

use super::{body_of, call_of, user_of};
use crate::support::wire::find;
use crate::support::{Instance, KEY, Reply, Setup, Upstream, delta, ms};

/// Turns of each client.
const TURNS: usize = 40;

/// Answers with what the request is about, in pieces that leave room for others between them.
fn echo(user: &str, pieces: usize) -> Reply {
    let mut reply = Reply::events();
    for piece in 0..pieces {
        reply = reply.event(&delta(&format!("{user} {piece}")));
        if piece % 2 == 0 {
            reply = reply.pause(ms(1));
        }
    }
    reply.done()
}

/// Pipelines two calls, then breaks the framing with a third message that hides a call.
fn live(srpd: &Instance, name: &str, other: &str, together: &Barrier) {
    for turn in 0..TURNS {
        together.wait();
        let mut client = srpd.connect();
        let users = [format!("{name}-{turn}-a"), format!("{name}-{turn}-b")];
        let mut bytes: Vec<u8> = users.iter().flat_map(|u| call_of(u).bytes()).collect();
        let hidden = body_of(&format!("hidden-{name}-{turn}"));
        let broken = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: srpd.test\r\n\
             authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{hidden}",
            hidden.len()
        );
        bytes.extend(broken.into_bytes());
        for piece in bytes.chunks(bytes.len() / 3 + turn) {
            client.send(piece);
            thread::yield_now();
        }
        let (all, _) = client.rest();
        assert_eq!(find(&all, other.as_bytes()), None, "{name} heard {other}");
        let text = String::from_utf8_lossy(&all);
        for user in users {
            let last = format!("{user} {}", pieces_of(&user) - 1);
            assert!(text.contains(&last), "{last} is missing in {text}");
        }
        assert!(!text.contains("hidden"), "{text}");
        assert!(text.contains("HTTP/1.1 400"), "{text}");
    }
}

fn pieces_of(user: &str) -> usize {
    1 + user.len() % 5
}

#[test]
fn strangers_in_one_pool_never_meet() {
    let upstream = Upstream::start(|request| {
        let user = user_of(request);
        echo(&user, pieces_of(&user))
    });
    let srpd = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .patient_breakers()
        .start();
    let together = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| live(&srpd, "alice", "bob", &together));
        scope.spawn(|| live(&srpd, "bob", "alice", &together));
    });
    let requests = upstream.requests();
    assert_eq!(requests.len(), 4 * TURNS);
    for request in &requests {
        let whole = format!("{}{}", request.head, String::from_utf8_lossy(&request.body));
        assert!(
            !(whole.contains("alice") && whole.contains("bob")),
            "{whole}"
        );
        assert!(!whole.contains("hidden"), "{whole}");
    }
    let reused = requests.iter().filter(|r| r.on_connection > 0).count();
    assert!(reused > TURNS, "the pool was not shared: {reused}");
}
