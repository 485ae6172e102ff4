//! What a worker does, in numbers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The numbers of one worker, counted as things happen. Each is exact by itself;
/// together they may be a moment apart.
#[derive(Debug, Default)]
pub struct WorkerStats {
    slots: u32,
    pub(crate) running: AtomicU32,
    pub(crate) unsettled: AtomicU32,
    pub(crate) claims: Counter,
    pub(crate) claimed: Counter,
    pub(crate) claim_errors: Counter,
    pub(crate) settles: Counter,
    pub(crate) settled: Counter,
    pub(crate) settle_errors: Counter,
    pub(crate) beats: Counter,
    pub(crate) beat_errors: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) released: Counter,
}

/// The numbers of a worker at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// How many jobs it may run at once.
    pub slots: u32,
    /// How many it runs.
    pub running: u32,
    /// Attempts that ended and are not reported yet.
    pub unsettled: u32,
    /// Claims that were answered.
    pub claims: u64,
    /// Jobs that they brought.
    pub claimed: u64,
    /// Claims that failed.
    pub claim_errors: u64,
    /// Batches of reports that were answered.
    pub settles: u64,
    /// Attempts whose end was committed.
    pub settled: u64,
    /// Batches of reports that failed.
    pub settle_errors: u64,
    /// Heartbeats that were answered.
    pub beats: u64,
    /// Heartbeats that failed.
    pub beat_errors: u64,
    /// Attempts that were dropped, or whose report was refused, because the lease
    /// was lost.
    pub leases_lost: u64,
    /// Leases that were handed back because the answer of their claim was lost.
    pub released: u64,
}

impl WorkerStats {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots, ..Self::default() }
    }

    /// The numbers now.
    pub fn snapshot(&self) -> StatsSnapshot {
        StatsSnapshot {
            slots: self.slots,
            running: self.running.load(Ordering::Relaxed),
            unsettled: self.unsettled.load(Ordering::Relaxed),
            claims: self.claims.get(),
            claimed: self.claimed.get(),
            claim_errors: self.claim_errors.get(),
            settles: self.settles.get(),
            settled: self.settled.get(),
            settle_errors: self.settle_errors.get(),
            beats: self.beats.get(),
            beat_errors: self.beat_errors.get(),
            leases_lost: self.leases_lost.get(),
            released: self.released.get(),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
