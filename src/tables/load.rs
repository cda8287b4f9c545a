//! What each endpoint has to do, as all cores count it and as the endpoint says itself.
//!
//! The counts are words that the cores share. A core's own count would say too little: of an
//! endpoint with 16 slots that 32 cores send calls to, each would see none or one. To write a
//! shared word takes its cache line over from the core that wrote it last, 20 to 100 ns twice or
//! thrice a call; so only providers with a choice to make are counted, one line per endpoint.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::base::ids::ENDPOINTS_MAX;
use crate::base::{EndpointId, Moment};
use crate::policy::balance::{Burden, Pace, grown};

/// What an inference server says of itself, in vLLM's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Requests that it hasn't begun with (`vllm:num_requests_waiting`).
    pub waiting: u32,
    /// Requests that it is answering (`vllm:num_requests_running`).
    pub running: u32,
}

/// One endpoint's load.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    /// Calls under way in the lower half; those without a first token yet in the upper one.
    calls: AtomicU64,
    /// A [`Pace`]. Two cores that note something at the same time may lose one of the two.
    pace: [AtomicU64; 2],
    /// Bytes of prompts that are to be read before the calls that wait get their first tokens.
    reading: AtomicU64,
    /// What the endpoint says; see [`pack`].
    queue: AtomicU64,
    /// From when it can be used; [`NOT_READY`]: it can't.
    ready_from: AtomicU64,
}

const NOT_READY: u64 = u64::MAX;

/// When an endpoint became ready of which nobody has said when: at the clock's zero, before the
/// first call.
const SINCE_EVER: Moment = Moment(0);

const ONE_CALL: u64 = 1;
const ONE_AWAITING: u64 = 1 << 32;

/// That the endpoint says anything at all, in [`pack`]'s word.
const SAID: u64 = 1 << 63;

/// Waiting, running, and calls of others, each in 16 bits: beyond 65,535 all queues are long.
fn pack(queue: Queue, others: u32) -> u64 {
    let part = |count: u32| u64::from(count.min(0xffff));
    SAID | part(others) << 32 | part(queue.running) << 16 | part(queue.waiting)
}

impl EndpointLoad {
    /// Calls under way, of all cores. Kept only of providers that have a choice to make.
    pub fn outstanding(&self) -> u32 {
        self.calls.load(Ordering::Relaxed) as u32
    }

    /// Calls among them that have no first token yet.
    pub fn awaiting(&self) -> u32 {
        (self.calls.load(Ordering::Relaxed) >> 32) as u32
    }

    /// Bytes of prompts that it has to read, as far as is known. Kept for providers that are
    /// balanced by prefix.
    pub fn reading(&self) -> u64 {
        self.reading.load(Ordering::Relaxed)
    }

    /// How soon its first tokens come.
    pub fn pace(&self) -> Pace {
        Pace::from_bits([0, 1].map(|part| self.pace[part].load(Ordering::Relaxed)))
    }

    fn note_pace(&self, pace: Pace) {
        for (word, bits) in self.pace.iter().zip(pace.to_bits()) {
            word.store(bits, Ordering::Relaxed);
        }
    }

    /// What the endpoint says of itself; none while it says nothing. Office only.
    pub fn set_queue(&self, queue: Option<Queue>) {
        let word = queue.map_or(0, |queue| {
            // What it has beyond our own calls, others have sent. Ours of this very moment are
            // near enough to those of the moment when it counted.
            let all = queue.waiting.saturating_add(queue.running);
            pack(queue, all.saturating_sub(self.outstanding()))
        });
        self.queue.store(word, Ordering::Relaxed);
    }

    /// What the endpoint said of itself last.
    pub fn queue(&self) -> Option<Queue> {
        let word = self.queue.load(Ordering::Relaxed);
        (word & SAID != 0).then_some(Queue {
            waiting: u32::from(word as u16),
            running: u32::from((word >> 16) as u16),
        })
    }

    /// From when on it can be used, or that it can't: it is starting, loading, or unwell by its
    /// own word. Nothing is sent to it then, as with an open breaker; but none is opened, and no
    /// call that is under way is touched. From `ready_from` on its share grows
    /// ([`SLOW_START`](crate::policy::balance::SLOW_START)). Office only.
    pub fn set_ready_from(&self, ready_from: Option<Moment>) {
        let word = ready_from.map_or(NOT_READY, |moment| moment.0.min(NOT_READY - 1));
        self.ready_from.store(word, Ordering::Relaxed);
    }

