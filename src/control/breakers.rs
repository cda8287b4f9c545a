//! The breaker board: one breaker and one gate per target. It hears of failures as facts, of
//! successes as counters, and keeps the states that the next snapshot shows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{Moment, Prng};
use crate::policy::breaker::{Breaker, BreakerConfig, Phase, Transition};
use crate::tables::snapshot::{BreakerView, States};
use crate::tables::{ProbeOutcome, Target, TargetState};

/// The longest pause that a target can ask for: a provider that says "tomorrow" is asked again.
pub const GATE_MAX: Duration = Duration::from_secs(3600);

/// How far a pause in force must still reach for its extension to wait for the next tick.
const EXTENSION_MAY_WAIT: Duration = Duration::from_millis(500);

/// Transitions of one breaker since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    /// Closed to open.
    pub opened: u64,
    /// Half-open to open.
    pub reopened: u64,
    /// Half-open to closed.
    pub closed: u64,
}

struct Guarded {
    breaker: Breaker,
    /// Successes that have been taken in.
    successes: u64,
    transitions: Transitions,
}

/// What the cores have to be told, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// Nothing.
    None,
    /// With the next tick.
    Soon,
    /// Now.
    Now,
}

/// Every target's breaker and gate.
pub struct BreakerBoard {
    targets: BTreeMap<Key, Guarded>,
    states: States,
    prng: Prng,
}

/// Targets in an order: providers, then endpoints.
type Key = (bool, u16);

fn key(target: Target) -> Key {
    match target {
        Target::Provider(id) => (false, id.0),
        Target::Endpoint(id) => (true, id.0),
    }
}

impl BreakerBoard {
    /// No targets; the seed is for the open intervals' jitter.
    pub fn new(seed: u64) -> BreakerBoard {
        BreakerBoard {
            targets: BTreeMap::new(),
            states: States::new(),
            prng: Prng::new(seed),
        }
    }

    /// Adds a target, or gives a known one new figures; its state stays. `successes` is the
    /// target's running total now: what a new breaker counts from.
    pub fn configure(&mut self, target: Target, config: BreakerConfig, successes: u64) {
        self.targets
            .entry(key(target))
            .and_modify(|guarded| guarded.breaker.reconfigure(config))
            .or_insert_with(|| Guarded {
                breaker: Breaker::new(config),
                successes,
                transitions: Transitions::default(),
            });
    }

    /// Forgets a target: its id will be another's. Cores forget what they hold against it by the
    /// new generation.
    pub fn forget(&mut self, target: Target) {
        self.targets.remove(&key(target));
        let state = self.states.target_mut(target);
        *state = TargetState {
            generation: state.generation.wrapping_add(1),
            ..TargetState::default()
        };
    }

    /// Takes a target's running total of successes in.
    pub fn succeeded(&mut self, target: Target, total: u64, now: Moment) {
        if let Some(guarded) = self.targets.get_mut(&key(target)) {
            let new = total.saturating_sub(guarded.successes);
            guarded.successes = guarded.successes.max(total);
            guarded.breaker.succeeded(new, now);
        }
    }

    /// A failure of an ordinary call.
    pub fn failed(&mut self, target: Target, at: Moment) -> Option<Transition> {
        self.change(target, |breaker, unit| breaker.failed(at, unit))
    }

    /// A core's own detector has tripped.
    pub fn tripped(&mut self, target: Target, at: Moment) -> Option<Transition> {
        self.change(target, |breaker, unit| breaker.tripped(at, unit))
    }

    /// Answers a trip that changed nothing, since the target was open already: the core that
    /// holds it waits for a new generation, and would not even probe without one. False if the
    /// target was never configured.
    pub fn answer(&mut self, target: Target) -> bool {
        let known = self.targets.contains_key(&key(target));
        if known {
            let state = self.states.target_mut(target);
            state.generation = state.generation.wrapping_add(1);
        }
        known
    }

