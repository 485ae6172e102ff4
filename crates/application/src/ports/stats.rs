//! What happened over time: kept as sums, never counted over the history.

use async_trait::async_trait;
use taskflow_domain::{Kind, QueueName, TenantId, TenantSlug, Timestamp};

use super::StoreResult;
use crate::tally::{Batch, Counts, Durations};

/// How long the buckets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Span {
    /// In seconds, as the databases keep it.
    pub const fn seconds(self) -> i32 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// The beginning of the bucket of `at`.
    pub fn floor(self, at: Timestamp) -> Timestamp {
        let length = i64::from(self.seconds()) * 1_000_000;
        Timestamp::from_micros(at.micros() - at.micros().rem_euclid(length))
    }
}

/// What a queue did lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// How often what happened.
    pub counts: Counts,
    /// How long it waited and ran.
    pub durations: Durations,
}

/// Which buckets, and how they are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesWish {
    /// How long the buckets are.
    pub span: Span,
    /// Only buckets that begin then or later.
    pub since: Timestamp,
    /// Only buckets that begin earlier.
    pub until: Timestamp,
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Whether tenants are told apart.
    pub by_tenant: bool,
    /// Whether queues are told apart.
    pub by_queue: bool,
    /// Whether kinds are told apart.
    pub by_kind: bool,
    /// How many buckets at most, the latest first.
    pub limit: u32,
}

/// One bucket of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins.
    pub at: Timestamp,
    /// Of which tenant, if they are told apart.
    pub tenant: Option<TenantSlug>,
    /// Of which queue, if they are told apart.
    pub queue: Option<QueueName>,
    /// Of which kind, if they are told apart.
    pub kind: Option<Kind>,
    /// How often what happened.
    pub counts: Counts,
}

/// What a loop of a runner did last.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoopStatus {
    /// Its name.
    pub name: String,
    /// How often it ran since the process began.
    pub runs: u64,
    /// How many of these runs failed.
    pub failures: u64,
    /// When its last run began, in microseconds since the epoch.
    pub last_started_us: Option<i64>,
    /// How long its last run took that has ended, in microseconds.
    pub last_took_us: Option<i64>,
    /// Why its last run failed, if it did.
    pub error: Option<String>,
}

/// A process with loops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerStatus {
    /// Its name, unique for each process.
    pub name: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// When it last told.
    pub seen_at: Timestamp,
    /// Its loops, by name.
    pub loops: Vec<LoopStatus>,
}

/// Sums over time, and what runners tell.
#[async_trait]
pub trait StatStore: Send + Sync {
    /// Adds what was counted: all of it, or nothing. Queues and kinds that do
    /// not exist are passed over.
    async fn add(&self, batch: &Batch) -> StoreResult<()>;

    /// What each queue did in the minutes that begin at `since` or later.
    async fn recent(&self, since: Timestamp) -> StoreResult<Vec<(QueueName, Recent)>>;

    /// Buckets, the latest first; those without anything are left out.
    async fn series(&self, wish: &SeriesWish) -> StoreResult<Vec<Bucket>>;

    /// Forgets minutes and hours that begin earlier, and runners that were not
    /// heard of since `runners`. Answers how many buckets.
    async fn forget(&self, minutes: Timestamp, hours: Timestamp, runners: Timestamp) -> StoreResult<u64>;

    /// Keeps what a process tells of its loops.
    async fn tell(&self, runner: &RunnerStatus) -> StoreResult<()>;

    /// Forgets a process that ended in good order.
    async fn leave(&self, runner: &str) -> StoreResult<()>;

    /// The processes that told, by name.
    async fn runners(&self) -> StoreResult<Vec<RunnerStatus>>;
}
