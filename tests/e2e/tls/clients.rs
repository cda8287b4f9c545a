//! Clients: versions, resumption, certificates, and those who don't speak TLS or not in time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::{at_home, reloaded};
use crate::support::instance::{Instance, message};
use crate::support::setup::srpd as srpd_says;
use crate::support::{Ask, Authority, Reply, Setup, Upstream, delta, eventually, ms, tls};

fn handshakes(srpd: &Instance, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    srpd.metric("srpd_tls_handshakes_total", &[&label])
}

#[test]
fn both_versions_are_spoken_and_nothing_but_http_1_1() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let srpd = setup.start();
    for (version, expected) in [
        (&TLS13, ProtocolVersion::TLSv1_3),
        (&TLS12, ProtocolVersion::TLSv1_2),
    ] {
        let mut config = tls::client_of(&authority, &[version], None);
        std::sync::Arc::make_mut(&mut config).alpn_protocols =
            vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut client = srpd.connect_tls(&config).expect("TLS");
        assert_eq!(client.tls().terms().version, expected);
        assert_eq!(client.tls().terms().alpn.as_deref(), Some(&b"http/1.1"[..]));
        for _ in 0..3 {
            assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        }
        // A large body, both ways in many records.
        let body = format!(
            r#"{{"model":"smart","messages":[{{"role":"user","content":"{}"}}]}}"#,
            "x".repeat(1_000_000)
        );
        let ask = Ask::post("/v1/chat/completions", body);
        assert_eq!(client.ask(&ask).said(), "from home");
    }
    assert_eq!(handshakes(&srpd, "ok"), 2.0);
}

#[test]
fn an_older_version_is_refused_and_counted() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let srpd = setup.start();
    // TLS 1.1, one suite, no compression, no extensions.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut record = vec![
        22,
        3,
        1,
        0,
        hello.len() as u8 + 4,
        1,
        0,
        0,
        hello.len() as u8,
    ];
    record.extend(hello);
    let mut stream = TcpStream::connect(srpd.data()).expect("a connection");
    stream.write_all(&record).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an end");
    // protocol_version, or handshake_failure for want of extensions; fatal.
    let alerts = [70, 40].map(|alert| [21, 3, 3, 0, 2, 2, alert]);
    assert!(alerts.iter().any(|alert| answer == alert), "{answer:?}");
    eventually("counted", || handshakes(&srpd, "no_common_version") == 1.0);
}

#[test]
fn a_session_is_taken_up_again() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let srpd = setup.start();
    for (version, resumed) in [(&TLS13, 1.0), (&TLS12, 2.0)] {
        let config = tls::client_of(&authority, &[version], None);
        for expected in [false, true] {
            let mut client = srpd.connect_tls(&config).expect("TLS");
            assert_eq!(client.tls().terms().resumed, expected);
            assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        }
        assert_eq!(handshakes(&srpd, "resumed"), resumed);
    }
    assert_eq!(handshakes(&srpd, "ok"), 2.0);
}

#[test]
fn events_arrive_one_by_one_over_tls() {
    let authority = Authority::new();
    let reply = Reply::events()
        .event(&delta("a"))
        .pause(ms(150))
        .event(&delta("b"))
        .pause(ms(150))
        .event(&delta("c"))
        .done();
    let upstream = Upstream::always(reply).over_tls(authority.server().server());
    let setup = Setup::backstop_only(&upstream.url())
        .trusting("aloomu", &authority)
        .over_tls(&authority.server());
    let srpd = setup.start();
    let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    let response = client.ask(&Ask::stream("smart"));
    assert!(response.complete);
    let expected = [delta("a"), delta("b"), delta("c"), "[DONE]".into()];
    assert_eq!(response.data(), expected);
    let event = delta("a").len() + "data: \n\n".len();
    let at = |count: usize| response.arrival(count * event);
    assert!(at(2) - at(1) >= ms(100) && at(3) - at(2) >= ms(100));
    // The connection serves on.
    assert!(client.ask(&Ask::stream("smart")).complete);
}

