//! Looking at jobs: the reader's port over PostgreSQL.
//!
//! A job moves between the tables of its places while somebody looks. Each look
//! is one statement and so sees one moment: no job is missed between two places,
//! and none is met twice.

mod branch;
mod history;
mod job;
mod place;
mod search;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgPool;
use taskflow_application::ports::{JobFilter, JobReader, Page, StoreResult};
use taskflow_domain::{Attempt, Job, JobEvent, JobId, TenantId, Timestamp};

use super::Inner;
use super::unit::{is_broken, patiently};
use crate::store::error::Fault;

/// The reader's port.
pub(super) struct PgReader(pub(super) Arc<Inner>);

#[async_trait]
impl JobReader for PgReader {
    async fn get(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        Ok(self.0.jobs(tenant, &[job], now).await?.pop())
    }

    async fn get_many(&self, tenant: TenantId, jobs: &[JobId], now: Timestamp) -> StoreResult<Vec<Job>> {
        self.0.jobs(tenant, jobs, now).await
    }

    async fn list(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>> {
        match self.0.search(tenant, filter, Some(page), now).await? {
            Some(search) => self.0.found(&search, now).await,
            None => Ok(Vec::new()),
        }
    }

    async fn ids(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<JobId>> {
        match self.0.search(tenant, filter, Some(page), now).await? {
            Some(search) => search.ids(&self.0).await,
            None => Ok(Vec::new()),
        }
    }

    async fn count(&self, tenant: TenantId, filter: &JobFilter, now: Timestamp) -> StoreResult<u64> {
        match self.0.search(tenant, filter, None, now).await? {
            Some(search) => search.count(&self.0).await,
            None => Ok(0),
        }
    }

    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u16,
        limit: u32,
    ) -> StoreResult<Option<Vec<Attempt>>> {
        history::attempts(&self.0, tenant, job, after, limit).await
    }

    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u32,
        limit: u32,
    ) -> StoreResult<Option<Vec<JobEvent>>> {
        history::events(&self.0, tenant, job, after, limit).await
    }
}

/// Runs a statement that only reads. A connection that broke while it lay idle
/// shows it here, and another one is tried.
pub(super) async fn read<T, F>(pool: &PgPool, mut attempt: impl FnMut() -> F) -> StoreResult<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    let mut stale = pool.size();
    loop {
        match patiently(async { attempt().await.map_err(Fault::from) }).await {
            Err(Fault::Driver(fault)) if stale > 0 && is_broken(&fault) => {
                tracing::debug!(%fault, "a pooled connection was broken");
                stale -= 1;
            }
            result => return result.map_err(Into::into),
        }
    }
}

/// A driver's failure to read a row.
fn unreadable(fault: sqlx::Error) -> taskflow_application::ports::StoreError {
    Fault::from(fault).into()
}
