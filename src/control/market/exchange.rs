//! What is in force: reserved slots of this hour, and the price of each location until the next
//! clearing.

use std::collections::{BTreeMap, HashMap};

use super::book::{Book, Booking, BookingError, Origin, Where};
use super::past::{Past, Point};
use crate::base::{KeyId, ProviderId};
use crate::config::{Config, ReservedAt};
use crate::market::calendar::Second;
use crate::market::{Bid, Capacity, Offer, Place, Price, Reservation, clear};
use crate::tables::demand::Demand;
use crate::tables::lines::Waiting;
use crate::tables::{Market, Routes};

const HOUR: Second = 3600;

/// Thousandths in a slot.
const MILLI: u64 = 1000;

/// Demand is rounded to tenths of a slot: it is measured with the jitter of when cores hand it
/// over, and a thousandth too much at the margin would set the price.
const ROUNDED: u64 = 100;

/// What a call that was refused would have taken, where none has ended yet: microseconds.
const CALL_US: u64 = 1_000_000;

/// A provider with a capacity.
#[derive(Clone, Debug)]
pub struct Stall {
    /// Which.
    pub provider: ProviderId,
    /// Where its work lands.
    pub location: String,
    /// Its slots.
    pub capacity: u32,
    /// Its price with the location's adder.
    pub offer: Price,
}

/// The market as the office keeps it.
pub struct Exchange {
    stalls: Vec<Stall>,
    book: Book,
    cap: Price,
    interval: Second,
    /// The hour whose reservations are in force; none: they have to be put in force.
    hour: Option<Second>,
    /// Whom slots were granted where.
    granted: Vec<(KeyId, Where)>,
    next: Second,
    since: Second,
    history: BTreeMap<String, Past>,
    /// Curtailments of each provider: by now, and by the last clearing.
    curtailed: HashMap<ProviderId, (u64, u64)>,
}

impl Exchange {
    /// The exchange of a configuration; `booked` is what was booked besides.
    ///
    /// # Errors
    /// A booking that doesn't fit into the capacities of this configuration.
    pub fn new(
        config: &Config,
        routes: &Routes,
        keys: &[KeyId],
        booked: &[Booking],
    ) -> Result<Exchange, (Booking, BookingError)> {
        let providers = config.providers.iter().zip(&routes.providers);
        let (mut stalls, mut supplies) = (Vec::new(), Vec::new());
        for (configured, provider) in providers {
            let Some(capacity) = configured.capacity else {
                continue;
            };
            supplies.push(Capacity {
                provider: provider.id,
                zone: provider.jurisdiction,
                slots: capacity.get(),
            });
            stalls.push(Stall {
                provider: provider.id,
                location: configured.location.clone(),
                capacity: capacity.get(),
                offer: configured.price + config.market.adder(&configured.location),
            });
        }
        let of_file = config.reservations.iter().filter_map(|it| {
            let place = match it.place {
                ReservedAt::Provider(position) => {
                    Place::Provider(routes.providers.get(position)?.id)
                }
                ReservedAt::Jurisdiction(jurisdiction) => Place::Zone(jurisdiction),
            };
            Some(Booking {
                origin: Origin::File,
                key: *keys.get(it.key)?,
                reservation: Reservation {
                    place,
                    slots: it.slots,
                    from: it.from.as_second(),
                    until: it.until.as_second(),
                },
            })
        });
        let book = Book::new(supplies, of_file.chain(booked.iter().copied()))?;
        let interval = config.market.interval.as_secs().max(1);
        Ok(Exchange {
            stalls,
            book,
            cap: config.market.price_cap,
            interval: Second::try_from(interval).unwrap_or(Second::MAX),
            hour: None,
            granted: Vec::new(),
            next: 0,
            since: 0,
            history: BTreeMap::new(),
            curtailed: HashMap::new(),
        })
    }

