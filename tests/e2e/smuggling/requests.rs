//! The requests: each is sent with a whole request behind it, the follower. If there are two
//! opinions on where the vector ends, the follower is what shows them.

use super::vectors::{Vector, parse, render};
use super::{body_of, call_of, user_of};
use crate::support::{Client, Instance, KEY, Reply, Request, Setup, Upstream};

const FILES: [&str; 10] = [
    include_str!("requests/bodies.txt"),
    include_str!("requests/chunks.txt"),
    include_str!("requests/codings-named.txt"),
    include_str!("requests/codings.txt"),
    include_str!("requests/fields.txt"),
    include_str!("requests/hops.txt"),
    include_str!("requests/lengths.txt"),
    include_str!("requests/lines.txt"),
    include_str!("requests/trailers.txt"),
    include_str!("requests/versions.txt"),
];

/// What may come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// One 4xx, then the connection closes; nothing behind it is looked at.
    Reject,
    /// It is answered without a provider. Where it ends is beyond doubt, or the connection
    /// closes.
    Answer,
    /// It reaches a provider.
    Pass,
}

/// Fields that belong to the client's hop or to the client alone, in lower case.
const KEPT: &[&str] = &[
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "keep-alive",
    "expect",
    "authorization",
    "proxy-authorization",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-evil",
];

struct Scene {
    upstream: Upstream,
    srpd: Instance,
    /// Another client, on a connection of its own.
    canary: Client,
}

impl Scene {
    fn new() -> Scene {
        let upstream = Upstream::start(|request| Reply::chat(&user_of(request)));
        // One core: all clients share one pool.
        let srpd = Setup::backstop_only(&upstream.url())
            .section("instance", "cores = 1")
            .section("log", "access = false")
            .section("timeouts", "head = \"1s\"\nbody = \"1s\"")
            .patient_breakers()
            .start();
        let canary = srpd.connect();
        Scene {
            upstream,
            srpd,
            canary,
        }
    }

    fn try_vector(&mut self, vector: &Vector, number: usize) {
        let cast = Cast::of(vector, number);
        let before = (self.upstream.count(), self.upstream.bytes_in());
        let mut client = self.srpd.connect();
        client.send([cast.bytes.clone(), call_of(&cast.follower).bytes()].concat());
        match cast.expected {
            Expected::Reject => {
                let refusal = client.response();
                assert!((400..500).contains(&refusal.status), "{}", refusal.status);
                assert_eq!(refusal.field("connection"), Some("close"));
                client.assert_closed();
                let after = (self.upstream.count(), self.upstream.bytes_in());
                assert_eq!(before, after, "bytes reached the upstream");
            }
            Expected::Answer => self.assert_answered(&mut client, &cast, before.0),
            Expected::Pass => self.assert_passed(&mut client, &cast, before.0),
        }
        let own = format!("canary-{number}");
        assert_eq!(self.canary.ask(&call_of(&own)).said(), own);
        assert_eq!(user_of(&self.upstream.last()), own);
    }

    /// Whatever is said is said by srpd itself, until the follower is answered or the connection
    /// closes. Garbage behind what was answered may be answered once more.
    fn assert_answered(&self, client: &mut Client, cast: &Cast, asked: usize) {
        let mut bodiless = cast.bytes.starts_with(b"HEAD ");
        for turn in 0.. {
            assert!(turn < 3, "too many answers");
            let response = if bodiless {
                client.bodiless()
            } else {
                client.response()
            };
            bodiless = false;
            assert!(response.status < 500, "{}", response.status);
            if response.text().contains(&cast.follower) {
                assert!(turn > 0, "the vector was not answered");
                assert_eq!(response.said(), cast.follower);
                let requests = self.upstream.requests_since(asked);
                assert_eq!(requests.len(), 1, "more than the follower");
                assert_eq!(user_of(&requests[0]), cast.follower);
                return;
            }
            if response.field("connection") == Some("close") {
                client.assert_closed();
                assert_eq!(self.upstream.count(), asked, "a request from nowhere");
                return;
            }
        }
    }

    fn assert_passed(&self, client: &mut Client, cast: &Cast, asked: usize) {
        let mut response = client.response();
        while response.status == 100 {
            response = client.response();
        }
        assert_eq!(response.said(), cast.user);
        let mut users = vec![cast.user.clone()];
        if response.field("connection") == Some("close") {
            client.assert_closed();
        } else {
            assert_eq!(client.response().said(), cast.follower);
            users.push(cast.follower.clone());
        }
        let requests = self.upstream.requests_since(asked);
        assert_eq!(requests.iter().map(user_of).collect::<Vec<_>>(), users);
        for request in &requests {
            assert_unambiguous(request);
        }
        let sent = String::from_utf8_lossy(&requests[0].body).into_owned();
        assert_eq!(
            sent.replace("\"aloomu-model\"", "\"smart\""),
            String::from_utf8_lossy(&cast.body)
        );
    }
}

