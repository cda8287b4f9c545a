//! The book of reservations: who has firm slots, where, from when until when (SRP sections 7, 8).
//!
//! A reservation lies at a provider or anywhere in a zone (a jurisdiction), which has its place at
//! whichever provider of the zone has room. At every instant, at each provider, what is reserved
//! there is within its capacity; and in each zone, what is reserved at its providers and anywhere
//! in it is within what they have together. As zones don't overlap, that is enough for everybody
//! to find a place at once.

use thiserror::Error;

/// Seconds since 1970-01-01T00:00:00Z.
pub type Second = i64;

/// Reservations that a book can hold.
pub const RESERVATIONS_MAX: usize = 10_000;

/// A provider with capacity, as the book sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity<P, Z> {
    /// Which provider.
    pub provider: P,
    /// Where it is.
    pub zone: Z,
    /// Calls that it serves at the same time.
    pub slots: u32,
}

/// Where a reservation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place<P, Z> {
    /// At one provider.
    Provider(P),
    /// Anywhere in a zone.
    Zone(Z),
}

/// Firm slots of somebody. `until` is the first second without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation<P, Z> {
    /// Where.
    pub place: Place<P, Z>,
    /// How many.
    pub slots: u32,
    /// From this second on.
    pub from: Second,
    /// Until just before this second.
    pub until: Second,
}

impl<P, Z> Reservation<P, Z> {
    fn covers(&self, at: Second) -> bool {
        self.from <= at && at < self.until
    }
}

/// Why a reservation can't be booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Overbooked {
    /// There is less left than was asked for.
    #[error("{left} of the {asked} slots are left from second {at} on")]
    Full {
        /// The first instant at which it doesn't fit.
        at: Second,
        /// How many slots could be booked then.
        left: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// It ends before it begins.
    #[error("it ends before it begins")]
    Backwards,
    /// No provider there has a capacity that could be reserved.
    #[error("no provider there has a capacity")]
    Nowhere,
    /// The book is full.
    #[error("{RESERVATIONS_MAX} reservations are booked already")]
    TooMany,
}

/// The book.
#[derive(Clone, Debug)]
pub struct Calendar<P, Z> {
    supplies: Vec<Capacity<P, Z>>,
    booked: Vec<Reservation<P, Z>>,
}

impl<P: Copy + Eq, Z: Copy + Eq> Calendar<P, Z> {
    /// An empty book over these capacities.
    pub fn new(supplies: Vec<Capacity<P, Z>>) -> Calendar<P, Z> {
        Calendar {
            supplies,
            booked: Vec::new(),
        }
    }

    /// What is booked, in the order of booking.
    pub fn booked(&self) -> &[Reservation<P, Z>] {
        &self.booked
    }

    /// Books a reservation, if it fits at every instant of its interval.
    ///
    /// # Errors
    /// [`Overbooked`]; nothing is booked then.
    pub fn book(&mut self, wanted: Reservation<P, Z>) -> Result<(), Overbooked> {
        if wanted.from >= wanted.until {
            return Err(Overbooked::Backwards);
        }
        if self.booked.len() >= RESERVATIONS_MAX {
            return Err(Overbooked::TooMany);
        }
        if self.zone_of(wanted.place).is_none() {
            return Err(Overbooked::Nowhere);
        }
        // What is left only falls where a reservation begins.
        let mut instants: Vec<Second> = self.booked.iter().map(|it| it.from).collect();
        instants.retain(|at| wanted.covers(*at));
        instants.push(wanted.from);
        instants.sort_unstable();
        instants.dedup();
        for at in instants {
            let left = self.left(wanted.place, at);
            if left < wanted.slots {
                return Err(Overbooked::Full {
                    at,
                    left,
                    asked: wanted.slots,
                });
            }
        }
        self.booked.push(wanted);
        Ok(())
    }

    /// Takes one reservation out of the book; false if it isn't in it.
    pub fn cancel(&mut self, reservation: &Reservation<P, Z>) -> bool {
        let found = self.booked.iter().position(|it| it == reservation);
        found.map(|at| self.booked.remove(at)).is_some()
    }

