//! Why jobs do not run: the rows that a claim looks at, read for a person.
//!
//! Each statement reads through an index and stops at a bound, so neither many
//! due jobs nor many lanes make it slow.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::EntityTrait;
use sqlx::Row;
use taskflow_application::ports::{ExplainReader, StoreResult};
use taskflow_domain::explain::{
    Facts, LimitFacts, Line, MOST_AHEAD, MOST_HOLDERS, QueueFacts, QueueLine, Serving, TenantFacts,
};
use taskflow_domain::queue::Queue;
use taskflow_domain::{Job, JobId, QueueName, TenantId, Timestamp};
use uuid::Uuid;

use super::Inner;
use super::unit::repeat;
use crate::store::entity::queue;
use crate::store::error::{from_orm, from_sqlx};
use crate::store::row::{MOST_JOBS, MOST_LANES, NOBODY, OWN_ROUTE, counted, held_back};

/// Where the job belongs, and its place among the due jobs if it is one.
const PLACE: &str = "
select j.queue_id, j.lane_id, case when j.target is null then j.kind_id else 0 end,
    (select r.ord from ready r where r.tenant_id = j.tenant_id and r.job_id = j.id),
    t.paused, t.suspended, coalesce(t.paused_at, t.updated_at)
from job j cross join lateral (select * from tenant t where t.id = j.tenant_id limit 1) t
where j.tenant_id = $1 and j.id = $2";

/// Jobs of the lane and lanes of the queue that a claim takes first. A lane whose
/// limit is full counts as passed by, whether a claim has marked it yet or not.
const LINE: &str = "
select
    (select count(*) from (
        select 1 from ready r where r.lane_id = me.id and (r.ord, r.job_id) < ($2::int8, $3::uuid) limit $4) x),
    (select count(*) from (
        select 1 from lane l
        where l.queue_id = me.queue_id and l.route = me.route and l.active and not l.blocked and not l.paused
            and (l.virtual_us, l.id) < (me.virtual_us, me.id)
            and exists (select 1 from ready r where r.lane_id = l.id)
            and not exists (
                select 1 from limit_slot s
                where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)
        limit $4) x)
from lane me where me.id = $1";

const LIMITS: &str = "
select s.queue_id is null, s.max_running, s.running,
    case when s.queue_id is null then (select t.max_running_at from tenant t where t.id = s.tenant_id)
    else (select q.per_tenant_at from queue q where q.id = s.queue_id) end
from lane l join limit_slot s on s.id in (l.tenant_slot, l.queue_slot) where l.id = $1";

/// Running jobs of a tenant, the latest first; `$2` only those of that queue.
const HOLDERS: &str = "
select r.job_id, r.started_at from running r
where r.tenant_id = $1 and ($2::int4 is null or r.lane_id in (
    select l.id from lane l where l.tenant_id = $1 and l.queue_id = $2))
order by r.started_at desc, r.job_id limit $3";

/// Workers that serve a lane, alive or not.
macro_rules! would_serve {
    ($tenant:literal, $queue:literal, $route:literal) => {
        concat!(
            "(w.tenant_id is null or w.tenant_id = ",
            $tenant,
            ") and (w.queues = '[]' or jsonb_exists(w.queues::jsonb, (select q.name from queue q where q.id = ",
            $queue,
            "))) and case when ",
            $route,
            " = 0 then w.kinds = '[]' else jsonb_exists(w.kinds::jsonb, (select k.name from kind k where k.id = ",
            $route,
            ")) end"
        )
    };
}

/// Workers that are alive and serve a lane.
macro_rules! serving {
    ($tenant:literal, $queue:literal, $route:literal, $now:literal) => {
        concat!(
            "w.known and w.slots > 0 and w.lease_until > ",
            $now,
            " and ",
            would_serve!($tenant, $queue, $route)
        )
    };
}

