//! The responses. Each is what the first provider of the chain answers; behind it comes a call of
//! another client, which must get its own answer whatever that provider has left lying about.

use std::collections::HashMap;
use std::thread;

use super::vectors::{Vector, parse, render};
use super::{call_of, user_of};
use crate::support::reply::Step;
use crate::support::{
    Instance, Reply, Response, Setup, Upstream, chat_body, delta, eventually, ms,
};

const FILES: [&str; 2] = [
    include_str!("responses/sound.txt"),
    include_str!("responses/broken.txt"),
];

struct Scene {
    vendor: Upstream,
    _backstop: Upstream,
    srpd: Instance,
}

impl Scene {
    fn new(scripts: HashMap<String, Reply>) -> Scene {
        let vendor = Upstream::start(move |request| {
            let user = user_of(request);
            let scripted = scripts.get(&user).cloned();
            scripted.unwrap_or_else(|| Reply::chat(&user))
        });
        let backstop =
            Upstream::start(|request| Reply::chat(&format!("backstop {}", user_of(request))));
        let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
            .section("instance", "cores = 1")
            .section("log", "access = false")
            .section("timeouts", "first_byte = \"1s\"\nstream_idle = \"1s\"")
            .patient_breakers()
            .start();
        Scene {
            vendor,
            _backstop: backstop,
            srpd,
        }
    }

    fn try_vector(&self, vector: &Vector, user: &str, reply: &Reply) {
        let before = self.vendor.sent().len();
        let response = self.srpd.ask(&call_of(user));
        assert_no_poison(&response);
        match vector.words[0].as_str() {
            "serve" => {
                let status = response.status;
                assert!(
                    response.complete && (200..300).contains(&status),
                    "{status}"
                );
                let expected = expected_body(vector, user);
                assert_eq!(response.text(), String::from_utf8_lossy(&expected));
                wait_for_the_rest(&self.vendor, before, reply);
            }
            "fail" => assert_eq!(response.said(), format!("backstop {user}")),
            "cut" => assert!(!response.complete, "a whole response"),
            other => panic!("not an expectation: {other}"),
        }
        let last = self.vendor.last().connection;
        let own = format!("behind {user}");
        let behind = self.srpd.ask(&call_of(&own));
        assert_no_poison(&behind);
        assert_eq!(behind.said(), own);
        let kept = self.vendor.last().connection == last;
        assert_eq!(kept, vector.words[1] == "keep", "whether it was reused");
    }
}

fn assert_no_poison(response: &Response) {
    let all = format!("{:?} {}", response.fields, response.text());
    assert!(!all.to_ascii_lowercase().contains("poison"), "{all}");
}

/// What comes late must have come before another call could meet it: that is what is tested, not
/// the race that a provider with answers to spare can always win.
fn wait_for_the_rest(vendor: &Upstream, before: usize, reply: &Reply) {
    let is_send = |step: &&Step| matches!(step, Step::Send(_));
    let writes = reply.steps.iter().filter(is_send).count();
    if writes > 1 {
        eventually("all of it sent", || vendor.sent().len() >= before + writes);
        thread::sleep(ms(20));
    }
}

fn expected_body(vector: &Vector, user: &str) -> Vec<u8> {
    let word = |word: &str| word_of(word, user);
    match vector.words.get(4).map_or("{ok}", String::as_str) {
        "nothing" => Vec::new(),
        text => render(text, &word),
    }
}

/// The bytes, and where in between the provider waits or leaves.
fn reply_of(vector: &Vector, user: &str) -> Reply {
    let word = |word: &str| word_of(word, user);
    let mut reply = Reply::new();
    let mut rest = vector.text.as_str();
    let turns = ["{wait}", "{close}", "{reset}", "{stall}"];
    loop {
        let next = turns
            .iter()
            .filter_map(|turn| Some((rest.find(turn)?, turn)));
        let Some((at, turn)) = next.min() else {
            break;
        };
        if at > 0 {
            reply = reply.send(render(&rest[..at], &word));
        }
        reply = match *turn {
            "{wait}" => reply.pause(ms(20)),
            "{close}" => reply.close(),
            "{reset}" => reply.reset(),
            _ => reply.stall(),
        };
        rest = &rest[at + turn.len()..];
    }
    if rest.is_empty() {
        return reply;
    }
    reply.send(render(rest, &word))
}

/// The words that stand in braces.
fn word_of(word: &str, user: &str) -> Vec<u8> {
    let body = chat_body(user);
    match word {
        "head" => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n".to_owned(),
        "chunks" => format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        "rest" => body[1..].to_owned(),
        "ok" => body,
        "events" => format!("data: {}\n\ndata: [DONE]\n\n", delta(user)),
        "poison" => {
            let body = chat_body("poison");
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        other => panic!("not a word: {other}"),
    }
    .into_bytes()
}

#[test]
fn a_response_is_the_one_that_was_asked_for_or_nobodys() {
    let vectors: Vec<Vector> = FILES.iter().flat_map(|file| parse(file)).collect();
    assert!(vectors.len() >= 60);
    let drops = |vector: &Vector| vector.words[1] == "drop";
    assert!(parse(FILES[1]).iter().all(drops), "broken, and kept");
    let scripted: Vec<_> = vectors
        .iter()
        .enumerate()
        .map(|(number, vector)| {
            let user = format!("caller {number}");
            let reply = reply_of(vector, &user);
            (vector, user, reply)
        })
        .collect();
    let scripts = scripted
        .iter()
        .map(|(_, user, reply)| (user.clone(), reply.clone()));
    let scene = Scene::new(scripts.collect());
    for (vector, user, reply) in &scripted {
        println!("{}", vector.words.join(" "));
        scene.try_vector(vector, user, reply);
    }
}