#[test]
fn the_clients_close_reaches_the_upstream_through_tls() {
    let authority = Authority::new();
    let stream = Reply::events().event(&delta("a")).stall();
    let upstream = Upstream::always(stream).over_tls(authority.server().server());
    let setup = Setup::backstop_only(&upstream.url())
        .trusting("aloomu", &authority)
        .over_tls(&authority.server());
    let srpd = setup.start();
    let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    client.send(Ask::stream("smart").bytes());
    client.incoming().until("data:");
    let left = Instant::now();
    client.close();
    assert!(upstream.wait_closed(1) - left < ms(1000));
}

#[test]
fn a_client_that_stalls_its_handshake_is_cut_off_after_timeouts_head() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let srpd = setup.section("timeouts", "head = \"300ms\"").start();
    // Nothing at all; the beginning of a record; a record that is never finished.
    let beginnings: [&[u8]; 3] = [
        b"",
        &[22, 3, 1],
        &[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3],
    ];
    for (count, beginning) in (1..).zip(beginnings) {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(srpd.data()).expect("a connection");
        stream.write_all(beginning).expect("sent");
        stream.set_read_timeout(Some(ms(10_000))).expect("timeout");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let took = begun.elapsed();
        assert!(took >= ms(280) && took < ms(5000), "{took:?}");
        eventually("counted", || {
            handshakes(&srpd, "timed_out") == f64::from(count)
        });
    }
    eventually("no connection left", || {
        srpd.metric("srpd_connections", &[]) == 0.0
    });
}

#[test]
fn a_slow_client_gets_as_long_for_its_head_as_for_its_handshake() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let srpd = setup.section("timeouts", "head = \"1s\"").start();
    let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    // Longer than the handshake's time: its deadline must be gone.
    std::thread::sleep(ms(1300));
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    client.send("POST /v1");
    assert_eq!(client.response().status, 408);
}

#[test]
fn who_asks_in_plaintext_is_told_so() {
    let authority = Authority::new();
    let (backstop, setup) = at_home(&authority);
    let mut srpd = setup.start();
    let mut client = srpd.connect();
    client.send(Ask::chat("smart").bytes());
    let response = client.response();
    assert_eq!(response.status, 400);
    assert!(response.text().contains("https"), "{}", response.text());
    client.assert_closed();
    // What is neither gets an alert, or nothing.
    let mut stream = TcpStream::connect(srpd.data()).expect("a connection");
    stream.write_all(&[0, 1, 2, 3, 4, 5]).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an end");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    eventually("counted", || handshakes(&srpd, "not_tls") == 2.0);
    assert_eq!(backstop.count(), 0);
    srpd.signal("TERM");
    srpd.wait_exit(ms(5000));
}

#[test]
fn strangers_write_nothing_into_the_log() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let srpd = setup.section("log", "level = \"debug\"").start();
    let lines = srpd.log().len();
    let stranger = tls::client(&Authority::new());
    for number in 0..60 {
        let mut stream = TcpStream::connect(srpd.data()).expect("a connection");
        match number % 3 {
            0 => drop(stream),
            1 => stream
                .write_all(b"\x16\x03\x01garbage that is none")
                .expect("sent"),
            _ => drop(srpd.connect_tls(&stranger)),
        }
    }
    eventually("all counted", || {
        srpd.metric("srpd_tls_handshakes_total", &[]) >= 60.0
    });
    // Some alerts are lost to the reset of who sent them.
    let left = handshakes(&srpd, "refused") + handshakes(&srpd, "gone");
    assert!(handshakes(&srpd, "refused") > 0.0 && left >= 40.0, "{left}");
    assert_eq!(srpd.log().len(), lines, "{:?}", srpd.log());
}

#[test]
fn with_an_authority_only_its_clients_are_let_in() {
    let authority = Authority::new();
    let clients = Authority::new();
    let (backstop, setup) = at_home(&authority);
    let setup = setup
        .file("clients.pem", &clients.pem())
        .section("instance.tls", "client_ca = \"clients.pem\"");
    let srpd = setup.start();
    for version in [&TLS13, &TLS12] {
        let of = |identity| tls::client_of(&authority, &[version], identity);
        let identity = clients.client();
        let known = srpd.connect_tls(&of(Some(&identity)));
        let said = known.expect("TLS").ask(&Ask::chat("smart")).said();
        assert_eq!(said, "from home");
        let served = backstop.count();
        let foreign = Authority::new().client();
        let server = clients.server();
        for identity in [None, Some(&foreign), Some(&server)] {
            // In TLS 1.3 a client learns of it only when it reads.
            if let Ok(mut client) = srpd.connect_tls(&of(identity)) {
                client.send(Ask::chat("smart").bytes());
                client.assert_refused();
            }
        }
        assert_eq!(backstop.count(), served);
    }
    eventually("counted", || handshakes(&srpd, "bad_certificate") == 6.0);
    assert_eq!(handshakes(&srpd, "ok"), 2.0);
}

