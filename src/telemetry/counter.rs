//! The number that everything here counts with.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer and any readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    #[inline]
    pub fn add(&self, n: u64) {
        // Not fetch_add: nobody else writes, and the lock prefix costs as much as the rest.
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes from it; it never falls below zero.
    #[inline]
    pub fn take(&self, n: u64) {
        self.0
            .store(self.get().saturating_sub(n), Ordering::Relaxed);
    }

    /// Sets it.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// What it stands at.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
