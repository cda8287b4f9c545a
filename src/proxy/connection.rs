//! A client's connection: request after request, until one side has had enough.

use std::rc::Rc;
use std::time::Duration;

use super::answer::{self, Manner};
use super::body::{self, Reading, Unread};
use super::call::{self, End};
use super::client::Client;
use super::core::Core;
use super::handshake::{self, Welcome};
use super::intake::{Intake, Received, Wish, new_request_id};
use super::message::Body;
use super::models;
use super::reject::Rejection;
use super::room::Place;
use super::settle::Settlement;
use super::waiting;
use crate::http::request::BadRequest;
use crate::http::{HeadLimits, HeadSlots, Version, encode, parse_request};
use crate::net::{Buffer, Conn, Ends, Recycled, turn};
use crate::openai::ErrorCode;
use crate::tables::{Limit, Routes, Stage};
use crate::telemetry::Outcome;

/// Serves a connection to its end. Whatever isn't the wait for the next request is boxed: an idle
/// connection keeps nothing of what others need.
pub async fn serve(core: Rc<Core>, conn: Conn) {
    let _counted = Counted::new(&core);
    let mut client = match handshake::welcome(&core, conn).await {
        Welcome::In(conn) => Client::new(conn, &core.routes().limits),
        Welcome::Plain(conn) => {
            let client = Client::new(conn, &core.routes().limits);
            return Box::pin(send_away(&core, client)).await;
        }
        Welcome::Out => return,
    };
    loop {
        let after = match receive(&core, &mut client).await {
            Ok(None) => return,
            Err(rejection) => Box::pin(refuse_unread(&core, &mut client, rejection)).await,
            Ok(Some((received, routes))) => {
                Recycled::pin(answer_one(&core, &routes, &mut client, received)).await
            }
        };
        match after {
            // The next one has come already: others first.
            After::Next if !client.input.is_empty() => turn::pass().await,
            After::Next => {}
            After::Close => return Box::pin(client.close(core.recently())).await,
            After::Abort => return client.conn.shut_down(),
        }
    }
}

/// Tells a client in plaintext that TLS is spoken here.
async fn send_away(core: &Core, mut client: Client) {
    let message = "a request in plaintext was sent to a port that speaks TLS: use https";
    let rejection = Rejection::new(ErrorCode::BadRequest, message);
    match refuse_unread(core, &mut client, rejection).await {
        After::Next | After::Close => client.close(core.recently()).await,
        After::Abort => client.conn.shut_down(),
    }
}

/// How long a client for whom there is no room has to ask for something, so that it can be answered.
const ASKS_WITHIN: Duration = Duration::from_millis(250);