#[test]
fn a_ticket_from_before_does_not_stand_in_for_a_certificate() {
    let authority = Authority::new();
    let clients = Authority::new();
    let (backstop, setup) = at_home(&authority);
    let srpd = setup.start();
    for (served, version) in (1..).zip([&TLS13, &TLS12]) {
        reloaded(&srpd, &setup);
        let config = tls::client_of(&authority, &[version], None);
        let mut client = srpd.connect_tls(&config).expect("TLS");
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        let strict = setup.clone().file("clients.pem", &clients.pem());
        let strict = strict.section("instance.tls", "client_ca = \"clients.pem\"");
        reloaded(&srpd, &strict);
        if let Ok(mut client) = srpd.connect_tls(&config) {
            assert!(!client.tls().terms().resumed);
            client.send(Ask::chat("smart").bytes());
            client.assert_refused();
        }
        // Who was let in before stays.
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        assert_eq!(backstop.count(), served * 2);
    }
}

#[test]
fn nothing_of_the_private_key_is_shown_anywhere() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let identity = authority.server();
    let setup = setup.shows(&identity).section("log", "level = \"trace\"");
    let srpd = setup.start();
    let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    // A key that can't be read, and one that isn't the certificate's.
    let other = authority.server();
    let broken = other.key.replace("END", "NED");
    for (failures, key) in (1..).zip([broken, other.key.clone()]) {
        srpd.reload(&setup.clone().file("key.pem", &key));
        eventually("the failure in the metrics", || {
            srpd.metric("srpd_config_reload_failures_total", &[]) == f64::from(failures)
        });
    }
    let pages = ["/metrics", "/srp/v1/config", "/srp/v1/providers", "/readyz"];
    let mut shown: Vec<String> = pages.iter().map(|page| srpd.admin(page).text()).collect();
    shown.extend(srpd.log());
    assert!(
        shown.iter().any(|text| text.contains("key.pem")),
        "the path may be"
    );
    for key in [&identity.key, &other.key] {
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            let found = shown.iter().find(|text| text.contains(line));
            assert_eq!(found, None);
        }
    }
}

#[test]
fn a_drain_says_good_bye_over_tls() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let mut srpd = setup.start();
    let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    srpd.signal("TERM");
    client.assert_closed();
    assert!(srpd.wait_exit(ms(5000)).success());
}

#[test]
fn a_certificate_that_expires_meanwhile_is_shown_on_and_told() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after it");
    let soon = authority.identity(&[tls::NAME], |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + ms(3000);
    });
    let mut srpd = setup.shows(&soon).start();
    let said = |line: &str| message(line).filter(|it| it.contains("has expired"));
    srpd.wait_log("the expiry", said);
    let lines = srpd.log();
    let told = lines.iter().filter(|line| said(line).is_some());
    assert_eq!(told.count(), 1);
    let refused = srpd.connect_tls(&tls::client(&authority)).err();
    let why = refused.expect("an expired certificate").to_string();
    assert!(why.contains("expired"), "{why}");
}

#[test]
fn the_certificates_end_is_a_metric_and_its_expiry_a_warning() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let metric = "srpd_tls_certificate_not_after_seconds";
    let mut srpd = setup.clone().shows(&authority.expired()).start();
    // 2002-01-01T00:00:00Z
    assert_eq!(srpd.metric(metric, &[]), 1_009_843_200.0);
    srpd.wait_log("the warning", |line| {
        let said = message(line)?;
        let warned = said.contains("instance.tls.certificate") && said.contains("expired");
        warned.then_some(())
    });
    srpd.reload(&setup);
    eventually("the new one's end", || srpd.metric(metric, &[]) > 2e9);
    let directory = tempfile::tempdir().expect("a directory");
    setup.shows(&authority.expired()).write(directory.path());
    let said = srpd_says(directory.path(), &["check", "srpd.toml"]);
    assert!(
        said.contains("warning") && said.contains("2002-01-01T00:00:00Z"),
        "{said}"
    );
}
