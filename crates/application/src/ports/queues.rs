//! Queues: their settings and how full they are.

use async_trait::async_trait;
use taskflow_domain::queue::{Queue, QueueSettings};
use taskflow_domain::{JobState, QueueName, Timestamp};

use super::{AuditNote, StoreResult};

/// How full a queue is. Kept as work happens, never counted over the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Which queue.
    pub name: QueueName,
    /// Jobs by state, in the order of [`taskflow_domain::JobState::ALL`]; of the
    /// terminal states, those that are kept. Due jobs that are not promoted yet
    /// count as SCHEDULED.
    pub by_state: [u64; 9],
    /// Since when the oldest due job is due.
    pub oldest_due: Option<Timestamp>,
    /// How far the virtual times of its lanes that compete for work lie apart, in
    /// microseconds: the live side of the bound in `docs/fairness.md`.
    pub lag_us: u64,
}

/// Queues.
#[async_trait]
pub trait QueueStore: Send + Sync {
    /// One queue, if it exists.
    async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>>;

    /// All queues, by name.
    async fn list(&self) -> StoreResult<Vec<Queue>>;

    /// Sets what an operator sets, and makes the queue if it does not exist.
    /// When this returns, no later claim starts a job against the new settings.
    /// Lanes that a lifted pause or limit lets go begin at the least virtual time
    /// of those that competed meanwhile: what they missed is not made up.
    /// With a note of it goes the change: both are made or neither.
    async fn put(
        &self,
        name: &QueueName,
        settings: &QueueSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Queue>;

    /// The same, if the queue stands as `was` says; `None` says that it does not
    /// exist. Answers `None`, and changes nothing, where it does not stand so.
    async fn put_if(
        &self,
        name: &QueueName,
        was: Option<&QueueSettings>,
        settings: &QueueSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Option<Queue>>;

    /// How full the queues are, by name.
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>>;

    /// The queues that take no new jobs, by name.
    async fn draining(&self) -> StoreResult<Vec<QueueName>>;

    /// Deletes jobs of a queue that stand in `state`, with all that belongs to
    /// them, at most `limit`, in one short transaction; only such that have stood
    /// there since before `before`, if that is given. Running jobs cannot be
    /// purged: nothing happens. Keys of purged jobs are free again.
    async fn purge(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<u32>;

    /// How many jobs [`Self::purge`] would delete, counted up to `most`.
    async fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> StoreResult<u32>;
}
