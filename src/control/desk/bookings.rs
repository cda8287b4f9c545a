//! Bookings: in the book, in the tables, and where they are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::super::build::BuildError;
use super::super::market::book::{Booking, BookingError, Order, Origin, check_hours};
use super::super::market::store::Store;
use super::super::registry::Registry;
use super::Desk;
use crate::config::{BookingsFile, Config};
use crate::market::calendar::Second;

/// What has become of changes that were asked for, of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([u64; Outcome::ALL.len()]);

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Done,
    /// It can't be, or not now.
    Refused,
    /// The disk failed.
    Failed,
}

impl Outcome {
    /// Every outcome with its name in metrics.
    pub const ALL: [(Outcome, &'static str); 3] = [
        (Outcome::Done, "done"),
        (Outcome::Refused, "refused"),
        (Outcome::Failed, "failed"),
    ];
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// How many there were.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }
}

/// Where reservations are booked and cancelled.
pub struct Counter {
    /// Held by whoever changes what is booked, and by a live upgrade: its successor reads it.
    pub turn: Arc<Mutex<()>>,
    /// Where bookings are kept.
    pub store: Store,
    /// Whether the bookings are this process's to change: not before it has taken over.
    pub is_open: bool,
    /// Bookings that were asked for.
    pub reserved: Tally,
    /// Cancellations that were asked for.
    pub cancelled: Tally,
}

impl Counter {
    /// One that isn't open yet.
    pub(super) fn new(file: BookingsFile) -> Counter {
        Counter {
            turn: Arc::default(),
            store: Store::new(file),
            is_open: false,
            reserved: Tally::default(),
            cancelled: Tally::default(),
        }
    }
}

impl Desk {
    /// Books an order: its slots are nobody else's from now on, and its key's after
    /// [`show_bookings`](Desk::show_bookings).
    ///
    /// # Errors
    /// It can't be booked at that time.
    pub fn book(&mut self, number: u64, order: Order, now: Second) -> Result<(), BookingError> {
        check_hours(&order, now)?;
        let booking = order.booking(number, &self.config, &mut self.registry)?;
        self.trading.book(number, order, booking)
    }

    /// Publishes what is booked to the cores.
    pub fn show_bookings(&mut self) {
        self.rebuild(self.clock.now());
        // A tick since the booking has done so by the tables before, where its key may have no
        // right at that place.
        self.trading.renew();
        self.trade();
    }
}

/// The bookings that orders come to in a configuration.
///
/// # Errors
/// The first that it has no key or no provider for.
pub(super) fn settle(
    orders: &BTreeMap<u64, Order>,
    config: &Config,
    registry: &mut Registry,
) -> Result<Vec<Booking>, BuildError> {
    let settled = orders.iter().map(|(&number, order)| {
        let booking = order.booking(number, config, registry);
        let origin = Origin::Booked(number);
        booking.map_err(|error| BuildError::Booked { origin, error })
    });
    settled.collect()
}
