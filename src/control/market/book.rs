//! Reservations with their owners: those of the file, and those that were booked.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::{KeyId, ProviderId};
use crate::config::overbooked;
use crate::market::calendar::Second;
use crate::market::{Calendar, Capacity, Overbooked, Place, Reservation};
use crate::policy::residency::Jurisdiction;

/// Hours that can be booked: this one and those after it, day-ahead (SRP section 8).
pub const BOOKABLE_HOURS: i64 = 48;

const HOUR: i64 = 3600;

/// Where a reservation is.
pub type Where = Place<ProviderId, Jurisdiction>;

/// Where a reservation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A `[[reservation]]` of the configuration.
    File,
    /// The booking of that number.
    Booked(u64),
}

impl Origin {
    /// The number of a booking's id; none if it isn't one.
    pub fn number(id: &str) -> Option<u64> {
        let digits = id.strip_prefix("res_")?;
        let lower = digits
            .bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        let whole = digits.len() == 16 && lower;
        whole.then(|| u64::from_str_radix(digits, 16).ok())?
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File => f.write_str("file"),
            Origin::Booked(number) => write!(f, "res_{number:016x}"),
        }
    }
}

/// A reservation, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Where it comes from.
    pub origin: Origin,
    /// Whose it is.
    pub key: KeyId,
    /// Where, how much, when.
    pub reservation: Reservation<ProviderId, Jurisdiction>,
}

/// A booking as it is kept and shown, in names, so that it outlives the process's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A `[[key]]`'s name.
    pub key: String,
    /// A `[[provider]]`'s name; or `jurisdiction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Anywhere in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jurisdiction: Option<String>,
    /// Calls at the same time.
    pub slots: u32,
    /// The first moment; a whole hour.
    pub from: Timestamp,
    /// The first moment without it; a whole hour.
    pub until: Timestamp,
}

/// Why a reservation can't be booked, in words for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BookingError {
    /// One member of the order is wrong.
    #[error("{member}: {message}")]
    Invalid {
        /// Which.
        member: &'static str,
        /// What was expected.
        message: String,
    },
    /// It doesn't fit.
    #[error("{}", shown(.0))]
    Overbooked(Overbooked),
}

impl BookingError {
    /// The member of the order that is to blame, if it is one.
    pub fn member(&self) -> Option<&'static str> {
        match self {
            BookingError::Invalid { member, .. } => Some(member),
            BookingError::Overbooked(Overbooked::Full { .. }) => Some("slots"),
            BookingError::Overbooked(_) => None,
        }
    }
}

fn shown(error: &Overbooked) -> String {
    match error {
        Overbooked::Full { .. } => format!("slots: {}", overbooked(error)),
        _ => overbooked(error),
    }
}

pub(super) fn invalid(member: &'static str, message: impl Into<String>) -> BookingError {
    BookingError::Invalid {
        member,
        message: message.into(),
    }
}

/// Checks the hours of an order that is booked at `now`.
///
/// # Errors
/// They aren't whole, or not among those that can be booked.
pub fn check_hours(order: &Order, now: Second) -> Result<(), BookingError> {
    let this_hour = now - now.rem_euclid(HOUR);
    let end = this_hour + BOOKABLE_HOURS * HOUR;
    let shown = |second| Timestamp::from_second(second).unwrap_or_default();
    for (member, at) in [("from", order.from), ("until", order.until)] {
        let whole = at.as_second().rem_euclid(HOUR) == 0 && at.subsec_nanosecond() == 0;
        if !whole {
            let message = format!(
                "expected a whole hour, such as {}, found {at}",
                shown(this_hour)
            );
            return Err(invalid(member, message));
        }
    }
    if order.from.as_second() < this_hour {
        let message = format!(
            "expected {} or later, found {}",
            shown(this_hour),
            order.from
        );
        return Err(invalid("from", message));
    }
    if order.until <= order.from {
        let message = format!("expected an hour after `from`, found {}", order.until);
        return Err(invalid("until", message));
    }
    if order.until.as_second() > end {
        let message = format!(
            "expected {} or earlier: the next {BOOKABLE_HOURS} hours can be booked, found {}",
            shown(end),
            order.until
        );
        return Err(invalid("until", message));
    }
    Ok(())
}

/// Every reservation of the instance. Together they fit at every instant.
#[derive(Clone, Debug)]
pub struct Book {
    calendar: Calendar<ProviderId, Jurisdiction>,
    bookings: Vec<Booking>,
}

impl Book {
    /// A book with these in it.
    ///
    /// # Errors
    /// The first that doesn't fit.
    pub fn new(
        supplies: Vec<Capacity<ProviderId, Jurisdiction>>,
        bookings: impl IntoIterator<Item = Booking>,
    ) -> Result<Book, (Booking, BookingError)> {
        let mut book = Book {
            calendar: Calendar::new(supplies),
            bookings: Vec::new(),
        };
        for booking in bookings {
            book.add(booking).map_err(|error| (booking, error))?;
        }
        Ok(book)
    }

