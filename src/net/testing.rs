//! For tests of this room: connections over loopback, on every driver that the machine grants.

use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::deadline::Deadlines;
use super::ring::{self, Ring};
use super::stream::Conn;
use super::turn;

/// Long enough for what was sent over loopback to arrive and be noticed.
pub async fn settle() {
    monoio::time::sleep(Duration::from_millis(20)).await;
}

/// Runs the test on epoll, and on io_uring unless the kernel denies it.
pub fn on_each_driver<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let uring = ring::probe().map(|form| Ring::io_uring(form).expect("the probed form"));
    let rings = [Some(Ring::epoll().expect("epoll")), uring.ok()];
    for mut ring in rings.into_iter().flatten() {
        ring.block_on(async {
            test().await;
            turn::close();
            // Operations on what the test dropped end before their runtime does.
            settle().await;
        });
    }
}

/// A connection, and a plain socket at its other end.
pub async fn pair(deadlines: &Deadlines) -> (Conn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let conn = Conn::connect(address, Duration::from_secs(5), deadlines).await;
    let peer = listener.accept().expect("the other end").0;
    peer.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a time-out");
    (conn.expect("a connection"), peer)
}
