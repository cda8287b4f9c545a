//! Providers, customers and the clock.

use srpd::base::{Moment, Prng};
use srpd::market::occupancy::Share;
use srpd::market::{
    Bid, Calendar, Capacity, Cleared, Occupancy, Offer, Place, Price, Reservation, Standing, clear,
};

/// Seconds of a step, of an interval and of a day.
const STEP: i64 = 10;
const INTERVAL: i64 = 300;
const DAY: i64 = 24 * 3600;
const HOUR: i64 = 3600;

/// Thousandths in a slot.
const MILLI: u64 = 1000;

pub const LOCATIONS: [&str; 3] = ["au-per", "au-syd", "nz-akl"];

/// A provider and its price with the adder of where it is.
struct Provider {
    location: usize,
    zone: &'static str,
    capacity: u32,
    offer: Price,
    /// Seconds of the day in which it serves nobody.
    outage: std::ops::Range<i64>,
}

/// Who asks for work, and how.
struct Customer {
    name: &'static str,
    /// Calls under way at the busiest hour, and at the quietest.
    demand: (f64, f64),
    /// The busiest hour.
    peak: i64,
    /// None: firm.
    limit: Option<Price>,
    /// Seconds that a floating call waits at most.
    defer: i64,
}

/// What a customer came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    pub calls: u64,
    pub served: u64,
    pub firm: u64,
    pub refused: u64,
    pub curtailed: u64,
    pub tokens: u64,
    /// Millionths of the currency.
    pub paid: u64,
}

/// One interval at one location.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub at: i64,
    pub cleared: Cleared,
    /// Thousandths of slots in use, on average.
    pub firm: u64,
    pub floating: u64,
    pub capacity: u64,
    pub curtailed: u64,
    pub waiting: u64,
}

/// The day as it was.
pub struct Day {
    pub seed: u64,
    pub customers: Vec<(&'static str, Account)>,
    pub points: [Vec<Point>; 3],
}

struct Call {
    customer: usize,
    provider: usize,
    share: Share,
    bid: Price,
    price: Price,
    since: i64,
    ends: i64,
}

struct Waiting {
    customer: usize,
    bid: Price,
    since: i64,
    until: i64,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    firm: u64,
    floating: u64,
    curtailed: u64,
}

pub struct World {
    seed: u64,
    prng: Prng,
    providers: Vec<Provider>,
    customers: Vec<Customer>,
    accounts: Vec<Account>,
    calendar: Calendar<usize, &'static str>,
    occupancy: Vec<Occupancy>,
    prices: [Price; 3],
    calls: Vec<Call>,
    waiting: Vec<Waiting>,
    /// Refused since the last clearing: location, bid.
    refused: Vec<(usize, Price)>,
    /// Slot-seconds of floating calls since the last clearing: location, bid.
    had: Vec<(usize, Price, u64)>,
    tallies: [Tally; 3],
    points: [Vec<Point>; 3],
}

fn price(text: &str) -> Price {
    text.parse().expect("a price")
}

impl World {
    pub fn new(seed: u64) -> World {
        let provider = |location: usize, zone, capacity, offer| Provider {
            location,
            zone,
            capacity,
            offer: price(offer),
            outage: 0..0,
        };
        let mut providers = vec![
            provider(0, "au", 96, "0.75"),
            provider(1, "au", 48, "0.90"),
            provider(1, "au", 64, "2.40"),
            provider(2, "nz", 32, "1.20"),
        ];
        providers[0].outage = 12 * HOUR..13 * HOUR;
        let customer = |name, demand, peak, limit: Option<&str>, defer| Customer {
            name,
            demand,
            peak,
            limit: limit.map(price),
            defer,
        };
        let customers = vec![
            customer("bank", (34.0, 4.0), 11, None, 0),
            customer("hospital", (18.0, 8.0), 15, None, 0),
            customer("assistants", (92.0, 10.0), 14, Some("3.00"), 0),
            customer("batch", (150.0, 4.0), 2, Some("1.00"), 6 * HOUR),
        ];
        let capacity = |(provider, it): (usize, &Provider)| Capacity {
            provider,
            zone: it.zone,
            slots: it.capacity,
        };
        let mut calendar = Calendar::new(providers.iter().enumerate().map(capacity).collect());
        let mut book = |place, slots, from, until| {
            let reservation = Reservation {
                place,
                slots,
                from: from * HOUR,
                until: until * HOUR,
            };
            calendar.book(reservation).expect("there is room");
        };
        book(Place::Provider(2), 40, 6, 20);
        book(Place::Provider(2), 12, 20, 24);
        book(Place::Provider(2), 12, 0, 6);
        book(Place::Zone("au"), 24, 0, 24);
        World {
            seed,
            prng: Prng::new(seed),
            accounts: vec![Account::default(); customers.len()],
            occupancy: vec![Occupancy::default(); providers.len()],
            prices: [Price::ZERO; 3],
            calls: Vec::new(),
            waiting: Vec::new(),
            refused: Vec::new(),
            had: Vec::new(),
            tallies: [Tally::default(); 3],
            points: [const { Vec::new() }; 3],
            providers,
            customers,
            calendar,
        }
    }

