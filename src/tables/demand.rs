//! Floating demand as the cores see it: who would pay what, and for how much of the time. A core
//! adds up alone, and hands its sums to the office about once a second.

use std::collections::HashMap;
use std::sync::{Mutex, TryLockError};

use super::scatter::Scatter;
use crate::base::ProviderId;
use crate::market::Price;

/// Different bids that are told apart between two clearings. What others bid counts as dropped.
pub const BIDS_MAX: usize = 4096;

/// What was bid at one provider at one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Microseconds of slots that were had.
    pub served_us: u64,
    /// Calls that had them to their end.
    pub ended: u64,
    /// Calls that found none.
    pub refused: u64,
}

/// Demand by provider and limit.
#[derive(Debug, Default)]
pub struct Demand {
    asked: HashMap<(ProviderId, Price), Asked, Scatter>,
    dropped: u64,
}

impl Demand {
    fn row(&mut self, provider: ProviderId, bid: Price) -> Option<&mut Asked> {
        if self.asked.len() >= BIDS_MAX && !self.asked.contains_key(&(provider, bid)) {
            self.dropped += 1;
            return None;
        }
        Some(self.asked.entry((provider, bid)).or_default())
    }

    /// A floating call has had a slot for so long; `ended` if it has it no more.
    pub fn served(&mut self, provider: ProviderId, bid: Price, us: u64, ended: bool) {
        if let Some(row) = self.row(provider, bid) {
            row.served_us += us;
            row.ended += u64::from(ended);
        }
    }

    /// A floating call found no slot, and `provider` would have been the cheapest.
    pub fn refused(&mut self, provider: ProviderId, bid: Price) {
        if let Some(row) = self.row(provider, bid) {
            row.refused += 1;
        }
    }

    /// Each provider and limit, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (ProviderId, Price, Asked)> {
        let rows = self.asked.iter();
        rows.map(|(&(provider, bid), &asked)| (provider, bid, asked))
    }

    /// Bids that there was no room to tell apart.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.asked.clear();
        self.dropped = 0;
    }

    fn add(&mut self, other: &Demand) {
        for (provider, bid, more) in other.rows() {
            if let Some(row) = self.row(provider, bid) {
                row.served_us += more.served_us;
                row.ended += more.ended;
                row.refused += more.refused;
            }
        }
        self.dropped += other.dropped;
    }

    fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.dropped == 0
    }
}

/// Where a core leaves its demand for the office.
#[derive(Debug, Default)]
pub struct DemandSlot(Mutex<Demand>);

impl DemandSlot {
    /// Hands over what a core has; it goes on with an empty book. If the office is just reading,
    /// the core keeps it until next time.
    pub fn offer(&self, demand: &mut Demand) {
        if demand.is_empty() {
            return;
        }
        let mut slot = match self.0.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        slot.add(demand);
        demand.clear();
    }

    /// Adds what the core has left here to `all`.
    pub fn collect(&self, all: &mut Demand) {
        let mut slot = match self.0.lock() {
            Ok(slot) => slot,
            Err(poisoned) => poisoned.into_inner(),
        };
        all.add(&slot);
        slot.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(micros: u64) -> Price {
        Price::from_micros(micros).expect("a price")
    }

    #[test]
    fn what_cores_hand_over_is_added_up() {
        let slots = [DemandSlot::default(), DemandSlot::default()];
        let mut demand = Demand::default();
        for slot in &slots {
            demand.served(ProviderId(1), price(5), 100, true);
            demand.served(ProviderId(1), price(5), 50, false);
            demand.refused(ProviderId(1), price(5));
            demand.refused(ProviderId(2), price(5));
            slot.offer(&mut demand);
            assert!(demand.is_empty());
        }
        let mut all = Demand::default();
        slots.iter().for_each(|slot| slot.collect(&mut all));
        slots.iter().for_each(|slot| slot.collect(&mut all));
        let mut rows: Vec<_> = all.rows().collect();
        rows.sort_by_key(|row| row.0);
        let both = Asked {
            served_us: 300,
            ended: 2,
            refused: 2,
        };
        assert_eq!(rows[0], (ProviderId(1), price(5), both));
        assert_eq!(rows[1].2.refused, 2);
    }

    #[test]
    fn so_many_bids_are_told_apart() {
        let mut demand = Demand::default();
        for micros in 0..=BIDS_MAX as u64 {
            demand.refused(ProviderId(0), price(micros));
        }
        demand.refused(ProviderId(0), price(7));
        assert_eq!((demand.rows().count(), demand.dropped()), (BIDS_MAX, 1));
    }
}
