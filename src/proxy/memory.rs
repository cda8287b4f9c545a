//! How short the process's memory is, as a core sees it.

use std::cell::Cell;

use crate::net::gauge::Gauge;

/// Bytes of bodies after which memory is looked at again, without waiting for the sweeper.
pub const LOOK_AFTER: usize = 4 * 1024 * 1024;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strain {
    /// Less than three quarters of what there may be are resident.
    #[default]
    None,
    /// Less than nine tenths: large bodies are refused.
    Tight,
    /// No call is taken on, and idle clients go.
    Short,
}

impl Strain {
    fn of(resident: usize, bound: usize) -> Strain {
        if resident / 9 >= bound / 10 {
            Strain::Short
        } else if resident / 3 >= bound / 4 {
            Strain::Tight
        } else {
            Strain::None
        }
    }
}

/// A core's view of the process's memory.
pub struct Memory {
    gauge: Option<Gauge>,
    /// Bytes that may be resident if the configuration doesn't say.
    bound: usize,
    strain: Cell<Strain>,
    /// Bytes of bodies since it was looked at.
    taken: Cell<usize>,
}

impl Memory {
    /// Not looked at yet. `bound` is what holds if the configuration says nothing.
    pub fn new(bound: usize) -> Memory {
        Memory {
            gauge: Gauge::open(),
            bound,
            strain: Cell::default(),
            taken: Cell::default(),
        }
    }

    /// How short memory was when it was last looked at.
    #[inline]
    pub fn strain(&self) -> Strain {
        self.strain.get()
    }

    /// Looks at it. `bound` is what the configuration says.
    pub fn look(&self, bound: Option<usize>) {
        let bound = bound.unwrap_or(self.bound);
        let resident = self.gauge.as_ref().and_then(Gauge::resident);
        self.strain.set(Strain::of(resident.unwrap_or(0), bound));
        self.taken.set(0);
    }

    /// Takes note of so many bytes of a body, and looks if they have become many.
    #[inline]
    pub fn take(&self, bytes: usize, bound: Option<usize>) {
        self.taken.set(self.taken.get() + bytes);
        if self.taken.get() >= LOOK_AFTER {
            self.look(bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strain_begins_at_three_quarters_and_is_worst_from_nine_tenths_on() {
        let mib = |resident: usize| Strain::of(resident << 20, 1000 << 20);
        assert_eq!([mib(0), mib(749)], [Strain::None; 2]);
        assert_eq!([mib(751), mib(899)], [Strain::Tight; 2]);
        assert_eq!([mib(901), mib(5000)], [Strain::Short; 2]);
        assert_eq!(Strain::of(usize::MAX, usize::MAX), Strain::Short);
        assert_eq!(Strain::of(1 << 40, usize::MAX), Strain::None);
    }
}
