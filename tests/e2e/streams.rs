//! Streams: relayed as they come (SRP section 9), and never silent about a death (section 5).

use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::support::{
    Ask, Client, Instance, Reply, Response, Setup, Upstream, delta, eventually, ms, usage_only,
};

fn serve(reply: Reply) -> (Upstream, Instance) {
    let upstream = Upstream::always(reply);
    let srpd = Setup::backstop_only(&upstream.url())
        .patient_breakers()
        .section("timeouts", "stream_idle = \"400ms\"")
        .start();
    (upstream, srpd)
}

#[test]
fn a_stream_is_relayed_and_its_connections_are_kept() {
    let (upstream, srpd) = serve(Reply::chat_stream(&["a", "b", "c"]));
    let mut client = srpd.connect();
    for _ in 0..3 {
        let response = client.ask(&Ask::stream("smart"));
        assert_eq!(response.status, 200);
        assert!(response.complete);
        assert_eq!(response.field("content-type"), Some("text/event-stream"));
        assert_eq!(response.field("x-sovereign-jurisdiction"), Some("au"));
        assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
        assert_eq!(response.field("openai-processing-ms"), None);
        assert_eq!(
            response.data(),
            [delta("a"), delta("b"), delta("c"), "[DONE]".into()]
        );
    }
    assert_eq!((upstream.count(), upstream.connections()), (3, 1));
}

#[test]
fn events_arrive_one_by_one_as_they_are_sent() {
    let words = ["0", "1", "2", "3", "4", "5", "6", "7"];
    let reply = words.iter().fold(Reply::events(), |reply, word| {
        reply.event(&delta(word)).pause(ms(50))
    });
    let (upstream, srpd) = serve(reply.done());
    let response = srpd.ask(&Ask::stream("smart"));
    let event = delta("0").len() + "data: \n\n".len();
    let sent = upstream.sent();
    let mut delays: Vec<_> = (0..words.len())
        .map(|n| {
            let arrival = response.arrival((n + 1) * event);
            assert!(
                arrival < sent[n + 1],
                "event {n} came with the one after it"
            );
            arrival - sent[n]
        })
        .collect();
    delays.sort();
    assert!(delays[words.len() / 2] < ms(10), "held: {delays:?}");
}

#[test]
fn an_event_sent_in_pieces_arrives_whole_and_unchanged() {
    let text = format!(
        "data: {}\r\n\r\n: comment\r\n\r\nid: 7\r\ndata: {{\"choices\":[],\r\ndata: \"x\":1}}\r\n\r\nretry: 10\r\n\r\n",
        delta("é")
    );
    let mut reply = Reply::events();
    for (n, piece) in text.as_bytes().chunks(7).enumerate() {
        reply = reply.chunk(piece);
        if n % 9 == 0 {
            reply = reply.pause(ms(5));
        }
    }
    let (_upstream, srpd) = serve(reply.done());
    let response = srpd.ask(&Ask::stream("smart"));
    assert!(response.complete);
    assert_eq!(response.text(), format!("{text}data: [DONE]\n\n"));
}

#[test]
fn a_stream_until_close_ends_with_its_done() {
    let head = Reply::head(200, &[("content-type", "text/event-stream")]);
    let text = format!("data: {}\n\ndata: [DONE]\n\n", delta("a"));
    let (_upstream, srpd) = serve(head.send(&text).close());
    let response = srpd.ask(&Ask::stream("smart"));
    assert!(response.complete);
    assert_eq!(response.text(), text);
}

