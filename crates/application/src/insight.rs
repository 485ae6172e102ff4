//! What operators and owners ask of the engine: why, how much, and who does it.

use metrics::counter;
use taskflow_domain::explain::{Explanation, QueueGate, explain, explain_queue};
use taskflow_domain::{JobId, QueueName, TenantSlug, Timestamp};

use crate::World;
use crate::caller::{Caller, Directory};
use crate::jobs::JobsError;
use crate::maintain::Step;
use crate::meter;
use crate::ports::{Bucket, Recent, RuleLine, RulePage, RunnerStatus, SeriesWish, StoreError, StoreResult};
use crate::tally::{MINUTE_US, minute_of};

/// The latest figures of a queue cover the running minute and so many before it.
pub const RECENT_MINUTES: i64 = 5;
/// How long figures by minute are kept.
const MINUTES_KEPT_MS: i64 = 3 * 3_600_000;
/// How long figures by hour are kept.
const HOURS_KEPT_MS: i64 = 31 * 24 * 3_600_000;
/// A runner that was not heard of for so long is forgotten.
const RUNNER_KEPT_MS: i64 = 60_000;

/// What operators and owners ask of the engine.
#[derive(Clone)]
pub struct Insight {
    world: World,
    directory: Directory,
}

impl Insight {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { directory: Directory::new(world.clone()), world }
    }

    /// Why a job does not run.
    pub async fn explain(&self, caller: &Caller, id: JobId) -> Result<Explanation, JobsError> {
        let tenant = self.directory.find(caller).await?.ok_or(JobsError::NotFound)?;
        let now = self.world.clock.now();
        // Its gates are read across tenants, so it is looked up behind the wall first.
        self.world.stores.reader.get(tenant, id, now).await?.ok_or(JobsError::NotFound)?;
        let facts = self.world.stores.explain.facts(tenant, id, now).await?;
        Ok(explain(&facts.ok_or(JobsError::NotFound)?, now))
    }

    /// How many jobs of a queue wait at which gate; `None` if it does not exist.
    pub async fn explain_queue(&self, queue: &QueueName) -> StoreResult<Option<Vec<QueueGate>>> {
        let now = self.world.clock.now();
        let line = self.world.stores.explain.line(queue, now).await?;
        Ok(line.map(|line| explain_queue(&line, now)))
    }

    /// What each queue did lately, and how many seconds that covers.
    pub async fn recent(&self) -> StoreResult<(Vec<(QueueName, Recent)>, f64)> {
        let now = self.world.clock.now();
        let since = minute_of(now).plus_micros(-RECENT_MINUTES * MINUTE_US);
        let recent = self.world.stores.stats.recent(since).await?;
        Ok((recent, now.micros_since(since) as f64 / 1e6))
    }

    /// What happened over time, to all tenants or to one.
    pub async fn series(&self, mut wish: SeriesWish, of: Option<&TenantSlug>) -> StoreResult<Vec<Bucket>> {
        if let Some(slug) = of {
            let Some(tenant) = self.world.stores.tenants.get(slug).await? else { return Ok(Vec::new()) };
            wish.tenant = Some(tenant.id);
        }
        self.world.stores.stats.series(&wish).await
    }

    /// The automation rules of all tenants, or of one, by rising id.
    pub async fn automations(&self, of: Option<&TenantSlug>, page: RulePage) -> StoreResult<Vec<RuleLine>> {
        let tenant = match of {
            None => None,
            Some(slug) => match self.world.stores.tenants.get(slug).await? {
                None => return Ok(Vec::new()),
                Some(tenant) => Some(tenant.id),
            },
        };
        self.world.stores.rules.lines(tenant, page).await
    }

    /// The processes with loops, by name.
    pub async fn runners(&self) -> StoreResult<Vec<RunnerStatus>> {
        self.world.stores.stats.runners().await
    }

    /// Tells what the loops of this process did last.
    pub async fn tell(&self, runner: &RunnerStatus) -> StoreResult<()> {
        self.world.stores.stats.tell(runner).await
    }

    /// Says that this process ends in good order.
    pub async fn leave(&self, runner: &str) -> StoreResult<()> {
        self.world.stores.stats.leave(runner).await
    }

    /// Writes away what this process counted. What could not be written is tried
    /// again with what comes next, unless the database will never take it.
    pub async fn flush(&self) -> StoreResult<Step> {
        let batch = self.world.tally.take();
        if let Err(error) = self.world.stores.stats.add(&batch).await {
            match error {
                // If only the answer was lost, these figures are counted twice.
                StoreError::Unavailable(_) | StoreError::Full(_) => self.world.tally.put_back(batch),
                // Put back, they would stand in the way of all that come after them.
                StoreError::Rejected(_) | StoreError::Corrupt { .. } => {
                    counter!(meter::STATS_DROPPED).increment(batch.counts.len() as u64);
                }
            }
            return Err(error);
        }
        Ok(Step::default())
    }

    /// Learns which queues take no new jobs.
    pub async fn follow_drains(&self) -> StoreResult<Step> {
        self.world.drains.replace(self.world.stores.queues.draining().await?);
        Ok(Step::default())
    }

    /// Forgets figures that are old, and runners that were lost.
    pub async fn forget(&self) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let ago = |ms: i64| now.plus_millis(-ms);
        let stats = &self.world.stores.stats;
        stats.forget(ago(MINUTES_KEPT_MS), ago(HOURS_KEPT_MS), ago(RUNNER_KEPT_MS)).await?;
        Ok(Step::default())
    }

    /// The time of the use cases.
    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}
