//! The words that threads share. One epoch that cores read at each call; the rest is touched
//! only where something failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use super::fact::Target;
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
    /// Repeats that a provider may still see in this window.
    repeats: Box<[AtomicU32]>,
}

impl Board {
    /// A board that shows `first`, under epoch 1.
    pub fn new(first: Snapshot) -> Board {
        Board {
            epoch: CachePadded::new(AtomicU64::new(1)),
            snapshot: ArcSwap::from_pointee(first),
            provider_probes: (0..PROVIDERS_MAX).map(|_| AtomicBool::new(false)).collect(),
            endpoint_probes: (0..ENDPOINTS_MAX).map(|_| AtomicBool::new(false)).collect(),
            repeats: (0..PROVIDERS_MAX).map(|_| AtomicU32::new(0)).collect(),
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

    /// Gives the target's probe slot back. The office does, once it has taken the result in; a
    /// core does only if the probe was never sent.
    pub fn free_probe(&self, target: Target) {
        self.probe(target).store(false, Ordering::Release);
    }

    /// Takes one repeat from the provider's budget; false if it is used up.
    pub fn take_repeat(&self, provider: ProviderId) -> bool {
        self.repeats[provider.index()]
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    /// Sets what is left of the provider's budget. Office only.
    pub fn set_repeats(&self, provider: ProviderId, left: u32) {
        self.repeats[provider.index()].store(left, Ordering::Release);
    }
}