/// One reading only: a request line of ours, sound fields, one length and no coding; and nothing
/// that was meant for this hop.
fn assert_unambiguous(request: &Request) {
    let head = &request.head;
    let mut lines = head.strip_suffix("\r\n\r\n").expect("an end").split("\r\n");
    let line = lines.next();
    assert_eq!(line, Some("POST /v1/chat/completions HTTP/1.1"));
    for line in lines {
        let (name, value) = line.split_once(':').expect("a field");
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(token), "{line:?}");
        assert!(
            value.chars().all(|c| c == '\t' || !c.is_ascii_control()),
            "{line:?}"
        );
    }
    let fields = request.fields();
    let all = |name: &str| {
        let named = fields.iter().filter(|(n, _)| n.replace('_', "-") == name);
        named.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(all("content-length"), [request.body.len().to_string()]);
    assert_eq!(all("host").len(), 1, "{head}");
    for name in KEPT {
        assert_eq!(all(name), [""; 0], "{name}");
    }
    assert!(!head.contains("X-Evil") && !head.contains("evil"), "{head}");
    let sovereign = fields.iter().filter(|(n, _)| n.starts_with("x-sovereign"));
    let sovereign: Vec<_> = sovereign.map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(sovereign, [("x-sovereign-residency", "any")]);
    assert_eq!(all("x-sovereign-residency"), ["any"]);
}

/// Who appears in one vector.
struct Cast {
    expected: Expected,
    bytes: Vec<u8>,
    user: String,
    follower: String,
    /// What the upstream must get, but for the model's name.
    body: Vec<u8>,
}

impl Cast {
    fn of(vector: &Vector, number: usize) -> Cast {
        let expected = match vector.words[0].as_str() {
            "reject" => Expected::Reject,
            "answer" => Expected::Answer,
            "pass" => Expected::Pass,
            other => panic!("not an expectation: {other}"),
        };
        // As long as it takes for the body's length to have a letter among its digits.
        let user = format!("vector-{number:09}");
        let follower = format!("follow-{number:09}");
        let word = |word: &str| word_of(word, &user, number);
        let bodies = ["trap", "spaced"];
        let own = bodies
            .into_iter()
            .find(|body| vector.text.contains(&format!("{{{body}}}")));
        Cast {
            expected,
            bytes: render(&vector.text, &word),
            body: word(own.unwrap_or("body")),
            follower,
            user,
        }
    }
}

/// The words that stand in braces.
fn word_of(word: &str, user: &str, number: usize) -> Vec<u8> {
    let body = body_of(user);
    match word {
        "post" => "POST /v1/chat/completions HTTP/1.1\r\n".to_owned(),
        "host" => "Host: srpd.test\r\n".to_owned(),
        "key" => format!("Authorization: Bearer {KEY}\r\n"),
        "json" => "Content-Type: application/json\r\n".to_owned(),
        "call" => format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: srpd.test\r\n\
             Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        ),
        "rest" => body[1..].to_owned(),
        "chunks" => format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        // What would be a call of its own, if anybody read it as one.
        "hidden" => return call_of(&format!("hidden-{number:09}")).bytes(),
        // A body that looks like its own end and the beginning of something else.
        "trap" => body.replace(
            '}',
            ",\"x\":\"\r\n0\r\n\r\nPOST /v1/chat/completions HTTP/1.1\r\n\
             Host: srpd.test\r\nContent-Length: 0\r\n\r\n\"}",
        ),
        "spaced" => format!("\r\n{body} \r\n\t\r\n"),
        "body" => body,
        other => panic!("not a word: {other}"),
    }
    .into_bytes()
}

#[test]
fn a_request_is_refused_or_reaches_one_provider_as_one_message() {
    let vectors: Vec<Vector> = FILES.iter().flat_map(|file| parse(file)).collect();
    assert!(vectors.len() >= 250);
    let mut scene = Scene::new();
    for (number, vector) in vectors.iter().enumerate() {
        println!("{}", vector.words.join(" "));
        scene.try_vector(vector, number);
    }
    let all = scene.upstream.requests();
    assert!(
        all.iter().all(|r| !user_of(r).starts_with("hidden")),
        "a hidden request was served"
    );
}