/// Answers a client for whom there is no room, whatever it asks for: what has asked for nothing would
/// make nothing of an answer. Over TLS that would take a handshake, and there nothing is said.
pub async fn turn_away(core: Rc<Core>, conn: Conn, _place: Place) {
    let routes = core.routes();
    if routes.tls.is_some() {
        return;
    }
    let mut client = Client::new(conn, &routes.limits);
    let until = core.recently() + ASKS_WITHIN;
    client.conn.deadline.set(until, Ends::All);
    if !matches!(client.fill().await, Ok(1..)) {
        return;
    }
    let message = "this instance has as many connections as it may hold";
    let rejection = Rejection::new(ErrorCode::Overloaded, message).retry_after(1);
    match refuse_unread(&core, &mut client, rejection).await {
        After::Next | After::Close => client.close(core.recently()).await,
        After::Abort => client.conn.shut_down(),
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
) -> Result<Option<(Recycled<Received>, Rc<Routes>)>, Rejection> {
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
        client.conn.deadline.set(until, Ends::Head);
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

/// Boxed: what it returns is handed on from one future to the next.
fn read_head(
    core: &Core,
    routes: &Routes,
    input: &[u8],
) -> Result<Option<Recycled<Received>>, BadRequest> {
    let limits = HeadLimits {
        bytes: routes.limits.head_bytes,
        fields: routes.limits.headers,
    };
    let mut slots = HeadSlots::new();
    let head = parse_request(input, &limits, &mut slots)?;
    Ok(head.map(|head| Recycled::new(Received::new(core, routes, &head))))
}

fn bad_request(bad: BadRequest) -> Rejection {
    let code = match bad.status() {
        431 => ErrorCode::HeaderFieldsTooLarge,
        _ => ErrorCode::BadRequest,
    };
    Rejection::new(code, bad.to_string())
}

/// Answers what isn't a request: it is a unit in the books all the same.
async fn refuse_unread(core: &Core, client: &mut Client, rejection: Rejection) -> After {
    let mut settlement = Settlement::open(core, new_request_id(core), core.routes().access_log);
    let manner = Manner {
        version: Version::Http11,
        persistent: false,
        head_only: client.input.readable().starts_with(b"HEAD "),
    };
    let refusal = refuse(core, client, &mut settlement, rejection, manner);
    let (after, outcome) = refusal.await;
    settlement.settle(outcome);
    after
}

/// Answers one request. The books are opened first and closed last.
async fn answer_one<'c>(
    core: &'c Core,
    routes: &'c Routes,
    client: &mut Client,
    received: Recycled<Received>,
) -> After {
    let mut settlement = Settlement::open(core, received.request_id, routes.access_log);
    let (after, outcome) = answer(core, routes, client, received, &mut settlement).await;
    settlement.settle(outcome);
    after
}

async fn answer<'c>(
    core: &'c Core,
    routes: &'c Routes,
    client: &mut Client,
    mut received: Recycled<Received>,
    settlement: &mut Settlement<'_>,
) -> (After, Outcome) {
    client.begin(received.bytes, &routes.limits);
    let mut manner = Manner {
        version: received.version,
        persistent: received.persistent,
        head_only: received.head_only,
    };
    if received.wish.is_ok() {
        client.conn.deadline.introduce();
    }
    let (framing, expects) = (received.framing, received.expect_continue);
    let intake = match &mut received.wish {
        Ok(Wish::Call(intake)) => {
            if let Err(rejection) = admit(core, routes, settlement, intake) {
                manner.persistent &= body::skip(client, framing);
                return refuse(core, client, settlement, rejection, manner).await;
            }
            intake
        }
        Ok(Wish::ModelList(key)) => {
            manner.persistent &= body::skip(client, framing);
            settlement.record_mut().key = Some(key.id);
            let body = models::list(routes, key);
            return say(core, client, settlement, &body, manner).await;
        }
        Ok(Wish::Model(key, id)) => {
            manner.persistent &= body::skip(client, framing);
            settlement.record_mut().key = Some(key.id);
            return match models::one(routes, key, id) {
                Ok(body) => say(core, client, settlement, &body, manner).await,
                Err(rejection) => refuse(core, client, settlement, rejection, manner).await,
            };
        }
        Err(rejection) => {
            manner.persistent &= body::skip(client, framing);
            return refuse(core, client, settlement, rejection.clone(), manner).await;
        }
    };
    let reading = Reading::new(core, routes, intake, settlement.started());
    let (body, probing) = match reading.whole(client, framing, expects).await {
        Ok(whole) => (Body::new(whole.bytes), whole.probing),
        Err(Unread::Gone) => return (After::Abort, Outcome::ClientGone),
        Err(Unread::Rejected(rejection)) => {
            manner.persistent = false;
            return refuse(core, client, settlement, rejection, manner).await;
        }
    };
    let request = (&*intake, body, probing, None);
    let mut end = call::run(core, routes, client, request, manner, settlement).await;
    if let End::Waits(standby, body) = end {
        let held = (standby, body);
        let waiting = waiting::see_through(core, routes, client, held, intake, manner, settlement);
        end = Box::pin(waiting).await;
    }
    match end {
        // After a handover, too, a client who has been told that it may ask again is answered.
        End::Complete if client.may_ask_again && core.stage() < Stage::Ending => {
            (After::Next, Outcome::Completed)
        }
        End::Complete => (After::Close, Outcome::Completed),
        End::Cut => (After::Close, Outcome::Cut),
        End::Gone => (After::Abort, Outcome::ClientGone),
        End::Rejected(rejection) => refuse(core, client, settlement, rejection, manner).await,
        End::Waits(standby, _) => refuse(core, client, settlement, standby.rejection, manner).await,
    }
}

