//! What is sent is what is received, and an end is an end.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::Poll;

use super::*;
use crate::base::{EndpointId, Moment};
use crate::net::Pool;
use crate::net::buffer::{HUGE, LARGE};
use crate::net::gather::{Gather, Piece};
use crate::net::testing::{on_each_driver, settle};
use crate::net::tls::testing::Trickle;

#[test]
fn what_our_server_is_sent_it_reads_and_what_it_sends_is_read() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let (mut conn, client) = serve(&Authority::make(), version, |stream| {
                let sent = noise(300_000);
                let mut back = vec![0; sent.len()];
                for piece in sent.chunks(70_000) {
                    stream.write_all(piece).unwrap();
                }
                stream.read_exact(&mut back).unwrap();
                stream.good_bye();
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "a good-bye, too");
                back == sent
            })
            .await;
            assert!(!conn.tls().unwrap().resumed);
            let received = read(&mut conn, 300_000).await.unwrap();
            conn.writer.send(filled(&received)).await.0.unwrap();
            assert!(read(&mut conn, 1).await.unwrap().is_empty());
            conn.writer.finish().await;
            assert!(client.join().unwrap());
        }
    });
}

#[test]
fn what_our_client_sends_comes_back_in_pieces_too() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let authority = Authority::make();
            let config = authority.stock_server(&[version], &["localhost"], false);
            let (mut conn, server) = call(&authority.client(), &Arc::new(config)).await;
            let body = Rc::new(filled(&noise(400_000)));
            let end = body.len();
            // Small and large pieces, as a request with some replaced values has them.
            let pieces = [
                Piece::Own(0..10),
                Piece::Body(5..9),
                Piece::Own(10..3000),
                Piece::Body(9..40_000),
                Piece::Body(50_000..50_001),
                Piece::Body(50_001..50_001 + 16_384),
                Piece::Own(3000..3001),
                Piece::Body(80_000..end),
            ];
            let own = noise(3001);
            let sent: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| match piece {
                    Piece::Own(range) => own[range.clone()].to_vec(),
                    Piece::Body(range) => body.readable()[range.clone()].to_vec(),
                })
                .collect();
            let gather = Gather::new(filled(&own), Rc::clone(&body), &pieces);
            let (sending, received) = monoio::join!(
                conn.writer.send_pieces(gather),
                read_all(&mut conn.reader, sent.len())
            );
            sending.unwrap();
            assert!(received == sent);
            conn.writer.finish().await;
            assert!(read(&mut conn, 1).await.unwrap().is_empty());
            server.join().unwrap().unwrap();
        }
    });
}

async fn read_all(reader: &mut crate::net::Reader, length: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < length {
        let (result, buffer) = reader.read(Buffer::with_capacity(HUGE)).await;
        assert!(result.unwrap() > 0);
        received.extend_from_slice(buffer.readable());
    }
    received
}

#[test]
fn both_directions_are_used_at_once() {
    on_each_driver(|| async {
        let authority = Authority::make();
        let (mut near, mut far) = both(&authority.server(), &authority.client()).await;
        // Neither would end its sending if it didn't read meanwhile.
        let (there, back) = (noise(20_000_000), noise(20_000_001));
        let (sent, also_sent, received, also_received) = monoio::join!(
            near.writer.send(filled(&there)),
            far.writer.send(filled(&back)),
            read_all(&mut far.reader, there.len()),
            read_all(&mut near.reader, back.len())
        );
        sent.0.unwrap();
        also_sent.0.unwrap();
        assert!(received == there && also_received == back);
    });
}

#[test]
fn keys_change_in_both_directions_under_way() {
    on_each_driver(|| async {
        let (mut conn, client) = serve(&Authority::make(), &TLS13, |stream| {
            let mut echo = vec![0; 5000];
            for turn in 0..20u8 {
                // Our side is asked for new keys, too, and uses them from its next record on.
                stream.update_keys();
                stream.write_all(&[turn; 5000]).unwrap();
                stream.read_exact(&mut echo).unwrap();
                assert_eq!(echo, [turn; 5000]);
            }
        })
        .await;
        for _ in 0..20 {
            let received = read(&mut conn, 5000).await.unwrap();
            conn.writer.send(filled(&received)).await.0.unwrap();
        }
        client.join().unwrap();
    });
}

#[test]
fn records_may_come_in_the_smallest_pieces() {
    on_each_driver(|| async {
        for bytes in [1, 7, 4000] {
            let authority = Authority::make();
            let (conn, socket) = pair(&Deadlines::default()).await;
            let config = Arc::new(authority.stock_client(&VERSIONS, None));
            let client = thread::spawn(move || {
                socket.set_nodelay(true).unwrap();
                let mut stream = stock_client(&config, Trickle { socket, bytes });
                for piece in noise(60_000).chunks(20_000) {
                    stream.write_all(piece).unwrap();
                }
                stream.good_bye();
                // Tickets that nobody reads would make a reset of the end.
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            });
            let mut conn = conn.accept_tls(&authority.server()).await.unwrap();
            assert!(read(&mut conn, usize::MAX).await.unwrap() == noise(60_000));
            drop(conn);
            client.join().unwrap();
        }
    });
}

