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

/// What a queue must be for settings to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueWas {
    /// Whatever it is.
    Anything,
    /// It does not exist.
    Absent,
    /// It has these settings.
    Like(QueueSettings),
}

impl QueueWas {
    /// Whether a queue with the settings `found` is what it must be.
    pub fn is(&self, found: Option<&QueueSettings>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Like(was) => found == Some(was),
        }
    }
}

/// Settings that are put.
#[derive(Clone, Debug)]
pub struct QueuePut {
    /// Of which queue.
    pub name: QueueName,
    /// What it must be until now.
    pub was: QueueWas,
    /// What it is to be.
    pub settings: QueueSettings,
    /// When.
    pub now: Timestamp,
    /// What the audit is told with it.
    pub note: Option<AuditNote>,
}

impl QueuePut {
    /// Puts `settings`, whatever the queue was until `now`.
    pub const fn new(name: QueueName, settings: QueueSettings, now: Timestamp) -> Self {
        Self { name, was: QueueWas::Anything, settings, now, note: None }
    }
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
    /// Answers `None`, and changes nothing, where the queue is not what it must be.
    async fn put(&self, put: QueuePut) -> StoreResult<Option<Queue>>;

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
