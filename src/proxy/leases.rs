//! What one core holds of the keys' limits. A core takes several requests at once from the word
//! that all cores share, uses them one by one, and gives back what it doesn't use soon; tokens
//! it charges in batches, or with the next sweep. So a core writes that word some sixty times a
//! second at most, however many calls there are, and the sum of what lies about in leases is at
//! most a 64th of the limit.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Moment;
use crate::policy::meter::Rate;
use crate::tables::meter::{Bucket, Limit, Meter, MeterId, Standing};

/// The share of a limit that may lie in the leases of all cores together: one of so many parts.
/// The same share of tokens may be used and not yet charged.
pub const LEASED_PARTS: u64 = 64;

/// A lease can be used for so long. Then what is left of it goes back.
pub const LEASE: Duration = Duration::from_millis(100);

/// One core's part in one key's limits.
#[derive(Clone, Default)]
struct Lease {
    /// Requests taken and not used.
    requests: u64,
    /// When they were taken.
    since: Moment,
    /// Tokens used and not charged.
    tokens: u64,
    /// Calls refused and not counted.
    refused: [u64; 2],
    /// Whether it is in [`Leases::open`].
    open: bool,
}

/// One core's part in all keys' limits.
pub struct Leases {
    cores: u64,
    by_meter: Vec<Lease>,
    /// Those that have something to give back, to charge or to count.
    open: Vec<MeterId>,
}

/// A limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Which one.
    pub limit: Limit,
    /// How long until it may take another call.
    pub wait: Duration,
}

/// How a key stands: None where it has no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// `requests_per_minute`
    pub requests: Option<Standing>,
    /// `tokens_per_minute`
    pub tokens: Option<Standing>,
}

impl Leases {
    /// Nothing held, by one of so many cores.
    pub fn new(cores: usize) -> Leases {
        Leases {
            cores: cores.max(1) as u64,
            by_meter: Vec::new(),
            open: Vec::new(),
        }
    }

    /// How much of a limit this core may hold: 1 if the limit is too small to be shared out.
    fn batch(&self, rate: Rate) -> u64 {
        (rate.per_minute() / (LEASED_PARTS * self.cores)).max(1)
    }

    fn lease(&mut self, id: MeterId) -> &mut Lease {
        if id.index() >= self.by_meter.len() {
            self.by_meter.resize(id.index() + 1, Lease::default());
        }
        &mut self.by_meter[id.index()]
    }

    fn note(&mut self, id: MeterId) {
        let lease = self.lease(id);
        if !std::mem::replace(&mut lease.open, true) {
            self.open.push(id);
        }
    }

    /// Lets a call in, and counts it, if the key's limits have room for it.
    ///
    /// # Errors
    /// The limit that has none: of two, the one that takes longer to have room again.
    #[inline]
    pub fn admit(&mut self, meter: &Meter, id: MeterId, now: Moment) -> Result<(), Exhausted> {
        let tokens = meter.tokens().until_one(self.lease(id).tokens, now);
        if tokens.is_zero() && self.take(meter.requests(), id, now) {
            return Ok(());
        }
        Err(self.refuse(meter, id, tokens, now))
    }

    /// Takes one request; false if there is none.
    fn take(&mut self, bucket: &Bucket, id: MeterId, now: Moment) -> bool {
        let Some(rate) = bucket.rate() else {
            return true;
        };
        let batch = self.batch(rate);
        let lease = self.lease(id);
        if lease.requests > 0 && now.since(lease.since) > LEASE {
            bucket.give_back(std::mem::take(&mut lease.requests));
        }
        if lease.requests == 0 {
            lease.requests = bucket.take(batch, now);
            lease.since = now;
        }
        let Some(rest) = lease.requests.checked_sub(1) else {
            return false;
        };
        lease.requests = rest;
        if rest > 0 {
            self.note(id);
        }
        true
    }

    #[cold]
    fn refuse(&mut self, meter: &Meter, id: MeterId, tokens: Duration, now: Moment) -> Exhausted {
        let requests = match self.lease(id).requests {
            0 => meter.requests().until_one(0, now),
            _ => Duration::ZERO,
        };
        let (limit, wait) = if tokens > requests {
            (Limit::Tokens, tokens)
        } else {
            (Limit::Requests, requests)
        };
        self.lease(id).refused[limit as usize] += 1;
        self.note(id);
        Exhausted { limit, wait }
    }

    /// Charges the tokens of a call that has ended.
    pub fn charge(&mut self, meter: &Meter, id: MeterId, tokens: u64, now: Moment) {
        let Some(rate) = meter.tokens().rate() else {
            return;
        };
        let batch = self.batch(rate);
        let lease = self.lease(id);
        lease.tokens = lease.tokens.saturating_add(tokens);
        if lease.tokens >= batch {
            meter
                .tokens()
                .charge(std::mem::take(&mut lease.tokens), now);
        } else {
            self.note(id);
        }
    }

    /// How a key stands, as far as this core knows.
    pub fn allowance(&mut self, meter: &Meter, id: MeterId, now: Moment) -> Allowance {
        let lease = self.lease(id);
        Allowance {
            requests: meter.requests().standing(lease.requests, 0, now),
            tokens: meter.tokens().standing(0, lease.tokens, now),
        }
    }

    /// Gives back what wasn't used in time, and charges and counts what waits for it. With `all`,
    /// gives back everything.
    pub fn settle(&mut self, meters: &[Arc<Meter>], all: bool, now: Moment) {
        let by_meter = &mut self.by_meter;
        self.open.retain(|id| {
            let lease = by_meter.get_mut(id.index());
            let Some((lease, meter)) = lease.zip(meters.get(id.index())) else {
                return false;
            };
            if lease.tokens > 0 {
                meter
                    .tokens()
                    .charge(std::mem::take(&mut lease.tokens), now);
            }
            for limit in [Limit::Requests, Limit::Tokens] {
                let refused = std::mem::take(&mut lease.refused[limit as usize]);
                if refused > 0 {
                    meter.add_refused(limit, refused);
                }
            }
            if lease.requests > 0 && (all || now.since(lease.since) > LEASE) {
                meter
                    .requests()
                    .give_back(std::mem::take(&mut lease.requests));
            }
            lease.open = lease.requests > 0;
            lease.open
        });
    }
}

#[cfg(test)]
mod tests;
