//! In which order the providers of a capability are tried. A provider is reached only through a
//! [`Candidate`], and candidates come only from an [`Itinerary`]: the part of a [`Chain`] that
//! lies inside a call's [`Residency`].

use thiserror::Error;

use super::residency::{Jurisdiction, Residency};

/// Links of one chain, its backstops included.
pub const CHAIN_LINKS_MAX: usize = 64;

/// A set of positions in a chain.
type Links = u64;

const _: () = assert!(CHAIN_LINKS_MAX == Links::BITS as usize);

/// One provider in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its position in the table of providers that the chain was built for.
    pub provider: u16,
    /// Where that provider's work happens.
    pub jurisdiction: Jurisdiction,
    /// Whether it is its jurisdiction's backstop.
    pub backstop: bool,
}

/// Why links are not a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChainError {
    /// More than [`CHAIN_LINKS_MAX`] links.
    #[error("a chain of {links} providers: expected at most {CHAIN_LINKS_MAX}")]
    TooLong {
        /// How many there were.
        links: usize,
    },
    /// A provider stands in it twice.
    #[error("the chain names a provider twice, at positions {first} and {second}")]
    Repeated {
        /// Where it stands first, from 0.
        first: usize,
        /// Where it stands again.
        second: usize,
    },
}

/// The candidates of a capability, in order; no provider is in it twice.
#[derive(Clone, Debug)]
pub struct Chain {
    links: Vec<Link>,
    backstops: Links,
    /// Positions, the cheapest first; none if that is the chain's own order.
    merit: Vec<u8>,
}

impl Chain {
    /// A chain of these links, the first to be tried first. It may be empty.
    ///
    /// # Errors
    /// Too many links, or one provider twice.
    pub fn new(links: Vec<Link>) -> Result<Chain, ChainError> {
        if links.len() > CHAIN_LINKS_MAX {
            return Err(ChainError::TooLong { links: links.len() });
        }
        let mut backstops = 0;
        for (second, link) in links.iter().enumerate() {
            let same = |other: &Link| other.provider == link.provider;
            if let Some(first) = links[..second].iter().position(same) {
                return Err(ChainError::Repeated { first, second });
            }
            backstops |= Links::from(link.backstop) << second;
        }
        Ok(Chain {
            links,
            backstops,
            merit: Vec::new(),
        })
    }

    /// Says what work costs at each link: the order of [`Itinerary::order_by_merit`] is by it, links of
    /// the same cost in the chain's own order.
    pub fn set_costs(&mut self, cost: impl Fn(&Link) -> u64) {
        let links = &self.links;
        // A position fits: there are no more than bits in a word.
        let mut merit: Vec<u8> = (0..links.len()).map(|position| position as u8).collect();
        merit.sort_by_key(|&position| (cost(&links[usize::from(position)]), position));
        if merit.is_sorted() {
            merit.clear();
        }
        self.merit = merit;
    }

    /// The links, in order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// What of the chain lies inside the border, for one call of at most `max_attempts`
    /// attempts. None if nothing does: 403 `data_residency_mismatch` (SRP section 3).
    #[inline]
    pub fn within(&self, residency: &Residency, max_attempts: u32) -> Option<Itinerary<'_>> {
        let mut inside = 0;
        for (position, link) in self.links.iter().enumerate() {
            inside |= Links::from(residency.allows(link.jurisdiction)) << position;
        }
        (inside != 0).then_some(Itinerary {
            links: &self.links,
            merit: &self.merit,
            by_merit: false,
            backstops: self.backstops,
            untried: inside,
            repeatable: 0,
            attempts: 0,
            max_attempts,
        })
    }
}

