//! The market as a part of the office: the exchange of the configuration in force, and what was
//! booked besides.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::book::{Booking, BookingError, Order, Origin, Where};
use super::exchange::Exchange;
use crate::base::{KeyId, ProviderId};
use crate::config::Config;
use crate::market::Price;
use crate::market::calendar::Second;
use crate::tables::demand::Demand;
use crate::tables::{Market, Reserve, Routes};

/// The office's market.
pub struct Trading {
    exchange: Exchange,
    /// What was booked besides the file, in names: it outlives a configuration.
    orders: BTreeMap<u64, Order>,
    demand: Demand,
    /// What has slots now. A call that began with tables of before goes by the same ones.
    reserves: HashMap<(KeyId, Where), Arc<Reserve>>,
}

impl Trading {
    /// The market of the first configuration; `booked` is what the orders come to in it.
    ///
    /// # Errors
    /// A booking that doesn't fit.
    pub fn new(
        config: &Config,
        routes: &Routes,
        orders: BTreeMap<u64, Order>,
        booked: &[Booking],
    ) -> Result<Trading, (Booking, BookingError)> {
        Ok(Trading {
            exchange: exchange(config, routes, booked)?,
            orders,
            demand: Demand::default(),
            reserves: HashMap::new(),
        })
    }

    /// What was booked besides the file, by number.
    pub fn orders(&self) -> &BTreeMap<u64, Order> {
        &self.orders
    }

    /// The same as bookings of the configuration in force.
    pub fn booked(&self) -> Vec<Booking> {
        let bookings = self.exchange.book().bookings().iter();
        let booked = bookings.filter(|it| it.origin != Origin::File);
        booked.copied().collect()
    }

    /// Books one more: it is put in force at the next [`tick`](Trading::tick).
    ///
    /// # Errors
    /// It doesn't fit.
    pub fn book(
        &mut self,
        number: u64,
        order: Order,
        booking: Booking,
    ) -> Result<(), BookingError> {
        self.exchange.book_mut().add(booking)?;
        self.orders.insert(number, order);
        Ok(())
    }

    /// Has what is reserved put in force at the next [`tick`](Trading::tick), by the tables that
    /// there are then.
    pub fn renew(&mut self) {
        self.exchange.renew();
    }

    /// Takes a booking out, if it is there.
    pub fn cancel(&mut self, number: u64) {
        self.orders.remove(&number);
        self.exchange.book_mut().cancel(number);
    }

    /// What is in force.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The market of another configuration, to be put in force with
    /// [`succeed`](Trading::succeed) if the rest of it can be.
    ///
    /// # Errors
    /// A booking that doesn't fit any more.
    pub fn prepare(
        &self,
        config: &Config,
        routes: &Routes,
        booked: &[Booking],
    ) -> Result<Exchange, (Booking, BookingError)> {
        exchange(config, routes, booked)
    }

    /// Goes on with what was prepared.
    pub fn succeed(&mut self, mut exchange: Exchange) {
        std::mem::swap(&mut self.exchange, &mut exchange);
        self.exchange.succeed(exchange);
    }

    /// Hears how many floating calls have been curtailed at each provider since the start.
    pub fn note_curtailed(&mut self, total: impl Fn(ProviderId) -> u64) {
        self.exchange.note_curtailed(total);
    }

    /// What is due now and then: the hour's reservations, and the clearing of the interval.
    pub fn tick(&mut self, now: Second, routes: &Routes, market: &Market) {
        market.collect_demand(&mut self.demand);
        for number in self.exchange.drop_past(now) {
            self.orders.remove(&number);
        }
        let reserves = &mut self.reserves;
        self.exchange.enforce(now, market, |key, place, slots| {
            let rights = routes.keys.values().filter(|it| it.id == key);
            let mut rights = rights.flat_map(|key| routes.rights_of(key));
            let right = rights.find(|right| right.place == place);
            let reserve = right.and_then(|it| routes.reserves.get(it.reserve.index()));
            // Of what was cancelled these tables know nothing.
            let reserve = reserve.or_else(|| reserves.get(&(key, place))).cloned();
            let Some(reserve) = reserve else { return };
            reserve.set(slots);
            match slots {
                0 => reserves.remove(&(key, place)),
                _ => reserves.insert((key, place), reserve),
            };
        });
        if self.exchange.is_due(now) {
            let waiting = market.lines().collect();
            let waiting = self.exchange.by_location(&waiting);
            let waiting: Vec<(&str, Price)> =
                waiting.iter().map(|(at, bid)| (&**at, *bid)).collect();
            self.exchange
                .clear_if_due(now, &mut self.demand, &waiting, market);
        }
    }
}

fn exchange(
    config: &Config,
    routes: &Routes,
    booked: &[Booking],
) -> Result<Exchange, (Booking, BookingError)> {
    let keys = config.keys.iter().map(|key| routes.keys.get(&key.sha256));
    let keys: Option<Vec<KeyId>> = keys.map(|key| Some(key?.id)).collect();
    Exchange::new(config, routes, &keys.unwrap_or_default(), booked)
}

#[cfg(test)]
mod tests;
