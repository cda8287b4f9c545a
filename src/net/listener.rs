//! Listening sockets: one per core and address, joined by `SO_REUSEPORT`, so that the kernel
//! spreads connections over the cores.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::task::Poll;

use monoio::io::{CancelHandle, Canceller};
use monoio::net::TcpListener as RingListener;
use monoio::net::TcpStream as RingStream;
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::deadline::Deadlines;
use super::socket::shut_down;
use super::stream::Conn;
use super::turn;

/// Connections that the kernel holds for a core that hasn't accepted them yet.
pub const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes of a connection beyond those that are under way: a client that reads
/// slowly, or not at all, would else have megabytes of it. What is under way has no bound here, so
/// that a fast client far away is served as fast as it takes.
const UNSENT_BYTES: u32 = 128 * 1024;

/// Binds one socket per core to `address`, on which nobody listens yet ([`open`]). With port 0 the
/// first gets a port from the kernel, and the others the same.
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
        socket.bind(&address.into())?;
        let listener = TcpListener::from(socket);
        prepare(&listener)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Makes a listening socket fit for a core, whoever bound it.
///
/// # Errors
/// What the kernel says.
pub fn prepare(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    // Others may accept on it too: a connection that the driver has seen may be gone.
    socket.set_nonblocking(true)?;
    // Accepted sockets have it from here.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

/// Lets clients connect, from when there is a core to serve them: who came before would wait, and
/// be reset if the start fails.
///
/// # Errors
/// What the kernel says.
pub fn open(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG)
}

/// A core's listening socket.
pub struct Listener {
    socket: RingListener,
    leaving: CancelHandle,
    leave: RefCell<Option<Canceller>>,
}

impl Listener {
    /// Takes a bound socket over; must be called on the core's own thread, inside its runtime.
    ///
    /// # Errors
    /// What the driver says when it registers the socket.
    pub fn new(listener: TcpListener) -> io::Result<Listener> {
        let leave = Canceller::new();
        Ok(Listener {
            socket: RingListener::from_std(listener)?,
            leaving: leave.handle(),
            leave: RefCell::new(Some(leave)),
        })
    }

    /// The next connection. Not to be raced against anything: a dropped accept loses the
    /// connection that it was about to return.
    ///
    /// # Errors
    /// What the kernel says; after [`Listener::leave`], that it was cancelled.
    pub async fn accept(&self, deadlines: &Deadlines) -> io::Result<Conn> {
        let accepting = self.socket.cancelable_accept(self.leaving.clone());
        let (stream, peer) = accepting.await?;
        Conn::new(stream, peer, deadlines)
    }

