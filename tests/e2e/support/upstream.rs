//! A scripted provider on a port of its own. It does exactly what its script says, byte for
//! byte, and remembers what it was sent and when it was left.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use socket2::{Domain, SockRef, Socket, Type};

use super::reply::{Reply, Step};
use super::tls::{Secured, Shaken};
use super::wire::{Chunk, Wire, field, fields};

/// How long a scripted upstream waits for anything before it gives a connection up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Number of the request on this upstream, from 0.
    pub number: usize,
    /// Number of the request on its connection, from 0.
    pub on_connection: usize,
    /// When it had arrived whole.
    pub at: Instant,
    /// Request line and fields.
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Request {
    /// Method and target.
    pub fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap_or_default()
    }

    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.fields(), name).map(str::to_owned)
    }

    /// All fields, names in lower case.
    pub fn fields(&self) -> Vec<(String, String)> {
        fields(self.head.as_bytes())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON request body")
    }
}

type Script = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request>,
    closed: Vec<(usize, Instant)>,
    bytes_in: usize,
    bytes_out: usize,
    sent: Vec<Instant>,
    shaken: Vec<Shaken>,
    unshaken: usize,
    streams: Vec<TcpStream>,
}

struct Shared {
    script: Mutex<Script>,
    /// Whether it answers as soon as it has a request's head.
    early: bool,
    /// What its connections begin with; none: plaintext.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    seen: Mutex<Seen>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A test that failed while it held the lock is to fail, not to abort all others.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
        self.changed.notify_all();
    }
}

/// A scripted provider.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Listens on a free port and answers by `script`.
    pub fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Upstream {
        Upstream::listen(script, false)
    }

    /// Answers every request with the same reply as soon as it has its head; the body is never
    /// read.
    pub fn early(reply: Reply) -> Upstream {
        Upstream::listen(move |_| reply.clone(), true)
    }

    fn listen(script: impl Fn(&Request) -> Reply + Send + Sync + 'static, early: bool) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            early,
            tls: Mutex::new(None),
            seen: Mutex::default(),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let doorman = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &doorman));
        Upstream { address, shared }
    }

    /// Answers every request with the same reply.
    pub fn always(reply: Reply) -> Upstream {
        Upstream::start(move |_| reply.clone())
    }

    /// Answers the n-th request with the n-th reply, and those after the last with it.
    pub fn in_turn(replies: Vec<Reply>) -> Upstream {
        Upstream::start(move |request| replies[request.number.min(replies.len() - 1)].clone())
    }

    /// Answers by another script from the next request on.
    pub fn set(&self, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().expect("script") = Arc::new(script);
    }

    /// Answers every request with this reply from the next one on.
    pub fn set_always(&self, reply: Reply) {
        self.set(move |_| reply.clone());
    }

    /// Speaks TLS from the next connection on.
    pub fn over_tls(self, config: Arc<ServerConfig>) -> Upstream {
        self.set_tls(Some(config));
        self
    }

    /// Speaks TLS, or plaintext, from the next connection on.
    pub fn set_tls(&self, config: Option<Arc<ServerConfig>>) {
        *self.shared.tls.lock().expect("tls") = config;
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let secured = self.shared.tls.lock().expect("tls").is_some();
        let scheme = if secured { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its base URL with a name for its address.
    pub fn url_by_name(&self, name: &str) -> String {
        self.url().replace("127.0.0.1", name)
    }

    /// How its TLS handshakes went, in the order in which they ended.
    pub fn shaken(&self) -> Vec<Shaken> {
        self.shared.seen().shaken.clone()
    }

    /// Waits until `count` handshakes have failed.
    pub fn wait_unshaken(&self, count: usize) {
        self.wait("failed handshakes", |seen| seen.unshaken >= count);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.seen().connections
    }

    /// Bytes that reached it.
    pub fn bytes_in(&self) -> usize {
        self.shared.seen().bytes_in
    }

    /// Bytes that its kernel has taken from it.
    pub fn bytes_out(&self) -> usize {
        self.shared.seen().bytes_out
    }

    /// When it began each of its writes.
    pub fn sent(&self) -> Vec<Instant> {
        self.shared.seen().sent.clone()
    }

    /// What it has been asked.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.seen().requests.clone()
    }

    /// What it has been asked since it had been asked `count` times.
    pub fn requests_since(&self, count: usize) -> Vec<Request> {
        self.shared.seen().requests[count..].to_vec()
    }

    /// How often it has been asked.
    pub fn count(&self) -> usize {
        self.shared.seen().requests.len()
    }

    /// What it was asked last.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("a request at the upstream")
    }

    /// Waits until it has been asked `count` times.
    pub fn wait_requests(&self, count: usize) {
        self.wait("requests", |seen| seen.requests.len() >= count);
    }

    /// How many of its connections were ended by the peer.
    pub fn closed(&self) -> usize {
        self.shared.seen().closed.len()
    }

    /// Waits until `count` of its connections were ended by the peer, and says when the last of
    /// those was.
    pub fn wait_closed(&self, count: usize) -> Instant {
        self.wait("closed connections", |seen| seen.closed.len() >= count);
        self.shared.seen().closed[count - 1].1
    }

    fn wait(&self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen = self.shared.seen();
        while !enough(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the upstream waited in vain for {what}");
            seen = self
                .shared
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for stream in &self.shared.seen().streams {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the accepting thread, which then sees that it is to stop.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(handle) = stream.try_clone() else {
            return;
        };
        shared.note(|seen| {
            seen.connections += 1;
            seen.streams.push(handle);
        });
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let Some(mut wire) = open(stream, &shared) else {
                return;
            };
            if serve(&mut wire, number, &shared) {
                shared.note(|seen| seen.closed.push((number, Instant::now())));
            }
        });
    }
}

