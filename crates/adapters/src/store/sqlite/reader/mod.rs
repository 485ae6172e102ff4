//! [`JobReader`]: looking at jobs.

mod filter;
mod history;
pub(super) mod look;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use taskflow_application::ports::{JobFilter, JobReader, Page, StoreResult};
use taskflow_domain::{Attempt, Job, JobEvent, JobId, TenantId, Timestamp};
use uuid::Uuid;

use super::super::error::Fault;
use super::{Shared, SqliteStore};

#[async_trait]
impl JobReader for SqliteStore {
    async fn get(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        Ok(self.get_many(tenant, &[job], now).await?.pop())
    }

    async fn get_many(&self, tenant: TenantId, jobs: &[JobId], now: Timestamp) -> StoreResult<Vec<Job>> {
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
        Ok(get_many(&self.shared, tenant, &ids, now).await?)
    }

    async fn list(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>> {
        Ok(list(&self.shared, tenant, filter, page, now).await?)
    }

    async fn ids(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<JobId>> {
        let mut reader = self.shared.readers.acquire().await.map_err(Fault::from)?;
        let ids = ids(&mut reader, &self.shared, tenant, filter, page, now).await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    async fn count(&self, tenant: TenantId, filter: &JobFilter, now: Timestamp) -> StoreResult<u64> {
        Ok(count(&self.shared, tenant, filter, now).await?)
    }

    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u16,
        limit: u32,
    ) -> StoreResult<Option<Vec<Attempt>>> {
        Ok(history::attempts(&self.shared, tenant, job, after, limit).await?)
    }

    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u32,
        limit: u32,
    ) -> StoreResult<Option<Vec<JobEvent>>> {
        Ok(history::events(&self.shared, tenant, job, after, limit).await?)
    }
}

async fn get_many(
    shared: &Shared,
    tenant: TenantId,
    ids: &[Uuid],
    now: Timestamp,
) -> Result<Vec<Job>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = shared.readers.acquire().await?;
    look::look(&mut reader, &shared.catalog, tenant, ids, now).await
}

/// The ids and then the jobs, both of one moment.
async fn list(
    shared: &Shared,
    tenant: TenantId,
    filter: &JobFilter,
    page: Page,
    now: Timestamp,
) -> Result<Vec<Job>, Fault> {
    let mut moment = shared.readers.begin().await?;
    let ids = ids(&mut moment, shared, tenant, filter, page, now).await?;
    let jobs = if ids.is_empty() {
        Vec::new()
    } else {
        look::look(&mut moment, &shared.catalog, tenant, &ids, now).await?
    };
    moment.commit().await?;
    Ok(jobs)
}

async fn ids(
    reader: &mut SqliteConnection,
    shared: &Shared,
    tenant: TenantId,
    filter: &JobFilter,
    page: Page,
    now: Timestamp,
) -> Result<Vec<Uuid>, Fault> {
    let Some(search) = filter::search(reader, &shared.catalog, tenant, filter, page.before, now).await?
    else {
        return Ok(Vec::new());
    };
    let (sql, values) = search.ids(page.limit);
    let rows = values.bind(sqlx::query(AssertSqlSafe(sql))).fetch_all(reader).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn count(shared: &Shared, tenant: TenantId, filter: &JobFilter, now: Timestamp) -> Result<u64, Fault> {
    let mut reader = shared.readers.acquire().await?;
    let Some(search) = filter::search(&mut reader, &shared.catalog, tenant, filter, None, now).await? else {
        return Ok(0);
    };
    let (sql, values) = search.count();
    let count: i64 =
        values.bind(sqlx::query(AssertSqlSafe(sql))).fetch_one(&mut *reader).await?.try_get(0)?;
    Ok(u64::try_from(count).unwrap_or_default())
}