    /// It is new, or has returned: its share grows from now on, and how it was before is
    /// forgotten. One that isn't ready stays so. Office only.
    pub fn returned(&self, now: Moment) {
        self.note_pace(Pace::default());
        if self.ready_from().is_some() {
            self.set_ready_from(Some(now));
        }
    }

    /// From when on it can be used; none if it can't. Ready since ever if nobody has said
    /// anything.
    #[inline]
    pub fn ready_from(&self) -> Option<Moment> {
        let word = self.ready_from.load(Ordering::Relaxed);
        (word != NOT_READY).then_some(Moment(word))
    }

    /// All of it, to be weighed.
    pub fn burden(&self, now: Moment) -> Burden {
        let calls = self.calls.load(Ordering::Relaxed);
        let said = self.queue.load(Ordering::Relaxed);
        Burden {
            outstanding: calls as u32,
            awaiting: (calls >> 32) as u32,
            others: u32::from((said >> 32) as u16),
            queued: u32::from(said as u16),
            pace: self.pace(),
            share: match self.ready_from() {
                None | Some(SINCE_EVER) => 1.0,
                Some(from) => grown(from, now),
            },
        }
    }
}

/// The load of every endpoint, by id. Copies are the same words.
#[derive(Clone)]
pub struct Loads(Arc<[CachePadded<EndpointLoad>]>);

impl Loads {
    /// Nothing under way, nothing known, all ready.
    pub fn new() -> Loads {
        let none = || CachePadded::new(EndpointLoad::default());
        Loads((0..ENDPOINTS_MAX).map(|_| none()).collect())
    }

    /// One endpoint's.
    #[inline]
    pub fn of(&self, endpoint: EndpointId) -> &EndpointLoad {
        &self.0[endpoint.index()]
    }
}

impl Default for Loads {
    fn default() -> Self {
        Self::new()
    }
}

/// A call that counts as under way at an endpoint for as long as this lives. The count can't leak:
/// however a call ends, what it holds is dropped. It goes on through a reload, since ids do.
#[must_use = "the call is counted while this lives"]
#[derive(Debug)]
pub struct Outstanding {
    /// This core's own handle: to count the holders of one that all cores share would cost more
    /// than the count of calls does.
    loads: Rc<Loads>,
    endpoint: EndpointId,
    awaiting: Cell<bool>,
    reading: u64,
    begun: Moment,
}

impl std::fmt::Debug for Loads {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Loads")
    }
}

impl Outstanding {
    /// Counts a call that is sent now, with which the endpoint has `reading` bytes more to read.
    pub fn begin(
        loads: &Rc<Loads>,
        endpoint: EndpointId,
        reading: u64,
        now: Moment,
    ) -> Outstanding {
        let load = loads.of(endpoint);
        load.calls
            .fetch_add(ONE_CALL + ONE_AWAITING, Ordering::Relaxed);
        if reading > 0 {
            load.reading.fetch_add(reading, Ordering::Relaxed);
        }
        Outstanding {
            loads: Rc::clone(loads),
            endpoint,
            awaiting: Cell::new(true),
            reading,
            begun: now,
        }
    }

    /// The first token is there.
    pub fn served(&self, now: Moment) {
        if self.awaiting.take() {
            let load = self.loads.of(self.endpoint);
            load.calls.fetch_sub(ONE_AWAITING, Ordering::Relaxed);
            self.has_been_read(load);
            load.note_pace(load.pace().served(now.since(self.begun), now));
        }
    }

    fn has_been_read(&self, load: &EndpointLoad) {
        if self.reading > 0 {
            load.reading.fetch_sub(self.reading, Ordering::Relaxed);
        }
    }