    /// A connection that waits already, if there is one: an accept of io_uring's is one a turn, and
    /// turns are long where there is much to do. Not while an accept is under way.
    pub fn accept_at_once(&self, deadlines: &Deadlines) -> Option<Conn> {
        // SAFETY: the listener is open for as long as it is borrowed.
        let listener = unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) };
        // io_uring would return what a socket can't do at once, epoll wait for what it can't.
        let flags = match turn::is_io_a_turn() {
            true => SocketFlags::CLOEXEC,
            false => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        };
        // Who can't be accepted now is left to the next accept, which knows what to do about it.
        let stream = TcpStream::from(accept_with(listener, flags).ok()?);
        let peer = stream.peer_addr().ok()?;
        let stream = RingStream::from_std(stream).ok()?;
        Conn::new(stream, peer, deadlines).ok()
    }

    /// A connection that has been made already; none if nobody waits, or the kernel has no
    /// descriptor for it.
    pub async fn accept_waiting(&self, deadlines: &Deadlines) -> Option<Conn> {
        // epoll tries nothing before it has heard of it.
        turn::pass().await;
        let give_up = Canceller::new();
        let mut accepting = pin!(self.socket.cancelable_accept(give_up.handle()));
        // The attempt is made before it is given up: one is behind the other in the queue.
        let begun = poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx))).await;
        let (stream, peer) = match begun {
            Poll::Ready(accepted) => accepted.ok()?,
            Poll::Pending => {
                give_up.cancel();
                accepting.await.ok()?
            }
        };
        Conn::new(stream, peer, deadlines).ok()
    }

    /// The pending accept returns an error, and each further one. Whoever else has the socket goes
    /// on with it; connections still wait in it.
    pub fn leave(&self) {
        if let Some(leave) = self.leave.take() {
            leave.cancel();
        }
    }

    /// Refuses further connections, whoever else has the socket, and ends those that wait.
    pub fn shut(&self) {
        shut_down(self.socket.as_raw_fd(), libc::SHUT_RDWR);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::rc::Rc;

    use super::super::buffer::Buffer;
    use super::super::testing::{on_each_driver, settle};
    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn opened(cores: usize) -> Vec<TcpListener> {
        let listeners = bind(any_port(), cores).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let early = TcpStream::connect(address).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::ConnectionRefused);
        listeners.iter().for_each(|it| open(it).unwrap());
        listeners
    }

    #[test]
    fn two_cores_share_the_port_that_the_kernel_chose() {
        const CLIENTS: usize = 64;
        let listeners = opened(2);
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
    fn those_who_wait_are_taken_in_at_once_and_served() {
        on_each_driver(|| async {
            let listener = opened(1).remove(0);
            let address = listener.local_addr().unwrap();
            let listener = Listener::new(listener).unwrap();
            let deadlines = Deadlines::default();
            let mut clients: Vec<TcpStream> = (0..3)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();
            let mut conns = vec![listener.accept(&deadlines).await.unwrap()];
            conns.extend(std::iter::from_fn(|| listener.accept_at_once(&deadlines)));
            assert_eq!(conns.len(), clients.len());
            for client in &mut clients {
                let own = client.local_addr().unwrap();
                let conn = conns.iter_mut().find(|conn| conn.peer == own).unwrap();
                // It waits for what isn't there yet.
                let read = conn.reader.read(Buffer::small());
                let writing = async {
                    settle().await;
                    client.write_all(b"x").unwrap();
                };
                let ((result, _), ()) = monoio::join!(read, writing);
                assert_eq!(result.unwrap(), 1);
            }
            assert!(listener.accept_at_once(&deadlines).is_none());
        });
    }

    #[test]
    fn leaving_ends_the_accept_and_keeps_who_has_connected() {
        on_each_driver(|| async {
            let listener = opened(1).remove(0);
            let elsewhere = listener.try_clone().unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Rc::new(Listener::new(listener).unwrap());
            let accepting = Rc::clone(&listener);
            let task = monoio::spawn(async move {
                let deadlines = Deadlines::default();
                let conn = accepting.accept(&deadlines).await.unwrap();
                (conn.peer, accepting.accept(&deadlines).await.is_err())
            });
            let client = TcpStream::connect(address).unwrap();
            settle().await;
            listener.leave();
            assert_eq!(task.await, (client.local_addr().unwrap(), true));
            let deadlines = Deadlines::default();
            assert!(listener.accept(&deadlines).await.is_err());
            let late = [0, 1].map(|_| TcpStream::connect(address).unwrap());
            for client in &late {
                let waiting = listener.accept_waiting(&deadlines).await;
                assert_eq!(waiting.unwrap().peer, client.local_addr().unwrap());
            }
            assert!(listener.accept_waiting(&deadlines).await.is_none());
            drop(listener);
            settle().await;
            let last = TcpStream::connect(address).unwrap();
            let (_, peer) = elsewhere.accept().unwrap();
            assert_eq!(peer, last.local_addr().unwrap(), "the other one goes on");
        });
    }

    #[test]
    fn a_socket_that_is_shut_lets_nobody_in_whoever_has_it() {
        on_each_driver(|| async {
            let listener = opened(1).remove(0);
            let elsewhere = listener.try_clone().unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Listener::new(listener).unwrap();
            listener.leave();
            listener.shut();
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert!(elsewhere.accept().is_err());
        });
    }
}
