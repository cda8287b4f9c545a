//! What goes wrong when: `ENDPOINT@FROM+DURATION:KIND`. Pure.

use std::str::FromStr;

use crate::scenario::values::{Span, from_text};

/// A way to go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Calls are answered with this status.
    Status(u16),
    /// Nothing is answered and streams stand still, until it is over.
    Stall,
    /// Connections end with a reset: at a call's arrival, and in the middle of a stream.
    Reset,
    /// Nobody listens; calls on connections that are open are reset.
    Refuse,
    /// Everything takes so many times as long.
    Slow(f64),
}

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Which endpoint, from 1; `None`: all.
    pub endpoint: Option<usize>,
    /// From when on, ns since the start.
    pub from: u64,
    /// Until when; `u64::MAX`: for good.
    pub until: u64,
    /// What.
    pub kind: Kind,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let wrong = || {
            format!(
                "expected ENDPOINT@FROM[+DURATION]:KIND with an endpoint from 1 or *, and 400 to \
                 599, stall, reset, refuse or slow:FACTOR, as 2@10s+5s:stall; got {text:?}"
            )
        };
        let (endpoint, rest) = text.split_once('@').ok_or_else(wrong)?;
        let (when, kind) = rest.split_once(':').ok_or_else(wrong)?;
        let endpoint = match endpoint.trim() {
            "*" => None,
            number => Some(number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?),
        };
        let (from, duration) = match when.split_once('+') {
            Some((from, duration)) => (from, Some(duration.parse::<Span>()?.0)),
            None => (when, None),
        };
        let from = from.parse::<Span>()?.0;
        let until = duration.map_or(u64::MAX, |duration| from + duration);
        let kind = match kind.trim() {
            "stall" => Kind::Stall,
            "reset" => Kind::Reset,
            "refuse" => Kind::Refuse,
            other => match other.split_once(':') {
                Some(("slow", factor)) => {
                    let factor = factor
                        .parse()
                        .ok()
                        .filter(|f: &f64| *f > 0.0 && f.is_finite());
                    Kind::Slow(factor.ok_or_else(wrong)?)
                }
                Some(_) => return Err(wrong()),
                None => {
                    let status = other.parse().ok().filter(|s| (400..600).contains(s));
                    Kind::Status(status.ok_or_else(wrong)?)
                }
            },
        };
        Ok(Fault {
            endpoint,
            from,
            until,
            kind,
        })
    }
}

from_text!(Fault);

/// One endpoint's faults.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Those of the endpoint of that number, from 1.
    pub fn of(endpoint: usize, all: &[Fault]) -> Faults {
        let mine = |fault: &&Fault| fault.endpoint.is_none_or(|number| number == endpoint);
        Faults(all.iter().filter(mine).copied().collect())
    }

    /// The first fault that is under way and isn't just slowness.
    pub fn at(&self, since: u64) -> Option<Fault> {
        let mut under_way = self.under_way(since);
        under_way.find(|fault| !matches!(fault.kind, Kind::Slow(_)))
    }

    /// How many times as long everything takes.
    pub fn slowness(&self, since: u64) -> f64 {
        self.under_way(since)
            .map(|fault| match fault.kind {
                Kind::Slow(factor) => factor,
                _ => 1.0,
            })
            .product()
    }

    /// When nobody listens the next time, or since when nobody does: from, until.
    pub fn next_refusal(&self, since: u64) -> Option<(u64, u64)> {
        let refusals = self.0.iter().filter(|fault| fault.kind == Kind::Refuse);
        let ahead = refusals.filter(|fault| fault.until > since);
        ahead.map(|fault| (fault.from, fault.until)).min()
    }

    fn under_way(&self, since: u64) -> impl Iterator<Item = Fault> {
        let is_on = move |fault: &&Fault| (fault.from..fault.until).contains(&since);
        self.0.iter().filter(is_on).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(texts: &[&str]) -> Faults {
        let all: Vec<Fault> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Faults::of(2, &all)
    }

    #[test]
    fn faults_have_their_endpoint_and_their_time() {
        let faults = faults(&["2@1s+1s:503", "1@0s:reset", "*@5s:stall", "2@0s+10s:slow:3"]);
        let at = |ms: u64| faults.at(ms * 1_000_000).map(|fault| fault.kind);
        assert_eq!(at(999), None);
        assert_eq!(at(1_000), Some(Kind::Status(503)));
        assert_eq!(at(2_000), None);
        assert_eq!(at(60_000), Some(Kind::Stall));
        assert_eq!(faults.slowness(0), 3.0);
        assert_eq!(faults.slowness(10_000_000_000), 1.0);
    }

    #[test]
    fn the_next_refusal_is_the_one_that_is_not_over() {
        let faults = faults(&["2@5s+1s:refuse", "2@1s+1s:refuse"]);
        let s = 1_000_000_000;
        assert_eq!(faults.next_refusal(0), Some((s, 2 * s)));
        assert_eq!(faults.next_refusal(s), Some((s, 2 * s)));
        assert_eq!(faults.next_refusal(2 * s), Some((5 * s, 6 * s)));
        assert_eq!(faults.next_refusal(6 * s), None);
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_forms() {
        for wrong in [
            "",
            "stall",
            "1@1s",
            "0@1s:stall",
            "x@1s:stall",
            "1@1:stall",
            "1@1s:200",
            "1@1s:slow",
            "1@1s:slow:0",
            "1@1s:fast:2",
            "1@1s+x:stall",
        ] {
            let error = wrong.parse::<Fault>().unwrap_err();
            assert!(error.contains("expected"), "{wrong}: {error}");
        }
    }
}