    /// Slots reserved at a provider itself at an instant. They never stand in its spot offer.
    pub fn reserved_at(&self, provider: P, at: Second) -> u32 {
        self.sum(at, |place| place == Place::Provider(provider))
    }

    /// How many slots can still be booked there at an instant.
    pub fn left(&self, place: Place<P, Z>, at: Second) -> u32 {
        let Some(zone) = self.zone_of(place) else {
            return 0;
        };
        let in_zone = |it: Place<P, Z>| self.zone_of(it) == Some(zone);
        let supplies = self.supplies.iter().filter(|supply| supply.zone == zone);
        let together = supplies
            .map(|supply| supply.slots)
            .fold(0, u32::saturating_add);
        let zone_left = together.saturating_sub(self.sum(at, in_zone));
        match place {
            Place::Zone(_) => zone_left,
            Place::Provider(provider) => {
                let here = self.supplies.iter().find(|it| it.provider == provider);
                let slots = here.map_or(0, |supply| supply.slots);
                zone_left.min(slots.saturating_sub(self.reserved_at(provider, at)))
            }
        }
    }

    /// Slots that the spot market may sell at an instant, of each of these providers: what nobody
    /// has reserved. Reservations anywhere in a zone are taken to be at the first of its providers
    /// that have room: their owners would take the cheapest, so name that first.
    pub fn spot(&self, providers: &[P], at: Second) -> Vec<u32> {
        let mut taken: Vec<(Z, u32)> = Vec::new();
        let spot = |&provider: &P| {
            let Some(supply) = self.supplies.iter().find(|it| it.provider == provider) else {
                return 0;
            };
            let here = supply.slots.saturating_sub(self.reserved_at(provider, at));
            let zone = supply.zone;
            let at_zone = match taken.iter().position(|it| it.0 == zone) {
                Some(known) => known,
                None => {
                    taken.push((zone, self.sum(at, |place| place == Place::Zone(zone))));
                    taken.len() - 1
                }
            };
            let elsewhere = &mut taken[at_zone].1;
            let theirs = here.min(*elsewhere);
            *elsewhere -= theirs;
            here - theirs
        };
        providers.iter().map(spot).collect()
    }

    fn sum(&self, at: Second, wanted: impl Fn(Place<P, Z>) -> bool) -> u32 {
        let here = self
            .booked
            .iter()
            .filter(|it| it.covers(at) && wanted(it.place));
        here.map(|it| it.slots).fold(0, u32::saturating_add)
    }

