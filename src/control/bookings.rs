//! Bookings and cancellations, one after another: on disk first, then in the tables, then the
//! answer.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::desk::{Desk, Outcome};
use super::market::book::{BookingError, Order, Origin};
use super::market::store::{Fault, Store, StoreError};

/// How long somebody waits for others' changes, and for a live upgrade.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// What a process says that has handed over, or is about to end.
pub const GONE: &str = "this process is going down, and another one may have taken its place: \
                        ask again on a new connection";

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum Refused {
    /// The order can't be booked.
    #[error(transparent)]
    Order(#[from] BookingError),
    /// There is no such booking.
    #[error("there is no booking {}; what is over has none, and a [[reservation]] of the \
             configuration is changed there", Origin::Booked(*.0))]
    Unknown(u64),
    /// Not by this process, or not now.
    #[error("{0}")]
    Closed(&'static str),
    /// It can't be kept.
    #[error(transparent)]
    Unkept(#[from] StoreError),
}

/// What is counted.
fn outcome<T>(result: &Result<T, Refused>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(Refused::Unkept(_)) => Outcome::Failed,
        Err(_) => Outcome::Refused,
    }
}

/// Books an order, as it was sent. Returns its number.
///
/// # Errors
/// Nothing is booked then, but for [`Fault::Unsure`]: its slots stay taken.
pub async fn reserve(desk: &Rc<RefCell<Desk>>, order: &[u8]) -> Result<u64, Refused> {
    let result = async {
        let order = Order::parse(order)?;
        let turn = turn(desk).await?;
        to_its_end(turn, reserved(Rc::clone(desk), order)).await
    };
    let result = result.await;
    desk.borrow_mut().counter.reserved.count(outcome(&result));
    result
}

/// Cancels a booking.
///
/// # Errors
/// Nothing is cancelled then, but for [`Fault::Unsure`]: its slots stay taken until a restart.
pub async fn cancel(desk: &Rc<RefCell<Desk>>, number: u64) -> Result<(), Refused> {
    let result = async {
        let turn = turn(desk).await?;
        to_its_end(turn, cancelled(Rc::clone(desk), number)).await
    };
    let result = result.await;
    desk.borrow_mut().counter.cancelled.count(outcome(&result));
    result
}

/// A client that leaves must not leave a change half done. There is one such at a time: it has the
/// turn.
async fn to_its_end<T: 'static>(
    turn: OwnedMutexGuard<()>,
    change: impl Future<Output = Result<T, Refused>> + 'static,
) -> Result<T, Refused> {
    let change = tokio::task::spawn_local(async move {
        let _turn = turn;
        change.await
    });
    let gone = Err(Refused::Closed("the instance has ended meanwhile"));
    change.await.unwrap_or(gone)
}

async fn reserved(desk: Rc<RefCell<Desk>>, order: Order) -> Result<u64, Refused> {
    let now = Timestamp::now().as_second();
    let number = getrandom::u64().map_err(|_| Refused::Closed("there are no random numbers"))?;
    // In the book first: so neither a reload nor anybody else takes its slots meanwhile.
    desk.borrow_mut().book(number, order.clone(), now)?;
    let entered = order.clone();
    let kept = at_store(&desk, move |store, known| {
        store.add(number, &entered, known, now)
    });
    let kept = kept.await;
    finish(&mut desk.borrow_mut(), number, &order, kept)
}

/// Puts an order in force that is on disk, and takes one out of the book that isn't.
pub(super) fn finish(
    desk: &mut Desk,
    number: u64,
    order: &Order,
    kept: Result<(), StoreError>,
) -> Result<u64, Refused> {
    if let Err(error) = kept {
        // It may come back with the next start: nobody else gets its slots.
        if !matches!(error.what, Fault::Unsure(_)) {
            desk.trading.cancel(number);
        }
        tracing::error!("a reservation can't be booked: {error}");
        return Err(error.into());
    }
    desk.show_bookings();
    log(number, order, "booked");
    Ok(number)
}

async fn cancelled(desk: Rc<RefCell<Desk>>, number: u64) -> Result<(), Refused> {
    let now = Timestamp::now().as_second();
    let order = desk.borrow().trading.orders().get(&number).cloned();
    let order = order.ok_or(Refused::Unknown(number))?;
    let removed = at_store(&desk, move |store, known| store.remove(number, known, now));
    removed.await.inspect_err(|error| {
        tracing::error!("a reservation can't be cancelled: {error}");
    })?;
    let mut desk = desk.borrow_mut();
    desk.trading.cancel(number);
    desk.show_bookings();
    log(number, &order, "cancelled");
    Ok(())
}

/// All that it says: who has lost the file can book it again.
fn log(number: u64, order: &Order, what: &str) {
    tracing::info!(
        id = %Origin::Booked(number),
        key = order.key,
        provider = order.provider,
        jurisdiction = order.jurisdiction,
        slots = order.slots,
        from = %order.from,
        until = %order.until,
        "{what}"
    );
}

/// The leave to change what is booked.
async fn turn(desk: &RefCell<Desk>) -> Result<OwnedMutexGuard<()>, Refused> {
    let turn = desk.borrow().counter.turn.clone();
    let waited = timeout(TURN_WITHIN, turn.lock_owned()).await;
    let turn = waited.map_err(|_| {
        Refused::Closed("a live upgrade or other bookings are under way: ask again in a while")
    })?;
    let desk = desk.borrow();
    if desk.draining() {
        return Err(Refused::Closed(GONE));
    }
    if !desk.counter.is_open {
        return Err(Refused::Closed(
            "this process doesn't serve yet: ask again in a while",
        ));
    }
    Ok(turn)
}

/// Does what blocks on a helper's thread.
async fn at_store(
    desk: &RefCell<Desk>,
    change: impl FnOnce(&Store, &[u64]) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let (store, known) = {
        let desk = desk.borrow();
        let known: Vec<u64> = desk.trading.orders().keys().copied().collect();
        (desk.counter.store.clone(), known)
    };
    let helped = store.clone();
    let changed = tokio::task::spawn_blocking(move || change(&helped, &known)).await;
    changed.unwrap_or_else(|error| Err(store.unsure(io::Error::other(error))))
}
