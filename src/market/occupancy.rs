//! A provider's slots as one word, so that cores take and give them back with one compare and
//! swap. Pure arithmetic; the shared word itself is the notice board's.

/// Bits of each count.
const BITS: u32 = 21;

const MASK: u64 = (1 << BITS) - 1;

/// The most slots that a provider can have.
pub const SLOTS_MAX: u32 = MASK as u32;

/// Who occupies a provider's slots: firm calls on reservations at the provider itself, firm calls
/// on reservations anywhere in its jurisdiction, and floating ones.
///
/// Firm and floating together may exceed the capacity for a moment: a firm call doesn't wait for
/// the floating one that it displaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy(u64);

/// On what a call occupies its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// A reservation at this provider.
    Own,
    /// A reservation anywhere in the provider's jurisdiction.
    Zone,
    /// Nothing: the slot was idle.
    Floating,
}

impl Share {
    fn shift(self) -> u32 {
        match self {
            Share::Own => 0,
            Share::Zone => BITS,
            Share::Floating => 2 * BITS,
        }
    }
}

impl Occupancy {
    /// The occupancy that a shared word stands for.
    pub fn from_word(word: u64) -> Occupancy {
        Occupancy(word)
    }

    /// So many calls of each kind: [`Share::Own`], [`Share::Zone`], [`Share::Floating`].
    pub fn of([own, zone, floating]: [u32; 3]) -> Occupancy {
        let counts = [
            (own, Share::Own),
            (zone, Share::Zone),
            (floating, Share::Floating),
        ];
        let word = |(count, share): (u32, Share)| u64::from(count.min(SLOTS_MAX)) << share.shift();
        Occupancy(counts.map(word).iter().sum())
    }

    /// The word that stands for it.
    pub fn word(self) -> u64 {
        self.0
    }

    /// How many calls of one kind.
    #[inline]
    pub fn count(self, share: Share) -> u32 {
        (self.0 >> share.shift() & MASK) as u32
    }

    /// How many calls of all kinds.
    #[inline]
    pub fn total(self) -> u32 {
        self.count(Share::Own) + self.count(Share::Zone) + self.count(Share::Floating)
    }

    /// With one call more, if there is room for it. A floating call needs an idle slot. A firm call
    /// on a reservation here always has one, since reservations never exceed the capacity. One on a
    /// reservation in the jurisdiction has what reservations here leave, in use or not: `reserved`
    /// is how many slots those are now.
    #[inline]
    pub fn enter(self, share: Share, capacity: u32, reserved: u32) -> Option<Occupancy> {
        let fits = match share {
            Share::Own => self.count(Share::Own) < capacity,
            Share::Zone => {
                let kept = reserved.max(self.count(Share::Own));
                self.count(Share::Zone) < capacity.saturating_sub(kept)
            }
            Share::Floating => self.total() < capacity,
        };
        let counted = u64::from(self.count(share)) < MASK;
        (fits && counted).then(|| Occupancy(self.0 + (1 << share.shift())))
    }

    /// With one call less. It must have entered.
    #[inline]
    pub fn leave(self, share: Share) -> Occupancy {
        debug_assert!(self.count(share) > 0, "nobody to leave");
        Occupancy(self.0.saturating_sub(1 << share.shift()))
    }

    /// How many floating calls are too many: what is to be curtailed.
    #[inline]
    pub fn excess(self, capacity: u32) -> u32 {
        let over = self.total().saturating_sub(capacity);
        over.min(self.count(Share::Floating))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARES: [Share; 3] = [Share::Own, Share::Zone, Share::Floating];

    #[test]
    fn firm_displaces_floating_and_never_waits() {
        let mut now = Occupancy::default();
        for _ in 0..4 {
            now = now.enter(Share::Floating, 4, 2).expect("idle");
        }
        assert_eq!(now.enter(Share::Floating, 4, 2), None);
        let firm = now.enter(Share::Own, 4, 2).expect("reserved");
        assert_eq!((firm.total(), firm.excess(4)), (5, 1));
        assert_eq!(firm.leave(Share::Floating).excess(4), 0);
    }

    #[test]
    fn a_reservation_elsewhere_in_the_jurisdiction_leaves_those_here_alone() {
        let now = Occupancy::default();
        let one = now.enter(Share::Zone, 3, 2).expect("one is left");
        assert_eq!(one.enter(Share::Zone, 3, 2), None);
        assert_eq!(one.enter(Share::Zone, 3, 1).map(Occupancy::total), Some(2));
        let own = one
            .enter(Share::Own, 3, 2)
            .and_then(|it| it.enter(Share::Own, 3, 2));
        assert_eq!(own.map(|it| it.excess(3)), Some(0));
    }

    #[test]
    fn a_count_never_runs_into_the_next() {
        let mut now = Occupancy::default();
        for share in SHARES {
            for _ in 0..SLOTS_MAX {
                now = Occupancy(now.0 + (1 << share.shift()));
            }
        }
        for share in SHARES {
            assert_eq!(now.count(share), SLOTS_MAX);
            assert_eq!(now.enter(share, u32::MAX, 0), None);
        }
    }

    proptest! {
        #[test]
        fn what_enters_and_leaves_is_counted(
            steps in prop::collection::vec((0..3usize, any::<bool>()), 0..200),
            capacity in 0..12u32,
            reserved in 0..12u32,
        ) {
            let reserved = reserved.min(capacity);
            let mut now = Occupancy::default();
            let mut counts = [0u32; 3];
            for (at, enters) in steps {
                let share = SHARES[at];
                if enters && !(share == Share::Own && counts[0] == reserved) {
                    if let Some(next) = now.enter(share, capacity, reserved) {
                        now = next;
                        counts[at] += 1;
                    }
                } else if !enters && counts[at] > 0 {
                    now = now.leave(share);
                    counts[at] -= 1;
                }
                prop_assert_eq!(SHARES.map(|share| now.count(share)), counts);
                // Firm calls alone never exceed the capacity, and what is over is curtailed.
                prop_assert!(counts[0] + counts[1] <= capacity);
                prop_assert!(now.total() - now.excess(capacity) <= capacity);
            }
        }
    }
}
