//! [`QueueStore`]: the settings of queues, and how full they are.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{QueueDepth, QueuePut, QueueStore, StoreError, StoreResult};
use taskflow_domain::queue::{Bucket, Queue};
use taskflow_domain::{JobState, QueueName, Timestamp};

use super::super::entity::queue::{Column, Entity, FIND, settings};
use super::super::error::{Fault, from_orm};
use super::{Shared, SqliteStore, audit, limits, prune};

#[async_trait]
impl QueueStore for SqliteStore {
    async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        let found = Entity::find().filter(Column::Name.eq(name.as_str())).one(&self.shared.orm).await;
        found.map_err(|fault| from_orm(&fault))?.map(Queue::try_from).transpose()
    }

    async fn list(&self) -> StoreResult<Vec<Queue>> {
        let found = Entity::find().order_by_asc(Column::Name).all(&self.shared.orm).await;
        found.map_err(|fault| from_orm(&fault))?.into_iter().map(Queue::try_from).collect()
    }

    async fn put(&self, put: QueuePut) -> StoreResult<Option<Queue>> {
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let name = put.name.as_str().to_owned();
                    let found = sqlx::query(FIND).bind(name).fetch_optional(&mut *tx).await?;
                    if !put.was.is(settings(found)?.as_ref()) {
                        return Ok(None);
                    }
                    let id = write(tx, &put).await?;
                    limits::set_queue(tx, id, put.settings.max_running_per_tenant).await?;
                    audit::append(tx, put.note.as_slice()).await?;
                    Ok(Some(Queue { name: put.name, settings: put.settings }))
                })
            })
            .await
    }

    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        Ok(depths(&self.shared).await?)
    }

    async fn draining(&self) -> StoreResult<Vec<QueueName>> {
        let names: Result<Vec<String>, sqlx::Error> =
            sqlx::query_scalar(DRAINING).fetch_all(&self.shared.readers).await;
        let name = |name: String| {
            QueueName::new(&name).map_err(|fault| StoreError::Rejected(format!("the queue {name:?} {fault}")))
        };
        names.map_err(Fault::from)?.into_iter().map(name).collect()
    }

    async fn purge(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<u32> {
        prune::purge(&self.shared, name, state, before, limit).await
    }

    async fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> StoreResult<u32> {
        prune::purgeable(&self.shared, name, state, before, most).await
    }
}

/// Writes the settings. A new rate begins with a full bucket; an old one keeps
/// what is saved up.
async fn write(tx: &mut SqliteConnection, put: &QueuePut) -> Result<i32, Fault> {
    let settings = &put.settings;
    let bucket = settings.rate.map(|rate| Bucket::full(rate, put.now).micro_tokens);
    let (pause, drain) = (settings.pause.as_ref(), settings.drain.as_ref());
    let row = sqlx::query(PUT)
        .bind(put.name.as_str().to_owned())
        .bind(settings.max_running)
        .bind(settings.max_running_per_tenant)
        .bind(settings.rate.map(|rate| rate.limit))
        .bind(settings.rate.map(|rate| rate.period_ms))
        .bind(bucket.unwrap_or_default())
        .bind(put.now.micros())
        .bind(pause.is_some())
        .bind(pause.and_then(|pause| pause.reason.clone()))
        .bind(pause.map(|pause| pause.actor.clone()))
        .bind(pause.map(|pause| pause.since.micros()))
        .bind(pause.and_then(|pause| pause.until).map(Timestamp::micros))
        .bind(drain.map(|drain| drain.since.micros()))
        .bind(drain.map(|drain| drain.actor.clone()))
        .bind(drain.and_then(|drain| drain.reason.clone()))
        .fetch_one(&mut *tx)
        .await?;
    let id = row.try_get(0)?;
    sqlx::query(COUNT).bind(id).execute(tx).await?;
    Ok(id)
}

async fn depths(shared: &Shared) -> Result<Vec<QueueDepth>, Fault> {
    let mut queues = BTreeMap::<QueueName, QueueDepth>::new();
    for row in sqlx::query(DEPTHS).fetch_all(&shared.readers).await? {
        let (name, oldest, lag): (String, Option<i64>, Option<i64>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let name = QueueName::new(&name)
            .map_err(|fault| StoreError::Rejected(format!("the stored queue {name:?} {fault}")))?;
        let depth = queues.entry(name.clone()).or_insert_with(|| QueueDepth {
            name,
            by_state: [0; 9],
            oldest_due: oldest.map(Timestamp::from_micros),
            lag_us: lag.and_then(|lag| u64::try_from(lag).ok()).unwrap_or_default(),
        });
        let (state, n): (Option<u8>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        if let Some(count) = state.and_then(|state| depth.by_state.get_mut(usize::from(state))) {
            *count = n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        }
    }
    Ok(queues.into_values().collect())
}

const PUT: &str = "insert into queue (name, max_running, max_running_per_tenant, rate_limit, rate_period_ms, \
      bucket_micro, bucket_at, paused, pause_reason, pause_actor, paused_at, paused_until, \
      drained_at, drain_actor, drain_reason, max_running_at, per_tenant_at) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?7, ?7) \
    on conflict (name) do update set \
      max_running_at = case when max_running is excluded.max_running then max_running_at else ?7 end, \
      per_tenant_at = case when max_running_per_tenant is excluded.max_running_per_tenant \
        then per_tenant_at else ?7 end, \
      max_running = excluded.max_running, \
      max_running_per_tenant = excluded.max_running_per_tenant, \
      rate_limit = excluded.rate_limit, \
      rate_period_ms = excluded.rate_period_ms, \
      bucket_micro = case when rate_limit is excluded.rate_limit and rate_period_ms is excluded.rate_period_ms \
        then bucket_micro else excluded.bucket_micro end, \
      bucket_at = case when rate_limit is excluded.rate_limit and rate_period_ms is excluded.rate_period_ms \
        then bucket_at else excluded.bucket_at end, \
      paused = excluded.paused, \
      pause_reason = excluded.pause_reason, \
      pause_actor = excluded.pause_actor, \
      paused_at = excluded.paused_at, \
      paused_until = excluded.paused_until, \
      drained_at = excluded.drained_at, \
      drain_actor = excluded.drain_actor, \
      drain_reason = excluded.drain_reason \
    returning id";

const COUNT: &str = "update queue set running = case when max_running is null then 0 else ( \
      select count(*) from running r cross join lane l on l.id = r.lane_id where l.queue_id = queue.id) end \
    where id = ?1";

const DRAINING: &str = "select name from queue where drained_at is not null order by name";

/// The oldest due job is looked for among the first of each lane: one that is
/// less urgent than twenty others of its lane may be older still.
const DEPTHS: &str = "select q.name, ( \
      select min(oldest) from ( \
        select (select min(due_at) from ( \
          select r.due_at from ready r where r.lane_id = l.id order by r.ord, r.job_id limit 20)) as oldest \
        from lane l where l.queue_id = q.id and l.active = 1)), ( \
      select max(lag) from ( \
        select max(l.virtual_us) - min(l.virtual_us) as lag from lane l \
        where l.queue_id = q.id and l.active = 1 and l.blocked = 0 and l.paused = 0 group by l.route)), d.state, d.n \
    from queue q left join depth d on d.queue_id = q.id";
