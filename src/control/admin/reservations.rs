//! `/srp/v1/reservations`: what is reserved, and the booking and cancelling of it (SRP section 8).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use tokio::time::timeout;

use super::{
    JSON, Reply, SHOULD_RETRY, close_after, error, error_about, failure, no_bodies, not_allowed,
    of_a_page, page, too_large,
};
use crate::control::bookings::{self, Refused};
use crate::control::desk::Desk;
use crate::control::market::{BookingError, Origin};
use crate::control::pages;
use crate::openai::error::{ErrorCode, write_error_object};

const PATH: &str = "/srp/v1/reservations";

/// Bytes of an order.
pub const ORDER_BYTES_MAX: usize = 4096;

/// How long an order may take to arrive.
const ORDER_WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All of them.
    All,
    /// The booking of that number; none: of what is no booking's id.
    One(Option<u64>),
}

/// What of this page a path asks for, if it does.
pub(super) fn asked(path: &str) -> Option<Which> {
    match path.strip_prefix(PATH)? {
        "" => Some(Which::All),
        rest => Some(Which::One(Origin::number(rest.strip_prefix('/')?))),
    }
}

/// Answers.
pub(super) async fn reply(
    desk: &Rc<RefCell<Desk>>,
    which: Which,
    request: Request<Incoming>,
) -> Reply {
    let has_body = !request.body().is_end_stream();
    match (which, request.method()) {
        (Which::All, &Method::POST) => match of_a_page(&request) {
            Some(refusal) => refusal,
            None => reserve(desk, request.into_body()).await,
        },
        (_, &Method::GET | &Method::HEAD | &Method::DELETE) if has_body => no_bodies(),
        (Which::All, &Method::GET | &Method::HEAD) => all(&desk.borrow()),
        (Which::All, _) => {
            let message = "Reservations are read with GET or HEAD and booked with POST";
            not_allowed(message, "GET, HEAD, POST")
        }
        (Which::One(number), &Method::DELETE) => match of_a_page(&request) {
            Some(refusal) => refusal,
            None => cancel(desk, number).await,
        },
        (Which::One(_), _) => not_allowed("A booking is cancelled with DELETE", "DELETE"),
    }
}

/// Of a process that has handed over this would be what was, not what is.
fn all(desk: &Desk) -> Reply {
    if desk.draining() {
        return refusal(&Refused::Closed(bookings::GONE));
    }
    page(JSON, pages::market::all_reservations(desk))
}

async fn reserve(desk: &Rc<RefCell<Desk>>, body: Incoming) -> Reply {
    let whole = timeout(ORDER_WITHIN, Limited::new(body, ORDER_BYTES_MAX).collect());
    let order = match whole.await {
        Ok(Ok(order)) => order.to_bytes(),
        Ok(Err(_)) => {
            return too_large(&format!("An order has at most {ORDER_BYTES_MAX} bytes"));
        }
        Err(_) => {
            return close_after(error(
                ErrorCode::RequestTimeout,
                "The order didn't arrive in time",
            ));
        }
    };
    match bookings::reserve(desk, &order).await {
        Ok(number) => {
            let mut reply = shown(pages::market::reservation(&desk.borrow(), number));
            *reply.status_mut() = StatusCode::CREATED;
            let place = format!("{PATH}/{}", Origin::Booked(number));
            if let Ok(place) = HeaderValue::try_from(place) {
                reply.headers_mut().insert(LOCATION, place);
            }
            reply
        }
        Err(refused) => refusal(&refused),
    }
}

async fn cancel(desk: &Rc<RefCell<Desk>>, number: Option<u64>) -> Reply {
    let Some(number) = number else {
        let message = "Expected the id of a booking, such as res_00000000000000ff; a \
                       [[reservation]] of the configuration is changed there";
        return error(ErrorCode::UnknownUrl, message);
    };
    let before = pages::market::reservation(&desk.borrow(), number);
    match bookings::cancel(desk, number).await {
        Ok(()) => shown(before),
        Err(refused) => refusal(&refused),
    }
}

fn shown(reservation: Option<String>) -> Reply {
    page(JSON, reservation.unwrap_or_default())
}

/// Why nothing was changed.
fn refusal(refused: &Refused) -> Reply {
    let message = refused.to_string();
    match refused {
        Refused::Order(error @ BookingError::Invalid { member, .. }) => {
            let code = match *member {
                "body" => ErrorCode::InvalidJson,
                _ => ErrorCode::BadRequest,
            };
            error_about(code, &message, error.member())
        }
        Refused::Order(error) => {
            let kind = ("capacity_error", "overbooked");
            bookings_error(StatusCode::CONFLICT, kind, &message, error.member())
        }
        Refused::Unknown(_) => error(ErrorCode::UnknownUrl, &message),
        Refused::Closed(_) => {
            let kind = ("service_unavailable_error", "bookings_closed");
            let reply = bookings_error(StatusCode::SERVICE_UNAVAILABLE, kind, &message, None);
            // A new connection leads to the process that has taken this one's place.
            let mut reply = close_after(reply);
            let fields = reply.headers_mut();
            fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            fields.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
            reply
        }
        Refused::Unkept(_) => {
            let kind = ("service_unavailable_error", "bookings_not_kept");
            bookings_error(StatusCode::SERVICE_UNAVAILABLE, kind, &message, None)
        }
    }
}

/// An error that only bookings have: of a type and a code.
fn bookings_error(
    status: StatusCode,
    (kind, code): (&str, &str),
    message: &str,
    member: Option<&str>,
) -> Reply {
    let mut body = Vec::new();
    write_error_object(&mut body, kind, Some(code), message, member);
    failure(status, false, body)
}
