//! The port of workers, on the state.

use std::collections::BTreeMap;

use async_trait::async_trait;
use taskflow_domain::{TenantId, Timestamp, WorkerName};

use super::MemoryStore;
use super::state::{Place, Running, State, WorkerKey};
use crate::ports::{HeldLease, LeaseKey, StoreResult, Worker, WorkerStore};

impl Running {
    /// Which worker runs it.
    pub(super) fn holder(&self) -> WorkerKey {
        (self.worker.clone(), self.serves)
    }

    /// Whether this worker runs it.
    pub(super) fn is_of(&self, worker: &Worker) -> bool {
        self.worker == worker.name && self.serves == worker.tenant
    }
}

impl State {
    fn held_by(&self, worker: &Worker) -> Vec<HeldLease> {
        let jobs = self.running.iter().filter_map(|key| self.jobs.get(key));
        let held = jobs.filter_map(|job| {
            let running = job.running().filter(|running| running.is_of(worker))?;
            Some(HeldLease {
                tenant: job.spec.tenant,
                job: job.spec.id,
                token: running.token,
                cancel: running.cancel.is_some(),
            })
        });
        held.collect()
    }

    /// The running attempts of a worker of the engine.
    fn runs_of<'a>(&'a mut self, name: &'a WorkerName) -> impl Iterator<Item = &'a mut Running> {
        self.jobs.values_mut().filter_map(move |job| match &mut job.place {
            Place::Running(running) if running.worker == *name && running.serves.is_none() => Some(running),
            _ => None,
        })
    }
}

#[async_trait]
impl WorkerStore for MemoryStore {
    async fn beat(&self, worker: &Worker) -> StoreResult<Vec<HeldLease>> {
        let mut state = self.state();
        state.workers.insert((worker.name.clone(), worker.tenant), worker.clone());
        Ok(state.held_by(worker))
    }

    async fn heard_of(&self, leases: &[LeaseKey], now: Timestamp, until: Timestamp) -> StoreResult<()> {
        let mut state = self.state();
        for (tenant, job, token) in leases {
            let running = state.jobs.get(&(*tenant, *job)).and_then(|job| job.running());
            let Some(holder) = running.filter(|running| running.token == *token).map(Running::holder) else {
                continue;
            };
            let worker = state.workers.get_mut(&holder).filter(|worker| !worker.kinds.is_empty());
            if let Some(worker) = worker {
                worker.beat_at = worker.beat_at.max(now);
                worker.lease_until = worker.lease_until.max(until);
            }
        }
        Ok(())
    }

    async fn leave(&self, name: &WorkerName, now: Timestamp) -> StoreResult<()> {
        let mut state = self.state();
        // Leases without an end of their own have ended with their worker.
        state.workers.remove(&(name.clone(), None));
        for running in state.runs_of(name) {
            running.lease_until = running.lease_until.map(|until| until.min(now));
        }
        Ok(())
    }

    async fn forget(&self, before: Timestamp) -> StoreResult<u32> {
        let mut state = self.state();
        let silent: Vec<WorkerKey> = state
            .workers
            .iter()
            .filter(|(_, worker)| worker.beat_at < before && state.held_by(worker).is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        for key in &silent {
            state.workers.remove(key);
        }
        Ok(u32::try_from(silent.len()).unwrap_or(u32::MAX))
    }

    async fn list(&self) -> StoreResult<Vec<Worker>> {
        Ok(self.state().workers.values().cloned().collect())
    }

    async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>> {
        let state = self.state();
        let mut busy: BTreeMap<WorkerKey, u32> = BTreeMap::new();
        for running in state.running.iter().filter_map(|key| state.jobs.get(key)?.running()) {
            *busy.entry(running.holder()).or_default() += 1;
        }
        Ok(busy.into_iter().map(|((name, tenant), n)| (name, tenant, n)).collect())
    }
}
