//! Who is let in, who is not, and how it is said.

use std::io::ErrorKind;

use rustls::pki_types::ServerName;

use super::*;
use crate::base::Moment;
use crate::net::Ends;
use crate::net::stream::Unopened;
use crate::net::testing::{on_each_driver, settle};
use crate::net::tls::testing::Identity;
use crate::net::tls::{BadTls, Cause, Roots, cause};

#[test]
fn sessions_are_resumed_on_both_sides() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let authority = Authority::make();
            let (server, client) = (authority.server(), authority.client());
            let stock = Arc::new(authority.stock_server(&[version], &["localhost"], false));
            let config = Arc::new(authority.stock_client(&[version], None));
            for turn in 0..3 {
                let (mut conn, echo) = call(&client, &stock).await;
                assert_eq!(conn.tls().unwrap().resumed, turn > 0);
                conn.writer.send(filled(b"ping")).await.0.unwrap();
                assert_eq!(read(&mut conn, 4).await.unwrap(), b"ping");
                conn.writer.finish().await;
                assert!(read(&mut conn, 1).await.unwrap().is_empty());
                echo.join().unwrap().unwrap();

                let (conn, peer) = pair(&Deadlines::default()).await;
                let config = Arc::clone(&config);
                let stock_client = thread::spawn(move || {
                    let mut stream = stock_client(&config, peer);
                    stream.write_all(b"ping").unwrap();
                    stream.read_exact(&mut [0; 4]).unwrap();
                });
                let mut conn = conn.accept_tls(&server).await.unwrap();
                assert_eq!(conn.tls().unwrap().resumed, turn > 0);
                assert_eq!(read(&mut conn, 4).await.unwrap(), b"ping");
                conn.writer.send(filled(b"pong")).await.0.unwrap();
                stock_client.join().unwrap();
            }
        }
    });
}

/// How a handshake of our server ends with that stock client, and what the client is told.
async fn attempt(
    server: &ServerTls,
    config: rustls::ClientConfig,
) -> (Result<Conn, (Cause, String)>, io::Result<()>) {
    let (conn, peer) = pair(&Deadlines::default()).await;
    let client = thread::spawn(move || {
        let mut stream = stock_client(&Arc::new(config), peer);
        stream.write_all(b"hello")?;
        stream.read_exact(&mut [0; 5])
    });
    let accepted = conn.accept_tls(server).await;
    let accepted = match accepted {
        Ok(mut conn) => {
            let hello = read(&mut conn, 5).await.unwrap();
            conn.writer.send(filled(&hello)).await.0.unwrap();
            Ok(conn)
        }
        Err(Unopened { error, mut conn }) => {
            // The alert is not to be lost to a reset.
            conn.writer.finish().await;
            while matches!(conn.reader.read(Buffer::small()).await.0, Ok(n) if n > 0) {}
            Err((cause(&error), error.to_string()))
        }
    };
    (accepted, client.join().unwrap())
}

#[test]
fn clients_show_the_certificate_that_is_asked_for() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let (authority, stranger) = (Authority::make(), Authority::make());
            let own = authority.identity(&["localhost"]);
            let server = ServerTls::new(
                own.certificate.as_bytes(),
                own.key.as_bytes(),
                Some(authority.certificate.as_bytes()),
            )
            .unwrap();
            let known = authority.identity(&["somebody"]);
            let foreign = stranger.identity(&["somebody"]);
            let attempt = async |shown: Option<&Identity>| {
                attempt(&server, authority.stock_client(&[version], shown)).await
            };

            let (accepted, told) = attempt(Some(&known)).await;
            assert!(accepted.is_ok() && told.is_ok());
            for (shown, alert) in [(None, "CertificateRequired"), (Some(&foreign), "UnknownCA")] {
                let (accepted, told) = attempt(shown).await;
                let (cause, _) = accepted.err().unwrap();
                assert_eq!(cause, Cause::Certificate);
                let told = told.unwrap_err().to_string();
                assert!(
                    told.contains(alert) || told.contains("HandshakeFailure"),
                    "{told}"
                );
            }
        }
    });
}

