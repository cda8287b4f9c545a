//! A client's connection: request after request, until one side has had enough.

use std::cell::Cell;
use std::rc::Rc;

use super::answer::{self, Manner};
use super::call::{self, End};
use super::client::Client;
use super::core::Core;
use super::intake::{Intake, Received, Wish, new_request_id, too_large};
use super::message::Body;
use super::payload::{Payload, Progress};
use super::reject::Rejection;
use super::settle::Settlement;
use crate::http::chunked::ChunkedDecoder;
use crate::http::request::BadRequest;
use crate::http::{HeadLimits, HeadSlots, RequestFraming, Version, encode, parse_request};
use crate::net::buffer::TAILROOM;
use crate::net::{Buffer, Conn, Ends};
use crate::openai::{ErrorCode, write_json_string};
use crate::tables::Routes;
use crate::tables::routes::Key;
use crate::telemetry::Outcome;

/// Serves a connection to its end.
pub async fn serve(core: Rc<Core>, conn: Conn) {
    let _counted = Counted::new(&core);
    let mut client = Client::new(conn);
    loop {
        let after = match receive(&core, &mut client).await {
            Ok(None) => return,
            Err(rejection) => {
                let settlement =
                    Settlement::open(&core, new_request_id(&core), core.routes().access_log);
                let manner = Manner {
                    version: Version::Http11,
                    persistent: false,
                    head_only: false,
                };
                refuse(&core, &mut client, settlement, rejection, manner).await
            }
            Ok(Some((received, routes))) => answer_one(&core, &routes, &mut client, received).await,
        };
        match after {
            After::Next => {}
            After::Close => return client.close(core.recently()).await,
            After::Abort => return client.conn.shut_down(),
        }
    }
}

/// Counts the connection for as long as it is served.
struct Counted<'c>(&'c Core);

