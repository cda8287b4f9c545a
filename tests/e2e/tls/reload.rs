//! SIGHUP: new connections see what is new, those that are there go on untouched.

use super::{at_home, reloaded};
use crate::support::instance::message;
use crate::support::{Ask, Authority, Reply, Setup, Upstream, delta, eventually, ms, tls};

#[test]
fn a_new_certificate_is_for_new_connections() {
    let authority = Authority::new();
    let stream = Reply::events()
        .event(&delta("a"))
        .pause(ms(600))
        .event(&delta("b"))
        .done();
    let upstream = Upstream::always(stream);
    let setup = Setup::backstop_only(&upstream.url()).over_tls(&authority.server());
    let srpd = setup.start();
    let config = tls::client(&authority);
    let mut client = srpd.connect_tls(&config).expect("TLS");
    let before = client.tls().certificate();
    client.send(Ask::stream("smart").bytes());
    let mut incoming = client.incoming();
    incoming.until("data:");
    let successor = Authority::new();
    reloaded(&srpd, &setup.shows(&successor.server()));
    let trusting = tls::client(&successor);
    let mut newcomer = srpd.connect_tls(&trusting).expect("TLS");
    assert_ne!(newcomer.tls().certificate(), before);
    assert!(srpd.connect_tls(&tls::client(&authority)).is_err());
    // In the middle of an answer, and for further calls.
    let response = incoming.finish();
    assert_eq!(response.data(), [delta("a"), delta("b"), "[DONE]".into()]);
    assert!(client.ask(&Ask::stream("smart")).complete);
    assert!(newcomer.ask(&Ask::stream("smart")).complete);
}

#[test]
fn a_bad_file_leaves_the_certificate_in_force_and_says_why() {
    let authority = Authority::new();
    let (_backstop, setup) = at_home(&authority);
    let mut srpd = setup.start();
    let other = Authority::new().server();
    let changes = [
        ("cert.pem", "", "instance.tls.certificate"),
        (
            "cert.pem",
            other.certificate.as_str(),
            "expected the private key of the certificate",
        ),
        (
            "key.pem",
            "-----BEGIN PRIVATE KEY-----\n",
            "instance.tls.private_key",
        ),
    ];
    for (failures, (file, content, says)) in (1..).zip(changes) {
        srpd.reload(&setup.clone().file(file, content));
        eventually("the failure in the metrics", || {
            srpd.metric("srpd_config_reload_failures_total", &[]) == f64::from(failures)
        });
        srpd.wait_log(says, |line| {
            let said = message(line)?;
            (said.contains("srpd.toml:") && said.contains(says)).then_some(())
        });
        let mut client = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    }
}

#[test]
fn a_dead_certificate_does_not_take_the_place_of_a_good_one() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let authority = Authority::new();
    let (good, dead) = (authority.server(), authority.expired());
    let setup = Setup::backstop_only(&upstream.url());
    let srpd = setup.clone().over_tls(&good).start();
    let config = tls::client(&authority);
    srpd.reload(&setup.clone().over_tls(&dead));
    eventually("the refusal", || {
        srpd.metric("srpd_config_reload_failures_total", &[]) == 1.0
    });
    let log = srpd.log();
    let refused = log.iter().find(|line| line.contains("reload refused"));
    assert!(
        refused
            .expect("a line")
            .contains("the one in force is still good")
    );
    let mut client = srpd.connect_tls(&config).expect("a handshake");
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "hi");
    // Where there is nothing to lose it is taken: the rest of the file may matter.
    let srpd = setup.clone().over_tls(&dead).start();
    srpd.reload(&setup.over_tls(&dead).capability("more", &[], ""));
    eventually("the reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
}

#[test]
fn tls_comes_and_goes_with_a_reload() {
    let authority = Authority::new();
    let (backstop, setup) = at_home(&authority);
    let plain = Setup::backstop_only(&backstop.url());
    let srpd = plain.start();
    let mut early = srpd.connect();
    assert_eq!(early.ask(&Ask::chat("smart")).said(), "from home");
    reloaded(&srpd, &setup);
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 400, "plaintext");
    let mut secured = srpd.connect_tls(&tls::client(&authority)).expect("TLS");
    assert_eq!(secured.ask(&Ask::chat("smart")).said(), "from home");
    reloaded(&srpd, &plain);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(secured.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(early.ask(&Ask::chat("smart")).said(), "from home");
}

/// What an upstream is asked over, by the numbers of its connections.
fn connections(upstream: &Upstream) -> Vec<usize> {
    let requests = upstream.requests();
    requests.iter().map(|request| request.connection).collect()
}

#[test]
fn no_connection_that_another_authority_vouched_for_is_used_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let upstream = Upstream::always(Reply::chat("from home")).over_tls(old.server().server());
    let one_core = |setup: Setup| setup.section("instance", "cores = 1");
    let setup = one_core(Setup::backstop_only(&upstream.url()));
    let srpd = setup.clone().trusting("aloomu", &old).start();
    let ask = || srpd.ask(&Ask::chat("smart"));
    assert_eq!(
        (ask().said(), ask().said()),
        ("from home".into(), "from home".into())
    );
    assert_eq!(connections(&upstream), [0, 0]);
    // The same authority once more: nothing has changed, the connection is kept.
    reloaded(
        &srpd,
        &setup
            .clone()
            .trusting("aloomu", &old)
            .section("retry", "max_attempts = 2"),
    );
    assert_eq!(ask().said(), "from home");
    assert_eq!(connections(&upstream), [0, 0, 0]);
    // Another one: the connection is there still, and the new authority doesn't know it.
    reloaded(&srpd, &setup.clone().trusting("aloomu", &new));
    assert_eq!(ask().status, 502);
    assert_eq!(upstream.count(), 3);
    upstream.set_tls(Some(new.server().server()));
    eventually("the breaker's leave", || ask().status == 200);
    assert!(connections(&upstream)[3] > 0);
    // A session of the old trust isn't resumed either.
    assert!(!upstream.shaken().last().expect("a handshake").resumed);
}

#[test]
fn plaintext_and_tls_at_one_address_share_no_connection() {
    let authority = Authority::new();
    let upstream = Upstream::always(Reply::chat("from home"));
    let plain = Setup::backstop_only(&upstream.url()).section("instance", "cores = 1");
    upstream.set_tls(Some(authority.server().server()));
    let secured = Setup::backstop_only(&upstream.url())
        .section("instance", "cores = 1")
        .trusting("aloomu", &authority);
    upstream.set_tls(None);
    let srpd = plain.start();
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    upstream.set_tls(Some(authority.server().server()));
    reloaded(&srpd, &secured);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(connections(&upstream), [0, 1]);
    assert_eq!(upstream.shaken().len(), 1);
    upstream.set_tls(None);
    reloaded(&srpd, &plain);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    let used = connections(&upstream);
    assert_ne!(used[2], 1, "the one with TLS");
}
