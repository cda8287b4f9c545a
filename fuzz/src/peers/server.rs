//! hyper's server, on a connection that is a slice of bytes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use super::{After, Message, Reading};

/// Gives what it has, then says that the other side has closed. Takes anything.
struct Wire<'b>(&'b [u8]);

impl hyper::rt::Read for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.0.len().min(buffer.remaining());
        let (now, later) = self.0.split_at(count);
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a service hears.
#[derive(Default)]
struct Notes {
    messages: Vec<Message>,
    /// A body was cut off by the end of the connection.
    cut: bool,
}

type Shared = Arc<Mutex<Notes>>;

async fn serve(
    request: Request<Incoming>,
    notes: Shared,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let kind = request.method().to_string();
    let target = request.uri().to_string();
    let collected = request.into_body().collect().await;
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    match collected {
        Ok(body) => notes.messages.push(Message {
            kind,
            target,
            body: body.to_bytes().to_vec(),
        }),
        Err(error) => notes.cut |= is_cut(&error),
    }
    Ok(Response::new(Empty::new()))
}

/// Whether more bytes might have helped. A body's error hides behind another.
fn is_cut(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    error.is_incomplete_message() || io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof)
}

/// Turns that a connection gets. Nothing it does has to wait, so it needs few.
const TURNS: usize = 100;

/// Reads what a client sends.
pub fn read(bytes: &[u8]) -> Reading {
    let notes = Shared::default();
    let service = service_fn(|request| serve(request, Arc::clone(&notes)));
    let connection = http1::Builder::new()
        .half_close(true)
        .serve_connection(Wire(bytes), service);
    let mut connection = pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    let outcome = (0..TURNS).find_map(|_| match connection.as_mut().poll(&mut context) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    });
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let cut = match outcome {
        Some(Ok(())) => notes.cut,
        Some(Err(error)) => notes.cut || is_cut(&error),
        None => panic!("hyper waits for nothing"),
    };
    let after = if cut { After::Waiting } else { After::Over };
    Reading {
        messages: notes.messages.clone(),
        after,
    }
}
