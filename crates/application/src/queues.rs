//! Queues as an operator uses them.

use serde_json::{Value, json};
use taskflow_domain::queue::{Drain, Pause, Queue, QueueSettings};
use taskflow_domain::{JobState, QueueName, Timestamp};

use crate::World;
use crate::audit::Audit;
use crate::caller::Caller;
use crate::ports::{AuditNote, QueueDepth, QueuePut, QueueWas, StoreError, StoreResult, Topic};

/// Jobs deleted in one transaction of a purge.
const PURGE_STEP: u32 = 1_000;
/// How long one call of a purge works at most, in milliseconds.
pub const PURGE_MS: i64 = 20_000;
/// A dry run counts so many jobs of a state at most.
pub const MOST_COUNTED: u32 = 100_000;

/// How often a change is tried again when somebody else changed the queue meanwhile.
const TRIES: usize = 8;

fn contended() -> StoreError {
    StoreError::Unavailable("the queue kept changing under the request".to_owned())
}

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
    audit: Audit,
}

impl Queues {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { audit: Audit::new(world.clone()), world }
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

    /// Sets the limits, and makes the queue if need be. A pause and a drain stay as
    /// they are, unless `paused` says otherwise of the pause.
    pub async fn put(
        &self,
        caller: &Caller,
        name: &QueueName,
        limits: QueueSettings,
        paused: Option<bool>,
    ) -> StoreResult<Queue> {
        let now = self.world.clock.now();
        let change = |was: Option<QueueSettings>| {
            let (held, drain) = was.map(|was| (was.pause, was.drain)).unwrap_or_default();
            // One that has run out holds nothing, and is nothing to keep.
            let held = held.filter(|pause| pause.holds(now));
            let pause = match paused {
                Some(false) => None,
                None => held,
                Some(true) => Some(held.unwrap_or_else(|| self.pause_by(caller, None, None))),
            };
            Some(QueueSettings { pause, drain, ..limits.clone() })
        };
        self.change(caller, "queue.put", name, change).await?.ok_or_else(contended)
    }

    /// Holds a queue; `None` if it does not exist.
    pub async fn pause(
        &self,
        caller: &Caller,
        name: &QueueName,
        reason: Option<String>,
        until: Option<Timestamp>,
    ) -> StoreResult<Option<Queue>> {
        let caller = &caller.because(reason.as_deref());
        let pause = self.pause_by(caller, reason, until);
        let change = |was| Some(QueueSettings { pause: Some(pause.clone()), ..was? });
        self.change(caller, "queue.pause", name, change).await
    }

    /// Ends a hold and a drain; `None` if the queue does not exist.
    pub async fn resume(&self, caller: &Caller, name: &QueueName) -> StoreResult<Option<Queue>> {
        let change = |was| Some(QueueSettings { pause: None, drain: None, ..was? });
        self.change(caller, "queue.resume", name, change).await
    }

    /// Lets a queue run out: it takes no new jobs, and those that it has run on.
    /// `None` if it does not exist.
    pub async fn drain(
        &self,
        caller: &Caller,
        name: &QueueName,
        reason: Option<String>,
    ) -> StoreResult<Option<Queue>> {
        let caller = &caller.because(reason.as_deref());
        let drain = Drain { reason, actor: caller.actor.as_str().into(), since: self.world.clock.now() };
        let change = |was| Some(QueueSettings { drain: Some(drain.clone()), ..was? });
        self.change(caller, "queue.drain", name, change).await
    }

    fn pause_by(&self, caller: &Caller, reason: Option<String>, until: Option<Timestamp>) -> Pause {
        Pause { reason, actor: caller.actor.as_str().into(), since: self.world.clock.now(), until }
    }

