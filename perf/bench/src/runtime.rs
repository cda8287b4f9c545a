//! The runtime as srpd's cores run it: io_uring with a single issuer and deferred task work, one
//! pinned thread. No fall-back: a yardstick that silently ran on epoll would measure something else.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use monoio::net::{ListenerOpts, TcpListener};
use monoio::{IoUringDriver, RuntimeBuilder};

/// Submission queue entries; as many as srpd's.
const RING_ENTRIES: u32 = 4096;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

fn builder(cpu: Option<usize>) -> io::Result<RuntimeBuilder<IoUringDriver>> {
    if let Some(cpu) = cpu {
        monoio::utils::bind_to_cpu_set([cpu]).map_err(io::Error::from)?;
    }
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    Ok(RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .with_entries(RING_ENTRIES))
}

/// Runs `work` on this thread, pinned to `cpu`, without timers.
pub fn block_on<F: Future>(cpu: Option<usize>, work: F) -> io::Result<F::Output> {
    Ok(builder(cpu)?.build()?.block_on(work))
}

/// The same with timers.
pub fn block_on_timed<F: Future>(cpu: Option<usize>, work: F) -> io::Result<F::Output> {
    Ok(builder(cpu)?.enable_timer().build()?.block_on(work))
}

/// Listens at `address`. Call inside of the runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind_with_config(address, &ListenerOpts::new().backlog(BACKLOG))
}