    /// Goes on where an earlier exchange was: its prices stay in force, and its history is kept.
    pub fn succeed(&mut self, earlier: Exchange) {
        (self.next, self.since) = (earlier.next, earlier.since);
        self.granted = earlier.granted;
        self.history = earlier.history;
        self.curtailed = earlier.curtailed;
        let stalls = &self.stalls;
        let stands = |location: &String| stalls.iter().any(|it| it.location == *location);
        self.history.retain(|location, _| stands(location));
    }

    /// The providers with a capacity, in file order.
    pub fn stalls(&self) -> &[Stall] {
        &self.stalls
    }

    /// What is reserved.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What is reserved, to be changed: it is put in force at the next look.
    pub fn book_mut(&mut self) -> &mut Book {
        self.hour = None;
        &mut self.book
    }

    /// What is reserved has to be put in force anew: there are other tables.
    pub fn renew(&mut self) {
        self.hour = None;
    }

    /// Takes out what was booked and is over, if an hour has begun since the last look. Returns the
    /// numbers.
    pub fn drop_past(&mut self, now: Second) -> Vec<u64> {
        if self.hour == Some(now.div_euclid(HOUR)) {
            return Vec::new();
        }
        self.book.drop_past(now)
    }

    /// The price cap.
    pub fn cap(&self) -> Price {
        self.cap
    }

    /// What each location came to.
    pub fn history(&self) -> &BTreeMap<String, Past> {
        &self.history
    }

    /// Hears how many floating calls have been curtailed at each provider since the start.
    pub fn note_curtailed(&mut self, total: impl Fn(ProviderId) -> u64) {
        for stall in &self.stalls {
            let total = total(stall.provider);
            // What was before the first look belongs to no interval.
            let counts = self.curtailed.entry(stall.provider);
            counts.or_insert((total, total)).0 = total;
        }
    }

    /// Curtailments at a location since the last clearing.
    pub fn curtailed_lately(&self, location: &str) -> u64 {
        let here = self.stalls.iter().filter(|it| it.location == location);
        let counts = here.filter_map(|it| self.curtailed.get(&it.provider));
        counts.map(|(now, then)| now.saturating_sub(*then)).sum()
    }

