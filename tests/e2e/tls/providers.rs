//! Providers: whom srpd believes, and that whoever isn't believed is a candidate that failed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::support::instance::{Instance, attribute, message};
use crate::support::setup::SRPD;
use crate::support::{Ask, Authority, Identity, Mute, Reply, Setup, Upstream, eventually, ms, tls};

fn handshakes(srpd: &Instance, provider: &str, result: &str) -> f64 {
    let labels = [
        &*format!("provider=\"{provider}\""),
        &*format!("result=\"{result}\""),
    ];
    srpd.metric("srpd_tls_upstream_handshakes_total", &labels)
}

/// A vendor abroad at `vendor`, whose certificates `authority` vouches for, and a backstop.
fn vendor(vendor: &str, authority: &Authority, backstop: &str) -> Setup {
    Setup::vendor_and_backstop(vendor, backstop)
        .trusting("vendor-us", authority)
        .patient_breakers()
}

#[test]
fn both_versions_are_spoken_with_the_hosts_name_and_sessions_resumed() {
    let authority = Authority::new();
    let once = Reply::json(200, &crate::support::chat_body("hello")).close();
    for (version, expected) in [
        (&TLS13, ProtocolVersion::TLSv1_3),
        (&TLS12, ProtocolVersion::TLSv1_2),
    ] {
        let config = authority.server().server_of(&[version], None);
        let upstream = Upstream::always(once.clone()).over_tls(config);
        let backstop = Upstream::always(Reply::chat("from home"));
        let url = upstream.url_by_name(tls::NAME);
        let setup = vendor(&url, &authority, &backstop.url()).section("instance", "cores = 1");
        let srpd = setup.start();
        for _ in 0..3 {
            assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hello");
        }
        let shaken = upstream.shaken();
        assert_eq!(shaken.len(), 3);
        for (number, terms) in shaken.iter().enumerate() {
            assert_eq!(terms.name.as_deref(), Some(tls::NAME));
            assert_eq!(terms.version, expected);
            assert_eq!(terms.resumed, number > 0, "{shaken:?}");
        }
        assert_eq!(handshakes(&srpd, "vendor-us", "ok"), 1.0);
        assert_eq!(handshakes(&srpd, "vendor-us", "resumed"), 2.0);
        let port = upstream.address().port();
        let host = upstream.last().field("host").expect("a host");
        assert_eq!(host, format!("{}:{port}", tls::NAME));
    }
}

#[test]
fn an_address_is_verified_as_one_and_asked_for_without_a_name() {
    let authority = Authority::new();
    let vendor_by_address =
        Upstream::always(Reply::chat("hello")).over_tls(authority.server().server());
    let backstop = Upstream::always(Reply::chat("from home"));
    let url = vendor_by_address.url();
    let srpd = vendor(&url, &authority, &backstop.url()).start();
    for _ in 0..5 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hello");
    }
    assert_eq!(vendor_by_address.shaken()[0].name, None);
    assert!(vendor_by_address.connections() <= 2, "one a core, reused");
}

