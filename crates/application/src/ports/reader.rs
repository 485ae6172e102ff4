//! Looking at jobs.

use async_trait::async_trait;
use taskflow_domain::{
    Attempt, CorrelationId, Job, JobEvent, JobId, JobState, Kind, Labels, Priority, QueueName, RuleId,
    TenantId, Timestamp,
};

use super::StoreResult;

/// Which jobs. Everything that is given must hold; of `states`, one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    /// In one of these states; empty for any.
    pub states: Vec<JobState>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// From this cause.
    pub correlation_id: Option<CorrelationId>,
    /// Made by this rule.
    pub rule_id: Option<RuleId>,
    /// With all of these labels.
    pub labels: Labels,
    /// Created later than this.
    pub created_after: Option<Timestamp>,
    /// Created earlier than this.
    pub created_before: Option<Timestamp>,
}

/// Which part of a list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// How many at most.
    pub limit: u32,
}

/// Looking at jobs. `now` decides whether a scheduled job shows as PENDING
/// already. A job of another tenant is absent.
#[async_trait]
pub trait JobReader: Send + Sync {
    /// One job.
    async fn get(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Job>>;

    /// Several jobs, in the order of the ids; absent ones are left out.
    async fn get_many(&self, tenant: TenantId, jobs: &[JobId], now: Timestamp) -> StoreResult<Vec<Job>>;

    /// Jobs in falling order of their ids.
    async fn list(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>>;

    /// The ids of such jobs, in falling order.
    async fn ids(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<JobId>>;

    /// How many jobs meet the filter.
    async fn count(&self, tenant: TenantId, filter: &JobFilter, now: Timestamp) -> StoreResult<u64>;

    /// A job's attempts in rising order of their numbers, the running one last;
    /// `None` if the job is absent. Only attempts with a greater number than
    /// `after`, at most `limit`.
    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u16,
        limit: u32,
    ) -> StoreResult<Option<Vec<Attempt>>>;

    /// A job's history in rising order; `None` if the job is absent. Only
    /// entries with a greater number than `after`, at most `limit`.
    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u32,
        limit: u32,
    ) -> StoreResult<Option<Vec<JobEvent>>>;
}