#[test]
fn a_server_is_who_it_should_be_or_is_not_spoken_to() {
    on_each_driver(|| async {
        let (authority, stranger) = (Authority::make(), Authority::make());
        let cases = [
            (stranger.client(), "UnknownIssuer", "UnknownCA"),
            (
                ClientTls::new(&authority.roots(), "elsewhere.example").unwrap(),
                "elsewhere.example",
                "CertificateUnknown",
            ),
            (
                ClientTls::new(&authority.roots(), "127.0.0.2").unwrap(),
                "127.0.0.2",
                "CertificateUnknown",
            ),
        ];
        for version in VERSIONS {
            let config = Arc::new(authority.stock_server(&[version], &["localhost"], false));
            for (tls, why, alert) in &cases {
                let (conn, peer) = pair(&Deadlines::default()).await;
                let config = Arc::clone(&config);
                let server = thread::spawn(move || stock_server(&config, peer).echo());
                let error = conn.connect_tls(tls).await.err().unwrap();
                assert_eq!(cause(&error), Cause::Certificate);
                assert!(error.to_string().contains(why), "{error}");
                let told = server.join().unwrap().unwrap_err().to_string();
                assert!(
                    told.contains(alert) || told.contains("BadCertificate"),
                    "{told}"
                );
            }
        }
        let name = ClientTls::new(&authority.roots(), "[127.0.0.1]").map(drop);
        assert!(name.is_ok(), "an address is a name, too");
    });
}

#[test]
fn a_server_that_asks_for_our_certificate_gets_none() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let authority = Authority::make();
            let config = Arc::new(authority.stock_server(&[version], &["localhost"], true));
            let (conn, peer) = pair(&Deadlines::default()).await;
            let server = thread::spawn(move || stock_server(&config, peer).echo());
            // TLS 1.3 clients are done before the server has looked.
            let error = match conn.connect_tls(&authority.client()).await {
                Ok(mut conn) => read(&mut conn, 1).await.unwrap_err(),
                Err(error) => error,
            };
            let cause = cause(&error);
            assert!(
                matches!(cause, Cause::Refused | Cause::NothingInCommon),
                "{error}"
            );
            assert!(server.join().unwrap().is_err());
        }
    });
}

/// What a peer is answered before the connection ends, and how our handshake has ended.
async fn answer_to(bytes: &[u8]) -> (io::Error, Vec<u8>) {
    let (conn, mut peer) = pair(&Deadlines::default()).await;
    let bytes = bytes.to_vec();
    let peer = thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        answer
    });
    let unopened = conn.accept_tls(&Authority::make().server()).await.err();
    let Unopened { error, mut conn } = unopened.unwrap();
    conn.writer.send(filled(b"<end>")).await.0.unwrap();
    conn.writer.finish().await;
    (error, peer.join().unwrap())
}

#[test]
fn who_speaks_in_plaintext_is_left_to_the_caller() {
    on_each_driver(|| async {
        for bytes in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"POST /v1/chat/completions HTTP/1.1\r\n",
            b"P",
        ] {
            let (error, answer) = answer_to(bytes).await;
            assert_eq!(cause(&error), Cause::Plaintext);
            assert_eq!(answer, b"<end>", "nothing but what the caller says");
        }
    });
}

#[test]
fn who_speaks_something_else_is_told_so_in_an_alert() {
    on_each_driver(|| async {
        for bytes in [
            // SSL 2.
            &b"\x80\x2e\x01\x00\x02"[..],
            b"get / http/1.1\r\n",
            // A record that is too long for any version.
            b"\x16\x03\x01\x48\x01\x01\x00",
        ] {
            let (error, answer) = answer_to(bytes).await;
            assert_eq!(cause(&error), Cause::NotTls);
            assert_eq!(error.to_string(), "the other side does not speak TLS");
            assert_eq!(answer[..5], [21, 3, 3, 0, 2], "an alert");
        }
    });
}