    /// A probe has ended.
    pub fn probed(
        &mut self,
        target: Target,
        outcome: ProbeOutcome,
        at: Moment,
    ) -> Option<Transition> {
        self.change(target, |breaker, unit| match outcome {
            ProbeOutcome::Succeeded => breaker.probe_succeeded(at),
            ProbeOutcome::Failed => breaker.probe_failed(at, unit),
            ProbeOutcome::Neutral => None,
        })
    }

    /// The target asked for a pause: the later end wins, an hour is the most.
    pub fn gated(&mut self, target: Target, until: Moment, now: Moment) -> News {
        if !self.targets.contains_key(&key(target)) {
            return News::None;
        }
        let state = self.states.target_mut(target);
        let until = until.min(now + GATE_MAX);
        let before = state.gated_until;
        if until <= before || until <= now {
            return News::None;
        }
        state.gated_until = until;
        // Under a storm of 429s each pushes the end a little; the gate holds meanwhile.
        if before > now + EXTENSION_MAY_WAIT {
            News::Soon
        } else {
            News::Now
        }
    }

    /// The states for the next snapshot.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// A target's breaker; closed if there is none.
    pub fn phase(&self, target: Target) -> Phase {
        self.targets
            .get(&key(target))
            .map_or(Phase::Closed, |guarded| guarded.breaker.phase())
    }

    /// Until when a target is gated; a moment in the past if it isn't.
    pub fn gated_until(&self, target: Target) -> Moment {
        match target {
            Target::Provider(id) => self.states.provider(id).gated_until,
            Target::Endpoint(id) => self.states.endpoint(id).gated_until,
        }
    }

    /// A target's transitions since the start.
    pub fn transitions(&self, target: Target) -> Transitions {
        self.targets
            .get(&key(target))
            .map_or(Transitions::default(), |guarded| guarded.transitions)
    }

    /// Whether calls or a probe may go to the target now.
    pub fn is_usable(&self, target: Target, now: Moment) -> bool {
        let open = matches!(self.phase(target), Phase::Open { until } if until > now);
        !open && self.gated_until(target) <= now
    }