    /// Books one more.
    ///
    /// # Errors
    /// It doesn't fit.
    pub fn add(&mut self, booking: Booking) -> Result<(), BookingError> {
        let booked = self.calendar.book(booking.reservation);
        booked.map_err(BookingError::Overbooked)?;
        self.bookings.push(booking);
        Ok(())
    }

    /// Takes a booking out; None if there is none of that number.
    pub fn cancel(&mut self, number: u64) -> Option<Booking> {
        let numbered = |it: &Booking| it.origin == Origin::Booked(number);
        let at = self.bookings.iter().position(numbered)?;
        let booking = self.bookings.remove(at);
        self.calendar.cancel(&booking.reservation);
        Some(booking)
    }

    /// Takes out what is over by then, and was booked. Returns the numbers.
    pub fn drop_past(&mut self, now: Second) -> Vec<u64> {
        let over = self.bookings.iter().filter_map(|it| match it.origin {
            Origin::Booked(number) if it.reservation.until <= now => Some(number),
            _ => None,
        });
        let over: Vec<u64> = over.collect();
        for &number in &over {
            self.cancel(number);
        }
        over
    }

    /// All of them, in the order of booking.
    pub fn bookings(&self) -> &[Booking] {
        &self.bookings
    }

    /// What is reserved for one key at one place at an instant.
    pub fn slots(&self, key: KeyId, place: Where, at: Second) -> u32 {
        let covers = |it: &&Booking| {
            let reservation = &it.reservation;
            let now = reservation.from <= at && at < reservation.until;
            it.key == key && reservation.place == place && now
        };
        let here = self.bookings.iter().filter(covers);
        here.map(|it| it.reservation.slots).sum()
    }

    /// The capacities, and what is left of them.
    pub fn calendar(&self) -> &Calendar<ProviderId, Jurisdiction> {
        &self.calendar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(from: &str, until: &str) -> Order {
        let at = |hour: &str| format!("2026-11-{hour}Z").parse().expect("a time");
        Order {
            key: "acme".into(),
            provider: Some("aloomu".into()),
            jurisdiction: None,
            slots: 1,
            from: at(from),
            until: at(until),
        }
    }

    #[test]
    fn whole_hours_of_the_next_two_days_can_be_booked() {
        let now: Timestamp = "2026-11-25T10:59:59Z".parse().expect("a time");
        let check = |from: &str, until: &str| {
            check_hours(&order(from, until), now.as_second()).map_err(|error| error.to_string())
        };
        assert_eq!(check("25T10:00:00", "25T11:00:00"), Ok(()));
        assert_eq!(check("25T12:00:00", "27T10:00:00"), Ok(()));
        for (from, until, expected) in [
            ("25T10:30:00", "25T12:00:00", "from: expected a whole hour"),
            (
                "25T11:00:00",
                "25T12:00:00.5",
                "until: expected a whole hour",
            ),
            (
                "25T09:00:00",
                "25T12:00:00",
                "from: expected 2026-11-25T10:00:00Z or later",
            ),
            (
                "25T12:00:00",
                "25T12:00:00",
                "until: expected an hour after `from`",
            ),
            (
                "25T12:00:00",
                "27T11:00:00",
                "until: expected 2026-11-27T10:00:00Z or earlier",
            ),
        ] {
            let message = check(from, until).expect_err("refused");
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn what_is_over_is_dropped_and_what_is_cancelled_makes_room() {
        let au = Jurisdiction::parse("au").expect("a jurisdiction");
        let supply = Capacity {
            provider: ProviderId(0),
            zone: au,
            slots: 2,
        };
        let booking = |number, from, until| Booking {
            origin: Origin::Booked(number),
            key: KeyId(7),
            reservation: Reservation {
                place: Place::Provider(ProviderId(0)),
                slots: 2,
                from,
                until,
            },
        };
        let booked = [booking(1, 0, 10), booking(2, 10, 20)];
        let mut book = Book::new(vec![supply], booked).expect("they fit");
        assert_eq!(book.slots(KeyId(7), Place::Provider(ProviderId(0)), 9), 2);
        assert!(book.add(booking(3, 5, 15)).is_err());
        assert_eq!(book.drop_past(10), [1]);
        assert_eq!(book.cancel(2), Some(booking(2, 10, 20)));
        assert_eq!(book.cancel(2), None);
        assert_eq!(book.add(booking(3, 5, 15)), Ok(()));
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_not_otherwise() {
        for number in [0, 255, u64::MAX] {
            let id = Origin::Booked(number).to_string();
            assert_eq!(Origin::number(&id), Some(number), "{id}");
        }
        assert_eq!(Origin::Booked(255).to_string(), "res_00000000000000ff");
        for id in [
            "",
            "file",
            "res_ff",
            "res_00000000000000FF",
            "res_+0000000000000ff",
        ] {
            assert_eq!(Origin::number(id), None, "{id}");
        }
    }
}
