//! The floor: bytes in, the same bytes out.

use std::io;
use std::net::SocketAddr;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::TcpStream;

use crate::runtime;

/// Bytes per read, per direction: srpd's relay buffers are as large.
const RELAY_BYTES: usize = 64 * 1024;

/// `srpd-bench forward`
#[derive(clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where the bytes go.
    #[arg(long)]
    to: SocketAddr,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

/// Forwards until the process is ended.
pub fn run(options: &Options) -> io::Result<()> {
    runtime::block_on(options.cpu, accept(options.listen, options.to))?
}

async fn accept(listen: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let listener = runtime::listen(listen)?;
    loop {
        let (client, _) = listener.accept().await?;
        monoio::spawn(async move {
            // A connection that fails is the client's to notice and to count.
            let _ = pair(client, to).await;
        });
    }
}

async fn pair(client: TcpStream, to: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let upstream = TcpStream::connect_addr(to).await?;
    upstream.set_nodelay(true)?;
    let (client_in, client_out) = client.into_split();
    let (upstream_in, upstream_out) = upstream.into_split();
    let back = monoio::spawn(relay(upstream_in, client_out));
    relay(client_in, upstream_out).await;
    back.await;
    Ok(())
}

/// Read, write all, read again, until either side ends; then the end is passed on.
async fn relay(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRent) {
    let mut buffer = Vec::with_capacity(RELAY_BYTES);
    loop {
        let (read, filled) = from.read(buffer).await;
        if !matches!(read, Ok(n) if n > 0) {
            break;
        }
        let (written, emptied) = to.write_all(filled).await;
        if written.is_err() {
            break;
        }
        buffer = emptied;
    }
    // The other side may be gone already: then there is nobody to tell.
    let _ = to.shutdown().await;
}