    fn change(
        &mut self,
        target: Target,
        with: impl FnOnce(&mut Breaker, f64) -> Option<Transition>,
    ) -> Option<Transition> {
        let guarded = self.targets.get_mut(&key(target))?;
        let transition = with(&mut guarded.breaker, self.prng.unit())?;
        let state = self.states.target_mut(target);
        state.generation = state.generation.wrapping_add(1);
        let counts = &mut guarded.transitions;
        state.breaker = match transition {
            Transition::Opened { until } => {
                counts.opened += 1;
                BreakerView::Open { until }
            }
            Transition::Reopened { until } => {
                counts.reopened += 1;
                BreakerView::Open { until }
            }
            Transition::Closed => {
                counts.closed += 1;
                BreakerView::Closed
            }
        };
        Some(transition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{EndpointId, ProviderId};
    use crate::policy::breaker::BreakerConfig;

    const PROVIDER: Target = Target::Provider(ProviderId(2));
    const ENDPOINT: Target = Target::Endpoint(EndpointId(2));

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    fn board() -> BreakerBoard {
        let mut board = BreakerBoard::new(1);
        board.configure(PROVIDER, BreakerConfig::default(), 100);
        board.configure(ENDPOINT, BreakerConfig::default(), 0);
        board
    }

    fn open_until(board: &BreakerBoard) -> Moment {
        match board.states().provider(ProviderId(2)).breaker {
            BreakerView::Open { until } => until,
            BreakerView::Closed => panic!("closed"),
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_the_states_show_it() {
        let mut board = board();
        for ms in 0..4 {
            assert_eq!(board.failed(PROVIDER, at(ms)), None);
        }
        assert!(matches!(
            board.failed(PROVIDER, at(4)),
            Some(Transition::Opened { .. })
        ));
        let until = open_until(&board);
        assert!(
            until >= at(504) && until <= at(1504),
            "1 s less or more by half: {until:?}"
        );
        assert_eq!(board.states().provider(ProviderId(2)).generation, 1);
        assert_eq!(*board.states().endpoint(EndpointId(2)), Default::default());
        assert!(!board.is_usable(PROVIDER, at(5)));
        assert!(board.is_usable(PROVIDER, until), "half-open takes a probe");
    }

    #[test]
    fn successes_before_a_failure_break_the_row() {
        let mut board = board();
        for ms in 0..4 {
            board.failed(PROVIDER, at(ms));
        }
        board.succeeded(PROVIDER, 100, at(4));
        assert!(
            board.failed(PROVIDER, at(5)).is_some(),
            "100 were there before it was"
        );
        let mut board = self::board();
        for ms in 0..4 {
            board.failed(PROVIDER, at(ms));
        }
        board.succeeded(PROVIDER, 101, at(4));
        assert!(board.failed(PROVIDER, at(5)).is_none());
    }

    #[test]
    fn two_clean_probes_close_it_and_a_failed_one_opens_it_for_longer() {
        let mut board = board();
        assert!(board.tripped(PROVIDER, at(0)).is_some());
        assert_eq!(
            board.tripped(PROVIDER, at(1)),
            None,
            "a second core says the same"
        );
        let first = open_until(&board);
        let again = board.probed(PROVIDER, ProbeOutcome::Failed, first);
        assert!(matches!(again, Some(Transition::Reopened { .. })));
        let second = open_until(&board);
        assert!(second.since(first) >= Duration::from_secs(1));
        assert_eq!(board.probed(PROVIDER, ProbeOutcome::Neutral, second), None);
        assert_eq!(
            board.probed(PROVIDER, ProbeOutcome::Succeeded, second),
            None
        );
        let closed = board.probed(PROVIDER, ProbeOutcome::Succeeded, second);
        assert_eq!(closed, Some(Transition::Closed));
        let state = board.states().provider(ProviderId(2));
        assert_eq!((state.breaker, state.generation), (BreakerView::Closed, 3));
        let counted = Transitions {
            opened: 1,
            reopened: 1,
            closed: 1,
        };
        assert_eq!(board.transitions(PROVIDER), counted);
    }

    #[test]
    fn a_later_gate_wins_and_an_hour_is_the_most() {
        let mut board = board();
        let gate = |board: &BreakerBoard| board.states().provider(ProviderId(2)).gated_until;
        assert_eq!(board.gated(PROVIDER, at(5_000), at(0)), News::Now);
        assert_eq!(board.gated(PROVIDER, at(3_000), at(0)), News::None);
        assert_eq!(gate(&board), at(5_000));
        assert_eq!(board.gated(PROVIDER, at(6_000), at(1)), News::Soon);
        assert_eq!(gate(&board), at(6_000));
        assert_eq!(
            board.gated(PROVIDER, at(9_000), at(5_900)),
            News::Now,
            "about to end"
        );
        board.gated(PROVIDER, at(86_400_000), at(9_000));
        assert_eq!(gate(&board), at(9_000) + GATE_MAX);
        assert!(!board.is_usable(PROVIDER, at(10_000)));
        assert_eq!(
            board.gated(ENDPOINT, at(1), at(2)),
            News::None,
            "over already"
        );
    }

    #[test]
    fn new_figures_keep_the_state() {
        let mut board = board();
        for ms in 0..3 {
            board.failed(PROVIDER, at(ms));
        }
        let stricter = BreakerConfig {
            consecutive_failures: 4,
            ..BreakerConfig::default()
        };
        board.configure(PROVIDER, stricter, 0);
        assert!(board.failed(PROVIDER, at(4)).is_some());
        board.configure(PROVIDER, BreakerConfig::default(), 0);
        assert!(!board.is_usable(PROVIDER, at(5)));
    }

    #[test]
    fn a_target_that_was_never_configured_is_ignored() {
        let mut board = board();
        let stranger = Target::Provider(ProviderId(9));
        assert_eq!(board.tripped(stranger, at(0)), None);
        assert_eq!(board.gated(stranger, at(9_000), at(0)), News::None);
        assert_eq!(*board.states().provider(ProviderId(9)), Default::default());
    }
}
