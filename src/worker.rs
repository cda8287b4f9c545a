//! One core: a pinned thread with a runtime of its own, its listeners, and its connections.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::net::deadline::TICK;
use crate::net::listener::{BACKLOG, Listener, open};
use crate::net::ring::{Form, Ring};
use crate::net::stream::is_descriptor_shortage;
use crate::net::{Conn, Ear, cpu, turn};
use crate::proxy::{self, Core, CoreParts, Place, Room};
use crate::tables::Stage;

/// How long an accept that failed waits before the next, if nobody can make way. Meanwhile clients
/// wait in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long the next has to wait while somebody makes way, until they have gone; or has to be turned
/// away, so that there is time left for those who were not.
const MAKING_WAY: Duration = Duration::from_millis(1);

/// Connections that are taken in one after the other before all else has its turn.
const AT_ONCE: usize = 64;

/// Sweeps that a core makes after it was told to stop, so that what is in flight can end.
const LAST_SWEEPS: usize = 4;

/// A socket that a core accepts on.
pub struct Share {
    /// To accept on.
    pub listener: TcpListener,
    /// It is the service manager's, and must not be shut down.
    pub lent: bool,
}

/// What a core thread is made of.
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// The CPU that it is pinned to.
    pub cpu: usize,
    /// io_uring in that form, or epoll.
    pub driver: Option<Form>,
    /// One socket per data-plane address, or more.
    pub listeners: Vec<Share>,
    /// What it is rung by.
    pub ear: Option<Ear>,
    /// The rest.
    pub core: CoreParts,
}

impl Worker {
    /// Starts the thread. It ends when the board says stop.
    ///
    /// # Errors
    /// The thread, or its runtime, can't be had.
    pub fn start(self) -> io::Result<JoinHandle<()>> {
        let (told, heard) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("srpd-core-{}", self.index))
            .spawn(move || {
                let ring = cpu::pin(self.cpu).and_then(|()| match self.driver {
                    Some(form) => Ring::io_uring(form),
                    None => Ring::epoll(),
                });
                match ring {
                    Ok(mut ring) => ring.block_on(run(self.core, self.listeners, self.ear, told)),
                    Err(error) => drop(told.send(Err(error))),
                }
            })?;
        match heard.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the core thread ended while it started")),
        }
    }
}

async fn run(
    parts: CoreParts,
    listeners: Vec<Share>,
    ear: Option<Ear>,
    told: std::sync::mpsc::SyncSender<io::Result<()>>,
) {
    turn::open();
    let core = Rc::new(Core::new(parts));
    let mut closers = Vec::new();
    for Share { listener, lent } in listeners {
        // The service manager has opened its own, with a backlog of its own.
        let opened = if lent { Ok(()) } else { open(&listener) };
        let listener = match opened.and_then(|()| Listener::new(listener)) {
            Ok(listener) => Rc::new(listener),
            Err(error) => return drop(told.send(Err(error))),
        };
        core.metrics.listener_opened();
        closers.push(Rc::clone(&listener));
        monoio::spawn(listen(Rc::clone(&core), listener, lent));
    }
    if let Some(ear) = ear {
        monoio::spawn(hear(Rc::clone(&core), ear));
    }
    monoio::spawn(watch(Rc::clone(&core)));
    drop(told.send(Ok(())));
    while !core.stopped() {
        monoio::time::sleep(TICK).await;
        core.sweep();
        if core.draining() {
            closers.drain(..).for_each(|listener| listener.leave());
        }
    }
    closers.drain(..).for_each(|listener| listener.leave());
    // A runtime must not be dropped with operations in flight: end them first.
    for _ in 0..LAST_SWEEPS {
        core.deadlines.end_all();
        core.unring();
        turn::close();
        monoio::time::sleep(TICK).await;
    }
    core.retire();
}

/// Ends what is late, and sees whether the core is. The kernel hands a full ring's completions over a
/// few at a time, and timers fire between: only what has waited behind the others knows how long they
/// waited.
async fn watch(core: Rc<Core>) {
    while !core.stopped() {
        monoio::time::sleep(TICK).await;
        let begun = core.now();
        turn::pass().await;
        core.turned(begun);
    }
}

/// A core rings when a firm call there displaces a floating one here, and when a slot is idle that
/// the next in line for it waits for here.
async fn hear(core: Rc<Core>, ear: Ear) {
    if let Err(error) = ear.listen(|| core.heard()).await {
        // The sweeper looks, too, a tick later.
        tracing::warn!(%error, "a core can't be rung");
    }
}

/// Accepts until the core is told to leave the socket to others.
async fn listen(core: Rc<Core>, listener: Rc<Listener>, lent: bool) {
    accept(&core, &listener).await;
    // Whoever has connected before is served, and nobody after: but a socket that somebody else
    // has, too, goes on with them.
    for _ in 0..BACKLOG {
        let waiting = match core.stopped() {
            true => None,
            false => listener.accept_waiting(&core.deadlines).await,
        };
        match waiting {
            Some(conn) => go_on(let_in(&core, conn, 0)).await,
            None => break,
        }
    }
    if core.stage() == Stage::Ending && !lent {
        listener.shut();
    }
    core.metrics.listener_closed();
}

/// Gives those who were let in their turn, and those who make way their time.
async fn go_on(room: Room) {
    match room {
        // A connection counts once its task has run, and epoll may have one ready at every accept.
        Room::Free => turn::give_way().await,
        Room::Made | Room::None => monoio::time::sleep(MAKING_WAY).await,
    }
}

async fn accept(core: &Rc<Core>, listener: &Listener) {
    loop {
        match listener.accept(&core.deadlines).await {
            Ok(conn) => {
                let mut room = let_in(core, conn, 0);
                for uncounted in 1..AT_ONCE {
                    let waiting = match room {
                        Room::Free => listener.accept_at_once(&core.deadlines),
                        Room::Made | Room::None => None,
                    };
                    let Some(conn) = waiting else { break };
                    room = let_in(core, conn, uncounted);
                }
                go_on(room).await;
            }
            Err(_) if core.draining() || core.stopped() => break,
            // A connection that ended before it was accepted is nothing to pause for.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if is_descriptor_shortage(&error) && core.make_way() => {
                monoio::time::sleep(MAKING_WAY).await;
            }
            Err(_) => monoio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Has a client served, if there is room for it.
fn let_in(core: &Rc<Core>, conn: Conn, uncounted: usize) -> Room {
    let room = core.room_for_client(uncounted);
    match room {
        Room::Free | Room::Made => drop(monoio::spawn(contained(Rc::clone(core), conn))),
        Room::None => {
            core.metrics.connection_refused();
            if let Some(place) = Place::take(core) {
                drop(monoio::spawn(turned_away(Rc::clone(core), conn, place)));
            }
        }
    }
    room
}

async fn turned_away(core: Rc<Core>, conn: Conn, place: Place) {
    let telling = proxy::turn_away(Rc::clone(&core), conn, place);
    proxy::contain(&core, pin!(telling)).await;
}

async fn contained(core: Rc<Core>, conn: Conn) {
    proxy::contain(&core, pin!(proxy::serve(Rc::clone(&core), conn))).await;
}
