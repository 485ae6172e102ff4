//! Which name belongs to which id, and which lane to which tenant, queue and
//! route: facts that never change once they exist, remembered in the process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use taskflow_domain::{Kind, QueueName, TenantSlug, WorkerName};

/// Names by id and ids by name.
#[derive(Debug)]
struct Names<T> {
    by_id: HashMap<i32, T>,
    by_name: HashMap<T, i32>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), by_name: HashMap::new() }
    }
}

/// A remembered set of names. Its lock is held for look-ups only, never while waiting.
#[derive(Debug)]
pub(crate) struct Remembered<T>(RwLock<Names<T>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Clone + Eq + Hash> Remembered<T> {
    /// The id of a name.
    pub(crate) fn id(&self, name: &T) -> Option<i32> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).copied()
    }

    /// The name of an id.
    pub(crate) fn name(&self, id: i32) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Of these ids, those whose names are not known yet.
    pub(crate) fn unknown(&self, ids: impl IntoIterator<Item = i32>) -> Vec<i32> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut unknown: Vec<i32> = ids.into_iter().filter(|id| !names.by_id.contains_key(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Keeps a committed fact.
    pub(crate) fn remember(&self, id: i32, name: T) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        names.by_name.insert(name.clone(), id);
        names.by_id.insert(id, name);
    }
}

/// Which lane: tenant, queue and route (0 for the engine's own worker, else the kind).
pub(crate) type LaneKey = (i32, i32, i32);

/// Beyond this many lanes the memory begins anew, so that it stays bounded.
const MOST_LANES: usize = 1_000_000;

/// Everything that is remembered of one database.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// `queue`
    pub(crate) queues: Remembered<QueueName>,
    /// `kind`
    pub(crate) kinds: Remembered<Kind>,
    /// `tenant`
    pub(crate) tenants: Remembered<TenantSlug>,
    /// `worker`
    pub(crate) workers: Remembered<WorkerName>,
    lanes: RwLock<HashMap<LaneKey, i32>>,
}

impl Catalog {
    /// The lanes of these keys, as far as they are known.
    pub(crate) fn lanes(&self, keys: &[LaneKey]) -> Vec<Option<i32>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|key| lanes.get(key).copied()).collect()
    }

    /// Keeps committed lanes.
    pub(crate) fn remember_lanes(&self, found: impl IntoIterator<Item = (LaneKey, i32)>) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= MOST_LANES {
            lanes.clear();
        }
        lanes.extend(found);
    }
}
