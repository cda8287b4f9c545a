//! TLS connections over loopback, on both drivers, with stock rustls at the other end.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::base::Prng;
use crate::net::testing::{on_each_driver, pair};
use crate::net::tls::testing::{Authority, echo, stock_client, stock_server};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Bytes that repeat nowhere near each other.
fn noise(length: usize) -> Vec<u8> {
    let mut prng = Prng::new(length as u64);
    (0..length).map(|_| prng.next_u64() as u8).collect()
}

fn filled(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::with_capacity(bytes.len() + 64);
    buffer.extend(bytes);
    buffer
}

/// Reads until the end, or as many bytes as are wanted.
async fn read(conn: &mut Conn, wanted: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < wanted {
        let (result, buffer) = conn.reader.read(Buffer::small()).await;
        received.extend_from_slice(buffer.readable());
        if result.unwrap() == 0 {
            break;
        }
    }
    received
}

#[test]
fn what_our_server_is_sent_it_reads_and_what_it_sends_is_read() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let authority = Authority::make();
            let (conn, peer) = pair(&Deadlines::default()).await;
            let config = Arc::new(authority.stock_client(&[version], None));
            let client = thread::spawn(move || {
                let mut stream = stock_client(&config, peer);
                let sent = noise(300_000);
                let mut back = vec![0; sent.len()];
                for piece in sent.chunks(70_000) {
                    stream.write_all(piece).unwrap();
                }
                stream.read_exact(&mut back).unwrap();
                assert!(back == sent);
                stream.conn.send_close_notify();
                stream.flush().unwrap();
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            });
            let mut conn = conn.accept_tls(&authority.server()).await.unwrap();
            let opening = conn.tls().unwrap();
            assert!(!opening.resumed);
            let received = read(&mut conn, 300_000).await;
            conn.writer.send(filled(&received)).await.0.unwrap();
            let (end, _) = conn.reader.read(Buffer::small()).await;
            assert_eq!(end.unwrap(), 0);
            conn.writer.finish().await;
            client.join().unwrap();
        }
    });
}

#[test]
fn what_our_client_sends_comes_back_and_its_session_is_resumed() {
    on_each_driver(|| async {
        for version in VERSIONS {
            let authority = Authority::make();
            let tls = authority.client();
            let config = Arc::new(authority.stock_server(&[version], &["localhost"], false));
            for turn in 0..3 {
                let (conn, peer) = pair(&Deadlines::default()).await;
                let config = Arc::clone(&config);
                let server = thread::spawn(move || echo(&mut stock_server(&config, peer)).unwrap());
                let mut conn = conn.connect_tls(&tls).await.unwrap();
                let sent = noise(200_000 * turn + 5);
                conn.reader.arm(Buffer::small());
                let mut received = Vec::new();
                for piece in sent.chunks(50_000) {
                    conn.writer.send(filled(piece)).await.0.unwrap();
                    received.extend(read(&mut conn, piece.len()).await);
                }
                assert!(received == sent);
                assert_eq!(conn.tls().unwrap().resumed, turn > 0);
                conn.writer.finish().await;
                assert!(read(&mut conn, 1).await.is_empty());
                server.join().unwrap();
            }
        }
    });
}
