//! TLS connections over loopback, on both drivers, mostly with stock rustls at the other end.

mod data;
mod handshakes;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ServerConfig, StreamOwned, SupportedProtocolVersion};

use super::Conn;
use crate::base::Prng;
use crate::net::testing::pair;
use crate::net::tls::testing::{Authority, Stock, stock_client, stock_server};
use crate::net::tls::{ClientTls, ServerTls};
use crate::net::{Buffer, Deadlines};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A stock client's stream.
type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

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

/// Reads as many bytes as are wanted, or to the end.
async fn read(conn: &mut Conn, wanted: usize) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    while received.len() < wanted {
        let (result, buffer) = conn.reader.read(Buffer::small()).await;
        received.extend_from_slice(buffer.readable());
        if result? == 0 {
            break;
        }
    }
    Ok(received)
}

/// Our server, and a stock client that does something in a thread of its own.
async fn serve<T: Send + 'static>(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    deeds: impl FnOnce(&mut Client) -> T + Send + 'static,
) -> (Conn, JoinHandle<T>) {
    let (conn, peer) = pair(&Deadlines::default()).await;
    let config = Arc::new(authority.stock_client(&[version], None));
    let client = thread::spawn(move || {
        let mut stream = stock_client(&config, peer);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        deeds(&mut stream)
    });
    let conn = conn.accept_tls(&authority.server()).await.unwrap();
    (conn, client)
}

/// Our client, and a stock server that sends back what it is sent.
async fn call(tls: &ClientTls, config: &Arc<ServerConfig>) -> (Conn, JoinHandle<io::Result<()>>) {
    let (conn, peer) = pair(&Deadlines::default()).await;
    let config = Arc::clone(config);
    let server = thread::spawn(move || stock_server(&config, peer).echo());
    (conn.connect_tls(tls).await.unwrap(), server)
}

/// Both ends ours.
async fn both(server: &ServerTls, client: &ClientTls) -> (Conn, Conn) {
    let (far, near) = pair(&Deadlines::default()).await;
    near.set_nonblocking(true).unwrap();
    let peer = near.peer_addr().unwrap();
    let near = monoio::net::TcpStream::from_std(near).unwrap();
    let near = Conn::new(near, peer, &Deadlines::default()).unwrap();
    let server = server.clone();
    let accepting = monoio::spawn(async move { near.accept_tls(&server).await.unwrap() });
    let far = far.connect_tls(client).await.unwrap();
    (accepting.await, far)
}