#[test]
fn a_read_that_is_given_up_loses_no_byte() {
    on_each_driver(|| async {
        let (mut conn, client) = serve(&Authority::make(), &TLS13, |stream| {
            for (turn, piece) in noise(200_000).chunks(4_999).enumerate() {
                stream.write_all(piece).unwrap();
                thread::sleep(Duration::from_micros(turn as u64 % 5 * 200));
            }
            stream.good_bye();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        })
        .await;
        let mut received = Vec::new();
        loop {
            conn.reader.arm(Buffer::with_capacity(1000));
            let looked = poll_fn(|cx| Poll::Ready(conn.reader.poll(cx))).await;
            let (result, buffer) = match looked {
                Poll::Ready(done) => done,
                Poll::Pending => {
                    let limit = Duration::from_micros(300);
                    match monoio::time::timeout(limit, conn.reader.next()).await {
                        Ok(done) => done,
                        Err(_given_up) => continue,
                    }
                }
            };
            received.extend_from_slice(buffer.readable());
            if result.unwrap() == 0 {
                break;
            }
        }
        assert!(received == noise(200_000));
        drop(conn);
        client.join().unwrap();
    });
}

#[test]
fn an_end_without_notice_is_an_error_and_one_with_notice_is_none() {
    on_each_driver(|| async {
        for (version, says_good_bye) in [(&TLS13, false), (&TLS12, false), (&TLS13, true)] {
            let (mut conn, client) = serve(&Authority::make(), version, move |stream| {
                stream.write_all(b"half a message").unwrap();
                if says_good_bye {
                    stream.good_bye();
                }
                stream.sock.shutdown(Shutdown::Write).unwrap();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).map(|_| rest)
            })
            .await;
            assert_eq!(read(&mut conn, 14).await.unwrap(), b"half a message");
            match read(&mut conn, 1).await {
                Ok(none) => assert!(says_good_bye && none.is_empty()),
                Err(error) => {
                    assert!(!says_good_bye);
                    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                }
            }
            // The other direction is not concerned.
            conn.writer.send(filled(b"answer")).await.0.unwrap();
            drop(conn);
            assert_eq!(client.join().unwrap().unwrap(), b"answer", "and a good-bye");
        }
    });
}

#[test]
fn what_is_given_up_half_way_is_no_clean_end() {
    on_each_driver(|| async {
        let (mut conn, client) = serve(&Authority::make(), &TLS13, |stream| {
            thread::sleep(Duration::from_millis(300));
            stream.read_to_end(&mut Vec::new()).unwrap_err().kind()
        })
        .await;
        let sending = conn.writer.send(filled(&vec![0; 32 << 20]));
        let given_up = monoio::time::timeout(Duration::from_millis(200), sending).await;
        assert!(given_up.is_err());
        drop(conn);
        assert_eq!(client.join().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_forged_record_ends_the_connection_with_an_alert() {
    on_each_driver(|| async {
        let (mut conn, client) = serve(&Authority::make(), &TLS13, |stream| {
            stream.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
            stream.sock.write_all(&[b'x'; 40]).unwrap();
            stream.read(&mut [0; 1]).unwrap_err()
        })
        .await;
        let error = read(&mut conn, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let told = client.join().unwrap().to_string();
        assert!(told.contains("BadRecordMac"), "{told}");
        let (late, _) = conn.writer.send(filled(b"late")).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn an_alert_waits_for_the_write_that_is_under_way() {
    on_each_driver(|| async {
        let (mut conn, client) = serve(&Authority::make(), &TLS13, |stream| {
            thread::sleep(Duration::from_millis(100));
            stream.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
            stream.sock.write_all(&[b'x'; 40]).unwrap();
            thread::sleep(Duration::from_millis(100));
            let mut received = Vec::new();
            let told = stream.read_to_end(&mut received).unwrap_err().to_string();
            (received, told)
        })
        .await;
        let message = noise(32 << 20);
        let (sending, receiving) = monoio::join!(
            conn.writer.send(filled(&message)),
            conn.reader.read(Buffer::small())
        );
        assert_eq!(receiving.0.unwrap_err().kind(), ErrorKind::InvalidData);
        let (sent, rest) = sending;
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (received, told) = client.join().unwrap();
        assert!(told.contains("BadRecordMac"), "{told}");
        // What came with the alert, stock rustls keeps to itself.
        let sent = message.len() - rest.len();
        assert!(message.starts_with(&received) && !rest.is_empty());
        assert!(received.len() <= sent && received.len() + LARGE >= sent);
    });
}

#[test]
fn an_idle_connection_is_quiet_whatever_tickets_come_and_not_when_anything_else_does() {
    const HERE: EndpointId = EndpointId(3);
    on_each_driver(|| async {
        for (speaks, ends) in [(false, false), (true, false), (false, true)] {
            let authority = Authority::make();
            let config = Arc::new(authority.stock_server(&[&TLS13], &["localhost"], false));
            let (conn, peer) = pair(&Deadlines::default()).await;
            let (order, ordered) = std::sync::mpsc::channel();
            let server = thread::spawn(move || {
                let mut stream = stock_server(&config, peer);
                stream.conn.complete_io(&mut stream.sock).unwrap();
                ordered.recv().unwrap();
                if speaks {
                    stream.write_all(b"unasked").unwrap();
                }
                if ends {
                    stream.good_bye();
                }
                ordered.recv().unwrap();
            });
            let conn = conn.connect_tls(&authority.client()).await.unwrap();
            let (known, trust) = ([conn.peer], conn.trust);
            let mut pool = Pool::new(32);
            pool.put(HERE, conn, Moment(0));
            // The tickets have come by now.
            settle().await;
            let mut conn = pool.take(HERE, &known, trust).expect("still quiet");
            assert!(conn.reader.is_quiet());
            order.send(()).unwrap();
            let mut looks = 0;
            while conn.reader.is_quiet() && looks < if speaks || ends { 200 } else { 2 } {
                looks += 1;
                settle().await;
            }
            assert_eq!(conn.reader.is_armed(), !speaks && !ends);
            order.send(()).unwrap();
            server.join().unwrap();
        }
    });
}
