//! The admin plane: HTTP on its own listener, read-only but for the draining of endpoints and the
//! booking of reservations. It runs on the office's thread, where no handler ever blocks: what a
//! slow client or a slow disk delays is its own connection.

mod reservations;

use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::desk::Desk;
use super::drains::UnknownEndpoint;
use super::pages::{self, site};
use crate::openai::error::{ErrorCode, write_body};
use crate::telemetry::exposition;

/// Admin connections open at once; more wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 32;

/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields of a request.
pub const HEADERS_MAX: usize = 64;

/// From the first byte of a request, or from the end of the last one, to its last header byte.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept for further requests.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// How long a response may then still take to be read.
const LAST_RESPONSE_WITHIN: Duration = Duration::from_secs(10);

/// After an accept that failed (no file descriptor left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const REQUEST_ID: &str = "x-request-id";
const SHOULD_RETRY: &str = "x-should-retry";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

type Reply = Response<Full<Bytes>>;

/// Accepts connections for as long as the office lives.
pub async fn serve(listener: TcpListener, desk: Rc<RefCell<Desk>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream, Rc::clone(&desk), place));
            }
            Err(error) => {
                tracing::warn!(%error, "admin connection can't be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, desk: Rc<RefCell<Desk>>, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = Rc::clone(&desk);
        async move {
            let id = request_id(&request);
            let mut reply = match reservations::asked(request.uri().path()) {
                Some(which) => reservations::reply(&desk, which, request).await,
                None => reply(&desk, &request),
            };
            if let Some(id) = id {
                reply.headers_mut().insert(REQUEST_ID, id);
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    // A connection's own failure (reset, malformed head, time-out) ends it, and nothing else.
    tokio::select! {
        _ = served.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_LIFE) => served.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(LAST_RESPONSE_WITHIN, served).await;
}

/// The client's own `x-request-id` if it is fit for a log line, else a new one (SRP section 9).
fn request_id<B>(request: &Request<B>) -> Option<HeaderValue> {
    let fit = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let own = request.headers().get(REQUEST_ID).filter(fit).cloned();
    own.or_else(|| {
        let id = format!("admin-{:016x}", getrandom::u64().ok()?);
        HeaderValue::try_from(id).ok()
    })
}

fn reply<B: Body>(desk: &RefCell<Desk>, request: &Request<B>) -> Reply {
    let path = request.uri().path();
    match path {
        "/srp/v1/drain" => return act(desk, request, true),
        "/srp/v1/undrain" => return act(desk, request, false),
        _ => {}
    }
    let page: fn(&Desk, &Uri) -> Reply = match path {
        "/healthz" => |_, _| page(TEXT, "ok\n"),
        "/readyz" => |desk, _| ready(desk),
        "/metrics" => |desk, _| page(exposition::CONTENT_TYPE, pages::metrics(desk)),
        "/srp/v1/providers" => |desk, _| page(JSON, pages::providers(desk)),
        "/srp/v1/market" => |desk, _| page(JSON, pages::market::market(desk)),
        "/srp/v1/history" => history,
        "/srp/v1/config" => |desk, _| page(JSON, pages::config(desk)),
        _ if site::file(path).is_some() => |_, uri| of_the_site(uri.path()),
        _ => return error(ErrorCode::UnknownUrl, "No such path on the admin plane"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = format!("{path} is read with GET or HEAD");
        return not_allowed(&message, "GET, HEAD");
    }
    if !request.body().is_end_stream() {
        return no_bodies();
    }
    page(&desk.borrow(), request.uri())
}

/// The samples of the last hour; with `?since=SECOND` (since the epoch) those after it.
fn history(desk: &Desk, uri: &Uri) -> Reply {
    let since = match value(uri.query(), "since") {
        None => i64::MIN,
        Some(since) => match since.parse() {
            Ok(second) => second,
            Err(_) => {
                let message = "Expected since=SECOND, in whole seconds since 1970";
                return error(ErrorCode::BadRequest, message);
            }
        },
    };
    page(JSON, pages::history(desk, since))
}

/// A file of the site, for browsers.
fn of_the_site(path: &str) -> Reply {
    let Some(file) = site::file(path) else {
        return error(ErrorCode::UnknownUrl, "No such page");
    };
    let mut reply = page(file.content_type, file.text);
    let fields = reply.headers_mut();
    let policy = HeaderValue::from_static(site::POLICY);
    fields.insert(CONTENT_SECURITY_POLICY, policy);
    // Another version may answer next.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// The value of a name in a query, if it is there.
fn value<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Drains an endpoint, or ends that: `POST ?provider=NAME&endpoint=URL`.
fn act<B: Body>(desk: &RefCell<Desk>, request: &Request<B>, drain: bool) -> Reply {
    if *request.method() != Method::POST {
        return not_allowed("An endpoint is drained with POST", "POST");
    }
    if let Some(refusal) = of_a_page(request) {
        return refusal;
    }
    if !request.body().is_end_stream() {
        return no_bodies();
    }
    let value = |name| value(request.uri().query(), name);
    let (Some(provider), Some(endpoint)) = (value("provider"), value("endpoint")) else {
        let message = "Expected a query of provider=NAME and endpoint=URL";
        return error(ErrorCode::BadRequest, message);
    };
    let changed = desk.borrow_mut().drain(&provider, &endpoint, drain);
    match changed {
        Ok(changed) => page(
            JSON,
            format!("{{\"draining\":{drain},\"changed\":{changed}}}\n"),
        ),
        Err(UnknownEndpoint::Many) => {
            error(ErrorCode::BadRequest, &UnknownEndpoint::Many.to_string())
        }
        Err(unknown) => error(ErrorCode::UnknownUrl, &unknown.to_string()),
    }
}

/// The answer to what a web page asks to be changed. A browser can be made to send a POST to this
/// address by any page. It always says so, and nobody else does.
fn of_a_page<B>(request: &Request<B>) -> Option<Reply> {
    let message = "The admin plane doesn't act on behalf of web pages";
    let is = request.headers().contains_key(ORIGIN);
    is.then(|| error(ErrorCode::BadRequest, message))
}

fn not_allowed(message: &str, allowed: &'static str) -> Reply {
    let mut reply = error(ErrorCode::MethodNotAllowed, message);
    let allow = HeaderValue::from_static(allowed);
    reply.headers_mut().insert(ALLOW, allow);
    reply
}

fn no_bodies() -> Reply {
    too_large("The admin plane takes no bodies here")
}

/// What is left of the body would be taken for the next request.
fn too_large(message: &str) -> Reply {
    close_after(error(ErrorCode::ContentTooLarge, message))
}

fn close_after(mut reply: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}

fn ready(desk: &Desk) -> Reply {
    let reasons = pages::unready(desk, desk.clock.now());
    if reasons.is_empty() {
        page(TEXT, "ready\n")
    } else {
        let message = format!("Not ready: {}", reasons.join("; "));
        error(ErrorCode::NoProviderAvailable, &message)
    }
}

fn page(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    let content_type = HeaderValue::from_static(content_type);
    let fields = reply.headers_mut();
    fields.insert(CONTENT_TYPE, content_type);
    // JSON and metrics are no pages, whatever a name in them looks like.
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// An error in the one shape that SRP section 2 gives all of them.
fn error(code: ErrorCode, message: &str) -> Reply {
    error_about(code, message, None)
}

/// The same, about a member of the request.
fn error_about(code: ErrorCode, message: &str, member: Option<&str>) -> Reply {
    let mut body = Vec::new();
    write_body(&mut body, code, message, member);
    let status = StatusCode::from_u16(code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    failure(status, code.should_retry(), body)
}

fn failure(status: StatusCode, should_retry: bool, body: Vec<u8>) -> Reply {
    let mut reply = page(JSON, body);
    *reply.status_mut() = status;
    let retry = HeaderValue::from_static(if should_retry { "true" } else { "false" });
    reply.headers_mut().insert(SHOULD_RETRY, retry);
    reply
}
