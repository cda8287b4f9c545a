//! What is done to a socket by its number.

use std::os::fd::RawFd;

/// `shutdown(2)`: pending operations complete, and with `SHUT_RDWR` or `SHUT_WR` the peer sees
/// the end. `fd` must name a socket that is open, or be negative: then nothing is done.
pub(super) fn shut_down(fd: RawFd, how: libc::c_int) {
    if fd >= 0 {
        // SAFETY: shutdown takes no pointer. Its callers own the socket, or are told of its end
        // by the guard that is dropped before it, so the number still names that socket.
        unsafe { libc::shutdown(fd, how) };
    }
}

/// Ends the connection with a reset, now: the peer sees it whatever it hasn't read, and can't
/// take what it got for everything. (`SO_LINGER` would not do: monoio sends a FIN before it
/// closes.) `fd` must name a socket that is open.
pub(super) fn reset(fd: RawFd) {
    // Connecting to no address dissolves the connection.
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: the address is a `sockaddr` of the size that is given; its callers own the socket
    // that `fd` names.
    unsafe {
        libc::connect(
            fd,
            &raw const nowhere,
            size_of_val(&nowhere) as libc::socklen_t,
        )
    };
}

/// Sends what the kernel takes at once; returns how much that was. `fd` must name a socket that
/// is open.
pub(super) fn send_now(fd: RawFd, bytes: &[u8]) -> usize {
    // SAFETY: the pointer and the length are a slice's, which outlives the call; its callers own
    // the socket that `fd` names.
    let sent = unsafe {
        libc::send(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).unwrap_or(0)
}

/// Seconds of silence after which the kernel asks whether the other side is still there, how many
/// lie between two questions, and how many stay unanswered.
const KEEP_ALIVE: [(libc::c_int, libc::c_int); 3] = [
    (libc::TCP_KEEPIDLE, 30),
    (libc::TCP_KEEPINTVL, 10),
    (libc::TCP_KEEPCNT, 3),
];

/// Has the kernel find out whether a silent peer is still there: a minute after the last that was
/// heard of it. `fd` must name a TCP socket that is open; on another, nothing is done.
pub(super) fn keep_alive(fd: RawFd) {
    let set = |level, name, value: libc::c_int| {
        // SAFETY: the pointer is to one `c_int`, as the length says; its callers own the socket
        // that `fd` names.
        unsafe {
            libc::setsockopt(
                fd,
                level,
                name,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        }
    };
    for (name, value) in KEEP_ALIVE {
        set(libc::IPPROTO_TCP, name, value);
    }
    set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
}

/// Whether the other side has ended its half of the connection or all of it, whatever is still
/// to be read. `fd` must name a socket that is open.
pub(super) fn has_left(fd: RawFd) -> bool {
    let mut asked = libc::pollfd {
        fd,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: the pointer is to one `pollfd`, as the count says. A time-out of zero: it returns at
    // once.
    let known = unsafe { libc::poll(&raw mut asked, 1, 0) };
    known > 0 && asked.revents != 0
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn a_peer_that_left_is_noticed_behind_bytes_that_nobody_read() {
        for whole in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (near, _) = listener.accept().unwrap();
            peer.write_all(b"unread").unwrap();
            assert!(!super::has_left(near.as_raw_fd()));
            match whole {
                true => super::reset(peer.as_raw_fd()),
                false => peer.shutdown(std::net::Shutdown::Write).unwrap(),
            }
            assert!(super::has_left(near.as_raw_fd()));
        }
    }

    #[test]
    fn a_silent_peer_is_asked_after_when_that_is_wanted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let asked = |level, name| {
            let mut value: libc::c_int = -1;
            let mut length = size_of_val(&value) as libc::socklen_t;
            // SAFETY: the pointers are to one `c_int` and its length, and the socket is open.
            let known = unsafe {
                libc::getsockopt(
                    near.as_raw_fd(),
                    level,
                    name,
                    (&raw mut value).cast(),
                    &raw mut length,
                )
            };
            assert_eq!(known, 0);
            value
        };
        let on = || asked(libc::SOL_SOCKET, libc::SO_KEEPALIVE);
        assert_eq!(on(), 0);
        super::keep_alive(near.as_raw_fd());
        assert_eq!(on(), 1);
        assert_eq!(asked(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 30);
    }

    #[test]
    fn a_reset_is_not_mistaken_for_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        near.write_all(b"half").unwrap();
        super::reset(near.as_raw_fd());
        drop(near);
        let mut read = Vec::new();
        let error = peer.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