    /// The call has failed, for whatever reason that doesn't speak for the endpoint.
    pub fn failed(&self, now: Moment) {
        let load = self.loads.of(self.endpoint);
        load.note_pace(load.pace().failed(now));
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        let load = self.loads.of(self.endpoint);
        let word = match self.awaiting.get() {
            true => {
                self.has_been_read(load);
                ONE_CALL + ONE_AWAITING
            }
            false => ONE_CALL,
        };
        load.calls.fetch_sub(word, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: EndpointId = EndpointId(1);
    const OTHER: EndpointId = EndpointId(2);
    const NOW: Moment = Moment(1_000_000);

    #[test]
    fn a_call_counts_from_its_beginning_to_its_end_and_waits_until_it_is_served() {
        let loads = Rc::new(Loads::new());
        let counts = || (loads.of(ONE).outstanding(), loads.of(ONE).awaiting());
        let first = Outstanding::begin(&loads, ONE, 500, NOW);
        let second = Outstanding::begin(&loads, ONE, 70, NOW);
        assert_eq!((counts(), loads.of(ONE).reading()), ((2, 2), 570));
        assert_eq!(loads.of(OTHER).outstanding(), 0);
        let later = NOW + Duration::from_millis(40);
        first.served(later);
        first.served(later);
        assert_eq!((counts(), loads.of(ONE).reading()), ((2, 1), 70));
        assert_eq!(loads.of(ONE).pace().micros(later), Some(40_000.0));
        drop(first);
        assert_eq!(counts(), (1, 1));
        drop(second);
        assert_eq!((counts(), loads.of(ONE).reading()), ((0, 0), 0));
    }

    #[test]
    fn a_failure_makes_it_slow_until_it_returns() {
        let loads = Rc::new(Loads::new());
        let call = Outstanding::begin(&loads, ONE, 0, NOW);
        call.failed(NOW);
        assert_eq!(loads.of(ONE).pace().slowed(NOW), 4.0);
        loads.of(ONE).returned(NOW);
        assert_eq!(loads.of(ONE).pace(), Pace::default());
        assert!(loads.of(ONE).burden(NOW).share < 0.2);
        loads.of(ONE).set_ready_from(None);
        loads.of(ONE).returned(NOW);
        assert_eq!(loads.of(ONE).ready_from(), None);
    }

    #[test]
    fn what_others_have_sent_is_what_is_not_ours() {
        let loads = Rc::new(Loads::new());
        let load = loads.of(ONE);
        assert_eq!(load.queue(), None);
        let ours = [(); 3].map(|()| Outstanding::begin(&loads, ONE, 0, NOW));
        let said = |waiting, running| Queue { waiting, running };
        load.set_queue(Some(said(2, 6)));
        assert_eq!(load.queue(), Some(said(2, 6)));
        let burden = load.burden(NOW);
        let (others, queued) = (burden.others, burden.queued);
        assert_eq!((burden.outstanding, others, queued), (3, 5, 2));
        load.set_queue(Some(said(0, 1)));
        assert_eq!(load.burden(NOW).others, 0);
        load.set_queue(Some(said(1 << 20, 0)));
        assert_eq!(load.queue(), Some(said(0xffff, 0)));
        load.set_queue(None);
        assert_eq!((load.queue(), load.burden(NOW).others), (None, 0));
        drop(ours);
    }

    #[test]
    fn it_is_ready_until_told_otherwise() {
        let loads = Loads::new();
        let load = loads.of(ONE);
        assert_eq!(load.ready_from(), Some(SINCE_EVER));
        assert_eq!(load.burden(Moment(1)).share, 1.0);
        load.set_ready_from(None);
        assert_eq!(load.ready_from(), None);
        load.set_ready_from(Some(NOW));
        assert_eq!(load.ready_from(), Some(NOW));
        assert!(load.burden(NOW).share < 0.2);
    }

    #[test]
    fn cores_together_lose_no_count() {
        let loads = Loads::new();
        let cancel_many = || {
            let mine = Rc::new(loads.clone());
            for turn in 0..50_000u64 {
                let call = Outstanding::begin(&mine, ONE, turn % 5, NOW);
                match turn % 3 {
                    0 => call.served(NOW),
                    1 => call.failed(NOW),
                    _ => {}
                }
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(cancel_many)));
        });
        let load = loads.of(ONE);
        assert_eq!((load.outstanding(), load.awaiting()), (0, 0));
        assert_eq!(load.reading(), 0);
    }
}