/// A ClientHello of TLS 1.1, with one cipher suite.
fn old_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    record
}

#[test]
fn older_versions_are_refused() {
    on_each_driver(|| async {
        let (error, answer) = answer_to(&old_hello()).await;
        assert_eq!(cause(&error), Cause::NothingInCommon, "{error}");
        // protocol_version, or what rustls says of a hello without extensions.
        assert_eq!(answer[..6], [21, 3, 3, 0, 2, 2]);
        assert!([70, 40].contains(&answer[6]), "{answer:?}");

        // A server that answers with TLS 1.1.
        let (conn, mut peer) = pair(&Deadlines::default()).await;
        let server = thread::spawn(move || {
            peer.read_exact(&mut [0; 5]).unwrap();
            let mut hello = vec![2, 0, 0, 38, 3, 2];
            hello.extend([9; 32]);
            hello.extend([0, 0xc0, 0x13, 0]);
            peer.write_all(&[22, 3, 2, 0, hello.len() as u8]).unwrap();
            peer.write_all(&hello).unwrap();
            let mut answer = Vec::new();
            let _ = peer.read_to_end(&mut answer);
            answer
        });
        let tls = Authority::make().client();
        let error = conn.connect_tls(&tls).await.err().unwrap();
        assert_eq!(cause(&error), Cause::NothingInCommon, "{error}");
        let told = server.join().unwrap();
        assert!(told.ends_with(&[21, 3, 3, 0, 2, 2, 70]), "{told:?}");
    });
}

#[test]
fn nothing_but_http_11_is_spoken_on_top() {
    on_each_driver(|| async {
        let authority = Authority::make();
        for (offered, agreed) in [
            (&[&b"h2"[..], b"http/1.1"][..], Some(&b"http/1.1"[..])),
            (&[], None),
            (&[b"h2"], Some(b"nothing")),
        ] {
            let mut config = authority.stock_client(&VERSIONS, None);
            config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
            let (conn, peer) = pair(&Deadlines::default()).await;
            let client = thread::spawn(move || {
                let mut stream = stock_client(&Arc::new(config), peer);
                stream.conn.complete_io(&mut stream.sock)?;
                io::Result::Ok(stream.conn.alpn_protocol().map(<[u8]>::to_vec))
            });
            let accepted = conn.accept_tls(&authority.server()).await;
            match client.join().unwrap() {
                Ok(name) => assert_eq!(name.as_deref(), agreed),
                Err(error) => {
                    assert!(
                        error.to_string().contains("NoApplicationProtocol"),
                        "{error}"
                    );
                    assert_eq!(
                        cause(&accepted.err().unwrap().error),
                        Cause::NothingInCommon
                    );
                    assert_eq!(offered, [b"h2"]);
                }
            }
        }
    });
}

#[test]
fn a_handshake_that_stands_still_ends_with_its_deadline() {
    on_each_driver(|| async {
        let authority = Authority::make();
        for begins in [false, true] {
            for serves in [false, true] {
                let deadlines = Deadlines::default();
                let (conn, mut peer) = pair(&deadlines).await;
                if begins {
                    peer.write_all(&old_hello()[..9]).unwrap();
                }
                conn.deadline.set(Moment(5), Ends::All);
                let (server, client) = (authority.server(), authority.client());
                let shaking = monoio::spawn(async move {
                    match serves {
                        true => Ok(conn.accept_tls(&server).await?),
                        false => conn.connect_tls(&client).await,
                    }
                });
                settle().await;
                assert_eq!(deadlines.sweep(Moment(5)), 1);
                let error = shaking.await.err().unwrap();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert_eq!(cause(&error), Cause::Timeout);
            }
        }
    });
}

