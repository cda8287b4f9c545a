//! When requests came and when their connections ended: what `srpd-bench gone` asks the upstream.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::shape;

/// What stands in front of a watched request's number in the path that asks for it.
pub const PATH: &str = "/watch/";

/// The times of watched requests, by their numbers.
#[derive(Default)]
pub struct Watched(RefCell<HashMap<u64, Times>>);

/// Monotonic, ns; 0 for what has not been yet.
#[derive(Clone, Copy, Default)]
struct Times {
    came: u64,
    gone: u64,
}

impl Watched {
    /// The request is here, whole.
    pub fn came(&self, number: u64) {
        self.0.borrow_mut().entry(number).or_default().came = shape::now_ns();
    }

    /// Its connection has ended.
    pub fn gone(&self, number: u64) {
        self.0.borrow_mut().entry(number).or_default().gone = shape::now_ns();
    }

    /// `CAME GONE`
    pub fn text(&self, number: u64) -> String {
        let times = self.0.borrow().get(&number).copied().unwrap_or_default();
        format!("{} {}", times.came, times.gone)
    }
}

/// What [`Watched::text`] says.
pub fn parse(text: &str) -> Option<(u64, u64)> {
    let (came, gone) = text.split_once(' ')?;
    Some((came.parse().ok()?, gone.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_they_are_known() {
        let watched = Watched::default();
        assert_eq!(parse(&watched.text(7)), Some((0, 0)));
        watched.came(7);
        let (came, gone) = parse(&watched.text(7)).unwrap();
        assert!(came > 0 && gone == 0);
        watched.gone(7);
        let (_, gone) = parse(&watched.text(7)).unwrap();
        assert!(gone >= came);
        assert_eq!(parse(&watched.text(8)), Some((0, 0)));
    }
}