/// Leave to make one attempt at one provider. It can't be made or copied outside this room.
///
/// ```
/// # use srpd::policy::chain::{Candidate, Chain, Link};
/// # use srpd::policy::residency::{Jurisdiction, JurisdictionSet, Residency};
/// # let jurisdiction = Jurisdiction::parse("au").unwrap();
/// # let link = Link { provider: 0, jurisdiction, backstop: false };
/// # let chain = Chain::new(vec![link]).unwrap();
/// # let all = JurisdictionSet::ALL;
/// # let residency = Residency::effective(None, all, all);
/// let mut itinerary = chain.within(&residency, 2).unwrap();
/// let (candidate, ()) = itinerary.next(|_| Some(())).unwrap();
/// assert_eq!(candidate.provider(), 0);
/// ```
///
/// ```compile_fail,E0451
/// # use srpd::policy::chain::{Candidate, Chain, Link};
/// # use srpd::policy::residency::{Jurisdiction, JurisdictionSet, Residency};
/// # let jurisdiction = Jurisdiction::parse("au").unwrap();
/// # let link = Link { provider: 0, jurisdiction, backstop: false };
/// # let chain = Chain::new(vec![link]).unwrap();
/// # let all = JurisdictionSet::ALL;
/// # let residency = Residency::effective(None, all, all);
/// let candidate = Candidate { position: 0, link, repeat: false };
/// assert_eq!(candidate.provider(), 0);
/// ```
///
/// ```compile_fail,E0599
/// # use srpd::policy::chain::{Candidate, Chain, Link};
/// # use srpd::policy::residency::{Jurisdiction, JurisdictionSet, Residency};
/// # let jurisdiction = Jurisdiction::parse("au").unwrap();
/// # let link = Link { provider: 0, jurisdiction, backstop: false };
/// # let chain = Chain::new(vec![link]).unwrap();
/// # let all = JurisdictionSet::ALL;
/// # let residency = Residency::effective(None, all, all);
/// let mut itinerary = chain.within(&residency, 2).unwrap();
/// let (candidate, ()) = itinerary.next(|_| Some(())).unwrap();
/// assert_eq!(candidate.clone().provider(), 0);
/// ```
///
/// An itinerary can't be copied either, to hand the same candidates out again.
///
/// ```compile_fail,E0599
/// # use srpd::policy::chain::{Candidate, Chain, Link};
/// # use srpd::policy::residency::{Jurisdiction, JurisdictionSet, Residency};
/// # let jurisdiction = Jurisdiction::parse("au").unwrap();
/// # let link = Link { provider: 0, jurisdiction, backstop: false };
/// # let chain = Chain::new(vec![link]).unwrap();
/// # let all = JurisdictionSet::ALL;
/// # let residency = Residency::effective(None, all, all);
/// let itinerary = chain.within(&residency, 2).unwrap();
/// assert_eq!(itinerary.clone().attempts(), 0);
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an attempt was counted for it"]
pub struct Candidate {
    position: usize,
    link: Link,
    repeat: bool,
}

impl Candidate {
    /// Position of its link in the chain.
    #[inline]
    pub fn link(&self) -> usize {
        self.position
    }

    /// The link's [`Link::provider`].
    #[inline]
    pub fn provider(&self) -> u16 {
        self.link.provider
    }

    /// Where the attempt will be served.
    #[inline]
    pub fn jurisdiction(&self) -> Jurisdiction {
        self.link.jurisdiction
    }

    /// Whether the provider is its jurisdiction's backstop.
    #[inline]
    pub fn is_backstop(&self) -> bool {
        self.link.backstop
    }

    /// Whether it came from [`Itinerary::repeat`].
    #[inline]
    pub fn is_repeat(&self) -> bool {
        self.repeat
    }
}

/// One call's way along a chain, within its border and its attempts.
#[derive(Debug)]
pub struct Itinerary<'c> {
    links: &'c [Link],
    /// Positions, the cheapest first.
    merit: &'c [u8],
    /// Whether they are gone along in that order.
    by_merit: bool,
    /// Inside the border, and not tried yet.
    untried: Links,
    /// The chain's backstops, on either side of the border.
    backstops: Links,
    /// Tried once, and not repeated yet.
    repeatable: Links,
    attempts: u32,
    max_attempts: u32,
}

