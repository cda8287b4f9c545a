//! Connections over loopback, on both drivers: no byte is lost, whoever looks at the reader and
//! however often.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use super::*;
use crate::base::{Moment, Prng};
use crate::net::deadline::Ends;
use crate::net::gather::Piece;
use crate::net::testing::{on_each_driver, pair, settle};

/// Bytes that repeat nowhere near each other.
fn noise(length: usize) -> Vec<u8> {
    let mut prng = Prng::new(length as u64);
    (0..length).map(|_| prng.next_u64() as u8).collect()
}

/// Reads with waits that are given up again and again: by a timer, and by looks in passing.
async fn read_in_passing(conn: &mut Conn) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        conn.reader.arm(Buffer::small());
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
            return received;
        }
    }
}

#[test]
fn a_read_that_is_given_up_loses_no_byte() {
    on_each_driver(|| async {
        let (mut conn, mut peer) = pair(&Deadlines::default()).await;
        let sent = noise(200_000);
        let copy = sent.clone();
        let sender = thread::spawn(move || {
            for (turn, piece) in copy.chunks(4_999).enumerate() {
                peer.write_all(piece).unwrap();
                thread::sleep(Duration::from_micros(turn as u64 % 5 * 200));
            }
        });
        assert!(read_in_passing(&mut conn).await == sent);
        sender.join().unwrap();
    });
}

#[test]
fn a_read_is_armed_once() {
    on_each_driver(|| async {
        let (mut conn, mut peer) = pair(&Deadlines::default()).await;
        assert!(!conn.reader.is_armed());
        let mut first = Buffer::small();
        first.extend(b"first ");
        conn.reader.arm(first);
        assert!(conn.reader.is_armed() && conn.reader.is_quiet());
        conn.reader.arm(Buffer::with_capacity(1 << 16));
        peer.write_all(b"read").unwrap();
        let (result, buffer) = conn.reader.next().await;
        assert_eq!(
            (result.unwrap(), buffer.readable()),
            (4, &b"first read"[..])
        );
        assert!(!conn.reader.is_armed());
    });
}

#[test]
fn a_connection_is_quiet_until_bytes_or_the_end_come() {
    on_each_driver(|| async {
        for closes in [false, true] {
            let (mut conn, mut peer) = pair(&Deadlines::default()).await;
            conn.reader.arm(Buffer::small());
            assert!(conn.reader.is_quiet());
            settle().await;
            assert!(conn.reader.is_quiet());
            match closes {
                true => peer.shutdown(Shutdown::Write).unwrap(),
                false => peer.write_all(b"!").unwrap(),
            }
            settle().await;
            assert!(!conn.reader.is_quiet());
        }
    });
}

#[test]
fn what_the_socket_takes_in_parts_is_sent_whole() {
    on_each_driver(|| async {
        let (mut conn, mut peer) = pair(&Deadlines::default()).await;
        let body = noise(6_000_000);
        let copy = body.clone();
        let receiver = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            let gathered = [&b"head"[..], &copy[..9], b"new", &copy[2_000_000..]].concat();
            received == [copy, gathered].concat()
        });
        let mut buffer = Buffer::with_capacity(body.len());
        buffer.extend(&body);
        let (result, buffer) = conn.writer.send(buffer).await;
        assert!(result.is_ok() && buffer.is_empty());
        let (mut own, mut whole) = (Buffer::small(), Buffer::with_capacity(body.len()));
        own.extend(b"headnew");
        whole.extend(&body);
        let pieces = [
            Piece::Own(0..4),
            Piece::Body(0..9),
            Piece::Own(4..7),
            Piece::Body(2_000_000..body.len()),
        ];
        let gather = Gather::new(own, Rc::new(whole), &pieces);
        conn.writer.send_pieces(gather).await.unwrap();
        conn.writer.finish().await;
        let (end, _) = conn.reader.read(Buffer::small()).await;
        assert_eq!(end.unwrap(), 0);
        assert!(receiver.join().unwrap());
    });
}

#[test]
fn after_finishing_the_answer_can_still_be_read() {
    on_each_driver(|| async {
        let (mut conn, mut peer) = pair(&Deadlines::default()).await;
        conn.writer.finish().await;
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        peer.write_all(b"late").unwrap();
        let (result, buffer) = conn.reader.read(Buffer::small()).await;
        assert_eq!((result.unwrap(), buffer.readable()), (4, &b"late"[..]));
    });
}

#[test]
fn a_reset_is_no_clean_end() {
    on_each_driver(|| async {
        for reads in [false, true] {
            let (mut conn, mut peer) = pair(&Deadlines::default()).await;
            if reads {
                conn.reader.arm(Buffer::small());
                assert!(conn.reader.is_quiet());
                settle().await;
            }
            conn.reset();
            settle().await;
            let error = peer.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_connection_that_is_dropped_is_closed_with_its_read_in_flight() {
    on_each_driver(|| async {
        for reads in [false, true] {
            let (mut conn, mut peer) = pair(&Deadlines::default()).await;
            if reads {
                conn.reader.arm(Buffer::small());
                assert!(conn.reader.is_quiet());
                settle().await;
            }
            drop(conn);
            settle().await;
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            // Not a half-open connection: what is sent to it now is answered with a reset.
            peer.write_all(b"late").unwrap();
            settle().await;
            assert!(peer.write_all(b"later").is_err());
        }
    });
}

#[test]
fn a_message_that_is_given_up_half_way_is_no_clean_end() {
    on_each_driver(|| async {
        let (mut conn, mut peer) = pair(&Deadlines::default()).await;
        let mut buffer = Buffer::with_capacity(32 << 20);
        buffer.extend(&vec![0; 32 << 20]);
        let sending = conn.writer.send(buffer);
        // Long enough for a thread that has lost its CPU to have begun.
        let given_up = monoio::time::timeout(Duration::from_millis(200), sending).await;
        assert!(given_up.is_err());
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_deadline_ends_the_wait_and_keeps_the_descriptor_until_then() {
    on_each_driver(|| async {
        let deadlines = Deadlines::default();
        let (mut conn, mut peer) = pair(&deadlines).await;
        conn.deadline.set(Moment(5), Ends::Reading);
        conn.reader.arm(Buffer::small());
        assert!(conn.reader.is_quiet());
        assert_eq!(deadlines.sweep(Moment(5)), 1);
        let (result, _) = conn.reader.next().await;
        assert_eq!(result.unwrap(), 0);
        assert!(conn.deadline.fired());
        let mut answer = Buffer::small();
        answer.extend(b"408");
        assert!(conn.writer.send(answer).await.0.is_ok());
        let mut seen = [0; 3];
        peer.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"408");
    });
}

#[test]
fn connecting_fails_at_once_where_nobody_listens_and_in_time_where_nobody_answers() {
    on_each_driver(|| async {
        let limit = Duration::from_millis(100);
        let deadlines = Deadlines::default();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        let refused = Conn::connect(nobody, limit, &deadlines)
            .await
            .err()
            .unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        // A queue of one, which the first connection fills: the kernel ignores the others.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let full = full.unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let _first = Conn::connect(address, limit, &deadlines).await.unwrap();
        let late = Conn::connect(address, limit, &deadlines)
            .await
            .err()
            .unwrap();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    });
}