    /// Reads, changes and writes; again if somebody else changed the queue in between.
    /// `None` if `change` wants no queue of what there is.
    async fn change(
        &self,
        caller: &Caller,
        action: &str,
        name: &QueueName,
        change: impl Fn(Option<QueueSettings>) -> Option<QueueSettings>,
    ) -> StoreResult<Option<Queue>> {
        for _ in 0..TRIES {
            let before = self.get(name).await?.map(|queue| queue.settings);
            let Some(after) = change(before.clone()) else { return Ok(None) };
            let now = self.world.clock.now();
            let told = (before.as_ref().map(told), Some(told(&after)));
            let note = AuditNote::of(caller, now, None, action, format!("queue:{name}"), told);
            let drains = after.drain.is_some();
            let put = QueuePut {
                was: before.map_or(QueueWas::Absent, QueueWas::Like),
                note: Some(note),
                ..QueuePut::new(name.clone(), after, now)
            };
            if let Some(queue) = self.world.stores.queues.put(put).await? {
                self.world.drains.note(name, drains);
                self.world.wakeups.nudge(Topic::Work);
                return Ok(Some(queue));
            }
        }
        Err(contended())
    }

    /// Deletes jobs of a queue; `None` if it does not exist. What takes longer than
    /// [`PURGE_MS`] is left for another call.
    pub async fn purge(
        &self,
        caller: &Caller,
        name: &QueueName,
        wish: &Purge,
    ) -> StoreResult<Option<Purged>> {
        if self.get(name).await?.is_none() {
            return Ok(None);
        }
        if wish.dry_run {
            return self.purgeable(name, wish).await.map(Some);
        }
        let states: Vec<_> = wish.states.iter().map(|state| state.as_str()).collect();
        let asked = json!({ "states": states, "older_than_ms": wish.older_than_ms });
        self.tell(caller, "queue.purge", name, asked).await?;
        let purged = self.delete(name, wish).await?;
        self.tell(caller, "queue.purge.done", name, json!({ "jobs": purged.jobs, "more": purged.more }))
            .await?;
        Ok(Some(purged))
    }

    async fn tell(&self, caller: &Caller, action: &str, name: &QueueName, after: Value) -> StoreResult<()> {
        let (now, object) = (self.world.clock.now(), format!("queue:{name}"));
        self.audit.note(AuditNote::of(caller, now, None, action, object, (None, Some(after)))).await
    }

    async fn purgeable(&self, name: &QueueName, wish: &Purge) -> StoreResult<Purged> {
        let before = self.before(wish);
        let mut purged = Purged::default();
        for &state in &wish.states {
            let found = self.world.stores.queues.purgeable(name, state, before, MOST_COUNTED).await?;
            purged.jobs += u64::from(found);
            purged.more |= found == MOST_COUNTED;
        }
        Ok(purged)
    }

    fn before(&self, wish: &Purge) -> Option<Timestamp> {
        wish.older_than_ms.map(|age| self.world.clock.now().plus_millis(-age))
    }

    async fn delete(&self, name: &QueueName, wish: &Purge) -> StoreResult<Purged> {
        let before = self.before(wish);
        let queues = &self.world.stores.queues;
        let mut purged = Purged::default();
        let give_up = self.world.clock.now().plus_millis(PURGE_MS);
        for &state in &wish.states {
            loop {
                let gone = queues.purge(name, state, before, PURGE_STEP).await?;
                purged.jobs += u64::from(gone);
                if gone < PURGE_STEP {
                    break;
                }
                if self.world.clock.now() >= give_up {
                    purged.more = true;
                    return Ok(purged);
                }
            }
        }
        Ok(purged)
    }

    /// The time of the use cases.
    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}

/// What the audit tells of a queue.
fn told(settings: &QueueSettings) -> Value {
    let until = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "max_running": settings.max_running,
        "max_running_per_tenant": settings.max_running_per_tenant,
        "rate_limit": settings.rate.map(|rate| json!({ "limit": rate.limit, "period_ms": rate.period_ms })),
        "pause": settings.pause.as_ref().map(|pause| {
            json!({ "reason": pause.reason, "actor": pause.actor, "until": until(pause.until) })
        }),
        "drain": settings.drain.as_ref().map(|drain| json!({ "reason": drain.reason, "actor": drain.actor })),
    })
}
