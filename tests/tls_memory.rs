//! What TLS connections keep resident. A process of its own: nothing else may use memory meanwhile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use srpd::net::ring::Ring;
use srpd::net::tls::ServerTls;
use srpd::net::{Buffer, Conn, Deadlines};

/// Most bytes that an idle connection may keep in memory, the test's own end, a stock rustls
/// client, included.
const IDLE_BYTES_MAX: usize = 32 * 1024;

/// Bytes by which a thousand handshakes may let the process grow.
const HANDSHAKES_BYTES_MAX: usize = 1 << 20;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

type Client = StreamOwned<ClientConnection, TcpStream>;

struct Stage {
    listener: TcpListener,
    deadlines: Deadlines,
    tls: ServerTls,
    config: Arc<ClientConfig>,
}

impl Stage {
    fn new() -> Stage {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = signing_key.serialize_pem();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Stage {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            deadlines: Deadlines::default(),
            tls: ServerTls::new(cert.pem().as_bytes(), key.as_bytes(), None).unwrap(),
            config: Arc::new(config),
        }
    }

    /// A handshake that is given up half way, by us.
    async fn given_up(&self) {
        let address = self.listener.local_addr().unwrap();
        let limit = Duration::from_secs(10);
        let conn = Conn::connect(address, limit, &self.deadlines)
            .await
            .unwrap();
        let (mut peer, _) = self.listener.accept().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        peer.write_all(&hello[..hello.len() - 1]).unwrap();
        let limit = Duration::from_millis(1);
        let shaking = monoio::time::timeout(limit, conn.accept_tls(&self.tls)).await;
        assert!(shaking.is_err());
    }

    /// A connection that has served one request, and waits for the next.
    async fn idle(&self) -> (Conn, Client) {
        let address = self.listener.local_addr().unwrap();
        let limit = Duration::from_secs(10);
        let conn = Conn::connect(address, limit, &self.deadlines)
            .await
            .unwrap();
        let (peer, _) = self.listener.accept().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let client = thread::spawn(move || {
            let mut stream = StreamOwned::new(tls, peer);
            stream.write_all(&[b'x'; 1000]).unwrap();
            stream.read_exact(&mut [0; 2000]).unwrap();
            stream
        });
        let mut conn = conn.accept_tls(&self.tls).await.unwrap();
        let mut request = Buffer::tiny();
        while request.len() < 1000 {
            let result;
            (result, request) = conn.reader.read(request).await;
            assert!(result.unwrap() > 0);
        }
        request.extend(&[b'y'; 1000]);
        conn.writer.send(request).await.0.unwrap();
        conn.reader.arm(Buffer::tiny());
        assert!(conn.reader.is_quiet());
        (conn, client.join().unwrap())
    }
}

#[test]
fn idle_connections_are_small_and_handshakes_leave_nothing() {
    let uring = srpd::net::ring::probe().map(|form| Ring::io_uring(form).unwrap());
    let mut ring = uring.unwrap_or_else(|_denied| Ring::epoll().unwrap());
    ring.block_on(async {
        const CONNECTIONS: usize = 300;
        let stage = Stage::new();
        for _ in 0..300 {
            drop(stage.idle().await);
            stage.given_up().await;
        }
        let before = resident();
        for _ in 0..1000 {
            drop(stage.idle().await);
            stage.given_up().await;
        }
        let grown = resident().saturating_sub(before);
        assert!(grown <= HANDSHAKES_BYTES_MAX, "{grown} bytes more");

        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(stage.idle().await);
        }
        let each = resident().saturating_sub(before) / CONNECTIONS;
        println!("{each} bytes for both ends of an idle connection; {grown} more by 1000");
        assert!(each <= IDLE_BYTES_MAX, "{each} bytes each");
        drop(idle);
        // Operations on what was dropped end before their runtime does.
        monoio::time::sleep(Duration::from_millis(50)).await;
    });
}
