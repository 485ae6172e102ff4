//! What a claim looks at: queues with active lanes, their lanes, their limits.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};
use taskflow_application::ports::StoreResult;
use taskflow_domain::queue::{Bucket, Rate};
use taskflow_domain::{Timestamp, fair};

use super::Claiming;
use crate::store::error::Fault;
use crate::store::postgres::unit::alone;
use crate::store::postgres::{Inner, int};

/// For each queue at most one lane of each route is read, through the index of
/// the active ones, so an idle engine finds nothing quickly.
pub(super) const QUEUES: &str = "
select q.id, q.max_running is not null or q.rate_limit is not null limited
from queue q
where ($1::int4[] is null or q.id = any($1))
    and (not q.paused or q.paused_until <= $2)
    and (q.max_running is null or q.running < q.max_running)
    and exists (
        select 1 from unnest($3::int4[]) r(route) cross join lateral (
            select 1 from lane l
            where l.queue_id = q.id and l.route = r.route and l.active and not l.blocked and not l.paused
            limit 1) l)";

/// A tenant has one lane of each queue and route, which the key finds. The comparisons
/// keep the planner from walking all active lanes instead, through their index.
const QUEUES_OF_TENANT: &str = "
select q.id, q.max_running is not null or q.rate_limit is not null
from queue q
where ($1::int4[] is null or q.id = any($1))
    and (not q.paused or q.paused_until <= $2)
    and (q.max_running is null or q.running < q.max_running)
    and exists (
        select 1 from unnest($3::int4[]) r(route) cross join lateral (
            select 1 from lane l
            where l.tenant_id = $4 and l.queue_id = q.id and l.route = r.route
                and l.active::int4 = 1 and l.blocked::int4 = 0 and l.paused::int4 = 0
            limit 1) l)";

const LIMITED_QUEUES: &str = "
select id, max_running, running, rate_limit, rate_period_ms, bucket_micro, bucket_at
from queue where id = any($1::int4[]) order by id for no key update";

/// A queue that became paused or limited since the first look is left alone.
const LANES: &str = "
select l.id, l.queue_id, l.route, l.virtual_us, l.weight, l.cost_us, l.tenant_slot, l.queue_slot
from unnest($1::int4[], $2::bool[]) w(id, limited)
cross join lateral (
    select 1 from queue q
    where q.id = w.id and (not q.paused or q.paused_until <= $3)
        and (w.limited or (q.max_running is null and q.rate_limit is null))
    limit 1) q
cross join unnest($4::int4[]) r(route)
cross join lateral (
    select * from lane l
    where l.queue_id = w.id and l.route = r.route and l.active and not l.blocked and not l.paused
    order by l.virtual_us, l.id limit $5::int4
    for no key update skip locked) l";

const LANES_OF_TENANT: &str = "
select l.id, l.queue_id, l.route, l.virtual_us, l.weight, l.cost_us, l.tenant_slot, l.queue_slot
from unnest($1::int4[], $2::bool[]) w(id, limited)
cross join lateral (
    select 1 from queue q
    where q.id = w.id and (not q.paused or q.paused_until <= $3)
        and (w.limited or (q.max_running is null and q.rate_limit is null))
    limit 1) q
cross join unnest($4::int4[]) r(route)
cross join lateral (
    select * from lane l
    where l.tenant_id = $6 and l.queue_id = w.id and l.route = r.route
        and l.active::int4 = 1 and l.blocked::int4 = 0 and l.paused::int4 = 0
    order by l.virtual_us, l.id limit $5::int4
    for no key update skip locked) l";

/// Of each queue the lanes of its first jobs, job by job.
const ORDER: &str = "
select q.id, r.lane_id
from (select distinct queue_id id from unnest($2::int4[]) w(queue_id)) q
cross join lateral (
    select r.lane_id, r.ord, r.job_id
    from unnest($1::int4[], $2::int4[]) l(id, queue_id) cross join lateral (
        select r.lane_id, r.ord, r.job_id from ready r
        where r.lane_id = l.id order by r.ord, r.job_id limit $3) r
    where l.queue_id = q.id
    order by r.ord, r.job_id limit $3) r
order by q.id, r.ord, r.job_id";

const SLOTS: &str = "
select id, max_running - running from limit_slot where id = any($1::int4[]) order by id for no key update";

/// A lane that this claim holds.
pub(super) struct LaneSeen {
    pub(super) id: i32,
    pub(super) queue_id: i32,
    pub(super) route: i32,
    virtual_us: i64,
    weight: i32,
    cost_us: i64,
    pub(super) tenant_slot: Option<i32>,
    pub(super) queue_slot: Option<i32>,
}

impl LaneSeen {
    /// The lane as the domain sees it; `places` are the places of the slots among the rooms.
    pub(super) fn fair(&self, places: &HashMap<i32, usize>) -> fair::Lane {
        let place = |slot: Option<i32>| slot.and_then(|slot| places.get(&slot).copied());
        fair::Lane {
            virtual_us: self.virtual_us,
            weight: u32::try_from(self.weight).unwrap_or(1),
            cost_us: self.cost_us,
            limits: [place(self.tenant_slot), place(self.queue_slot)],
        }
    }
}

/// A queue that is limited as a whole, locked by this claim.
pub(super) struct QueueSeen {
    capped: bool,
    room: u32,
    rate: Option<(Rate, Bucket)>,
}

