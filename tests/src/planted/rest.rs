//! Queues and workers, with a defect.

use async_trait::async_trait;
use taskflow_application::ports::{
    HeldLease, LeaseKey, QueueDepth, QueuePut, QueueStore, StoreResult, Worker, WorkerStore,
};
use taskflow_domain::queue::Queue;
use taskflow_domain::{JobState, QueueName, TenantId, Timestamp, WorkerName};

use super::{Bug, Planted};

#[async_trait]
impl QueueStore for Planted {
    async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        self.inner.queues.get(name).await
    }

    async fn list(&self) -> StoreResult<Vec<Queue>> {
        self.inner.queues.list().await
    }

    async fn put(&self, mut put: QueuePut) -> StoreResult<Option<Queue>> {
        if self.is(Bug::RateNotSpent) {
            put.settings.rate = None;
        }
        self.inner.queues.put(put).await
    }

    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let mut depths = self.inner.queues.depths().await?;
        if self.is(Bug::CounterDrift) {
            for depth in &mut depths {
                depth.by_state[5] += 1;
            }
        }
        Ok(depths)
    }

    async fn draining(&self) -> StoreResult<Vec<QueueName>> {
        self.inner.queues.draining().await
    }

    async fn purge(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<u32> {
        self.inner.queues.purge(name, state, before, limit).await
    }

    async fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> StoreResult<u32> {
        self.inner.queues.purgeable(name, state, before, most).await
    }
}

#[async_trait]
impl WorkerStore for Planted {
    async fn beat(&self, worker: &Worker) -> StoreResult<Vec<HeldLease>> {
        let mut worker = worker.clone();
        if self.is(Bug::ShortLease) {
            worker.lease_until = worker.beat_at;
        }
        self.inner.workers.beat(&worker).await
    }

    async fn heard_of(&self, leases: &[LeaseKey], now: Timestamp, until: Timestamp) -> StoreResult<()> {
        self.inner.workers.heard_of(leases, now, until).await
    }

    async fn leave(&self, name: &WorkerName, now: Timestamp) -> StoreResult<()> {
        self.inner.workers.leave(name, now).await
    }

    async fn forget(&self, before: Timestamp) -> StoreResult<u32> {
        self.inner.workers.forget(before).await
    }

    async fn list(&self) -> StoreResult<Vec<Worker>> {
        self.inner.workers.list().await
    }

    async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>> {
        self.inner.workers.busy().await
    }
}
