//! Reading jobs, queues, tenants and workers, over a link.

use async_trait::async_trait;
use taskflow_application::ports::{
    AuditNote, HeldLease, JobFilter, JobReader, LeaseKey, Page, QueueDepth, QueuePut, QueueStore,
    StoreResult, TenantStore, Worker, WorkerStore,
};
use taskflow_checker::history::LeaseRow;
use taskflow_domain::queue::Queue;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{
    Attempt, Job, JobEvent, JobId, JobState, QueueName, TenantId, TenantSlug, Timestamp, WorkerName,
};

use super::link::Link;
use super::log::Log;

/// Nothing that the trace needs.
pub(super) fn nothing<T>(_: &mut Log, _: &T, _: i64) -> String {
    String::new()
}

/// How many.
pub(super) fn count<T: AsRef<[U]>, U>(_: &mut Log, items: &T, _: i64) -> String {
    items.as_ref().len().to_string()
}

#[async_trait]
impl JobReader for Link {
    async fn get(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        let note = |_: &mut Log, job: &Option<Job>, _| {
            job.as_ref().map_or_else(String::new, |job| format!("{} {}", job.spec.id, job.standing.state()))
        };
        self.pass("get", self.sim.stores.reader.get(tenant, job, now), note).await
    }

    async fn get_many(&self, tenant: TenantId, jobs: &[JobId], now: Timestamp) -> StoreResult<Vec<Job>> {
        self.pass("get_many", self.sim.stores.reader.get_many(tenant, jobs, now), count).await
    }

    async fn list(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>> {
        self.pass("list", self.sim.stores.reader.list(tenant, filter, page, now), count).await
    }

    async fn ids(
        &self,
        tenant: TenantId,
        filter: &JobFilter,
        page: Page,
        now: Timestamp,
    ) -> StoreResult<Vec<JobId>> {
        self.pass("ids", self.sim.stores.reader.ids(tenant, filter, page, now), count).await
    }

    async fn count(&self, tenant: TenantId, filter: &JobFilter, now: Timestamp) -> StoreResult<u64> {
        self.pass("count", self.sim.stores.reader.count(tenant, filter, now), nothing).await
    }

    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u16,
        limit: u32,
    ) -> StoreResult<Option<Vec<Attempt>>> {
        self.pass("attempts", self.sim.stores.reader.attempts(tenant, job, after, limit), nothing).await
    }

    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: u32,
        limit: u32,
    ) -> StoreResult<Option<Vec<JobEvent>>> {
        self.pass("events", self.sim.stores.reader.events(tenant, job, after, limit), nothing).await
    }
}

#[async_trait]
impl QueueStore for Link {
    async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        self.pass("queue", self.sim.stores.queues.get(name), nothing).await
    }

    async fn list(&self) -> StoreResult<Vec<Queue>> {
        self.pass("queues", self.sim.stores.queues.list(), count).await
    }

    async fn put(&self, put: QueuePut) -> StoreResult<Option<Queue>> {
        self.pass("put_queue", self.sim.stores.queues.put(put), nothing).await
    }

    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        self.pass("depths", self.sim.stores.queues.depths(), count).await
    }

    async fn draining(&self) -> StoreResult<Vec<QueueName>> {
        self.pass("draining", self.sim.stores.queues.draining(), count).await
    }

    async fn purge(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<u32> {
        self.pass("purge", self.sim.stores.queues.purge(name, state, before, limit), nothing).await
    }

    async fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> StoreResult<u32> {
        let purgeable = self.sim.stores.queues.purgeable(name, state, before, most);
        self.pass("purgeable", purgeable, nothing).await
    }
}

#[async_trait]
impl TenantStore for Link {
    async fn get_many(&self, ids: &[TenantId]) -> StoreResult<Vec<Tenant>> {
        self.pass("get_tenants", self.sim.stores.tenants.get_many(ids), count).await
    }

    async fn get(&self, slug: &TenantSlug) -> StoreResult<Option<Tenant>> {
        self.pass("tenant", self.sim.stores.tenants.get(slug), nothing).await
    }

    async fn ensure(&self, slug: &TenantSlug, now: Timestamp) -> StoreResult<Tenant> {
        self.pass("ensure_tenant", self.sim.stores.tenants.ensure(slug, now), nothing).await
    }

    async fn list(&self, after: Option<&TenantSlug>, limit: u32) -> StoreResult<Vec<Tenant>> {
        self.pass("tenants", self.sim.stores.tenants.list(after, limit), count).await
    }

    async fn put(
        &self,
        slug: &TenantSlug,
        settings: &TenantSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Tenant> {
        let put = self.sim.stores.tenants.put(slug, settings, now, note);
        self.pass("put_tenant", put, nothing).await
    }
}

#[async_trait]
impl WorkerStore for Link {
    async fn beat(&self, worker: &Worker) -> StoreResult<Vec<HeldLease>> {
        let note = |log: &mut Log, held: &Vec<HeldLease>, at| {
            let (name, until) = (worker.name.as_str().to_owned(), worker.lease_until.micros());
            let what = format!("{name} {}", held.len());
            log.lease(LeaseRow::Beat { at, worker: name, until });
            what
        };
        self.pass("beat", self.sim.stores.workers.beat(worker), note).await
    }

    async fn heard_of(&self, leases: &[LeaseKey], now: Timestamp, until: Timestamp) -> StoreResult<()> {
        self.pass("heard_of", self.sim.stores.workers.heard_of(leases, now, until), nothing).await
    }

    async fn leave(&self, name: &WorkerName, now: Timestamp) -> StoreResult<()> {
        let note = |log: &mut Log, (): &(), at| {
            let worker = name.as_str().to_owned();
            log.lease(LeaseRow::Beat { at, worker, until: now.micros() });
            name.to_string()
        };
        self.pass("leave", self.sim.stores.workers.leave(name, now), note).await
    }

    async fn forget(&self, before: Timestamp) -> StoreResult<u32> {
        self.pass("forget", self.sim.stores.workers.forget(before), nothing).await
    }

    async fn list(&self) -> StoreResult<Vec<Worker>> {
        self.pass("workers", self.sim.stores.workers.list(), count).await
    }

    async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>> {
        self.pass("busy", self.sim.stores.workers.busy(), count).await
    }
}
