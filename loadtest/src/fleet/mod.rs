//! A fleet of simulated inference servers, to aim at: each has its speeds, its slots, its prefix
//! cache and its faults. All of it runs on one thread.

mod cache;
mod engine;
mod faults;
mod metrics;
mod options;
mod question;
mod replies;
mod requests;
mod serve;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use options::Options;

use crate::cli::{self, Error};
use crate::net::{Seat, Turn};
use crate::{clock, runtime};
use engine::Engine;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How often a stop is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long is waited where the process has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(10);

/// Serves until it is stopped.
///
/// # Errors
/// Options that can't be; addresses that are taken.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    let specs = options.specs().map_err(Error::usage)?;
    let mut listeners = Vec::new();
    for spec in &specs {
        let mut address = options.listen;
        if address.port() != 0 {
            let port = usize::from(address.port()) + spec.number - 1;
            let port =
                u16::try_from(port).map_err(|_| Error::usage("--listen: not enough ports"))?;
            address.set_port(port);
        }
        let listener = listen(address)
            .map_err(|error| Error::failed(format!("--listen {address}: {error}")))?;
        listeners.push(listener);
    }
    let mut lines = String::new();
    for listener in &listeners {
        let address = listener.local_addr().map_err(Error::failed)?;
        lines += &format!("http://{address}\n");
    }
    let stop = cli::stop()?;
    let out = std::io::stdout().write_all(lines.as_bytes());
    out.map_err(Error::failed)?;
    let start = clock::now();
    let work = async {
        for (spec, listener) in specs.into_iter().zip(listeners) {
            let engine = Rc::new(Engine::new(spec, start, options.seed));
            monoio::spawn(async move {
                if let Err(error) = keep_listening(&engine, listener).await {
                    eprintln!("srpd-load fleet: endpoint {}: {error}", engine.spec.number);
                }
            });
        }
        wait(stop).await;
        // Connections are in whatever state they are in, and a runtime is not to be dropped under
        // them: the process ends here.
        std::process::exit(0)
    };
    runtime::block_on(options.cpu, work).map_err(Error::failed)
}

async fn wait(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        monoio::time::sleep(LOOK).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts connections, but while the schedule says that nobody listens.
async fn keep_listening(engine: &Rc<Engine>, mut listener: StdListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    loop {
        let since = clock::now() - engine.start;
        let (from, until) = engine
            .spec
            .faults
            .next_refusal(since)
            .unwrap_or((u64::MAX, u64::MAX));
        if since < from {
            accept(engine, &listener, from).await?;
        }
        drop(listener);
        loop {
            let now = clock::now() - engine.start;
            if now >= until {
                break;
            }
            monoio::time::sleep(Duration::from_nanos(until - now).min(LOOK)).await;
        }
        listener = listen(address)?;
    }
}

/// Accepts connections until that time since the start, then listens no more.
async fn accept(engine: &Rc<Engine>, listener: &StdListener, until: u64) -> io::Result<()> {
    // It is only asked whether somebody waits: a wait that is given up loses nobody.
    let waiting = monoio::net::TcpListener::from_std(listener.try_clone()?)?;
    let seat = Rc::new(Seat::<()>::new(None));
    if until != u64::MAX {
        let (seat, end) = (Rc::clone(&seat), engine.start + until);
        monoio::spawn(async move {
            let left = Duration::from_nanos(end.saturating_sub(clock::now()));
            monoio::time::sleep(left).await;
            seat.call();
        });
    }
    loop {
        match seat.work_or(pin!(waiting.readable(false))).await {
            Turn::Called => break,
            Turn::Work(()) => {}
            Turn::Other(ready) => ready?,
        }
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    monoio::spawn(serve::serve(Rc::clone(engine), stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_exhausted) => {
                    monoio::time::sleep(EXHAUSTED).await;
                    break;
                }
            }
        }
    }
    rustix::net::shutdown(listener, rustix::net::Shutdown::Both).map_err(io::Error::from)
}
