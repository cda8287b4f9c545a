//! Listening sockets that this process was given, and did not bind itself: by the service manager
//! (sd_listen_fds(3)), for sockets that are its own or that it kept for us, and by the process
//! whose place this one takes.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sendfd::{RecvWithFd, SendWithFd};
use socket2::{SockRef, Type};
use thiserror::Error;

/// The name of a socket of the admin plane, in the unit that makes it.
const ADMIN: &str = "admin";

/// Says that the standard input is a socket to the predecessor.
pub const TAKES_OVER: &str = "SRPD_TAKES_OVER";

/// How long a predecessor may take to answer that it hands over.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Sockets end here.
const LAST: u8 = b'.';
/// The successor serves.
const READY: u8 = b'r';
/// The predecessor has let go.
const YOURS: u8 = b'y';

/// Who is served at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Clients.
    Data,
    /// Operators.
    Admin,
}

impl Plane {
    /// The name under which the service manager keeps a socket for us.
    pub fn kept_name(self) -> &'static str {
        match self {
            Plane::Data => "srpd-data",
            Plane::Admin => "srpd-admin",
        }
    }
}

/// A listening socket with what must be known of it.
#[derive(Debug)]
pub struct Handed {
    /// Who is served there.
    pub plane: Plane,
    /// It is the service manager's own, which goes on listening when this process ends: it is never
    /// shut down, and addresses of the configuration give way to it.
    pub lent: bool,
    /// The service manager kept it for us.
    pub kept: bool,
    /// The socket.
    pub listener: TcpListener,
}

/// A socket that was given to this process, and can't be used.
#[derive(Debug, Error)]
#[error("socket {descriptor} ({name}) of the service manager: {reason}")]
pub struct Unusable {
    descriptor: RawFd,
    name: String,
    reason: String,
}

