//! Reference adapters: the executable meaning of each port.
//!
//! One mutex guards one [`State`], so each port method is one step. Nothing is
//! kept that can be derived: what runs, what is due and how full a queue is are
//! read off the jobs. All collections are ordered, so equal calls give equal
//! answers, in every run.
//!
//! [`LocalWakeups`] is the news of a single process, [`LocalAllowances`] what its
//! callers may still request; they serve production too, with an embedded database. The clock, ids and chance here are for tests.

mod allowance;
mod audit;
mod claim;
mod commit;
mod events;
mod explain;
mod fire;
mod insert;
mod jobs;
mod keys;
mod leases;
mod proof;
mod queues;
mod reader;
mod rules;
mod state;
mod stats;
mod system;
mod tenants;
mod upkeep;
mod wakeups;
mod workers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use allowance::LocalAllowances;
pub use system::{ManualClock, SeededIds, SeededJitter};
pub use wakeups::LocalWakeups;

use crate::ports::Stores;
use state::State;

/// All stores over one state in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    allowances: Arc<LocalAllowances>,
}

impl MemoryStore {
    /// The stores of a fresh, empty memory.
    pub fn stores() -> Stores {
        Arc::new(Self::default()).ports()
    }

    /// The stores of this memory.
    pub fn ports(self: &Arc<Self>) -> Stores {
        Stores {
            jobs: self.clone(),
            reader: self.clone(),
            queues: self.clone(),
            tenants: self.clone(),
            workers: self.clone(),
            rules: self.clone(),
            events: self.clone(),
            keys: self.clone(),
            audit: self.clone(),
            explain: self.clone(),
            stats: self.clone(),
            allowances: self.allowances.clone(),
        }
    }

    /// How much waits for rules to go on with it: events in the outbox, fan-outs
    /// that have not ended, occurrences that wait for the ones before. A look that
    /// holds nothing, for whoever waits until everything has come to rest.
    pub fn undispatched(&self) -> usize {
        let state = self.state();
        let fan_outs = state.fan_outs.values().filter(|row| !row.done).count();
        let waiting = state.rules.values().filter(|row| row.rule.queued_at.is_some()).count();
        state.outbox.len() + fan_outs + waiting + state.rule_waits.len()
    }

    /// The state, also after a panic elsewhere: each method leaves it whole,
    /// because it checks before it writes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
