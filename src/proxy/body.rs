//! A request's body: read whole, or passed over.

use std::cell::Cell;

use super::client::Client;
use super::core::Core;
use super::intake::too_large;
use super::payload::{Payload, Progress};
use super::reject::Rejection;
use crate::base::Moment;
use crate::http::chunked::ChunkedDecoder;
use crate::http::{RequestFraming, encode};
use crate::net::buffer::TAILROOM;
use crate::net::{Buffer, Ends};
use crate::openai::ErrorCode;
use crate::tables::Routes;

/// Passes over the body of a request that is answered without it. False if it isn't all there:
/// then where the next request begins is not known.
pub fn skip(client: &mut Client, framing: RequestFraming) -> bool {
    match framing {
        RequestFraming::None => true,
        RequestFraming::Length(length) if length <= client.input.len() as u64 => {
            client
                .input
                .consume(usize::try_from(length).unwrap_or(usize::MAX));
            true
        }
        RequestFraming::Length(_) | RequestFraming::Chunked => false,
    }
}

/// Why there is no body to go on with.
pub enum Unread {
    /// The client left.
    Gone,
    /// It is not one that is taken.
    Rejected(Rejection),
}

/// Reads a body whole: routing needs its `model`, and a second attempt needs all of it.
pub async fn read(
    core: &Core,
    routes: &Routes,
    client: &mut Client,
    framing: RequestFraming,
    expects: bool,
) -> Result<Buffer, Unread> {
    if expects && client.input.is_empty() {
        let mut go_on = Buffer::small();
        go_on.extend(encode::CONTINUE);
        let until = core.recently() + routes.timeouts.body;
        if !client.send(go_on, until).await.0 {
            return Err(Unread::Gone);
        }
    }
    let waiting = Cell::new(core.recently());
    let body = match framing {
        RequestFraming::None => Buffer::small(),
        RequestFraming::Length(length) => {
            let length =
                usize::try_from(length).map_err(|_| Unread::Rejected(too_large(routes)))?;
            if client.input.len() < length && client.input.len() + client.input.room() < length {
                let mut whole = Buffer::with_capacity(length + TAILROOM);
                whole.extend(client.input.readable());
                client.input = whole;
            }
            while client.input.len() < length {
                more_body(core, routes, client, &waiting).await?;
            }
            split(client, length)
        }
        RequestFraming::Chunked => chunked_body(core, routes, client, &waiting).await?,
    };
    client.conn.deadline.clear();
    Ok(body)
}

async fn more_body(
    core: &Core,
    routes: &Routes,
    client: &mut Client,
    waiting: &Cell<Moment>,
) -> Result<(), Unread> {
    client
        .conn
        .deadline
        .set(waiting.get() + routes.timeouts.body, Ends::Reading);
    match client.fill().await {
        Ok(n) if n > 0 => {
            waiting.set(core.recently());
            Ok(())
        }
        _ if client.conn.deadline.fired() => Err(Unread::Rejected(Rejection::new(
            ErrorCode::RequestTimeout,
            "the request's body did not arrive in time",
        ))),
        _ => Err(Unread::Gone),
    }
}

async fn chunked_body(
    core: &Core,
    routes: &Routes,
    client: &mut Client,
    waiting: &Cell<Moment>,
) -> Result<Buffer, Unread> {
    let mut payload = Payload::Chunked(ChunkedDecoder::new());
    let mut body = Buffer::small();
    loop {
        if client.input.is_empty() {
            more_body(core, routes, client, waiting).await?;
        }
        let progress = payload.absorb(&mut client.input, 0).map_err(|_| {
            Unread::Rejected(Rejection::new(
                ErrorCode::BadRequest,
                "the body's chunks are malformed",
            ))
        })?;
        let excess = match progress {
            Progress::DoneEarly { excess } => excess,
            Progress::More | Progress::Done => 0,
        };
        let length = client.input.len() - excess;
        if body.len() + length > routes.limits.body_bytes {
            return Err(Unread::Rejected(too_large(routes)));
        }
        body.extend(&client.input.readable()[..length]);
        client.input.consume(length);
        if progress != Progress::More {
            return Ok(body);
        }
        client.input = Buffer::default();
    }
}

/// Takes the first `length` bytes of the input as a body of their own; what follows them stays.
fn split(client: &mut Client, length: usize) -> Buffer {
    let mut body = std::mem::take(&mut client.input);
    if body.len() > length {
        let rest = &body.readable()[length..];
        client.input = Buffer::with_capacity(rest.len());
        client.input.extend(rest);
        body.truncate(length);
    }
    body
}
