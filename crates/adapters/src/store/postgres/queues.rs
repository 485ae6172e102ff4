//! Queues: their settings, what of them the lanes carry, and how full they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use sqlx::PgConnection;
use taskflow_application::ports::{QueueDepth, QueuePut, QueueStore, StoreResult};
use taskflow_domain::queue::{Bucket, Queue, QueueSettings, Rate};
use taskflow_domain::{JobState, QueueName, Timestamp};

use super::lanes::let_go;
use super::sweep::STOP_COMMITS;
use super::unit::{BEGIN_CHANGING_SETTINGS, End, Unit, asked, repeat, transact_detached};
use super::{Inner, audit, int, purge, rejected};
use crate::store::entity::queue;
use crate::store::error::Fault;

const ADD: &str = "insert into queue (name) values ($1) on conflict do nothing";

/// A rate that changes begins with a full bucket.
const PUT: &str = "
update queue q set max_running = $2, max_running_per_tenant = $3,
    max_running_at = case when q.max_running is distinct from $2 then $7 else q.max_running_at end,
    per_tenant_at = case when q.max_running_per_tenant is distinct from $3 then $7 else q.per_tenant_at end,
    rate_limit = $4, rate_period_ms = $5,
    bucket_micro = case when (q.rate_limit, q.rate_period_ms) is not distinct from ($4, $5)
        then q.bucket_micro else $6 end,
    bucket_at = case when (q.rate_limit, q.rate_period_ms) is not distinct from ($4, $5)
        then q.bucket_at else $7 end,
    paused = $8, pause_reason = $9, pause_actor = $10, paused_at = $11, paused_until = $12,
    drained_at = $13, drain_actor = $14, drain_reason = $15,
    running = case when $2::int4 is null then 0 else (
        select count(*)::int4 from running r join lane l on l.id = r.lane_id where l.queue_id = q.id) end
where q.name = $1
returning q.id";

/// A slot for each tenant that has a lane in the queue, with its jobs that run now.
const SLOTS: &str = "
insert into limit_slot (tenant_id, queue_id, max_running, running)
select t.tenant_id, $1, $2, (
    select count(*)::int4 from lane l join running r on r.lane_id = l.id and r.tenant_id = l.tenant_id
    where l.queue_id = $1 and l.tenant_id = t.tenant_id)
from (select distinct tenant_id from lane where queue_id = $1) t
on conflict (tenant_id, queue_id) do update
set max_running = excluded.max_running, running = excluded.running";

const NO_SLOTS: &str = "delete from limit_slot where queue_id = $1";

const LANES: &str = concat!(
    "
update lane l set blocked = false,
    queue_slot = (select s.id from limit_slot s where s.tenant_id = l.tenant_id and s.queue_id = $1),
    virtual_us = case when l.active and l.blocked and not l.paused then ",
    let_go!(),
    " else l.virtual_us end
where l.queue_id = $1 and (l.blocked or l.queue_slot is not null or $2)"
);

const DRAINING: &str = "select name from queue where drained_at is not null order by name collate \"C\"";

const DEPTHS: &str = "
select queue_id, state, sum(n)::int8
from (select queue_id, state, n from depth union all select queue_id, state, n from depth_delta) x
group by 1, 2";

/// The first jobs of each busy lane stand for all of it: a job further back is
/// due earlier only if its priority is lower, and the key makes up for that
/// within the hour.
const OLDEST: &str = "
select l.queue_id, min(r.due_at)
from lane l
cross join lateral (select due_at from ready r where r.lane_id = l.id order by r.ord, r.job_id limit 16) r
where l.active
group by 1";

/// Of the lanes that claims look at, through their index.
const LAGS: &str = "
select queue_id, max(lag) from (
    select queue_id, max(virtual_us) - min(virtual_us) lag from lane
    where active and not blocked and not paused group by queue_id, route) x
group by 1";

/// The port over PostgreSQL.
pub(super) struct PgQueues(pub(super) Arc<Inner>);

