//! The port of queues, on the state.

use std::collections::BTreeMap;

use async_trait::async_trait;
use taskflow_domain::queue::{Bucket, Queue, QueueSettings};
use taskflow_domain::{JobId, JobState, QueueName, Standing, TenantId, Timestamp};

use super::MemoryStore;
use super::state::{JobRow, Place, State};
use crate::ports::{QueueDepth, QueuePut, QueueStore, StoreResult};

/// A queue with the state of its rate limit, and when its limits last changed.
#[derive(Clone, Debug)]
pub(super) struct QueueRow {
    pub(super) settings: QueueSettings,
    pub(super) bucket: Bucket,
    pub(super) max_running_at: Option<Timestamp>,
    pub(super) per_tenant_at: Option<Timestamp>,
}

impl Default for QueueRow {
    /// Its bucket is empty since long ago, so that a first rate finds it full.
    fn default() -> Self {
        let bucket = Bucket { micro_tokens: 0, at: Timestamp::from_micros(0) };
        Self { settings: QueueSettings::default(), bucket, max_running_at: None, per_tenant_at: None }
    }
}

impl QueueRow {
    fn set(&mut self, settings: &QueueSettings, now: Timestamp) {
        if self.settings.max_running != settings.max_running {
            self.max_running_at = Some(now);
        }
        if self.settings.max_running_per_tenant != settings.max_running_per_tenant {
            self.per_tenant_at = Some(now);
        }
        self.settings = settings.clone();
    }
}

impl State {
    fn depth(&self, name: &QueueName) -> QueueDepth {
        let mut depth = QueueDepth { name: name.clone(), by_state: [0; 9], oldest_due: None, lag_us: 0 };
        for job in self.jobs.values().filter(|job| job.spec.queue == *name) {
            depth.by_state[job.kept_state() as usize] += 1;
            if let Place::At(Standing::Pending { due }) = job.place {
                depth.oldest_due = Some(depth.oldest_due.map_or(due, |oldest| oldest.min(due)));
            }
        }
        let mut spans: BTreeMap<_, (i64, i64)> = BTreeMap::new();
        for (key, lane) in self.lanes.iter().filter(|(key, lane)| key.queue == *name && !lane.due.is_empty())
        {
            let span = spans.entry(&key.route).or_insert((lane.virtual_us, lane.virtual_us));
            *span = (span.0.min(lane.virtual_us), span.1.max(lane.virtual_us));
        }
        depth.lag_us = spans.values().map(|(least, most)| most.abs_diff(*least)).max().unwrap_or_default();
        depth
    }

    fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> Vec<(TenantId, JobId)> {
        let meant = |job: &&JobRow| {
            job.spec.queue == *name
                && job.kept_state() == state
                && state != JobState::Running
                && before.is_none_or(|before| job.since < before)
        };
        let found = self.jobs.values().filter(meant).take(most as usize);
        found.map(|job| (job.spec.tenant, job.spec.id)).collect()
    }
}

#[async_trait]
impl QueueStore for MemoryStore {
    async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        Ok(self.state().queue(name))
    }

    async fn list(&self) -> StoreResult<Vec<Queue>> {
        let state = self.state();
        Ok(state.queues.keys().filter_map(|name| state.queue(name)).collect())
    }

    async fn put(&self, put: QueuePut) -> StoreResult<Option<Queue>> {
        let mut state = self.state();
        if !put.was.is(state.queues.get(&put.name).map(|row| &row.settings)) {
            return Ok(None);
        }
        // The bucket stays: settings that are put again must not fill it.
        state.resettle(|state| {
            state.queues.entry(put.name.clone()).or_default().set(&put.settings, put.now);
        });
        state.tell_audit(put.note.as_slice());
        Ok(Some(Queue { name: put.name, settings: put.settings }))
    }

    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let state = self.state();
        Ok(state.queues.keys().map(|name| state.depth(name)).collect())
    }

    async fn draining(&self) -> StoreResult<Vec<QueueName>> {
        let state = self.state();
        let drains = state.queues.iter().filter(|(_, row)| row.settings.drain.is_some());
        Ok(drains.map(|(name, _)| name.clone()).collect())
    }

    async fn purge(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<u32> {
        let mut all = self.state();
        let keys = all.purgeable(name, state, before, limit);
        for key in &keys {
            if let Some(text) = all.lift(*key).and_then(|job| job.spec.idempotency_key) {
                all.keys.remove(&(key.0, text));
            }
        }
        Ok(u32::try_from(keys.len()).unwrap_or(u32::MAX))
    }

    async fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> StoreResult<u32> {
        let found = self.state().purgeable(name, state, before, most);
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }
}