/// The limits that this claim holds.
pub(super) struct Limits {
    /// By id.
    pub(super) queues: HashMap<i32, QueueSeen>,
    /// How many more may run under each slot.
    pub(super) slots: HashMap<i32, u32>,
}

impl Limits {
    /// How many jobs of a queue may begin.
    pub(super) fn queue_room(&self, queue: i32) -> u32 {
        self.queues.get(&queue).map_or(u32::MAX, |queue| {
            let starts = queue.rate.map_or(u32::MAX, |(_, bucket)| bucket.available());
            queue.room.min(starts)
        })
    }

    /// What a limited queue's row says after `starts` jobs have begun: the running
    /// jobs to add, and the bucket.
    pub(super) fn after(&self, queue: i32, starts: u32) -> Option<(i32, Option<Bucket>)> {
        let queue = self.queues.get(&queue)?;
        let running = if queue.capped { int(starts) } else { 0 };
        Some((running, queue.rate.map(|(_, bucket)| bucket.spent(starts))))
    }
}

/// The queues that have lanes to look at, and whether they are limited as a whole.
pub(super) async fn queues(
    inner: &Inner,
    only: Option<&[i32]>,
    tenant: Option<i32>,
    routes: &[i32],
    now: Timestamp,
) -> StoreResult<Vec<(i32, bool)>> {
    let mut found: Vec<(i32, bool)> = alone(&inner.warm, |mut connection| async move {
        let sql = if tenant.is_some() { QUEUES_OF_TENANT } else { QUEUES };
        let mut query = sqlx::query_as(sql).bind(only).bind(now.micros()).bind(routes);
        if let Some(tenant) = tenant {
            query = query.bind(tenant);
        }
        Ok((query.fetch_all(&mut *connection).await?, connection))
    })
    .await?;
    found.sort_unstable();
    Ok(found)
}

/// Locks the queues that are limited as a whole.
pub(super) async fn limited_queues(
    connection: &mut PgConnection,
    claiming: &Claiming,
) -> Result<HashMap<i32, QueueSeen>, Fault> {
    let limited: Vec<i32> =
        claiming.queues.iter().filter(|(_, limited)| *limited).map(|(id, _)| *id).collect();
    if limited.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(LIMITED_QUEUES).bind(limited).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let (max, running): (Option<i32>, i32) = (row.try_get(1)?, row.try_get(2)?);
            let room = max.map_or(u32::MAX, |max| u32::try_from(max - running).unwrap_or_default());
            let (limit, period): (Option<i32>, Option<i32>) = (row.try_get(3)?, row.try_get(4)?);
            let number = |value: i32| u32::try_from(value).unwrap_or_default();
            let bucket =
                Bucket { micro_tokens: row.try_get(5)?, at: Timestamp::from_micros(row.try_get(6)?) };
            let rate = limit.zip(period).map(|(limit, period)| {
                let rate = Rate { limit: number(limit), period_ms: number(period) };
                (rate, bucket.refilled(rate, claiming.now))
            });
            Ok((row.try_get(0)?, QueueSeen { capped: max.is_some(), room, rate }))
        })
        .collect()
}

/// Locks the lanes that come next, at most `each` of a queue and route.
pub(super) async fn lanes(
    connection: &mut PgConnection,
    claiming: &Claiming,
    each: u32,
) -> Result<Vec<LaneSeen>, Fault> {
    let (ids, limited): (Vec<i32>, Vec<bool>) = claiming.queues.iter().copied().unzip();
    let sql = if claiming.tenant.is_some() { LANES_OF_TENANT } else { LANES };
    let mut query = sqlx::query(sql)
        .bind(ids)
        .bind(limited)
        .bind(claiming.now.micros())
        .bind(&claiming.routes)
        .bind(int(each));
    if let Some(tenant) = claiming.tenant {
        query = query.bind(tenant);
    }
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(LaneSeen {
                id: row.try_get(0)?,
                queue_id: row.try_get(1)?,
                route: row.try_get(2)?,
                virtual_us: row.try_get(3)?,
                weight: row.try_get(4)?,
                cost_us: row.try_get(5)?,
                tenant_slot: row.try_get(6)?,
                queue_slot: row.try_get(7)?,
            })
        })
        .collect()
}

/// The lanes of the first jobs of each queue, in the order of the jobs, at most `most`
/// of a queue: those of one tenant, by queue.
pub(super) async fn order(
    connection: &mut PgConnection,
    lanes: &[LaneSeen],
    most: u32,
) -> Result<HashMap<i32, Vec<i32>>, Fault> {
    let ids: Vec<i32> = lanes.iter().map(|lane| lane.id).collect();
    let queues: Vec<i32> = lanes.iter().map(|lane| lane.queue_id).collect();
    let query = sqlx::query_as(ORDER).bind(ids).bind(queues).bind(int(most));
    let rows: Vec<(i32, i32)> = query.fetch_all(connection).await?;
    let mut order: HashMap<i32, Vec<i32>> = HashMap::new();
    for (queue, lane) in rows {
        order.entry(queue).or_default().push(lane);
    }
    Ok(order)
}

/// Locks the limits of these lanes; answers how many more may run under each.
pub(super) async fn slots(
    connection: &mut PgConnection,
    lanes: &[LaneSeen],
) -> Result<HashMap<i32, u32>, Fault> {
    let ids: Vec<i32> = lanes.iter().flat_map(|lane| [lane.tenant_slot, lane.queue_slot]).flatten().collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(SLOTS).bind(ids).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, u32::try_from(row.try_get::<i32, _>(1)?).unwrap_or_default())))
        .collect()
}