    /// Plays the day to its end.
    pub fn play(mut self) -> Day {
        for at in (0..DAY).step_by(STEP as usize) {
            if at % INTERVAL == 0 {
                self.clear(at);
            }
            self.end_calls(at);
            self.serve_waiting(at);
            for customer in 0..self.customers.len() {
                self.arrivals(customer, at);
            }
            self.tally();
        }
        for (at, account) in self.accounts.iter().enumerate() {
            let open = self.calls.iter().filter(|it| it.customer == at).count();
            let waits = self.waiting.iter().filter(|it| it.customer == at).count();
            let known = account.served + account.refused + (open + waits) as u64;
            assert_eq!(account.calls, known, "each call is counted once");
        }
        let names = self.customers.iter().map(|it| it.name);
        Day {
            seed: self.seed,
            customers: names.zip(self.accounts).collect(),
            points: self.points,
        }
    }

    fn capacity(&self, provider: usize, at: i64) -> u32 {
        let it = &self.providers[provider];
        if it.outage.contains(&at) {
            0
        } else {
            it.capacity
        }
    }

    fn by_price(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.providers.len()).collect();
        order.sort_by_key(|&it| self.providers[it].offer);
        order
    }

    fn clear(&mut self, at: i64) {
        for location in 0..LOCATIONS.len() {
            let here = |it: usize| self.providers[it].location == location;
            let spot = self.calendar.spot(&self.by_price(), at);
            let offers: Vec<Offer> = (self.by_price().into_iter().zip(spot))
                .filter(|&(it, _)| here(it) && self.capacity(it, at) > 0)
                .map(|(it, slots)| Offer {
                    price: self.providers[it].offer,
                    quantity: u64::from(slots) * MILLI,
                })
                .collect();
            let bid = |limit, quantity| Bid { limit, quantity };
            let had = self.had.iter().filter(|it| it.0 == location);
            let refused = self.refused.iter().filter(|it| it.0 == location);
            let mut bids: Vec<Bid> = had
                .map(|&(_, limit, seconds)| bid(limit, seconds * MILLI / INTERVAL as u64))
                .chain(refused.map(|&(_, limit)| bid(limit, 40 * MILLI / INTERVAL as u64)))
                .collect();
            // Who waits would run anywhere: each counts for its share of the locations.
            bids.extend(self.waiting.iter().map(|it| bid(it.bid, MILLI / 3)));
            let cleared = clear(&offers, &bids, price("5"));
            self.prices[location] = cleared.price;
            let tally = std::mem::take(&mut self.tallies[location]);
            let steps = (INTERVAL / STEP) as u64;
            let capacity = (0..self.providers.len()).filter(|&it| here(it));
            self.points[location].push(Point {
                at,
                cleared,
                firm: tally.firm * MILLI / steps,
                floating: tally.floating * MILLI / steps,
                capacity: capacity.map(|it| u64::from(self.capacity(it, at))).sum(),
                curtailed: tally.curtailed,
                waiting: self.waiting.len() as u64,
            });
        }
        self.had.clear();
        self.refused.clear();
    }

    fn end_calls(&mut self, at: i64) {
        let mut index = 0;
        while index < self.calls.len() {
            let call = &self.calls[index];
            if self.capacity(call.provider, at) == 0 {
                // It moves on, unseen.
                let call = self.leave(index);
                if call.share == Share::Floating {
                    self.float(call.customer, call.bid, at, at);
                } else {
                    self.firm(call.customer, at);
                }
            } else if call.ends <= at {
                let call = self.leave(index);
                let tokens = (at - call.since).unsigned_abs() * 60;
                let account = &mut self.accounts[call.customer];
                account.served += 1;
                account.firm += u64::from(call.share != Share::Floating);
                account.tokens += tokens;
                account.paid += call.price.of_tokens(tokens);
            } else {
                index += 1;
            }
        }
    }

    fn leave(&mut self, index: usize) -> Call {
        let call = self.calls.swap_remove(index);
        let occupancy = &mut self.occupancy[call.provider];
        *occupancy = occupancy.leave(call.share);
        call
    }

