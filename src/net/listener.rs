//! Listening sockets: one per core and address, joined by `SO_REUSEPORT`, so that the kernel
//! spreads connections over the cores.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use monoio::net::TcpListener as RingListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::deadline::Deadlines;
use super::socket::shut_down;
use super::stream::Conn;

/// Connections that the kernel holds for a core that hasn't accepted them yet.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes of a connection beyond those that are under way: a client that reads
/// slowly, or not at all, would else have megabytes of it. What is under way has no bound here, so
/// that a fast client far away is served as fast as it takes.
const UNSENT_BYTES: u32 = 128 * 1024;

/// Binds one socket per core to `address`. With port 0 the first gets a port from the kernel,
/// and the others the same.
///
/// # Errors
/// What the kernel says.
pub fn bind(address: SocketAddr, cores: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(cores);
    for _ in 0..cores {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets have it from here.
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A core's listening socket.
pub struct Listener(RingListener);

impl Listener {
    /// Takes a bound socket over; must be called on the core's own thread, inside its runtime.
    ///
    /// # Errors
    /// What the driver says when it registers the socket.
    pub fn new(listener: TcpListener) -> io::Result<Listener> {
        RingListener::from_std(listener).map(Listener)
    }

    /// The next connection. Not to be raced against anything: a dropped accept loses the
    /// connection that it was about to return.
    ///
    /// # Errors
    /// What the kernel says; after [`Listener::close`], `InvalidInput`.
    pub async fn accept(&self, deadlines: &Deadlines) -> io::Result<Conn> {
        let (stream, peer) = self.0.accept().await?;
        Conn::new(stream, peer, deadlines)
    }

    /// The pending accept returns an error, and no further connection is let in.
    pub fn close(&self) {
        shut_down(self.0.as_raw_fd(), libc::SHUT_RDWR);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::rc::Rc;

    use super::super::testing::{on_each_driver, settle};
    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn two_cores_share_the_port_that_the_kernel_chose() {
        const CLIENTS: usize = 64;
        let listeners = bind(any_port(), 2).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert_ne!(address.port(), 0);
        assert_eq!(listeners[1].local_addr().unwrap(), address);
        let clients: Vec<TcpStream> = (0..CLIENTS)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let accepted = |listener: &TcpListener| {
            std::iter::from_fn(|| listener.accept().ok())
                .take(clients.len())
                .count()
        };
        let [first, second] = [&listeners[0], &listeners[1]].map(accepted);
        assert_eq!(first + second, CLIENTS);
        assert!(first > 0 && second > 0, "{first} and {second}");
    }

    #[test]
    fn a_closed_listener_ends_its_accept_and_lets_nobody_in() {
        on_each_driver(|| async {
            let listener = bind(any_port(), 1).unwrap().remove(0);
            let address = listener.local_addr().unwrap();
            let listener = Rc::new(Listener::new(listener).unwrap());
            let accepting = Rc::clone(&listener);
            let task = monoio::spawn(async move {
                let deadlines = Deadlines::default();
                let conn = accepting.accept(&deadlines).await.unwrap();
                (conn.peer, accepting.accept(&deadlines).await.err())
            });
            let client = TcpStream::connect(address).unwrap();
            settle().await;
            listener.close();
            let (peer, error) = task.await;
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(error.unwrap().kind(), ErrorKind::InvalidInput);
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        });
    }
}
