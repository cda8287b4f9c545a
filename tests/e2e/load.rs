//! Many calls at once over providers that fail in every way: none of it is seen, and the books
//! are right afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::{
    Ask, BlackHole, Refusing, Reply, Request, Setup, Upstream, delta, eventually, ms, within,
};

const CALLERS: usize = 24;
const CALLS_EACH: usize = 40;

/// Every third request fails, each time in another way; the others echo what they were asked.
fn unreliable(request: &Request) -> Reply {
    let ways = [
        Reply::failure(500),
        Reply::new().reset(),
        Reply::new().close(),
        Reply::failure(503),
        Reply::json(200, "{\"id\":").close(),
        Reply::head(200, &[("content-length", "50")])
            .send("{")
            .close(),
        Reply::failure(401),
    ];
    if request.number.is_multiple_of(3) {
        ways[request.number / 3 % ways.len()].clone()
    } else {
        echo(request)
    }
}

fn echo(request: &Request) -> Reply {
    let body = request.json();
    let user = body["user"].as_str().expect("user");
    if body["stream"] == true {
        Reply::events()
            .event(&delta(user))
            .pause(ms(2))
            .event(&delta(user))
            .done()
    } else {
        Reply::chat(user)
    }
}

fn caller(name: usize, srpd: &crate::support::Instance) -> thread::JoinHandle<()> {
    let mut client = srpd.connect();
    thread::spawn(move || {
        for call in 0..CALLS_EACH {
            let user = format!("{name}-{call}");
            let stream = call % 4 == 0;
            let body = format!(r#"{{"model":"smart","user":"{user}","stream":{stream}}}"#);
            let response = client.ask(&Ask::post("/v1/chat/completions", body));
            assert!(response.complete);
            if stream {
                let expected = [delta(&user), delta(&user), "[DONE]".to_owned()];
                assert_eq!(response.data(), expected);
            } else {
                assert_eq!(response.said(), user);
            }
        }
    })
}

#[test]
fn calls_over_unreliable_providers_all_succeed_and_are_all_counted() {
    let (one, two) = (Upstream::start(unreliable), Upstream::start(unreliable));
    let backstop = Upstream::start(echo);
    let srpd = Setup::bare(&backstop.url())
        .provider("vendor-us", "us", &[&one.url()], "")
        .provider("fleet", "au", &[&two.url()], "")
        .capability("smart", &["vendor-us", "fleet"], "")
        .section("breaker", "open = \"50ms\"\nopen_max = \"100ms\"")
        .start();
    let callers: Vec<_> = (0..CALLERS).map(|name| caller(name, &srpd)).collect();
    for caller in callers {
        caller.join().expect("every call is served");
    }
    let total = CALLERS * CALLS_EACH;
    let completed = ["\"smart\"", "\"200\""];
    eventually("every call in the metrics", || {
        srpd.metric("srpd_calls_total", &completed) == total as f64
            && srpd.metric("srpd_calls_in_flight", &[]) == 0.0
    });
    let asked = one.count() + two.count() + backstop.count();
    let attempts = srpd.metric("srpd_attempts_total", &[]);
    // A reused connection that died is an attempt of which no request was seen.
    assert!(attempts >= asked as f64, "{attempts} for {asked} requests");
    assert_eq!(srpd.metric("srpd_panics_total", &[]), 0.0);
    assert_eq!(srpd.metric("srpd_facts_lost_total", &[]), 0.0);
    eventually("every call in the log", || {
        let lines = srpd.log();
        lines
            .iter()
            .filter(|line| line.contains("\"request_id\""))
            .count()
            == total
    });
    assert!(one.count() > 20 && two.count() > 20 && backstop.count() > 5);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let served = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start(|request| match request.number % 3 {
        0 => Reply::new().pause(ms(40)).send("").close(),
        1 => Reply::events()
            .event(&delta("a"))
            .pause(ms(30))
            .event(&delta("b"))
            .done(),
        _ => Reply::chat("hi"),
    });
    let srpd = Setup::backstop_only(&upstream.url())
        .patient_breakers()
        .start();
    let address = srpd.data();
    let callers: Vec<_> = (0..16)
        .map(|name| {
            let served = Arc::clone(&served);
            thread::spawn(move || {
                for call in 0..20 {
                    let mut client = crate::support::Client::connect(address);
                    let bytes = Ask::stream("smart").bytes();
                    let part = bytes.len() * (1 + (name + call) % 5) / 5;
                    client.send(&bytes[..part]);
                    thread::sleep(ms((call % 4) as u64 * 10));
                    client.close();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().expect("a client");
    }
    assert_eq!(served.load(Ordering::Relaxed), 320);
    eventually("nothing in flight and nobody there", || {
        srpd.metric("srpd_calls_in_flight", &[]) == 0.0
            && srpd.metric("srpd_connections", &[]) == 0.0
    });
    upstream.set_always(Reply::chat("still here"));
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "still here");
    assert_eq!(srpd.metric("srpd_panics_total", &[]), 0.0);
}

#[test]
fn no_socket_outlives_its_use() {
    let (dead, hole) = (Refusing::new(), BlackHole::new());
    let ways = [
        Reply::new().reset(),
        Reply::new().close(),
        Reply::new().stall(),
        Reply::events().event(&delta("a")).close(),
        Reply::events().event(&delta("a")).stall(),
        Reply::head(200, &[("content-length", "9")])
            .send("{")
            .stall(),
        Reply::chat("hi").send("unsolicited"),
        Reply::failure(500),
    ];
    let upstream = Upstream::start(move |request| ways[request.number % ways.len()].clone());
    let srpd = Setup::bare(&upstream.url())
        .provider("dead", "us", &[&dead.url()], "")
        .provider(
            "hole",
            "us",
            &[&hole.url()],
            "timeouts = { connect = \"50ms\" }",
        )
        .capability("smart", &["dead", "hole"], "")
        .patient_breakers()
        .section(
            "timeouts",
            "first_byte = \"60ms\"\nstream_idle = \"60ms\"\nkeep_alive = \"400ms\"",
        )
        .start();
    let idle = srpd.open_files();
    let address = srpd.data();
    let callers: Vec<_> = (0..12)
        .map(|name| {
            thread::spawn(move || {
                for call in 0..12 {
                    let mut client = crate::support::Client::connect(address);
                    client.send(Ask::stream("smart").bytes());
                    if (name + call) % 3 == 0 {
                        thread::sleep(ms(call * 12));
                        client.close();
                    } else {
                        client.response();
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().expect("a client");
    }
    let Some(idle) = idle else {
        eprintln!("not counted: open files, which only root can see");
        return;
    };
    within(ms(8000), "every socket closed", || {
        thread::sleep(ms(100));
        srpd.open_files().expect("as before") <= idle + 2
    });
}