    /// Puts the reservations of this hour in force, if they aren't yet. `grant` is told how many
    /// slots each key has at each of its places.
    pub fn enforce(
        &mut self,
        now: Second,
        market: &Market,
        mut grant: impl FnMut(KeyId, Where, u32),
    ) {
        let hour = now.div_euclid(HOUR);
        if self.hour == Some(hour) {
            return;
        }
        self.hour = Some(hour);
        for stall in &self.stalls {
            let reserved = self.book.calendar().reserved_at(stall.provider, now);
            market.set_reserved(stall.provider, reserved);
        }
        let bookings = self.book.bookings().iter();
        let mut owners: Vec<(KeyId, Where)> = Vec::new();
        for owner in bookings.map(|it| (it.key, it.reservation.place)) {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        // What was cancelled is nobody's now.
        let before = std::mem::take(&mut self.granted);
        for &(key, place) in before.iter().filter(|it| !owners.contains(it)) {
            grant(key, place, 0);
        }
        for &(key, place) in &owners {
            grant(key, place, self.book.slots(key, place, now));
        }
        self.granted = owners;
    }

    /// Whether it is time to clear.
    pub fn is_due(&self, now: Second) -> bool {
        now >= self.next
    }

    /// The bids of those who wait, each with the location of the cheapest provider that it waits
    /// for. A provider that has gone is nowhere.
    pub fn by_location(&self, waiting: &[Waiting]) -> Vec<(String, Price)> {
        let located = |&(provider, bid): &Waiting| {
            let mut stalls = self.stalls.iter();
            let stall = stalls.find(|it| it.provider == provider)?;
            Some((stall.location.clone(), bid))
        };
        waiting.iter().filter_map(located).collect()
    }

    /// Clears every location if it is time, and shows the prices. `demand` is what the cores have
    /// seen since the last time, and is used up; `waiting` are the bids of those who wait, by
    /// location. True if it was time.
    pub fn clear_if_due(
        &mut self,
        now: Second,
        demand: &mut Demand,
        waiting: &[(&str, Price)],
        market: &Market,
    ) -> bool {
        if !self.is_due(now) {
            return false;
        }
        let lasted = (now - self.since).clamp(1, self.interval);
        let lasted_us = u64::try_from(lasted).unwrap_or(1).saturating_mul(1_000_000);
        for location in self.locations() {
            let bids = self.bids(&location, lasted_us, demand, waiting);
            let stack = self.stack(&location, now);
            let offers: Vec<Offer> = stack.iter().map(|(_, offer)| *offer).collect();
            let cleared = clear(&offers, &bids, self.cap);
            for stall in self.stalls.iter().filter(|it| it.location == location) {
                market.set_price(stall.provider, cleared.price);
            }
            let point = Point {
                at: now,
                cleared,
                curtailed: self.curtailed_lately(&location),
            };
            let past = self.history.entry(location).or_default();
            past.push(point, stack, bids);
        }
        for (now, then) in self.curtailed.values_mut() {
            *then = *now;
        }
        demand.clear();
        self.since = now;
        self.next = now - now.rem_euclid(self.interval) + self.interval;
        true
    }

    /// Where there are providers with a capacity, each location once.
    pub fn locations(&self) -> Vec<String> {
        let mut locations: Vec<String> = self.stalls.iter().map(|it| it.location.clone()).collect();
        locations.sort();
        locations.dedup();
        locations
    }

    /// The spot supply of a location at an instant, the cheapest first.
    pub fn stack(&self, location: &str, at: Second) -> Vec<(ProviderId, Offer)> {
        let mut stalls: Vec<&Stall> = self.stalls.iter().collect();
        stalls.sort_by_key(|stall| stall.offer);
        let providers: Vec<ProviderId> = stalls.iter().map(|stall| stall.provider).collect();
        let spot = self.book.calendar().spot(&providers, at);
        let offers = stalls.iter().zip(spot);
        offers
            .filter(|(stall, _)| stall.location == location)
            .map(|(stall, slots)| {
                let offer = Offer {
                    price: stall.offer,
                    quantity: u64::from(slots) * MILLI,
                };
                (stall.provider, offer)
            })
            .collect()
    }

    /// What was asked for at a location since the last clearing.
    fn bids(
        &self,
        location: &str,
        lasted_us: u64,
        demand: &Demand,
        waiting: &[(&str, Price)],
    ) -> Vec<Bid> {
        let here = |provider| {
            let mut stalls = self.stalls.iter();
            stalls.any(|it| it.provider == provider && it.location == location)
        };
        let rows: Vec<_> = demand.rows().filter(|row| here(row.0)).collect();
        let ended: u64 = rows.iter().map(|(_, _, asked)| asked.ended).sum();
        let served: u64 = rows.iter().map(|(_, _, asked)| asked.served_us).sum();
        let call_us = served.checked_div(ended).unwrap_or(CALL_US);
        let mut bids: Vec<Bid> = rows
            .iter()
            .map(|(_, limit, asked)| {
                let wanted_us = asked.refused.saturating_mul(call_us);
                let us = asked.served_us.saturating_add(wanted_us);
                Bid {
                    limit: (*limit).min(self.cap),
                    quantity: rounded(us.saturating_mul(MILLI) / lasted_us),
                }
            })
            .collect();
        let waits = waiting.iter().filter(|(at, _)| *at == location);
        bids.extend(waits.map(|&(_, limit)| Bid {
            limit: limit.min(self.cap),
            quantity: MILLI,
        }));
        bids
    }
}

fn rounded(milli: u64) -> u64 {
    milli.saturating_add(ROUNDED / 2) / ROUNDED * ROUNDED
}

#[cfg(test)]
mod tests;