#[test]
fn who_leaves_in_mid_handshake_is_gone_and_so_are_we_when_dropped() {
    on_each_driver(|| async {
        let authority = Authority::make();
        let (conn, peer) = pair(&Deadlines::default()).await;
        drop(peer);
        let unopened = conn.accept_tls(&authority.server()).await.err().unwrap();
        assert_eq!(cause(&unopened.error), Cause::Gone);

        let (conn, mut peer) = pair(&Deadlines::default()).await;
        peer.write_all(&old_hello()[..20]).unwrap();
        let server = authority.server();
        let limit = Duration::from_millis(20);
        let given_up = monoio::time::timeout(limit, conn.accept_tls(&server)).await;
        assert!(given_up.is_err());
        settle().await;
        // Closed with bytes that nobody has read: the end, or a reset.
        let end = peer.read(&mut [0; 1]);
        assert!(
            matches!(end, Ok(0))
                || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        );
    });
}

#[test]
fn many_handshakes_at_once_all_succeed() {
    on_each_driver(|| async {
        let authority = Authority::make();
        let server = authority.server();
        let config = Arc::new(authority.stock_client(&VERSIONS, None));
        let (mut tasks, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let (conn, peer) = pair(&Deadlines::default()).await;
            let name = ServerName::try_from("localhost").unwrap();
            let mut tls = ClientConnection::new(Arc::clone(&config), name).unwrap();
            tls.write_tls(&mut &peer).unwrap();
            peers.push((tls, peer));
            let server = server.clone();
            tasks.push(monoio::spawn(async move { conn.accept_tls(&server).await }));
        }
        let clients = thread::spawn(move || {
            for (tls, peer) in &mut peers {
                tls.complete_io(peer).unwrap();
            }
            peers
        });
        for task in tasks {
            assert!(task.await.is_ok());
        }
        clients.join().unwrap();
    });
}

#[test]
fn what_is_configured_wrong_is_said_without_quoting_it() {
    let (authority, other) = (Authority::make(), Authority::make());
    let own = authority.identity(&["localhost"]);
    let other = other.identity(&["localhost"]);
    let (certificate, key) = (own.certificate.as_bytes(), own.key.as_bytes());
    let said = |certificate: &[u8], key: &[u8], ca: Option<&[u8]>| {
        let bad: BadTls = ServerTls::new(certificate, key, ca).err().unwrap();
        let said = bad.to_string();
        assert!(
            said.starts_with("expected ") && said.contains(", found "),
            "{said}"
        );
        assert!(!said.contains(&own.key[40..60]), "{said}");
        said
    };
    assert_eq!(
        said(b"", key, None),
        "expected X.509 certificates in PEM, found none"
    );
    assert!(said(key, key, None).ends_with("found none"));
    let none = "expected an unencrypted private key in PEM (PKCS #8, PKCS #1 or SEC 1), found none";
    assert_eq!(said(certificate, certificate, None), none);
    let encrypted = own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(said(certificate, encrypted.as_bytes(), None).ends_with("found an encrypted one"));
    let cut = &own.key.as_bytes()[..own.key.len() / 2];
    assert!(said(certificate, cut, None).ends_with("found PEM that is damaged"));
    assert_eq!(
        said(certificate, other.key.as_bytes(), None),
        "expected the private key of the certificate, found another"
    );
    assert_eq!(
        said(certificate, key, Some(b"nothing")),
        "expected certificates of authorities in PEM, found none"
    );
    assert!(Roots::from_pem(key).is_err());
    for host in ["", "a b", "under_score.example/", "[::1", "-"] {
        assert!(
            matches!(
                ClientTls::new(&authority.roots(), host),
                Err(BadTls::Host(_))
            ),
            "{host}"
        );
    }
    for host in ["localhost", "10.0.0.1", "::1", "[::1]", "api.example.com"] {
        assert!(ClientTls::new(&authority.roots(), host).is_ok(), "{host}");
    }
}