/// Lets a call in, if there is room for it on the core and within its key's limits. It counts
/// from here on, whatever becomes of it.
fn admit(
    core: &Core,
    routes: &Routes,
    settlement: &mut Settlement<'_>,
    intake: &Intake,
) -> Result<(), Rejection> {
    settlement.record_mut().key = Some(intake.key.id);
    settlement.observed(intake.operation.gen_ai_name(), intake.trace);
    if core.calls.get() > core.calls_max(routes) {
        let message = "this instance has as many calls in flight as it may hold";
        return Err(Rejection::new(ErrorCode::Overloaded, message).retry_after(1));
    }
    if core.pace.is_behind(core.calls.get(), settlement.started()) {
        let message = "this instance has more to do than it can";
        return Err(Rejection::new(ErrorCode::Overloaded, message).retry_after(1));
    }
    core.memory_for_call()?;
    if !settlement.will_be_recorded(routes) {
        let message = "this instance can't record the call, and so doesn't make it";
        return Err(Rejection::new(ErrorCode::Overloaded, message).retry_after(1));
    }
    let Some(meter) = intake.key.meter else {
        return Ok(());
    };
    settlement.admit(meter).map_err(|exhausted| {
        let message = match exhausted.limit {
            Limit::Requests => "this key has made as many requests as it may in a minute",
            Limit::Tokens => "this key has used as many tokens as it may in a minute",
        };
        Rejection::new(ErrorCode::RateLimitExceeded, message).retry_in(exhausted.wait)
    })
}

/// Sends an error of our own.
async fn refuse(
    core: &Core,
    client: &mut Client,
    settlement: &mut Settlement<'_>,
    rejection: Rejection,
    manner: Manner,
) -> (After, Outcome) {
    let manner = manner.by_now(core);
    let buffer = rejection.write(settlement, manner);
    finish(core, client, buffer, manner, (settlement, Outcome::Failed)).await
}

/// Sends a JSON body of our own.
async fn say(
    core: &Core,
    client: &mut Client,
    settlement: &mut Settlement<'_>,
    body: &[u8],
    manner: Manner,
) -> (After, Outcome) {
    let manner = manner.by_now(core);
    settlement.record_mut().status = 200;
    settlement.record_mut().bytes_out = body.len() as u64;
    let mut buffer = Buffer::small();
    let out = buffer.vec();
    encode::status_line(out, 200);
    encode::field(out, "content-type", b"application/json");
    answer::stamp(out, settlement, Some(settlement.took_ms()));
    encode::content_length(out, body.len() as u64);
    answer::connection(out, manner);
    out.extend_from_slice(encode::CRLF);
    if !manner.head_only {
        out.extend_from_slice(body);
    }
    finish(
        core,
        client,
        buffer,
        manner,
        (settlement, Outcome::Completed),
    )
    .await
}

async fn finish(
    core: &Core,
    client: &mut Client,
    mut response: Buffer,
    manner: Manner,
    (settlement, outcome): (&mut Settlement<'_>, Outcome),
) -> (After, Outcome) {
    settlement.enter(outcome, None, core.recently());
    let until = core.recently() + core.routes().timeouts.stream_idle;
    match client.send(&mut response, until).await {
        false => (After::Abort, Outcome::ClientGone),
        true if manner.persistent => (After::Next, outcome),
        true => (After::Close, outcome),
    }
}