impl Handed {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn duplicate(&self) -> io::Result<Handed> {
        Ok(Handed {
            listener: self.listener.try_clone()?,
            ..*self
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn tag(&self) -> u8 {
        match (self.plane, self.lent) {
            (Plane::Data, false) => b'd',
            (Plane::Data, true) => b'D',
            (Plane::Admin, false) => b'a',
            (Plane::Admin, true) => b'A',
        }
    }

    fn of_tag(tag: u8, listener: TcpListener) -> io::Result<Handed> {
        let plane = match tag.to_ascii_lowercase() {
            b'd' => Plane::Data,
            b'a' => Plane::Admin,
            _ => return Err(io::Error::other("the predecessor is of another kind")),
        };
        Ok(Handed {
            plane,
            lent: tag.is_ascii_uppercase(),
            kept: false,
            listener,
        })
    }
}

/// The sockets that the service manager has for this process. To be called once: they are owned by
/// what it returns.
///
/// # Errors
/// Something is passed that is no listening TCP socket.
pub fn by_manager() -> Result<Vec<Handed>, Unusable> {
    let unusable = |descriptor, name: &str, reason: String| Unusable {
        descriptor,
        name: name.to_owned(),
        reason,
    };
    let passed = match sd_notify::listen_fds_with_names() {
        Ok(passed) => passed,
        Err(error) => return Err(unusable(3, "LISTEN_FDS", error.to_string())),
    };
    let mut handed = Vec::new();
    for (descriptor, name) in passed {
        // SAFETY: the service manager opened it for this process, which the variables that were
        // just read say by its id; nobody else takes it, as this is called once.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let listener = listening(socket).map_err(|reason| unusable(descriptor, &name, reason))?;
        let kept = [Plane::Data, Plane::Admin]
            .into_iter()
            .find(|plane| plane.kept_name() == name);
        let own = if name == ADMIN {
            Plane::Admin
        } else {
            Plane::Data
        };
        handed.push(Handed {
            plane: kept.unwrap_or(own),
            lent: kept.is_none(),
            kept: kept.is_some(),
            listener,
        });
    }
    Ok(handed)
}

/// As a listening TCP socket, if it is one.
fn listening(socket: OwnedFd) -> Result<TcpListener, String> {
    const EXPECTED: &str = "expected a TCP socket that listens (ListenStream= with a port)";
    let sort = {
        let socket = SockRef::from(&socket);
        socket.r#type().ok().zip(socket.is_listener().ok())
    };
    let listener = TcpListener::from(socket);
    if sort != Some((Type::STREAM, true)) || listener.local_addr().is_err() {
        return Err(EXPECTED.to_owned());
    }
    Ok(listener)
}

/// The most that a predecessor may have to say about what it leaves, bytes.
const WORDS_MAX: u64 = 16 << 20;

/// The process whose place this one takes.
pub struct Predecessor {
    link: UnixStream,
    words: String,
}

/// The predecessor and its sockets, if there is one.
///
/// # Errors
/// It says something else than expected, or nothing.
pub fn by_predecessor() -> io::Result<Option<(Predecessor, Vec<Handed>)>> {
    if env::var_os(TAKES_OVER).is_none() {
        return Ok(None);
    }
    let link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    link.set_read_timeout(Some(ANSWER_WITHIN))?;
    let (sockets, words) = receive(&link)?;
    Ok(Some((Predecessor { link, words }, sockets)))
}

fn receive(link: &UnixStream) -> io::Result<(Vec<Handed>, String)> {
    let mut sockets = Vec::new();
    loop {
        let (mut tag, mut descriptor) = ([0], [-1]);
        match undisturbed(|| link.recv_with_fd(&mut tag, &mut descriptor))? {
            (1, 0) if tag[0] == LAST => break,
            (1, 1) => {
                // SAFETY: the kernel has just made it for this process, and nobody else knows it.
                let socket = unsafe { OwnedFd::from_raw_fd(descriptor[0]) };
                SockRef::from(&socket).set_cloexec(true)?;
                let listener = listening(socket).map_err(io::Error::other)?;
                sockets.push(Handed::of_tag(tag[0], listener)?);
            }
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    // It says nothing more before this process serves.
    let mut words = String::new();
    BufReader::new(link.take(WORDS_MAX)).read_line(&mut words)?;
    match words.pop() {
        Some('\n') => Ok((sockets, words)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Waits once more after a signal: with a time-out on the socket the kernel doesn't, whatever the
/// handler asks for (signal(7)).
fn undisturbed<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => return ended,
        }
    }
}

impl Predecessor {
    /// What it said of what it leaves beside the sockets: one line.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Tells it that this process serves, and waits until it has let go. One that is gone has. What
    /// is left is the way to it, for as long as it finishes what it has begun.
    ///
    /// # Errors
    /// It doesn't answer.
    pub fn relieve(self) -> io::Result<UnixStream> {
        let (mut link, mut answer) = (self.link, [0]);
        match link
            .write_all(&[READY])
            .and_then(|()| undisturbed(|| link.read(&mut answer)))
        {
            Ok(1) if answer[0] != YOURS => Err(io::Error::other("it hands nothing over")),
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(link),
        }
    }
}

/// The process that takes this one's place.
pub struct Successor(UnixStream);

impl Successor {
    /// The way to it, and what is to be its standard input.
    ///
    /// # Errors
    /// The kernel has no socket for it.
    pub fn new() -> io::Result<(Successor, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Successor(ours), theirs.into()))
    }

    /// Gives it the sockets, and one line about all else. This process keeps its own descriptors of
    /// them.
    ///
    /// # Errors
    /// It is gone.
    pub fn give(&mut self, sockets: &[Handed], words: &str) -> io::Result<()> {
        for socket in sockets {
            let descriptor = socket.listener.as_raw_fd();
            self.0.send_with_fd(&[socket.tag()], &[descriptor])?;
        }
        self.0.write_all(&[LAST])?;
        self.0.write_all(words.as_bytes())?;
        self.0.write_all(b"\n")
    }

    /// Waits until it serves. False if it ended before.
    ///
    /// # Errors
    /// It took longer than `within`.
    pub fn is_ready(&mut self, within: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(within))?;
        let mut answer = [0];
        let count = undisturbed(|| self.0.read(&mut answer))?;
        Ok(count == 1 && answer[0] == READY)
    }

    /// Tells it that what it was given is its own from now on.
    ///
    /// # Errors
    /// It is gone.
    pub fn release(&mut self) -> io::Result<()> {
        self.0.write_all(&[YOURS])
    }

    /// The way to it, once it owns what it was given.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub fn link(&self) -> io::Result<UnixStream> {
        self.0.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixListener;
    use std::os::unix::thread::JoinHandleExt;

    use super::*;

    fn handed(plane: Plane, lent: bool) -> Handed {
        Handed {
            plane,
            lent,
            kept: false,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    #[test]
    fn a_successor_gets_the_very_sockets_and_says_when_it_serves() {
        let given = [
            handed(Plane::Data, false),
            handed(Plane::Data, true),
            handed(Plane::Admin, false),
            handed(Plane::Admin, true),
        ];
        let waiting = TcpStream::connect(given[1].address().unwrap()).unwrap();
        let (mut successor, link) = Successor::new().unwrap();
        let link = UnixStream::from(link);
        successor.give(&given, "and words").unwrap();
        let (got, words) = receive(&link).unwrap();
        assert_eq!(words, "and words");
        let seen = |sockets: &[Handed]| -> Vec<_> {
            let seen = |it: &Handed| (it.plane, it.lent, it.address().unwrap());
            sockets.iter().map(seen).collect()
        };
        assert_eq!(seen(&got), seen(&given));
        drop(given);
        let (_, peer) = got[1].listener.accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        let predecessor = Predecessor { link, words };
        let relieved = std::thread::spawn(move || predecessor.relieve());
        assert!(successor.is_ready(ANSWER_WITHIN).unwrap());
        successor.release().unwrap();
        let mut link = relieved.join().unwrap().unwrap();
        successor.link().unwrap().write_all(b"more").unwrap();
        drop(successor);
        let mut more = String::new();
        link.read_to_string(&mut more).unwrap();
        assert_eq!(more, "more", "until it ends");
    }

    #[test]
    fn a_successor_that_ends_or_lingers_is_not_ready() {
        let (mut successor, link) = Successor::new().unwrap();
        let within = Duration::from_millis(20);
        assert!(successor.is_ready(within).is_err());
        drop(link);
        assert!(!successor.is_ready(within).unwrap());
        assert!(successor.release().is_err());
    }

    #[test]
    fn a_signal_ends_no_wait() {
        extern "C" fn nothing(_: libc::c_int) {}
        let handler = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler does nothing, and no other test has use for this signal.
        let before = unsafe { libc::signal(libc::SIGWINCH, handler) };
        assert_ne!(before, libc::SIG_ERR);
        let (mut successor, link) = Successor::new().unwrap();
        let link = UnixStream::from(link);
        link.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        let relieved = std::thread::spawn(move || {
            let (_, words) = receive(&link)?;
            Predecessor { link, words }.relieve()
        });
        let disturb = || {
            std::thread::sleep(Duration::from_millis(20));
            // SAFETY: the thread has not been joined, and waits for what comes below.
            let sent = unsafe { libc::pthread_kill(relieved.as_pthread_t(), libc::SIGWINCH) };
            assert_eq!(sent, 0);
            std::thread::sleep(Duration::from_millis(20));
        };
        disturb();
        successor.give(&[], "").unwrap();
        assert!(successor.is_ready(ANSWER_WITHIN).unwrap());
        disturb();
        successor.release().unwrap();
        relieved.join().unwrap().unwrap();
    }

    #[test]
    fn a_predecessor_that_is_gone_has_let_go() {
        let (successor, link) = Successor::new().unwrap();
        drop(successor);
        let (link, words) = (link.into(), String::new());
        Predecessor { link, words }.relieve().unwrap();
    }

    #[test]
    fn nothing_but_a_listening_tcp_socket_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let local = UnixListener::bind(directory.path().join("socket")).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for wrong in [OwnedFd::from(stream), local.into(), file.into()] {
            assert!(listening(wrong).unwrap_err().contains("expected a TCP"));
        }
        assert!(listening(listener.into()).is_ok());
    }
}