#[test]
fn who_is_not_believed_is_passed_over_unseen() {
    let authority = Authority::new();
    let elsewhere = authority.identity(&["elsewhere.example"], |_| {});
    let a_client = authority.identity(&[tls::NAME, "127.0.0.1"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let disguises = [
        (authority.expired(), "expired"),
        (elsewhere, "name"),
        (Identity::self_signed(), "issuer"),
        (Authority::new().server(), "issuer"),
        (a_client, "certificate"),
    ];
    for (identity, why) in disguises {
        let upstream = Upstream::always(Reply::chat("a lie")).over_tls(identity.server());
        let backstop = Upstream::always(Reply::chat("from home"));
        let mut srpd = vendor(&upstream.url(), &authority, &backstop.url()).start();
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home", "{why}");
        upstream.wait_unshaken(1);
        assert_eq!((upstream.count(), upstream.bytes_in()), (0, 0), "{why}");
        assert_eq!(handshakes(&srpd, "vendor-us", "bad_certificate"), 1.0);
        let failures = ["provider=\"vendor-us\"", "result=\"connect\""];
        assert_eq!(srpd.metric("srpd_attempts_total", &failures), 1.0);
        let said = srpd.wait_log("what is wrong", |line| {
            let named = attribute(line, "provider")? == "vendor-us";
            let failed = message(line)? == "TLS handshake failed";
            let why = attribute(line, "why")?.as_str()?.to_owned();
            (named && failed).then_some(why)
        });
        assert!(said.contains(why), "{said:?} about {why}");
    }
}

#[test]
fn what_else_can_be_wrong_with_an_endpoint_is_told_once() {
    let authority = Authority::new();
    let clients = Authority::new();
    // It answers whatever comes, as servers of plain HTTP do.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let plain_url = format!("https://{}", listener.local_addr().expect("its address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).read(&mut [0; 1024]);
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let strict = authority
        .server()
        .server_of(&[&TLS13, &TLS12], Some(&clients));
    let strict = Upstream::always(Reply::chat("for friends")).over_tls(strict);
    for (url, result) in [(plain_url, "not_tls"), (strict.url(), "refused")] {
        let backstop = Upstream::always(Reply::chat("from home"));
        let srpd = vendor(&url, &authority, &backstop.url()).start();
        for _ in 0..3 {
            assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
        }
        if result == "not_tls" {
            assert_eq!(handshakes(&srpd, "vendor-us", result), 3.0);
            let log = srpd.log();
            let said = log
                .iter()
                .filter(|line| line.contains("TLS handshake failed"));
            assert_eq!(said.count(), 1, "{log:?}");
        }
        assert_eq!(strict.count(), 0);
    }
}

#[test]
fn failed_handshakes_open_the_breaker() {
    let authority = Authority::new();
    let upstream = Upstream::always(Reply::chat("a lie")).over_tls(authority.expired().server());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&upstream.url(), &backstop.url())
        .trusting("vendor-us", &authority)
        .section("instance", "cores = 1")
        .section("breaker", "open = \"30s\"")
        .start();
    for _ in 0..8 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    }
    upstream.wait_unshaken(5);
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn no_certificate_however_bad_sends_a_call_abroad() {
    let authority = Authority::new();
    let abroad = Upstream::always(Reply::chat("abroad")).over_tls(authority.server().server());
    let home = Upstream::always(Reply::chat("a lie")).over_tls(authority.expired().server());
    let srpd = Setup::bare(&home.url())
        .trusting("aloomu", &authority)
        .provider("vendor-us", "us", &[&abroad.url()], "")
        .trusting("vendor-us", &authority)
        .capability("smart", &["vendor-us"], "")
        .capability("sovereign", &[], "")
        .patient_breakers()
        .start();
    let at_home = Ask::chat("smart").field("x-sovereign-residency", "au-only");
    srpd.ask(&at_home)
        .assert_error(502, "upstream_error", Some("all_attempts_failed"), None);
    srpd.ask(&Ask::chat("sovereign")).assert_error(
        502,
        "upstream_error",
        Some("all_attempts_failed"),
        None,
    );
    assert_eq!(abroad.connections(), 0);
    assert_eq!(home.count(), 0);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "abroad");
}

#[test]
fn a_handshake_that_stalls_ends_with_timeouts_connect() {
    let authority = Authority::new();
    let mute = Mute::new();
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = vendor(&mute.url(), &authority, &backstop.url())
        .section("timeouts", "connect = \"300ms\"")
        .start();
    let begun = std::time::Instant::now();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    let took = begun.elapsed();
    assert!(took >= ms(280) && took < ms(5000), "{took:?}");
    assert_eq!(handshakes(&srpd, "vendor-us", "timed_out"), 1.0);
    // Nothing is said of it: it is no more than a provider that doesn't answer.
    assert!(!srpd.log().iter().any(|line| line.contains("TLS handshake")));
}

