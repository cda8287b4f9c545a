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

/// Lets the socket end with a reset when it is closed (`SO_LINGER` of zero): the peer sees it at
/// once, whatever it hasn't read, and can't take what it got for everything.
pub(super) fn reset_when_closed(fd: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value is a `linger`, of the size that is given; its callers own the
    // socket that `fd` names.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
}
