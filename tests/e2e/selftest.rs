//! The test's own tools, tested on each other: an oracle that is wrong proves nothing.

use std::net::TcpStream;
use std::time::Instant;

use crate::support::wire::Ended;
use crate::support::{
    Ask, Authority, BlackHole, Client, Refusing, Reply, Upstream, delta, ms, tls,
};

#[test]
fn a_whole_response_and_its_request() {
    let upstream = Upstream::always(Reply::chat("hello"));
    let mut client = Client::connect(upstream.address());
    let response = client.ask(&Ask::chat("smart").field("x-one", "1"));
    assert_eq!(response.said(), "hello");
    assert!(response.complete);
    let request = upstream.last();
    assert_eq!(request.line(), "POST /v1/chat/completions");
    assert_eq!(request.field("x-one").as_deref(), Some("1"));
    assert_eq!(request.json()["model"], "smart");
    client.ask(&Ask::get("/again"));
    let request = upstream.last();
    assert_eq!((request.connection, request.on_connection), (0, 1));
    assert_eq!((upstream.connections(), upstream.count()), (1, 2));
    assert!(upstream.bytes_in() > 100 && upstream.bytes_out() > 100);
}

#[test]
fn over_tls_the_tools_work_as_they_do_without() {
    let authority = Authority::new();
    let upstream = Upstream::in_turn(vec![
        Reply::chat("hello"),
        Reply::new()
            .pause(ms(20))
            .send("HTTP/1.1 200 OK\r\n\r\nall")
            .close(),
        Reply::new()
            .send("HTTP/1.1 200 OK\r\n\r\na part")
            .truncate(),
        Reply::new().stall(),
    ])
    .over_tls(authority.server().server());
    let config = tls::client(&authority);
    let connect = || Client::over_tls(upstream.address(), &config, tls::NAME).expect("TLS");
    let mut client = connect();
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "hello");
    assert!(client.ask(&Ask::get("/")).complete, "close_notify");
    let mut client = connect();
    let cut = client.ask(&Ask::get("/"));
    assert_eq!((cut.text().as_str(), cut.complete), ("a part", false));
    let mut client = connect();
    client.send(Ask::get("/").bytes());
    upstream.wait_requests(4);
    client.close();
    upstream.wait_closed(1);
    let shaken = upstream.shaken();
    assert_eq!(shaken[0].name.as_deref(), Some(tls::NAME));
    assert!(!shaken[0].resumed && shaken[1].resumed);
    let stranger = tls::client(&Authority::new());
    assert!(Client::over_tls(upstream.address(), &stranger, tls::NAME).is_err());
    upstream.wait_unshaken(1);
}

#[test]
fn replies_in_turn_and_another_script() {
    let upstream = Upstream::in_turn(vec![Reply::chat("one"), Reply::chat("two")]);
    let mut client = Client::connect(upstream.address());
    let said: Vec<_> = (0..3).map(|_| client.ask(&Ask::get("/")).said()).collect();
    assert_eq!(said, ["one", "two", "two"]);
    upstream.set_always(Reply::chat("three"));
    assert_eq!(client.ask(&Ask::get("/")).said(), "three");
}

#[test]
fn a_stream_with_gaps_keeps_its_times() {
    let reply = Reply::events()
        .event(&delta("a"))
        .pause(ms(60))
        .event(&delta("b"))
        .done();
    let upstream = Upstream::always(reply);
    let response = Client::connect(upstream.address()).ask(&Ask::stream("smart"));
    assert!(response.complete);
    assert_eq!(response.data(), [delta("a"), delta("b"), "[DONE]".into()]);
    let (first, all) = (delta("a").len() + 8, response.body.len());
    assert!(response.arrival(all) - response.arrival(first) >= ms(50));
}

#[test]
fn the_ways_a_response_can_end() {
    let declared = || Reply::head(200, &[("content-length", "10")]).send("half");
    let scripts = [
        (declared().close(), "half", false),
        (declared().send("+five!").close(), "half+five!", true),
        (Reply::events().chunk("half").close(), "half", false),
        (Reply::events().send("a\r\nhalf").close(), "half", false),
        (Reply::events().chunk("all").last_chunk(), "all", true),
        (Reply::head(200, &[]).send("all").close(), "all", true),
        (
            Reply::head(200, &[]).send("all").pause(ms(50)).reset(),
            "all",
            false,
        ),
    ];
    for (script, body, complete) in scripts {
        let upstream = Upstream::always(script.clone());
        let response = Client::connect(upstream.address()).ask(&Ask::get("/"));
        assert_eq!(
            (response.text().as_str(), response.complete),
            (body, complete),
            "{script:?}"
        );
    }
}

#[test]
fn resets_and_closes_are_told_apart() {
    for (script, ended) in [
        (Reply::new().reset(), Ended::Reset),
        (Reply::new().close(), Ended::Closed),
    ] {
        let upstream = Upstream::always(script);
        let mut client = Client::connect(upstream.address());
        client.send(Ask::get("/").bytes());
        assert_eq!(client.rest(), (Vec::new(), ended));
    }
}

#[test]
fn the_peers_close_is_seen_while_stalling_and_while_pausing() {
    for script in [Reply::new().stall(), Reply::events().pause(ms(9000)).done()] {
        let upstream = Upstream::always(script);
        let mut client = Client::connect(upstream.address());
        client.send(Ask::get("/").bytes());
        upstream.wait_requests(1);
        let left = Instant::now();
        client.close();
        assert!(upstream.wait_closed(1) - left < ms(100));
    }
}

#[test]
fn refused_and_unanswered_connects() {
    let refused = Refusing::new();
    let address = refused.url().replace("http://", "");
    assert!(TcpStream::connect(address).is_err());
    let hole = BlackHole::new();
    let address = hole
        .url()
        .replace("http://", "")
        .parse()
        .expect("an address");
    let error = TcpStream::connect_timeout(&address, ms(200)).expect_err("no answer");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
