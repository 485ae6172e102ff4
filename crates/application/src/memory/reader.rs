//! The port of looking at jobs, on the state.

use async_trait::async_trait;
use taskflow_domain::{Attempt, Job, JobEvent, JobId, TenantId, Timestamp};

use super::MemoryStore;
use super::state::{JobRow, State};
use crate::ports::{JobFilter, JobReader, Page, StoreResult};

impl State {
    /// Jobs of a tenant that meet the filter, newest first.
    fn matching<'a>(
        &'a self,
        tenant: TenantId,
        filter: &'a JobFilter,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a JobRow> {
        let own = self.jobs.values().rev().filter(move |job| job.spec.tenant == tenant);
        own.filter(move |job| meets(job, filter, now))
    }

    fn page<'a>(
        &'a self,
        tenant: TenantId,
        filter: &'a JobFilter,
        page: Page,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a JobRow> {
        let older = move |job: &&JobRow| page.before.is_none_or(|before| job.spec.id < before);
        self.matching(tenant, filter, now).filter(older).take(page.limit as usize)
    }

    fn show(&self, job: &JobRow, now: Timestamp) -> Option<Job> {
        Some(job.show(&self.tenants.get(&job.spec.tenant)?.slug, now))
    }
}

fn meets(job: &JobRow, filter: &JobFilter, now: Timestamp) -> bool {
    let spec = &job.spec;
    (filter.states.is_empty() || filter.states.contains(&job.standing(now).state()))
        && filter.queue.as_ref().is_none_or(|queue| *queue == spec.queue)
        && filter.kind.as_ref().is_none_or(|kind| *kind == spec.kind)
        && filter.priority.is_none_or(|priority| priority == spec.priority)
        && filter.correlation_id.is_none_or(|cause| cause == spec.correlation_id)
        && filter.rule_id.is_none_or(|rule| spec.rule_id == Some(rule))
        && filter.labels.iter().all(|(key, value)| spec.labels.get(key) == Some(value))
        && filter.created_after.is_none_or(|after| spec.created_at > after)
        && filter.created_before.is_none_or(|before| spec.created_at < before)
}

#[async_trait]
impl JobReader for MemoryStore {
    async fn get(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        let state = self.state();
        Ok(state.jobs.get(&(tenant, job)).and_then(|job| state.show(job, now)))
    }

    async fn get_many(&self, tenant: TenantId, jobs: &[JobId], now: Timestamp) -> StoreResult<Vec<Job>> {
        let state = self.state();
        let found = jobs.iter().filter_map(|job| state.jobs.get(&(tenant, *job)));
        Ok(found.filter_map(|job| state.show(job, now)).collect())
    }

    async fn list(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>> {
        let state = self.state();
        Ok(state.page(tenant, filter, page, now).filter_map(|job| state.show(job, now)).collect())
    }

    async fn ids(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<JobId>> {
        Ok(self.state().page(tenant, filter, page, now).map(|job| job.spec.id).collect())
    }

    async fn count(&self, tenant: TenantId, filter: &JobFilter, now: Timestamp) -> StoreResult<u64> {
        Ok(self.state().matching(tenant, filter, now).count() as u64)
    }

    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u16,
        limit: u32,
    ) -> StoreResult<Option<Vec<Attempt>>> {
        let state = self.state();
        let attempts = state.jobs.get(&(tenant, job)).map(JobRow::all_attempts);
        Ok(attempts.map(|attempts| {
            let later = attempts.into_iter().map(|numbered| numbered.attempt);
            later.filter(|attempt| attempt.number > after).take(limit as usize).collect()
        }))
    }

    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u32,
        limit: u32,
    ) -> StoreResult<Option<Vec<JobEvent>>> {
        let state = self.state();
        let events = state.jobs.get(&(tenant, job)).map(JobRow::history);
        Ok(events.map(|events| {
            events.into_iter().filter(|event| event.seq > after).take(limit as usize).collect()
        }))
    }
}
