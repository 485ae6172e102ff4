//! Queues as an operator uses them.

use taskflow_domain::queue::{Pause, Queue, QueueSettings};
use taskflow_domain::{QueueName, Timestamp};

use crate::World;
use crate::ports::{QueueDepth, StoreResult, Topic};

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
        self.set_pause(name, Some(pause)).await
    }

    /// Ends a hold; `None` if the queue does not exist.
    pub async fn resume(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        self.set_pause(name, None).await
    }

    /// The time of the use cases, for callers that set a pause through `put`.
    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    async fn set_pause(&self, name: &QueueName, pause: Option<Pause>) -> StoreResult<Option<Queue>> {
        match self.get(name).await? {
            None => Ok(None),
            Some(queue) => self.put(name, &QueueSettings { pause, ..queue.settings }).await.map(Some),
        }
    }
}