impl<'c> Counted<'c> {
    fn new(core: &'c Core) -> Counted<'c> {
        core.connections.set(core.connections.get() + 1);
        core.metrics.connection_opened();
        Counted(core)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Counted(core) = self;
        core.connections.set(core.connections.get() - 1);
        core.metrics.connection_closed();
    }
}

/// What becomes of a connection.
enum After {
    /// It takes another request.
    Next,
    /// It is closed, once the client has had the chance to read everything.
    Close,
    /// The client is gone, or as good as.
    Abort,
}

/// Reads the head of the next request, with the routes that it is understood by: they are the
/// call's. None if there is none to come.
async fn receive(
    core: &Core,
    client: &mut Client,
) -> Result<Option<(Received, Rc<Routes>)>, Rejection> {
    let mut begun = None;
    loop {
        let routes = core.routes();
        if client.input.is_empty() {
            let until = core.recently() + routes.timeouts.keep_alive;
            client.conn.deadline.set(until, Ends::Idleness);
            match client.first().await {
                Some(Ok(n)) if n > 0 => continue,
                _ => return Ok(None),
            }
        }
        match read_head(core, &routes, client.input.readable()) {
            Ok(Some(received)) => {
                client.conn.deadline.clear();
                return Ok(Some((received, routes)));
            }
            Ok(None) => {}
            Err(bad) => return Err(bad_request(bad)),
        }
        let since = *begun.get_or_insert_with(|| core.now());
        let until = since + routes.timeouts.head;
        client.conn.deadline.set(until, Ends::Reading);
        match client.fill().await {
            Ok(n) if n > 0 => {}
            _ if client.conn.deadline.fired() => {
                let message = "the request's head did not arrive in time";
                return Err(Rejection::new(ErrorCode::RequestTimeout, message));
            }
            _ => return Ok(None),
        }
    }
}

fn read_head(core: &Core, routes: &Routes, input: &[u8]) -> Result<Option<Received>, BadRequest> {
    let limits = HeadLimits {
        bytes: routes.limits.head_bytes,
        fields: routes.limits.headers,
    };
    let mut slots = HeadSlots::new();
    let head = parse_request(input, &limits, &mut slots)?;
    Ok(head.map(|head| Received::new(core, routes, &head)))
}

fn bad_request(bad: BadRequest) -> Rejection {
    let code = match bad.status() {
        431 => ErrorCode::HeaderFieldsTooLarge,
        _ => ErrorCode::BadRequest,
    };
    Rejection::new(code, bad.to_string())
}

/// Answers one request. The books are opened first and closed last.
async fn answer_one(
    core: &Core,
    routes: &Routes,
    client: &mut Client,
    received: Received,
) -> After {
    let mut settlement = Settlement::open(core, received.request_id, routes.access_log);
    client.input.consume(received.bytes);
    let mut manner = Manner {
        version: received.version,
        persistent: received.persistent,
        head_only: received.head_only,
    };
    let (framing, expects) = (received.framing, received.expect_continue);
    let intake = match received.wish {
        Ok(Wish::Call(intake)) if core.calls.get() <= routes.limits.calls_per_core => intake,
        Ok(Wish::Call(_)) => {
            manner.persistent &= skip_body(client, framing);
            let message = "this instance has as many calls in flight as it may hold";
            let rejection = Rejection::new(ErrorCode::Overloaded, message).retry_after(1);
            return refuse(core, client, settlement, rejection, manner).await;
        }
        Ok(Wish::ModelList(key)) => {
            manner.persistent &= skip_body(client, framing);
            settlement.record_mut().key = Some(key.id);
            let body = model_list(routes, &key);
            return say(core, client, settlement, &body, manner).await;
        }
        Ok(Wish::Model(key, id)) => {
            manner.persistent &= skip_body(client, framing);
            settlement.record_mut().key = Some(key.id);
            return match model(routes, &key, &id) {
                Ok(body) => say(core, client, settlement, &body, manner).await,
                Err(rejection) => refuse(core, client, settlement, rejection, manner).await,
            };
        }
        Err(rejection) => {
            manner.persistent &= skip_body(client, framing);
            return refuse(core, client, settlement, rejection, manner).await;
        }
    };
    settlement.record_mut().key = Some(intake.key.id);
    let body = match read_body(core, routes, client, framing, expects).await {
        Ok(body) => Body::new(body),
        Err(Unread::Gone) => return After::Abort,
        Err(Unread::Rejected(rejection)) => {
            manner.persistent = false;
            return refuse(core, client, settlement, rejection, manner).await;
        }
    };
    exchange(core, routes, client, (intake, body), manner, settlement).await
}

async fn exchange(
    core: &Core,
    routes: &Routes,
    client: &mut Client,
    request: (Intake, Body),
    manner: Manner,
    mut settlement: Settlement<'_>,
) -> After {
    match call::run(core, routes, client, request, manner, &mut settlement).await {
        End::Complete => {
            settlement.settle(Outcome::Completed);
            if manner.by_now(core).persistent {
                After::Next
            } else {
                After::Close
            }
        }
        End::Cut => {
            settlement.settle(Outcome::Cut);
            After::Close
        }
        End::Gone => {
            settlement.settle(Outcome::ClientGone);
            After::Abort
        }
        End::Rejected(rejection) => refuse(core, client, settlement, rejection, manner).await,
    }
}

/// Sends an error of our own, and closes the books.
async fn refuse(
    core: &Core,
    client: &mut Client,
    mut settlement: Settlement<'_>,
    rejection: Rejection,
    manner: Manner,
) -> After {
    let manner = manner.by_now(core);
    let buffer = rejection.write(&mut settlement, manner);
    finish(core, client, settlement, buffer, manner, Outcome::Failed).await
}

/// Sends a JSON body of our own, and closes the books.
async fn say(
    core: &Core,
    client: &mut Client,
    mut settlement: Settlement<'_>,
    body: &[u8],
    manner: Manner,
) -> After {
    let manner = manner.by_now(core);
    settlement.record_mut().status = 200;
    settlement.record_mut().bytes_out = body.len() as u64;
    let mut buffer = Buffer::small();
    let out = buffer.vec();
    encode::status_line(out, 200);
    encode::field(out, "content-type", b"application/json");
    answer::stamp(out, settlement.record(), Some(settlement.took_ms()));
    encode::content_length(out, body.len() as u64);
    answer::connection(out, manner);
    out.extend_from_slice(encode::CRLF);
    if !manner.head_only {
        out.extend_from_slice(body);
    }
    finish(core, client, settlement, buffer, manner, Outcome::Completed).await
}

async fn finish(
    core: &Core,
    client: &mut Client,
    settlement: Settlement<'_>,
    response: Buffer,
    manner: Manner,
    outcome: Outcome,
) -> After {
    let until = core.recently() + core.routes().timeouts.stream_idle;
    let (alive, _) = client.send(response, until).await;
    settlement.settle(if alive { outcome } else { Outcome::ClientGone });
    match (alive, manner.persistent) {
        (false, _) => After::Abort,
        (true, true) => After::Next,
        (true, false) => After::Close,
    }
}

/// Passes over the body of a request that is answered without it. False if it isn't all there:
/// then where the next request begins is not known.
fn skip_body(client: &mut Client, framing: RequestFraming) -> bool {
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

enum Unread {
    Gone,
    Rejected(Rejection),
}

/// Reads a body whole: routing needs its `model`, and a second attempt needs all of it.
async fn read_body(
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
    waiting: &Cell<crate::base::Moment>,
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
    waiting: &Cell<crate::base::Moment>,
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

/// `GET /v1/models`: the capabilities that the key may use. Vendors' names appear nowhere.
fn model_list(routes: &Routes, key: &Key) -> Vec<u8> {
    let mut out = b"{\"object\":\"list\",\"data\":[".to_vec();
    let mut first = true;
    for (position, capability) in (0u16..).zip(&routes.capabilities) {
        if key.capabilities.contains(position) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            model_object(&mut out, &capability.name);
        }
    }
    out.extend_from_slice(b"]}");
    out
}

fn model_object(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"{\"id\":");
    write_json_string(out, name);
    out.extend_from_slice(b",\"object\":\"model\",\"created\":0,\"owned_by\":\"srp\"}");
}

/// `GET /v1/models/{id}`.
fn model(routes: &Routes, key: &Key, id: &str) -> Result<Vec<u8>, Rejection> {
    let known = routes
        .by_name
        .get(id)
        .filter(|&&position| key.capabilities.contains(position));
    if known.is_none() {
        let rejection = Rejection::new(ErrorCode::ModelNotFound, "no such model");
        return Err(rejection.about("model"));
    }
    let mut out = Vec::with_capacity(128);
    model_object(&mut out, id);
    Ok(out)
}