impl Itinerary<'_> {
    /// Says whether those that follow come by merit, the cheapest first (SRP section 8), or as the
    /// chain has them. The border stays where it is: what is beyond it is in no order.
    #[inline]
    pub fn order_by_merit(&mut self, by_merit: bool) {
        self.by_merit = by_merit && !self.merit.is_empty();
    }

    /// The next candidate in order that `take` accepts, with what `take` made of it; counts an
    /// attempt. A provider that was tried is never offered again, one that was refused may be.
    ///
    /// The last of several attempts is kept for the backstop: an untried one is offered first
    /// then, and the others, in order, only if it can't be taken. None if every attempt is used
    /// up or nothing can be taken.
    #[inline]
    pub fn next<T>(
        &mut self,
        mut take: impl FnMut(&Candidate) -> Option<T>,
    ) -> Option<(Candidate, T)> {
        if self.attempts >= self.max_attempts {
            return None;
        }
        let first = if self.last_is_kept() {
            self.untried & self.backstops
        } else {
            0
        };
        let others = self.untried & !first;
        self.offer(first, &mut take)
            .or_else(|| self.offer(others, &mut take))
    }

    // Left to itself it ends up out of line, or not, by what else the crate has.
    #[inline(always)]
    fn offer<T>(
        &mut self,
        mut offered: Links,
        take: &mut impl FnMut(&Candidate) -> Option<T>,
    ) -> Option<(Candidate, T)> {
        if self.by_merit {
            return self.offer_by_merit(offered, take);
        }
        while offered != 0 {
            let position = offered.trailing_zeros() as usize;
            let bit = 1 << position;
            offered &= !bit;
            let candidate = self.candidate(position)?;
            if let Some(permit) = take(&candidate) {
                self.taken(bit);
                return Some((candidate, permit));
            }
        }
        None
    }

    /// Out of line: it would keep the other way from being put where it is used.
    #[inline(never)]
    fn offer_by_merit<T>(
        &mut self,
        offered: Links,
        take: &mut impl FnMut(&Candidate) -> Option<T>,
    ) -> Option<(Candidate, T)> {
        for &position in self.merit {
            let bit = 1 << position;
            if offered & bit == 0 {
                continue;
            }
            let candidate = self.candidate(usize::from(position))?;
            if let Some(permit) = take(&candidate) {
                self.taken(bit);
                return Some((candidate, permit));
            }
        }
        None
    }

    #[inline(always)]
    fn candidate(&self, position: usize) -> Option<Candidate> {
        Some(Candidate {
            position,
            link: *self.links.get(position)?,
            repeat: false,
        })
    }

    #[inline(always)]
    fn taken(&mut self, bit: Links) {
        self.untried &= !bit;
        self.repeatable |= bit;
        self.attempts += 1;
    }

    /// Whether [`Itinerary::repeat`] would succeed: asked before anything is taken for a repeat
    /// that must be given back if it can't be made.
    pub fn may_repeat(&self, after: &Candidate) -> bool {
        let ours = self.links.get(after.position) == Some(&after.link);
        let spent = self.attempts >= self.max_attempts || self.last_is_kept();
        ours && self.repeatable & (1 << after.position) != 0 && !spent
    }

    /// The one repeat at the same provider; counts an attempt.
    ///
    /// # Errors
    /// The candidate itself, if its provider had its repeat, no attempt is left, the last one is
    /// kept for an untried backstop, or the candidate is another call's.
    pub fn repeat(&mut self, after: Candidate) -> Result<Candidate, Candidate> {
        if !self.may_repeat(&after) {
            return Err(after);
        }
        self.repeatable &= !(1 << after.position);
        self.attempts += 1;
        Ok(Candidate {
            repeat: true,
            ..after
        })
    }

    /// Goes past a link: for one that has had the call before it waited. What is beyond the border
    /// stays there.
    pub fn pass_over(&mut self, position: usize) {
        if position < self.links.len() {
            self.untried &= !(1 << position);
        }
    }

    /// Counts attempts that were made for the call before it waited.
    pub fn count_earlier(&mut self, attempts: u32) {
        self.attempts = self.attempts.saturating_add(attempts);
    }

    /// Positions of links inside the border that have had the call, or were passed over, as bits.
    pub fn spent(&self, within: &Residency) -> u64 {
        let mut inside: Links = 0;
        for (position, link) in self.links.iter().enumerate() {
            inside |= Links::from(within.allows(link.jurisdiction)) << position;
        }
        inside & !self.untried
    }

    /// Attempts made so far, repeats included.
    #[inline]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether exactly one of several attempts is left, and a backstop to spend it on.
    #[inline]
    fn last_is_kept(&self) -> bool {
        self.attempts > 0
            && self.max_attempts - self.attempts == 1
            && self.untried & self.backstops != 0
    }
}

#[cfg(test)]
mod tests;