const SERVING: &str = concat!(
    "
select count(*)::int4, least(coalesce(sum(w.slots), 0), 2147483647)::int4,
    coalesce(sum((select count(*) from running r where r.worker_id = w.id)), 0)::int4,
    max((select max(r.started_at) from running r where r.worker_id = w.id)),
    (select max(w.lease_until) from worker w where w.lease_until <= $4 and ",
    would_serve!("$1", "$2::int4", "$3::int4"),
    ")
from worker w where ",
    serving!("$1", "$2::int4", "$3::int4", "$4")
);

/// When the latest running job of a queue began.
const LAST_START: &str = "
select max(r.started_at) from running r where r.lane_id in (select l.id from lane l where l.queue_id = $1)";

/// Lanes that claims pass by, and those whose jobs nobody serves.
const HELD: &str = concat!(
    "
with lanes as materialized (
    (select l.id, true by_tenant from lane l
     where l.queue_id = $1 and l.active and (l.blocked or l.paused) order by l.id limit $3)
    union all
    (select l.id, exists (
        select 1 from limit_slot s
        where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running) by_tenant
     from lane l
     where l.queue_id = $1 and l.active and not l.blocked and not l.paused
        and (exists (
            select 1 from limit_slot s
            where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)
          or (l.route = 0 and $5) or not exists (select 1 from worker w where ",
    serving!("l.tenant_id", "l.queue_id", "l.route", "$2"),
    "))
     limit $3))
select by_tenant, (
    select count(*) from (select 1 from ready r where r.lane_id = lanes.id limit $4) x)
from lanes"
);

/// The other lanes. `$4`: whether TaskFlow's own workers have no room.
macro_rules! in_line {
    () => {
        concat!(
            "l.queue_id = $1 and l.active and not l.blocked and not l.paused
        and not exists (
            select 1 from limit_slot s
            where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)
        and not (l.route = 0 and $4) and exists (select 1 from worker w where ",
            serving!("l.tenant_id", "l.queue_id", "l.route", "$2"),
            ")"
        )
    };
}

/// Jobs of the other lanes.
const IN_LINE: &str = concat!(
    "
select count(*) from (
    select 1 from lane l cross join lateral (select 1 from ready r where r.lane_id = l.id limit $3) r
    where ",
    in_line!(),
    " limit $3) x"
);

/// How many of these are next: one of all that TaskFlow itself runs, and one of each lane
/// that is pulled.
const NEXT: &str = concat!(
    "
select (
    select count(*) from (
        select 1 from lane l
        where l.route = 0 and exists (select 1 from ready r where r.lane_id = l.id) and ",
    in_line!(),
    " limit 1) own) + (
    select count(*) from (
        select 1 from lane l
        where l.route <> 0 and exists (select 1 from ready r where r.lane_id = l.id) and ",
    in_line!(),
    " limit $3) pulled)"
);

const DEPTH: &str = "
select x.state, sum(x.n)::int8
from (select state, n from depth where queue_id = $1
    union all select state, n from depth_delta where queue_id = $1) x
group by 1";

/// The port over PostgreSQL.
pub(super) struct PgExplain(pub(super) Arc<Inner>);

/// What [`PLACE`] finds.
struct Place {
    queue: i32,
    lane: i32,
    route: i32,
    ord: Option<i64>,
    tenant: TenantFacts,
}

impl PgExplain {
    /// Counts jobs of a queue that nothing holds back, up to [`MOST_JOBS`]. `full`: whether
    /// TaskFlow's own workers have no room.
    async fn count(&self, sql: &'static str, queue: i32, now: Timestamp, full: bool) -> StoreResult<i64> {
        let ask = || sqlx::query_scalar(sql).bind(queue).bind(now.micros()).bind(MOST_JOBS).bind(full);
        repeat(|| ask().fetch_one(&self.0.pool)).await
    }

    async fn place(&self, tenant: TenantId, job: JobId) -> StoreResult<Option<Place>> {
        type Row = (i32, i32, i32, Option<i64>, bool, bool, i64);
        let row: Option<Row> =
            repeat(|| sqlx::query_as(PLACE).bind(tenant.0).bind(job.0).fetch_optional(&self.0.pool)).await?;
        Ok(row.map(|(queue, lane, route, ord, paused, suspended, paused_at)| Place {
            queue,
            lane,
            route,
            ord,
            tenant: TenantFacts { paused, suspended, paused_at: Timestamp::from_micros(paused_at) },
        }))
    }

    async fn queue(&self, id: i32) -> StoreResult<Option<QueueFacts>> {
        let row = queue::Entity::find_by_id(id).one(&self.0.orm).await.map_err(|fault| from_orm(&fault))?;
        let Some(row) = row else { return Ok(None) };
        let running = u32::try_from(row.running).unwrap_or_default();
        let bucket = row.bucket();
        let max_set_at = row.max_running_at.map(Timestamp::from_micros);
        let settings = Queue::try_from(row)?.settings;
        let mut last_start = None;
        if settings.max_running.is_some() {
            let started: Option<i64> =
                repeat(|| sqlx::query_scalar(LAST_START).bind(id).fetch_one(&self.0.pool)).await?;
            last_start = started.map(Timestamp::from_micros);
        }
        Ok(Some(QueueFacts { settings, running, last_start, max_set_at, bucket }))
    }

    async fn line_of(&self, lane: i32, ord: i64, job: JobId) -> StoreResult<Option<Line>> {
        let bound = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let row: Option<(i64, i64)> = repeat(|| {
            sqlx::query_as(LINE)
                .bind(lane)
                .bind(ord)
                .bind(job.0)
                .bind(i64::from(MOST_AHEAD))
                .fetch_optional(&self.0.pool)
        })
        .await?;
        Ok(row.map(|(jobs, lanes)| Line { jobs_ahead: bound(jobs), lanes_ahead: bound(lanes) }))
    }

    /// Running jobs of the tenant, the latest first, and when the latest began.
    async fn holders(
        &self,
        tenant: TenantId,
        queue: Option<i32>,
    ) -> StoreResult<(Vec<JobId>, Option<Timestamp>)> {
        let rows: Vec<(Uuid, i64)> = repeat(|| {
            sqlx::query_as(HOLDERS)
                .bind(tenant.0)
                .bind(queue)
                .bind(MOST_HOLDERS as i64)
                .fetch_all(&self.0.pool)
        })
        .await?;
        let last = rows.first().map(|(_, start)| Timestamp::from_micros(*start));
        Ok((rows.into_iter().map(|(job, _)| JobId(job)).collect(), last))
    }

    /// The limits of the job's tenant: over all queues, and in its own.
    async fn limits(
        &self,
        tenant: TenantId,
        place: &Place,
    ) -> StoreResult<(Option<LimitFacts>, Option<LimitFacts>)> {
        let rows: Vec<(bool, i32, i32, Option<i64>)> =
            repeat(|| sqlx::query_as(LIMITS).bind(place.lane).fetch_all(&self.0.pool)).await?;
        let (mut over_all, mut in_queue) = (None, None);
        for (all, max, running, set_at) in rows {
            let (holders, last_start) = self.holders(tenant, (!all).then_some(place.queue)).await?;
            let number = |n: i32| u32::try_from(n).unwrap_or_default();
            let (max, running) = (number(max), number(running));
            let set_at = set_at.map(Timestamp::from_micros);
            let limit = LimitFacts { max, running, holders, last_start, set_at };
            *(if all { &mut over_all } else { &mut in_queue }) = Some(limit);
        }
        Ok((over_all, in_queue))
    }

    async fn serving(
        &self,
        tenant: TenantId,
        queue: i32,
        route: i32,
        now: Timestamp,
    ) -> StoreResult<Serving> {
        type Row = (i32, i32, i32, Option<i64>, Option<i64>);
        let (workers, slots, busy, last_start, last_lost): Row = repeat(|| {
            sqlx::query_as(SERVING)
                .bind(tenant.0)
                .bind(queue)
                .bind(route)
                .bind(now.micros())
                .fetch_one(&self.0.pool)
        })
        .await?;
        let number = |n: i32| u32::try_from(n).unwrap_or_default();
        Ok(Serving {
            workers: number(workers),
            slots: number(slots),
            busy: number(busy),
            last_start: last_start.map(Timestamp::from_micros),
            last_lost: last_lost.map(Timestamp::from_micros),
        })
    }

    async fn gather(&self, job: Job, place: Place, now: Timestamp) -> StoreResult<Option<Facts>> {
        let (tenant, id) = (job.spec.tenant, job.spec.id);
        let Some(queue) = self.queue(place.queue).await? else { return Ok(None) };
        let line = match place.ord {
            Some(ord) => self.line_of(place.lane, ord, id).await?,
            None => None,
        };
        let (tenant_limit, tenant_in_queue) = self.limits(tenant, &place).await?;
        let own_in_queue = match queue.settings.max_running {
            Some(_) => self.holders(tenant, Some(place.queue)).await?.0,
            None => Vec::new(),
        };
        let serving = self.serving(tenant, place.queue, place.route, now).await?;
        Ok(Some(Facts {
            job,
            line,
            queue,
            tenant: place.tenant,
            tenant_limit,
            tenant_in_queue,
            own_in_queue,
            serving,
        }))
    }
}

#[async_trait]
impl ExplainReader for PgExplain {
    async fn facts(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Facts>> {
        let Some(place) = self.place(tenant, job).await? else { return Ok(None) };
        let Some(job) = self.0.jobs(tenant, &[job], now).await?.pop() else { return Ok(None) };
        self.gather(job, place, now).await
    }

    async fn line(&self, name: &QueueName, now: Timestamp) -> StoreResult<Option<QueueLine>> {
        let ids = self.0.find_queues(std::slice::from_ref(name)).await?;
        let Some(&id) = ids.first() else { return Ok(None) };
        let Some(queue) = self.queue(id).await? else { return Ok(None) };
        let full = self.serving(NOBODY, id, OWN_ROUTE, now).await?.is_full();
        let rows = repeat(|| {
            sqlx::query(HELD)
                .bind(id)
                .bind(now.micros())
                .bind(MOST_LANES)
                .bind(MOST_JOBS)
                .bind(full)
                .fetch_all(&self.0.pool)
        })
        .await?;
        let lanes: sqlx::Result<Vec<(bool, i64)>> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
        let mut due = held_back(&lanes.map_err(|fault| from_sqlx(&fault))?);
        if !due.all_held_are_counted() {
            due.in_line = counted(self.count(IN_LINE, id, now, full).await?);
        }
        due.next = counted(self.count(NEXT, id, now, full).await?);
        let counts: Vec<(i16, i64)> =
            repeat(|| sqlx::query_as(DEPTH).bind(id).fetch_all(&self.0.pool)).await?;
        let mut by_state = [0; 9];
        for (state, n) in counts {
            if let Some(count) = usize::try_from(state).ok().and_then(|state| by_state.get_mut(state)) {
                *count = u64::try_from(n).unwrap_or_default();
            }
        }
        Ok(Some(QueueLine { queue, by_state, due }))
    }
}