    fn zone_of(&self, place: Place<P, Z>) -> Option<Z> {
        let found = self.supplies.iter().find(|supply| match place {
            Place::Provider(provider) => supply.provider == provider,
            Place::Zone(zone) => supply.zone == zone,
        });
        found.map(|supply| supply.zone)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUPPLIES: [Capacity<u8, char>; 3] = [
        Capacity {
            provider: 0,
            zone: 'a',
            slots: 4,
        },
        Capacity {
            provider: 1,
            zone: 'a',
            slots: 2,
        },
        Capacity {
            provider: 2,
            zone: 'n',
            slots: 3,
        },
    ];

    fn calendar() -> Calendar<u8, char> {
        Calendar::new(SUPPLIES.to_vec())
    }

    fn reservation(
        place: Place<u8, char>,
        slots: u32,
        from: Second,
        until: Second,
    ) -> Reservation<u8, char> {
        Reservation {
            place,
            slots,
            from,
            until,
        }
    }

    #[test]
    fn the_first_instant_without_room_is_named() {
        let mut book = calendar();
        let at = |slots, from, until| reservation(Place::Provider(0), slots, from, until);
        assert_eq!(book.book(at(3, 10, 20)), Ok(()));
        let full = Overbooked::Full {
            at: 10,
            left: 1,
            asked: 2,
        };
        assert_eq!(book.book(at(2, 0, 30)), Err(full));
        assert_eq!(book.book(at(2, 0, 10)), Ok(()), "the end is not part of it");
        assert_eq!(book.book(at(1, 0, 30)), Ok(()));
        assert_eq!(book.left(Place::Provider(0), 15), 0);
        assert_eq!(book.left(Place::Provider(1), 15), 2);
        assert!(book.cancel(&at(3, 10, 20)) && !book.cancel(&at(3, 10, 20)));
        assert_eq!(book.left(Place::Provider(0), 15), 3);
    }

    #[test]
    fn a_zone_and_its_providers_share_what_there_is() {
        let mut book = calendar();
        let anywhere = |slots| reservation(Place::Zone('a'), slots, 0, 10);
        assert_eq!(book.book(anywhere(5)), Ok(()));
        assert_eq!(book.left(Place::Provider(0), 5), 1);
        assert_eq!(book.book(reservation(Place::Provider(1), 1, 0, 10)), Ok(()));
        let none = Overbooked::Full {
            at: 0,
            left: 0,
            asked: 1,
        };
        assert_eq!(book.book(anywhere(1)), Err(none));
        assert_eq!(book.book(reservation(Place::Zone('n'), 3, 0, 10)), Ok(()));
    }

    #[test]
    fn the_spot_market_sells_what_nobody_has_reserved() {
        let mut book = calendar();
        assert_eq!(book.spot(&[1, 0, 2, 9], 5), [2, 4, 3, 0]);
        book.book(reservation(Place::Provider(0), 1, 0, 10))
            .expect("room");
        book.book(reservation(Place::Zone('a'), 3, 0, 10))
            .expect("room");
        assert_eq!(
            book.spot(&[1, 0, 2], 5),
            [0, 2, 3],
            "the first of the zone goes first"
        );
        assert_eq!(book.spot(&[0, 1, 2], 5), [0, 2, 3]);
        assert_eq!(book.spot(&[1, 0, 2], 10), [2, 4, 3]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut book = calendar();
        let refused = |book: &mut Calendar<u8, char>, place, until| {
            book.book(reservation(place, 1, 10, until))
        };
        let backwards = refused(&mut book, Place::Provider(0), 10);
        assert_eq!(backwards, Err(Overbooked::Backwards));
        let nowhere = refused(&mut book, Place::Zone('x'), 20);
        assert_eq!(nowhere, Err(Overbooked::Nowhere));
        assert_eq!(
            refused(&mut book, Place::Provider(9), 20),
            Err(Overbooked::Nowhere)
        );
        book.booked = vec![reservation(Place::Provider(0), 0, 0, 1); RESERVATIONS_MAX];
        assert_eq!(
            refused(&mut book, Place::Provider(0), 20),
            Err(Overbooked::TooMany)
        );
    }

    fn any_reservation() -> impl Strategy<Value = Reservation<u8, char>> {
        let place = prop_oneof![
            (0..3u8).prop_map(Place::Provider),
            prop::sample::select(vec!['a', 'n']).prop_map(Place::Zone),
        ];
        (place, 0..4u32, 0..30i64, 1..15i64)
            .prop_map(|(place, slots, from, length)| reservation(place, slots, from, from + length))
    }

    proptest! {
        #[test]
        fn no_instant_is_ever_overbooked(
            wanted in prop::collection::vec(any_reservation(), 0..40),
        ) {
            let mut book = calendar();
            for reservation in wanted {
                let room = (reservation.from..reservation.until)
                    .map(|at| book.left(reservation.place, at)).min();
                let booked = book.book(reservation);
                prop_assert_eq!(booked.is_ok(), room >= Some(reservation.slots));
            }
            for at in 0..46 {
                for zone in ['a', 'n'] {
                    let mut rest = 0;
                    for supply in SUPPLIES.iter().filter(|supply| supply.zone == zone) {
                        let reserved = book.reserved_at(supply.provider, at);
                        prop_assert!(reserved <= supply.slots);
                        rest += supply.slots - reserved;
                    }
                    prop_assert!(book.sum(at, |place| place == Place::Zone(zone)) <= rest);
                    // What nobody has reserved is what the spot market has, in whatever order.
                    let here = |supply: &Capacity<u8, char>| supply.zone == zone;
                    let mut providers: Vec<u8> =
                        SUPPLIES.iter().filter(|it| here(it)).map(|it| it.provider).collect();
                    let left = book.left(Place::Zone(zone), at);
                    prop_assert_eq!(book.spot(&providers, at).iter().sum::<u32>(), left);
                    providers.reverse();
                    prop_assert_eq!(book.spot(&providers, at).iter().sum::<u32>(), left);
                }
            }
        }
    }
}