#[test]
fn a_handshake_that_outlasts_the_call_is_504() {
    let authority = Authority::new();
    let mute = Mute::new();
    let srpd = Setup::backstop_only(&mute.url())
        .trusting("aloomu", &authority)
        .section("timeouts", "connect = \"20s\"\ncall = \"400ms\"")
        .start();
    srpd.ask(&Ask::chat("smart")).assert_error(
        504,
        "upstream_error",
        Some("deadline_exceeded"),
        None,
    );
}

#[test]
fn a_client_that_leaves_during_the_handshake_ends_it() {
    let authority = Authority::new();
    let mute = Mute::new();
    let srpd = Setup::backstop_only(&mute.url())
        .trusting("aloomu", &authority)
        .section("timeouts", "connect = \"20s\"")
        .start();
    let before = srpd.open_files();
    for _ in 0..8 {
        let mut client = srpd.connect();
        client.send(Ask::chat("smart").bytes());
        client.close();
    }
    eventually("every socket closed", || srpd.open_files() <= before);
}

#[test]
fn a_body_that_ends_with_the_connection_must_end_with_notice() {
    let authority = Authority::new();
    let body = |reply: Reply| reply.send("{\"half\":").send("x".repeat(100_000));
    let head = || Reply::head(200, &[("content-type", "text/plain")]);
    let upstream = Upstream::in_turn(vec![body(head()).close(), body(head()).truncate()])
        .over_tls(authority.server().server());
    let srpd = Setup::backstop_only(&upstream.url())
        .trusting("aloomu", &authority)
        .patient_breakers()
        .start();
    let whole = srpd.ask(&Ask::chat("smart"));
    assert_eq!((whole.status, whole.complete), (200, true));
    assert_eq!(whole.body.len(), 100_008);
    let cut = srpd.ask(&Ask::chat("smart"));
    assert_eq!((cut.status, cut.complete), (200, false));
    let truncated = ["provider=\"aloomu\"", "result=\"truncated\""];
    assert_eq!(srpd.metric("srpd_attempts_total", &truncated), 1.0);
}

#[test]
fn a_short_body_that_was_truncated_is_never_seen() {
    let authority = Authority::new();
    let cut = Reply::head(200, &[("content-type", "application/json")])
        .send("{\"choices\":[]}")
        .truncate();
    let upstream = Upstream::always(cut).over_tls(authority.server().server());
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = vendor(&upstream.url(), &authority, &backstop.url()).start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn pinned_ranges_hold_for_names_with_certificates_too() {
    let authority = Authority::new();
    let upstream = Upstream::always(Reply::chat("hello")).over_tls(authority.server().server());
    let backstop = Upstream::always(Reply::chat("from home"));
    let url = upstream.url_by_name(tls::NAME);
    let srpd = vendor(&url, &authority, &backstop.url())
        .more("vendor-us", "addresses = [\"10.0.0.0/8\"]")
        .start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(upstream.connections(), 0);
    let refused = srpd.metric("srpd_address_refused_total", &["provider=\"vendor-us\""]);
    assert!(refused >= 1.0);
}

#[test]
fn without_a_file_the_systems_authorities_decide() {
    let authority = Authority::new();
    let upstream = Upstream::always(Reply::chat("hello")).over_tls(authority.server().server());
    let setup = Setup::backstop_only(&upstream.url()).patient_breakers();
    let roots = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(roots.path(), authority.pem()).expect("written");
    let empty = tempfile::tempdir().expect("a directory");
    let start = |file: &std::path::Path| {
        setup.start_by(|command| {
            command
                .env("SSL_CERT_FILE", file)
                .env("SSL_CERT_DIR", empty.path());
            command.spawn().expect("srpd starts")
        })
    };
    let srpd = start(roots.path());
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hello");
    drop(srpd);
    std::fs::write(roots.path(), Authority::new().pem()).expect("written");
    let srpd = start(roots.path());
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 502);
    drop(srpd);

    let directory = tempfile::tempdir().expect("a directory");
    setup.write(directory.path());
    let output = Command::new(SRPD)
        .args(["check", "srpd.toml"])
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", empty.path())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("srpd runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        said.contains("provider[0].endpoints[0]: expected trusted certificates of the system")
            && said.contains("`ca` names a file"),
        "{said}"
    );
}
