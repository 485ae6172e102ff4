//! Which queues take no new jobs, as this process knows it.
//!
//! A submit must not ask the database for it, so each process keeps the few
//! names. It learns at once of what it does itself, and within a second of what
//! others do.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use taskflow_domain::QueueName;

/// Queues that take no new jobs.
#[derive(Clone, Debug, Default)]
pub struct Drains(Arc<RwLock<BTreeSet<QueueName>>>);

impl Drains {
    /// Whether the queue takes no new jobs.
    pub fn contains(&self, queue: &QueueName) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(queue)
    }

    /// Notes that a queue drains, or that it does not.
    pub fn note(&self, queue: &QueueName, drains: bool) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if drains {
            known.insert(queue.clone());
        } else {
            known.remove(queue);
        }
    }

    /// Replaces what was known.
    pub fn replace(&self, queues: impl IntoIterator<Item = QueueName>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = queues.into_iter().collect();
    }
}
