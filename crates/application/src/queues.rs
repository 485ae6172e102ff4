//! Queues as an operator uses them.

use taskflow_domain::queue::{Drain, Pause, Queue, QueueSettings};
use taskflow_domain::{JobState, QueueName, Timestamp};

use crate::World;
use crate::ports::{QueueDepth, StoreResult, Topic};

/// Jobs deleted in one transaction of a purge.
const PURGE_STEP: u32 = 1_000;
/// How long one call of a purge works at most, in milliseconds.
pub const PURGE_MS: i64 = 20_000;
/// A dry run counts so many jobs of a state at most.
pub const MOST_COUNTED: u32 = 100_000;

/// Which jobs of a queue are to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// In these states; RUNNING jobs are never deleted.
    pub states: Vec<JobState>,
    /// Only such that have been in their state for longer, in milliseconds.
    pub older_than_ms: Option<i64>,
    /// Whether they are only counted.
    pub dry_run: bool,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Jobs deleted, or counted.
    pub jobs: u64,
    /// Whether there are more.
    pub more: bool,
}

/// Queues as an operator uses them.
#[derive(Clone)]
pub struct Queues {
    world: World,
}

impl Queues {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { world }
    }

    /// One queue, if it exists.
    pub async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        self.world.stores.queues.get(name).await
    }

    /// All queues, by name.
    pub async fn list(&self) -> StoreResult<Vec<Queue>> {
        self.world.stores.queues.list().await
    }

    /// How full they are, by name.
    pub async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        self.world.stores.queues.depths().await
    }

    /// Sets limits and pause; makes the queue if need be.
    pub async fn put(&self, name: &QueueName, settings: &QueueSettings) -> StoreResult<Queue> {
        let queue = self.world.stores.queues.put(name, settings, self.world.clock.now()).await?;
        self.world.drains.note(name, settings.drain.is_some());
        self.world.wakeups.nudge(Topic::Work);
        Ok(queue)
    }

    /// Holds a queue; `None` if it does not exist.
    pub async fn pause(
        &self,
        name: &QueueName,
        actor: &str,
        reason: Option<String>,
        until: Option<Timestamp>,
    ) -> StoreResult<Option<Queue>> {
        let since = self.world.clock.now();
        let pause = Pause { reason, actor: actor.into(), since, until };
        self.change(name, |settings| QueueSettings { pause: Some(pause), ..settings }).await
    }

    /// Ends a hold and a drain; `None` if the queue does not exist.
    pub async fn resume(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        self.change(name, |settings| QueueSettings { pause: None, drain: None, ..settings }).await
    }

    /// Lets a queue run out: it takes no new jobs, and those that it has run on.
    /// `None` if it does not exist.
    pub async fn drain(
        &self,
        name: &QueueName,
        actor: &str,
        reason: Option<String>,
    ) -> StoreResult<Option<Queue>> {
        let drain = Drain { reason, actor: actor.into(), since: self.world.clock.now() };
        self.change(name, |settings| QueueSettings { drain: Some(drain), ..settings }).await
    }

    /// Deletes jobs of a queue; `None` if it does not exist. What takes longer than
    /// [`PURGE_MS`] is left for another call.
    pub async fn purge(&self, name: &QueueName, wish: &Purge) -> StoreResult<Option<Purged>> {
        if self.get(name).await?.is_none() {
            return Ok(None);
        }
        let before = wish.older_than_ms.map(|age| self.world.clock.now().plus_millis(-age));
        let queues = &self.world.stores.queues;
        let mut purged = Purged::default();
        let give_up = self.world.clock.now().plus_millis(PURGE_MS);
        for &state in &wish.states {
            loop {
                if wish.dry_run {
                    let found = queues.purgeable(name, state, before, MOST_COUNTED).await?;
                    purged.jobs += u64::from(found);
                    purged.more |= found == MOST_COUNTED;
                    break;
                }
                let gone = queues.purge(name, state, before, PURGE_STEP).await?;
                purged.jobs += u64::from(gone);
                if gone < PURGE_STEP {
                    break;
                }
                if self.world.clock.now() >= give_up {
                    purged.more = true;
                    return Ok(Some(purged));
                }
            }
        }
        Ok(Some(purged))
    }

    /// The time of the use cases, for callers that set a pause through `put`.
    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    async fn change(
        &self,
        name: &QueueName,
        change: impl FnOnce(QueueSettings) -> QueueSettings,
    ) -> StoreResult<Option<Queue>> {
        match self.get(name).await? {
            None => Ok(None),
            Some(queue) => self.put(name, &change(queue.settings)).await.map(Some),
        }
    }
}