/// The connection, with TLS if that is spoken here. None if the handshake fails.
fn open(stream: TcpStream, shared: &Shared) -> Option<Wire> {
    let config = shared.tls.lock().expect("tls").clone();
    let Some(config) = config else {
        return Some(Wire::new(stream, PATIENCE));
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    match Secured::server(stream, &config) {
        Ok(secured) => {
            shared.note(|seen| seen.shaken.push(secured.terms()));
            Some(Wire::secured(secured, PATIENCE))
        }
        Err(_) => {
            shared.note(|seen| seen.unshaken += 1);
            None
        }
    }
}

/// Serves one connection; true if the peer ended it.
fn serve(wire: &mut Wire, connection: usize, shared: &Shared) -> bool {
    for on_connection in 0.. {
        let Some((head, body)) = read_request(wire, shared) else {
            return true;
        };
        let mut request = Request {
            connection,
            number: 0,
            on_connection,
            at: Instant::now(),
            head,
            body,
        };
        shared.note(|seen| {
            request.number = seen.requests.len();
            seen.requests.push(request.clone());
        });
        let script = Arc::clone(&shared.script.lock().expect("script"));
        match play(wire, script(&request), shared) {
            Played::KeepAlive => {}
            Played::Ended => return false,
            Played::LeftByPeer => return true,
        }
    }
    false
}

fn read_request(wire: &mut Wire, shared: &Shared) -> Option<(String, Vec<u8>)> {
    while wire.pending().is_empty() {
        if !wire.fill() {
            return None;
        }
    }
    // Counted at the first byte: a test may ask whether anything at all came.
    shared.note(|seen| seen.bytes_in += wire.pending().len());
    let head = wire.head()?;
    let fields = fields(&head);
    let body = if shared.early {
        Vec::new()
    } else if let Some(length) = field(&fields, "content-length") {
        wire.exactly(length.parse().expect("a content-length"))
            .ok()?
    } else if field(&fields, "transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            match wire.chunk() {
                Chunk::Data(data) => body.extend(data),
                Chunk::Last => break body,
                Chunk::Cut(_) => return None,
            }
        }
    } else {
        Vec::new()
    };
    Some((String::from_utf8_lossy(&head).into_owned(), body))
}

enum Played {
    KeepAlive,
    Ended,
    LeftByPeer,
}

fn play(wire: &mut Wire, reply: Reply, shared: &Shared) -> Played {
    for step in reply.steps {
        match step {
            Step::Send(bytes) => {
                shared.note(|seen| seen.sent.push(Instant::now()));
                for piece in bytes.chunks(65536) {
                    if !wire.send(piece) {
                        return Played::LeftByPeer;
                    }
                    shared.note(|seen| seen.bytes_out += piece.len());
                }
            }
            Step::Pause(time) => {
                if wire.left_within(time) {
                    return Played::LeftByPeer;
                }
            }
            Step::Stall => {
                wire.left_within(PATIENCE);
                return Played::LeftByPeer;
            }
            Step::Reset => {
                let socket = SockRef::from(wire.stream());
                socket.set_linger(Some(Duration::ZERO)).expect("linger");
                hang_up(wire, shared);
                return Played::Ended;
            }
            Step::Truncate => {
                let _ = wire.stream().shutdown(std::net::Shutdown::Write);
                hang_up(wire, shared);
                return Played::Ended;
            }
            Step::Close => {
                wire.finish();
                hang_up(wire, shared);
                return Played::Ended;
            }
        }
    }
    Played::KeepAlive
}

/// Gives up the other handle on the connection, so that dropping the wire closes the socket.
fn hang_up(wire: &Wire, shared: &Shared) {
    let peer = wire.stream().peer_addr().ok();
    shared.note(|seen| seen.streams.retain(|s| s.peer_addr().ok() != peer));
}

/// A port where connects are refused, kept from everybody else for as long as this lives.
pub struct Refusing(Socket);

impl Refusing {
    /// Takes a free port and doesn't listen on it.
    pub fn new() -> Refusing {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a free port");
        Refusing(socket)
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        url_of(&self.0)
    }
}

/// A port where connections are taken and nothing is ever said or read.
pub struct Mute(TcpListener);

impl Mute {
    /// Listens; the kernel takes the connections.
    pub fn new() -> Mute {
        Mute(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.0.local_addr().expect("its address"))
    }
}

/// A port where connects get no answer: its backlog is full and nobody accepts.
pub struct BlackHole {
    listener: Socket,
    _fillers: Vec<Socket>,
}

impl BlackHole {
    /// Listens with the shortest backlog and fills it.
    pub fn new() -> BlackHole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        listener.bind(&any.into()).expect("a free port");
        listener.listen(0).expect("listening");
        let address = listener.local_addr().expect("its address");
        let _fillers = (0..4)
            .map(|_| {
                let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                filler.set_nonblocking(true).expect("nonblocking");
                let _ = filler.connect(&address);
                filler
            })
            .collect();
        BlackHole { listener, _fillers }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        url_of(&self.listener)
    }
}

fn url_of(socket: &Socket) -> String {
    let address = socket.local_addr().expect("an address").as_socket();
    format!("http://{}", address.expect("an IP address"))
}
