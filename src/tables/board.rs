//! The words that threads share. One epoch that cores read at each call; the counts of providers
//! with several endpoints; the rest is touched only where something failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use super::fact::Target;
use super::load::Loads;
use super::market::Market;
use super::snapshot::Snapshot;
use crate::base::ProviderId;
use crate::base::ids::{ENDPOINTS_MAX, PROVIDERS_MAX};

/// What the office publishes to, and the cores read from.
pub struct Board {
    epoch: CachePadded<AtomicU64>,
    /// Read when the epoch has moved, never on the way of a call.
    snapshot: ArcSwap<Snapshot>,
    /// One probe at a time across all cores.
    provider_probes: Box<[AtomicBool]>,
    endpoint_probes: Box<[AtomicBool]>,
    repeats: Box<[Repeats]>,
    loads: Loads,
    market: Market,
    stop: AtomicBool,
}

/// A provider's repeats as running totals: what the office grants never races with what cores
/// take meanwhile.
#[derive(Default)]
struct Repeats {
    taken: AtomicU64,
    granted: AtomicU64,
}

impl Repeats {
    fn take(&self) -> bool {
        let granted = self.granted.load(Ordering::Acquire);
        let one_more = |taken| (taken < granted).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more)
            .is_ok()
    }
}

impl Board {
    /// A board that shows `first` to so many cores, under epoch 1.
    pub fn new(first: Snapshot, cores: usize) -> Board {
        Board {
            epoch: CachePadded::new(AtomicU64::new(1)),
            snapshot: ArcSwap::from_pointee(first),
            provider_probes: (0..PROVIDERS_MAX).map(|_| AtomicBool::new(false)).collect(),
            endpoint_probes: (0..ENDPOINTS_MAX).map(|_| AtomicBool::new(false)).collect(),
            repeats: (0..PROVIDERS_MAX).map(|_| Repeats::default()).collect(),
            loads: Loads::new(),
            market: Market::new(cores),
            stop: AtomicBool::new(false),
        }
    }

    /// Shows `next` to every core from its next call on. Office only.
    pub fn publish(&self, next: Snapshot) {
        self.snapshot.store(Arc::new(next));
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The number of the newest snapshot: the one shared word that the request path reads.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    fn probe(&self, target: Target) -> &AtomicBool {
        match target {
            Target::Provider(id) => &self.provider_probes[id.index()],
            Target::Endpoint(id) => &self.endpoint_probes[id.index()],
        }
    }

    /// Takes the target's probe slot; false if another call holds it.
    pub fn take_probe(&self, target: Target) -> bool {
        self.probe(target)
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether a call holds the target's probe slot.
    pub fn is_probed(&self, target: Target) -> bool {
        self.probe(target).load(Ordering::Relaxed)
    }

    /// Gives the target's probe slot back. The office does, once it has taken the result in; a
    /// core does only if the probe was never sent.
    pub fn free_probe(&self, target: Target) {
        self.probe(target).store(false, Ordering::Release);
    }

    /// Takes one repeat from the provider's budget; false if it is used up.
    pub fn take_repeat(&self, provider: ProviderId) -> bool {
        self.repeats[provider.index()].take()
    }

    /// How many repeats cores have taken from the provider's budget since the start.
    pub fn repeats_taken(&self, provider: ProviderId) -> u64 {
        self.repeats[provider.index()].taken.load(Ordering::Acquire)
    }

    /// Lets cores take repeats until `total` have been taken since the start. Office only.
    pub fn grant_repeats(&self, provider: ProviderId, total: u64) {
        self.repeats[provider.index()]
            .granted
            .store(total, Ordering::Release);
    }

    /// What each endpoint has to do, and whether it is ready for more.
    #[inline]
    pub fn loads(&self) -> &Loads {
        &self.loads
    }

    /// Slots, reservations and prices.
    #[inline]
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Asks the cores to end: the drain is over, or nobody waits for it. Office only.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the cores are to end now, with whatever is still in flight.
    #[inline]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Stage;
    use super::super::testing::snapshot;
    use super::*;
    use crate::base::EndpointId;

    #[test]
    fn what_is_published_is_shown_under_the_next_epoch() {
        let board = Board::new(snapshot(), 1);
        assert_eq!(board.epoch(), 1);
        assert_eq!(board.snapshot().stage, Stage::Serving);
        let next = Snapshot {
            stage: Stage::Ending,
            ..snapshot()
        };
        let routes = Arc::clone(&next.routes);
        board.publish(next);
        assert_eq!(board.epoch(), 2);
        assert_eq!(board.snapshot().stage, Stage::Ending);
        assert!(Arc::ptr_eq(&board.snapshot().routes, &routes));
    }

    #[test]
    fn whoever_sees_an_epoch_sees_its_snapshot_or_a_newer_one() {
        const LAST: usize = 500;
        let board = Board::new(snapshot(), 1);
        let numbered = |number| {
            let mut next = snapshot();
            Arc::make_mut(&mut next.routes).limits.headers = number;
            next
        };
        board.publish(numbered(2));
        std::thread::scope(|scope| {
            let reader = || {
                let mut shown = 0;
                while shown < LAST {
                    let epoch = board.epoch() as usize;
                    shown = board.snapshot().routes.limits.headers;
                    assert!(shown >= epoch, "{shown} under epoch {epoch}");
                }
            };
            scope.spawn(reader);
            scope.spawn(reader);
            (3..=LAST).for_each(|number| board.publish(numbered(number)));
        });
    }

    #[test]
    fn a_probe_slot_is_held_by_one_call_and_belongs_to_one_target() {
        let board = Board::new(snapshot(), 1);
        let provider = Target::Provider(ProviderId(3));
        let others = [
            Target::Provider(ProviderId(4)),
            Target::Endpoint(EndpointId(3)),
        ];
        let holders = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| usize::from(board.take_probe(provider))))
                .collect();
            threads
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .sum::<usize>()
        });
        assert_eq!(holders, 1);
        assert!(board.is_probed(provider));
        for other in others {
            assert!(!board.is_probed(other) && board.take_probe(other));
        }
        board.free_probe(provider);
        assert!(!board.is_probed(provider) && board.take_probe(provider));
    }

    #[test]
    fn repeats_are_taken_from_one_provider_as_granted() {
        let board = Board::new(snapshot(), 1);
        let [one, other] = [ProviderId(0), ProviderId(1)];
        assert!(!board.take_repeat(one), "nothing is granted at first");
        board.grant_repeats(one, 2);
        assert!(board.take_repeat(one) && board.take_repeat(one));
        assert!(!board.take_repeat(one) && !board.take_repeat(other));
        assert_eq!(
            (board.repeats_taken(one), board.repeats_taken(other)),
            (2, 0)
        );
        board.grant_repeats(one, 3);
        assert!(board.take_repeat(one) && !board.take_repeat(one));
    }

    #[test]
    fn the_cores_are_told_to_stop_once_and_for_all() {
        let board = Board::new(snapshot(), 1);
        assert!(!board.stopped());
        board.stop();
        assert!(board.stopped());
    }

    #[test]
    fn threads_together_take_no_more_repeats_than_were_granted() {
        let repeats = Repeats::default();
        let take_until_refused = || (0..10_000).filter(|_| repeats.take()).count();
        repeats.granted.store(5_000, Ordering::Release);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take_until_refused)).collect();
            threads
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .sum()
        });
        assert_eq!(taken, 5_000);
        assert_eq!(repeats.taken.load(Ordering::Acquire), 5_000);
        repeats.granted.store(4_000, Ordering::Release);
        assert!(!repeats.take(), "a smaller grant takes nothing back");
    }
}
