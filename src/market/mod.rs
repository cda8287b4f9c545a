//! Who may run now, and at what price: the market of SRP sections 7 and 8 as functions of its
//! books. Time, bids and what is occupied are arguments; nothing here knows a socket or a clock.
//!
//! The words are those of power markets. A provider *offers* slots (calls that it serves at the
//! same time) at a price; a *reservation* is firm capacity, bought ahead; what is idle is sold to
//! *floating* calls at one price per location, the offer of the marginal slot; and a floating call
//! is *curtailed* when the owner of a reservation needs the slot.

pub mod calendar;
pub mod clearing;
pub mod merit;
pub mod occupancy;
pub mod price;

pub use calendar::{Calendar, Capacity, Overbooked, Place, Reservation};
pub use clearing::{Bid, Cleared, Offer, clear};
pub use merit::{Quote, Standing, Turn};
pub use occupancy::Occupancy;
pub use price::{Price, PriceError, PriceText};

/// What a call runs on (SRP section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supply {
    /// Reserved slots: it can't be displaced.
    Firm,
    /// What is idle.
    #[default]
    Floating,
}

#[cfg(test)]
mod example;