impl Unit for QueuePut {
    type Output = Option<i32>;
    const BEGIN: &'static str = BEGIN_CHANGING_SETTINGS;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Option<i32>>, Fault> {
        // Nobody changes settings meanwhile.
        let found =
            sqlx::query(queue::FIND).bind(self.name.as_str()).fetch_optional(&mut *connection).await?;
        if !self.was.is(queue::settings(found)?.as_ref()) {
            return Ok(End::Undo(None));
        }
        let QueueSettings { max_running, max_running_per_tenant, rate, pause, drain } = &self.settings;
        sqlx::raw_sql(STOP_COMMITS).execute(&mut *connection).await?;
        sqlx::raw_sql("set local enable_hashjoin = on").execute(&mut *connection).await?;
        sqlx::query(ADD).bind(self.name.as_str()).execute(&mut *connection).await?;
        let full = rate.map(|rate: Rate| Bucket::full(rate, self.now).micro_tokens);
        let id: i32 = sqlx::query_scalar(PUT)
            .persistent(false)
            .bind(self.name.as_str())
            .bind(max_running.map(int))
            .bind(max_running_per_tenant.map(int))
            .bind(rate.map(|rate| int(rate.limit)))
            .bind(rate.map(|rate| int(rate.period_ms)))
            .bind(full.unwrap_or_default())
            .bind(self.now.micros())
            .bind(pause.is_some())
            .bind(pause.as_ref().and_then(|pause| pause.reason.as_deref()))
            .bind(pause.as_ref().map(|pause| pause.actor.as_str()))
            .bind(pause.as_ref().map(|pause| pause.since.micros()))
            .bind(pause.as_ref().and_then(|pause| pause.until).map(Timestamp::micros))
            .bind(drain.as_ref().map(|drain| drain.since.micros()))
            .bind(drain.as_ref().map(|drain| drain.actor.as_str()))
            .bind(drain.as_ref().and_then(|drain| drain.reason.as_deref()))
            .fetch_one(&mut *connection)
            .await?;
        match max_running_per_tenant {
            Some(max) => {
                let slots = sqlx::query(SLOTS).persistent(false).bind(id).bind(int(*max));
                slots.execute(&mut *connection).await?
            }
            None => sqlx::query(NO_SLOTS).bind(id).execute(&mut *connection).await?,
        };
        let limited = max_running_per_tenant.is_some();
        sqlx::query(LANES).bind(id).bind(limited).execute(&mut *connection).await?;
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(Some(id)))
    }
}

#[async_trait]
impl QueueStore for PgQueues {
    async fn get(&self, name: &QueueName) -> StoreResult<Option<Queue>> {
        let row = asked(queue::Entity::find().filter(queue::Column::Name.eq(name.as_str())).one(&self.0.orm))
            .await?;
        row.map(Queue::try_from).transpose()
    }

    async fn list(&self) -> StoreResult<Vec<Queue>> {
        let rows = asked(queue::Entity::find().all(&self.0.orm)).await?;
        let mut queues = rows.into_iter().map(Queue::try_from).collect::<StoreResult<Vec<_>>>()?;
        // By their bytes, whatever the locale of the database.
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(queues)
    }

    async fn put(&self, put: QueuePut) -> StoreResult<Option<Queue>> {
        let queue = Queue { name: put.name.clone(), settings: put.settings.clone() };
        let Some(id) = transact_detached(&self.0.warm, put).await? else { return Ok(None) };
        self.0.catalog.queues.remember(id, queue.name.clone());
        Ok(Some(queue))
    }

    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let pool = &self.0.pool;
        let counts: Vec<(i32, i16, i64)> = repeat(|| sqlx::query_as(DEPTHS).fetch_all(pool)).await?;
        let oldest: Vec<(i32, i64)> = repeat(|| sqlx::query_as(OLDEST).fetch_all(pool)).await?;
        let lags: Vec<(i32, i64)> = repeat(|| sqlx::query_as(LAGS).fetch_all(pool)).await?;
        let empty = |name: QueueName| QueueDepth { name, by_state: [0; 9], oldest_due: None, lag_us: 0 };
        let mut depths: BTreeMap<i32, QueueDepth> = BTreeMap::new();
        for row in asked(queue::Entity::find().all(&self.0.orm)).await? {
            depths.insert(row.id, empty(Queue::try_from(row)?.name));
        }
        for (queue, state, n) in counts {
            let depth = depths.get_mut(&queue);
            let place =
                usize::try_from(state).ok().zip(depth).and_then(|(at, depth)| depth.by_state.get_mut(at));
            if let Some(place) = place {
                *place = u64::try_from(n).unwrap_or_default();
            }
        }
        for (queue, due) in oldest {
            if let Some(depth) = depths.get_mut(&queue) {
                depth.oldest_due = Some(Timestamp::from_micros(due));
            }
        }
        for (queue, lag) in lags {
            if let Some(depth) = depths.get_mut(&queue) {
                depth.lag_us = u64::try_from(lag).unwrap_or_default();
            }
        }
        let mut depths: Vec<QueueDepth> = depths.into_values().collect();
        depths.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(depths)
    }

    async fn draining(&self) -> StoreResult<Vec<QueueName>> {
        let names: Vec<String> = repeat(|| sqlx::query_scalar(DRAINING).fetch_all(&self.0.pool)).await?;
        let name = |name: String| QueueName::new(&name).map_err(|fault| rejected(fault.to_string()));
        names.into_iter().map(name).collect()
    }

    async fn purge(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<u32> {
        purge::purge(&self.0, name, state, before, limit).await
    }

    async fn purgeable(
        &self,
        name: &QueueName,
        state: JobState,
        before: Option<Timestamp>,
        most: u32,
    ) -> StoreResult<u32> {
        purge::purgeable(&self.0, name, state, before, most).await
    }
}