/// The stream says it died: in its own shape, without `[DONE]`, without the terminating chunk,
/// on a connection that ends.
fn assert_died(client: &mut Client, events: &[&str]) -> Response {
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(!response.complete, "a clean end: {}", response.text());
    client.assert_closed();
    let data = response.data();
    let (last, before) = data.split_last().expect("an event");
    assert_eq!(before, events);
    let json: Value = serde_json::from_str(last).expect("an error event");
    assert_eq!(json["error"]["code"], "upstream_died", "{last}");
    assert_eq!(json["error"]["type"], "upstream_error", "{last}");
    assert!(json["error"]["param"].is_null() && json["error"].get("param").is_some());
    assert!(
        json["error"]["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    assert!(!response.text().contains("[DONE]"));
    response
}

#[test]
fn a_death_mid_stream_is_never_silent() {
    let begun = || Reply::events().event(&delta("a")).event(&delta("b"));
    let plain = Reply::head(200, &[("content-type", "text/event-stream")]).send(format!(
        "data: {}\n\ndata: {}\n\n",
        delta("a"),
        delta("b")
    ));
    for (what, reply) in [
        ("a FIN between chunks", begun().pause(ms(30)).close()),
        ("a FIN at once", begun().close()),
        (
            "a FIN in a chunk",
            begun().send("40\r\ndata: {\"half").close(),
        ),
        ("a FIN in an event", begun().chunk("data: {\"half").close()),
        ("a reset", begun().pause(ms(30)).reset()),
        ("a silence", begun().stall()),
        (
            "broken chunks",
            begun().pause(ms(30)).send("xyz\r\n").stall(),
        ),
        (
            "a clean end in an event",
            begun().chunk("data: {\"half").last_chunk(),
        ),
        ("a clean end without [DONE]", begun().last_chunk()),
        ("a close without [DONE]", plain.close()),
    ] {
        println!("{what}");
        let (_upstream, srpd) = serve(reply);
        let mut client = srpd.connect();
        client.send(Ask::stream("smart").bytes());
        assert_died(&mut client, &[&delta("a"), &delta("b")]);
    }
}

#[test]
fn a_providers_own_error_event_is_passed_on_and_not_doubled() {
    let error = r#"{"error":{"message":"overloaded","type":"server_error","param":null,"code":"overloaded"}}"#;
    let begun = || Reply::events().event(&delta("a")).event(error);
    for (reply, complete, data) in [
        (begun().done(), true, 3),
        (begun().pause(ms(30)).close(), false, 2),
    ] {
        let (_upstream, srpd) = serve(reply);
        let response = srpd.ask(&Ask::stream("smart"));
        assert_eq!(response.complete, complete, "{}", response.text());
        assert_eq!(response.data().len(), data, "{}", response.text());
        assert_eq!(response.data()[..2], [delta("a"), error.to_owned()]);
    }
}

#[test]
fn a_connection_whose_stream_went_wrong_behind_its_done_is_not_used_again() {
    // The break comes after the commit point: before it, it would be one more failover.
    let begun = || Reply::events().event(&delta("a")).pause(ms(20));
    let said_end = || begun().event("[DONE]");
    for reply in [
        said_end().pause(ms(20)).send("poison\r\n"),
        said_end().chunk(": more\n\n").last_chunk().send("poison"),
    ] {
        let (upstream, srpd) = serve(reply);
        let mut client = srpd.connect();
        for _ in 0..3 {
            let mut response = client.ask(&Ask::stream("smart"));
            response.body.truncate(delta("a").len() + 22);
            assert_eq!(response.data(), [delta("a"), "[DONE]".into()]);
            if !response.complete {
                client = srpd.connect();
            }
        }
        assert_eq!((upstream.count(), upstream.connections()), (3, 3));
    }
}

#[test]
fn a_silent_upstream_is_given_up_after_stream_idle() {
    let (upstream, srpd) = serve(Reply::events().event(&delta("a")).stall());
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    let response = assert_died(&mut client, &[&delta("a")]);
    let first = response.pieces.first().expect("an event").0;
    let last = response.pieces.last().expect("the error").0;
    let idle = last - first;
    assert!(idle >= ms(350) && idle < ms(800), "{idle:?}");
    assert!(upstream.wait_closed(1) < last + ms(200));
}

#[test]
fn a_death_in_a_responses_stream_has_its_shape() {
    let event = |n: u32| {
        format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{n},\"delta\":\"x\"}}\n\n"
        )
    };
    let begun = Reply::events().chunk(event(0)).chunk(event(1));
    let (_upstream, srpd) = serve(begun.close());
    let mut client = srpd.connect();
    let ask = Ask::post(
        "/v1/responses",
        r#"{"model":"smart","input":"hi","stream":true}"#,
    );
    client.send(ask.bytes());
    let response = client.response();
    assert!(!response.complete);
    client.assert_closed();
    let events = response.events();
    assert_eq!(events.len(), 3, "{}", response.text());
    assert_eq!(events[2].0, "error");
    let json: Value = serde_json::from_str(&events[2].1).expect("an error event");
    assert_eq!(json["type"], "error");
    assert_eq!(json["code"], "upstream_died");
    assert!(json["message"].is_string() && json["param"].is_null());
    assert!(
        json["sequence_number"]
            .as_u64()
            .is_some_and(|number| number >= 2),
        "{json}"
    );
}

#[test]
fn a_responses_stream_ends_cleanly_with_its_last_event() {
    let text = "event: response.created\ndata: {\"type\":\"response.created\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n";
    let (upstream, srpd) = serve(Reply::events().chunk(text).last_chunk());
    let ask = Ask::post(
        "/v1/responses",
        r#"{"model":"smart","input":"hi","stream":true}"#,
    );
    let response = srpd.ask(&ask);
    assert!(response.complete);
    assert_eq!(response.text(), text);
    let sent = r#"{"model":"aloomu-model","input":"hi","stream":true}"#;
    assert_eq!(String::from_utf8_lossy(&upstream.last().body), sent);
}

#[test]
fn usage_is_asked_for_and_taken_out_again_unless_the_client_asked() {
    let reply = Reply::events()
        .event(&delta("a"))
        .event(usage_only())
        .done();
    let (upstream, srpd) = serve(reply);
    let with =
        |options: &str| format!(r#"{{"model":"smart","stream":true{options},"messages":[ ]}}"#);
    let kept = [delta("a"), usage_only().to_owned(), "[DONE]".to_owned()];
    let removed = [delta("a"), "[DONE]".to_owned()];
    for (options, asked) in [
        ("", false),
        (r#","stream_options":null"#, false),
        (r#","stream_options":{}"#, false),
        (r#","stream_options":{"include_usage":false}"#, false),
        (r#","stream_options":{"x":[1.50]}"#, false),
        (r#","stream_options":{"include_usage":true}"#, true),
        (r#","stream_options":{"x":1,"include_usage" : true }"#, true),
    ] {
        println!("{options}");
        let ask = Ask::post("/v1/chat/completions", with(options));
        let response = srpd.ask(&ask);
        assert!(response.complete);
        assert_eq!(
            response.data(),
            if asked { &kept[..] } else { &removed[..] }
        );
        let sent = upstream.last().json();
        assert_eq!(sent["stream_options"]["include_usage"], true);
        assert_eq!(sent["model"], "aloomu-model");
        let kept = ["\"x\":[1.50]", "\"x\":1"].into_iter();
        for member in kept.filter(|member| options.contains(member)) {
            let body = String::from_utf8_lossy(&upstream.last().body).into_owned();
            assert!(body.contains(member), "{body}");
        }
        if asked {
            let body = with(options).replace("\"smart\"", "\"aloomu-model\"");
            assert_eq!(String::from_utf8_lossy(&upstream.last().body), body);
        }
    }
    // Not a stream: nothing is put in.
    upstream.set_always(Reply::chat("whole"));
    let whole = r#"{"model":"smart","stream":false,"messages":[ ]}"#;
    assert_eq!(
        srpd.ask(&Ask::post("/v1/chat/completions", whole)).said(),
        "whole"
    );
    let sent = whole.replace("\"smart\"", "\"aloomu-model\"");
    assert_eq!(String::from_utf8_lossy(&upstream.last().body), sent);
}

#[test]
fn only_the_usage_only_event_is_taken_out() {
    let in_passing = r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"\"usage\":{}"}}],"usage":null}"#;
    let with_choice = r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let (head, tail) = usage_only().split_at(40);
    let reply = Reply::events()
        .event(in_passing)
        .event(with_choice)
        .chunk(format!("data: {head}"))
        .pause(ms(20))
        .chunk(format!("{tail}\n\n: bye\n\n"))
        .done();
    let (_upstream, srpd) = serve(reply);
    let response = srpd.ask(&Ask::stream("smart"));
    assert!(response.complete);
    let left = format!("data: {in_passing}\n\ndata: {with_choice}\n\n: bye\n\ndata: [DONE]\n\n");
    assert_eq!(response.text(), left);
}

#[test]
fn the_clients_close_reaches_the_upstream_at_once() {
    for (reply, begun) in [
        (Reply::new().stall(), false),
        (Reply::events().event(&delta("a")).stall(), true),
        (
            (0..200).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(20))),
            true,
        ),
    ] {
        let upstream = Upstream::always(reply);
        let srpd = Setup::backstop_only(&upstream.url())
            .section("breaker", "consecutive_failures = 2\nratio_min_calls = 2")
            .start();
        for round in 1..=5 {
            for ask in [Ask::chat("smart"), Ask::stream("smart")] {
                if begun && ask.bytes() == Ask::chat("smart").bytes() {
                    continue;
                }
                let before = upstream.count();
                let mut client = srpd.connect();
                client.send(ask.bytes());
                if begun {
                    client.incoming().until("data:");
                }
                upstream.wait_requests(before + 1);
                let left = Instant::now();
                client.close();
                let took = upstream.wait_closed(before + 1) - left;
                assert!(took < ms(100), "round {round}: {took:?}");
            }
        }
        // Five of them would have tripped the breaker if they had counted.
        upstream.set_always(Reply::chat("still here"));
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "still here");
        eventually("no call in flight", || {
            srpd.metric("srpd_calls_in_flight", &[]) == 0.0
        });
    }
}

#[test]
fn a_slow_client_holds_the_upstream_back_and_loses_nothing() {
    const SIZE: usize = 64 << 20;
    let event = format!("data: {}\n\n", delta(&"x".repeat(4000)));
    let count = SIZE / event.len();
    let block = event.repeat(64);
    let reply = (0..count / 64).fold(Reply::events(), |reply, _| reply.chunk(&block));
    let upstream = Upstream::always(reply.done());
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    upstream.wait_requests(1);
    thread::sleep(ms(700));
    let buffered = upstream.bytes_out();
    assert!(
        buffered < SIZE * 3 / 4,
        "{buffered} bytes were read ahead of the client"
    );
    let response = client.response();
    assert!(response.complete);
    assert_eq!(
        response.body.len(),
        (count / 64) * block.len() + "data: [DONE]\n\n".len()
    );
    assert!(
        response
            .body
            .chunks(event.len())
            .take(count / 64 * 64)
            .all(|e| e == event.as_bytes())
    );
}

#[test]
fn many_streams_at_once_keep_to_themselves() {
    let upstream = Upstream::start(|request| {
        let user = request.json()["user"].as_str().expect("user").to_owned();
        (0..10)
            .fold(Reply::events(), |reply, n| {
                reply.event(&delta(&format!("{user}-{n}"))).pause(ms(10))
            })
            .done()
    });
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let readers: Vec<_> = (0..40)
        .map(|user| {
            let mut client = srpd.connect();
            thread::spawn(move || {
                let body = format!(r#"{{"model":"smart","stream":true,"user":"u{user}"}}"#);
                let response = client.ask(&Ask::post("/v1/chat/completions", body));
                let mut expected: Vec<_> =
                    (0..10).map(|n| delta(&format!("u{user}-{n}"))).collect();
                expected.push("[DONE]".to_owned());
                assert_eq!(response.data(), expected);
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("a whole stream");
    }
}