    /// The best bid first, then whoever came first.
    fn serve_waiting(&mut self, at: i64) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|it| (std::cmp::Reverse(it.bid), it.since));
        for it in waiting {
            if it.until <= at {
                self.accounts[it.customer].refused += 1;
            } else if !self.dispatch(it.customer, it.bid, at) {
                self.waiting.push(it);
            }
        }
    }

    fn arrivals(&mut self, customer: usize, at: i64) {
        let it = &self.customers[customer];
        let (most, least) = it.demand;
        let angle = (at - it.peak * HOUR) as f64 / DAY as f64 * std::f64::consts::TAU;
        let level = least + (most - least) * (0.5 + 0.5 * angle.cos()).powi(2);
        // Calls last 40 s on average.
        let mut expected = level * STEP as f64 / 40.0;
        while expected > 0.0 {
            if self.prng.unit() < expected.min(1.0) {
                self.accounts[customer].calls += 1;
                match self.customers[customer].limit {
                    None => self.firm(customer, at),
                    Some(limit) => {
                        let defer = self.customers[customer].defer;
                        self.float(customer, limit, at, at + defer);
                    }
                }
            }
            expected -= 1.0;
        }
    }

    /// On the customer's reservation: the first at aloomu, the second anywhere in au.
    fn firm(&mut self, customer: usize, at: i64) {
        let (share, places): (Share, &[usize]) = match customer {
            0 => (Share::Own, &[2]),
            _ => (Share::Zone, &[0, 1, 2]),
        };
        let booked = match share {
            Share::Own => self.calendar.reserved_at(2, at),
            _ => 24,
        };
        let used = self.calls.iter().filter(|it| it.share == share).count();
        let enter = |it: usize| {
            let capacity = self.capacity(it, at);
            let reserved = self.calendar.reserved_at(it, at);
            let next = self.occupancy[it].enter(share, capacity, reserved)?;
            let displaces = next.excess(capacity) > 0;
            (used < booked as usize).then_some((displaces, it, next))
        };
        // Where a slot is idle, before where somebody has to go.
        let place = places.iter().filter_map(|&it| enter(it));
        let place = place.min_by_key(|(displaces, ..)| *displaces);
        let Some((_, provider, next)) = place else {
            self.accounts[customer].refused += 1;
            return;
        };
        self.occupancy[provider] = next;
        let offer = self.providers[provider].offer;
        self.start(customer, provider, share, (Price::MAX, offer), at);
        self.curtail(provider, at);
    }

    fn curtail(&mut self, provider: usize, at: i64) {
        while self.occupancy[provider].excess(self.capacity(provider, at)) > 0 {
            let standing = |call: &Call| Standing {
                bid: call.bid,
                since: Moment(call.since.unsigned_abs() * 1_000_000),
            };
            let here = self
                .calls
                .iter()
                .enumerate()
                .filter(|(_, call)| call.provider == provider && call.share == Share::Floating);
            let first = here.min_by_key(|(_, call)| standing(call)).map(|it| it.0);
            let call = self.leave(first.expect("somebody floats"));
            self.accounts[call.customer].curtailed += 1;
            self.tallies[self.providers[provider].location].curtailed += 1;
            let until = at + self.customers[call.customer].defer;
            self.float(call.customer, call.bid, at, until);
        }
    }

    fn float(&mut self, customer: usize, bid: Price, at: i64, until: i64) {
        if self.dispatch(customer, bid, at) {
            return;
        }
        if until > at {
            self.waiting.push(Waiting {
                customer,
                bid,
                since: at,
                until,
            });
            return;
        }
        self.accounts[customer].refused += 1;
        let cheapest = (0..self.providers.len()).min_by_key(|&it| self.providers[it].offer);
        let location = cheapest.map_or(0, |it| self.providers[it].location);
        self.refused.push((location, bid));
    }

    /// The cheapest idle slot that the bid pays.
    fn dispatch(&mut self, customer: usize, bid: Price, at: i64) -> bool {
        for provider in self.by_price() {
            let it = &self.providers[provider];
            let price = it.offer.max(self.prices[it.location]);
            let capacity = self.capacity(provider, at);
            let next = self.occupancy[provider].enter(Share::Floating, capacity, 0);
            if let Some(next) = next.filter(|_| price <= bid) {
                self.occupancy[provider] = next;
                self.start(customer, provider, Share::Floating, (bid, price), at);
                return true;
            }
        }
        false
    }

    fn start(
        &mut self,
        customer: usize,
        provider: usize,
        share: Share,
        (bid, price): (Price, Price),
        at: i64,
    ) {
        assert!(price <= bid, "nobody pays more than it bid");
        let lasts = 10 + (self.prng.next_u64() % 61) as i64;
        self.calls.push(Call {
            customer,
            provider,
            share,
            bid,
            price,
            since: at,
            ends: at + lasts,
        });
    }

    fn tally(&mut self) {
        for (provider, it) in self.providers.iter().enumerate() {
            let occupancy = self.occupancy[provider];
            assert!(occupancy.total() <= it.capacity, "no slot is sold twice");
            let floating = occupancy.count(Share::Floating);
            let tally = &mut self.tallies[it.location];
            tally.floating += u64::from(floating);
            tally.firm += u64::from(occupancy.total() - floating);
        }
        let floating = self.calls.iter().filter(|it| it.share == Share::Floating);
        for call in floating {
            let location = self.providers[call.provider].location;
            match self
                .had
                .iter_mut()
                .find(|it| (it.0, it.1) == (location, call.bid))
            {
                Some(row) => row.2 += STEP as u64,
                None => self.had.push((location, call.bid, STEP as u64)),
            }
        }
    }
}
