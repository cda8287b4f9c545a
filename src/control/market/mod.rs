//! The exchange: who has reserved what, what is in force in this hour, and what floating work
//! costs (SRP sections 7 and 8). The office asks it now and then; nothing here waits.

pub mod book;
pub mod exchange;
pub mod order;
pub mod past;
pub mod store;
pub mod trading;

pub use book::{Booking, BookingError, Order, Origin};
pub use exchange::Exchange;
pub use past::{Past, Point, Stack};
