//! Workers: who runs jobs, and who is still alive.

use async_trait::async_trait;
use taskflow_domain::{JobId, Kind, LeaseToken, QueueName, TenantId, Timestamp, WorkerName};

use super::StoreResult;

/// A worker as it made itself known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name, unique among the workers of its tenant. The workers of TaskFlow
    /// itself have names of their own: nobody's worker is another's.
    pub name: WorkerName,
    /// The tenant that it serves; `None` for all, which is TaskFlow's own.
    pub tenant: Option<TenantId>,
    /// The queues that it serves; empty for all.
    pub queues: Vec<QueueName>,
    /// The kinds that it serves; empty for the engine's own worker.
    pub kinds: Vec<Kind>,
    /// How many jobs it runs at once; none any more when it is leaving.
    pub slots: u32,
    /// Since when it is known.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub beat_at: Timestamp,
    /// When its lease ends unless it is heard of again.
    pub lease_until: Timestamp,
}

/// Whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It was heard of in time.
    Alive,
    /// The same, and it takes no more jobs.
    Leaving,
    /// It should have been heard of, and was not.
    Lost,
}

impl Worker {
    /// Whether it is there at `now`: what is alive is what `explain` counts as such.
    pub fn state(&self, now: Timestamp) -> WorkerState {
        match self.slots {
            _ if self.lease_until <= now => WorkerState::Lost,
            0 => WorkerState::Leaving,
            _ => WorkerState::Alive,
        }
    }
}

/// A lease that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The job's owner.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// The fence.
    pub token: LeaseToken,
    /// Whether somebody asked for the job's end.
    pub cancel: bool,
}

/// What names a lease: whose job, which, and its fence.
pub type LeaseKey = (TenantId, JobId, LeaseToken);

/// Workers.
#[async_trait]
pub trait WorkerStore: Send + Sync {
    /// Makes a worker known, or heard of again: one write, whatever it runs.
    /// All leases that it claimed without an end of their own last until
    /// `lease_until` from now on. Answers all leases that it holds.
    async fn beat(&self, worker: &Worker) -> StoreResult<Vec<HeldLease>>;

    /// Whoever holds one of these leases and pulls its jobs was heard of at `now`, and is
    /// there until `until` at least.
    async fn heard_of(&self, leases: &[LeaseKey], now: Timestamp, until: Timestamp) -> StoreResult<()>;

    /// Forgets a worker of TaskFlow itself that left in good order. Leases that it
    /// still holds expire at once.
    async fn leave(&self, name: &WorkerName, now: Timestamp) -> StoreResult<()>;

    /// Forgets workers without leases that were not heard of since `before`.
    /// Attempts that they made keep their names. Nothing is left of a tenant's
    /// worker that was never handed a job.
    async fn forget(&self, before: Timestamp) -> StoreResult<u32>;

    /// All known workers, by name, then by tenant.
    async fn list(&self) -> StoreResult<Vec<Worker>>;

    /// How many jobs each worker runs, of those that run any: by its name, then by
    /// the tenant that it serves.
    async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>>;
}
