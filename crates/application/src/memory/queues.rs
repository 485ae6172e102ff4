//! The port of queues, on the state.

use async_trait::async_trait;
use taskflow_domain::queue::{Queue, QueueSettings};
use taskflow_domain::{QueueName, Standing, Timestamp};

use super::MemoryStore;
use super::state::{Place, State};
use crate::ports::{QueueDepth, QueueStore, StoreResult};

impl State {
    fn depth(&self, name: &QueueName) -> QueueDepth {
        let mut depth = QueueDepth { name: name.clone(), by_state: [0; 9], oldest_due: None };
        for job in self.jobs.values().filter(|job| job.spec.queue == *name) {
            depth.by_state[job.kept_state() as usize] += 1;
            if let Place::At(Standing::Pending { due }) = job.place {
                depth.oldest_due = Some(depth.oldest_due.map_or(due, |oldest| oldest.min(due)));
            }
        }
        depth
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

    async fn put(&self, name: &QueueName, settings: &QueueSettings, _now: Timestamp) -> StoreResult<Queue> {
        let mut state = self.state();
        // The bucket stays: settings that are put again must not fill it.
        state.resettle(|state| {
            state.queues.entry(name.clone()).or_default().settings = settings.clone();
        });
        Ok(Queue { name: name.clone(), settings: settings.clone() })
    }

    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let state = self.state();
        Ok(state.queues.keys().map(|name| state.depth(name)).collect())
    }
}
