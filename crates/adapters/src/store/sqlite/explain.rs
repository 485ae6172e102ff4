//! [`ExplainReader`]: the rows that a claim looks at, read for a person.
//!
//! Each statement reads through an index and stops at a bound, so neither many
//! due jobs nor many lanes make it slow.

use async_trait::async_trait;
use sea_orm::EntityTrait as _;
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{ExplainReader, StoreResult};
use taskflow_domain::explain::{
    Facts, LimitFacts, Line, MOST_AHEAD, MOST_HOLDERS, QueueFacts, QueueLine, Serving, TenantFacts,
};
use taskflow_domain::queue::Queue;
use taskflow_domain::{Job, JobId, QueueName, TenantId, Timestamp};

use super::super::entity::queue::Entity;
use super::super::error::{Fault, from_orm};
use super::super::row::{MOST_JOBS, MOST_LANES, NOBODY, OWN_ROUTE, counted, held_back};
use super::reader::look;
use super::{Shared, SqliteStore, names};

/// What [`PLACE`] finds.
struct Place {
    queue: i32,
    lane: i32,
    route: i32,
    ord: Option<i64>,
    tenant: TenantFacts,
}

#[async_trait]
impl ExplainReader for SqliteStore {
    async fn facts(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Facts>> {
        Ok(facts(&self.shared, tenant, job, now).await?)
    }

    async fn line(&self, queue: &QueueName, now: Timestamp) -> StoreResult<Option<QueueLine>> {
        Ok(line(&self.shared, queue, now).await?)
    }
}

async fn facts(shared: &Shared, tenant: TenantId, id: JobId, now: Timestamp) -> Result<Option<Facts>, Fault> {
    let mut reader = shared.readers.acquire().await?;
    let Some(place) = place(&mut reader, tenant, id).await? else { return Ok(None) };
    let job = look::look(&mut reader, &shared.catalog, tenant, &[id.0], now).await?.pop();
    let Some(job) = job else { return Ok(None) };
    let own_in_queue = holders(&mut reader, tenant, Some(place.queue)).await?.0;
    let line = match place.ord {
        Some(ord) => Some(line_of(&mut reader, place.lane, ord, id).await?),
        None => None,
    };
    let limits = limits(&mut reader, tenant, &place).await?;
    let serving = serving(&mut reader, tenant, place.queue, place.route, now).await?;
    drop(reader);
    let Some(queue) = queue_facts(shared, place.queue).await? else { return Ok(None) };
    Ok(Some(assemble(job, &place, queue, line, limits, own_in_queue, serving)))
}

fn assemble(
    job: Job,
    place: &Place,
    queue: QueueFacts,
    line: Option<Line>,
    (tenant_limit, tenant_in_queue): Limits,
    own_in_queue: Vec<JobId>,
    serving: Serving,
) -> Facts {
    Facts { job, line, queue, tenant: place.tenant, tenant_limit, tenant_in_queue, own_in_queue, serving }
}

/// The limit of a tenant over all queues, and that in the job's own.
type Limits = (Option<LimitFacts>, Option<LimitFacts>);

async fn place(reader: &mut SqliteConnection, tenant: TenantId, job: JobId) -> Result<Option<Place>, Fault> {
    let row = sqlx::query(PLACE).bind(tenant.0).bind(job.0).fetch_optional(reader).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Place {
        queue: row.try_get(0)?,
        lane: row.try_get(1)?,
        route: row.try_get(2)?,
        ord: row.try_get(3)?,
        tenant: TenantFacts {
            paused: row.try_get(4)?,
            suspended: row.try_get(5)?,
            paused_at: Timestamp::from_micros(row.try_get(6)?),
        },
    }))
}

async fn line_of(reader: &mut SqliteConnection, lane: i32, ord: i64, job: JobId) -> Result<Line, Fault> {
    let query = sqlx::query(LINE).bind(lane).bind(ord).bind(job.0).bind(MOST_AHEAD);
    let row = query.fetch_one(reader).await?;
    Ok(Line { jobs_ahead: row.try_get(0)?, lanes_ahead: row.try_get(1)? })
}

/// Running jobs of the tenant, the latest first, and when the latest began.
async fn holders(
    reader: &mut SqliteConnection,
    tenant: TenantId,
    queue: Option<i32>,
) -> Result<(Vec<JobId>, Option<Timestamp>), Fault> {
    let query = sqlx::query(HOLDERS).bind(tenant.0).bind(queue).bind(MOST_HOLDERS as i64);
    let rows = query.fetch_all(reader).await?;
    let start = |row: &sqlx::sqlite::SqliteRow| Ok::<_, Fault>(Timestamp::from_micros(row.try_get(1)?));
    let last = rows.first().map(start).transpose()?;
    let jobs = rows.iter().map(|row| Ok(JobId(row.try_get(0)?))).collect::<Result<_, Fault>>()?;
    Ok((jobs, last))
}

async fn limits(reader: &mut SqliteConnection, tenant: TenantId, place: &Place) -> Result<Limits, Fault> {
    let rows = sqlx::query(LIMITS).bind(place.lane).fetch_all(&mut *reader).await?;
    let (mut over_all, mut in_queue) = (None, None);
    for row in &rows {
        let all: bool = row.try_get(0)?;
        let (holders, last_start) = holders(reader, tenant, (!all).then_some(place.queue)).await?;
        let (max, running) = (row.try_get(1)?, row.try_get(2)?);
        let set_at: Option<i64> = row.try_get(3)?;
        let set_at = set_at.map(Timestamp::from_micros);
        let limit = LimitFacts { max, running, holders, last_start, set_at };
        *(if all { &mut over_all } else { &mut in_queue }) = Some(limit);
    }
    Ok((over_all, in_queue))
}

async fn serving(
    reader: &mut SqliteConnection,
    tenant: TenantId,
    queue: i32,
    route: i32,
    now: Timestamp,
) -> Result<Serving, Fault> {
    let query = sqlx::query(SERVING).bind(tenant.0).bind(queue).bind(route).bind(now.micros());
    let row = query.fetch_one(reader).await?;
    let time = |at| Ok::<_, Fault>(row.try_get::<Option<i64>, _>(at)?.map(Timestamp::from_micros));
    Ok(Serving {
        workers: row.try_get(0)?,
        slots: row.try_get(1)?,
        busy: row.try_get(2)?,
        last_start: time(3)?,
        last_lost: time(4)?,
    })
}

async fn queue_facts(shared: &Shared, id: i32) -> Result<Option<QueueFacts>, Fault> {
    let found = Entity::find_by_id(id).one(&shared.orm).await;
    let Some(row) = found.map_err(|fault| Fault::Store(from_orm(&fault)))? else { return Ok(None) };
    let running = u32::try_from(row.running).unwrap_or_default();
    let bucket = row.bucket();
    let max_set_at = row.max_running_at.map(Timestamp::from_micros);
    let settings = Queue::try_from(row)?.settings;
    let mut last_start = None;
    if settings.max_running.is_some() {
        let started: Option<i64> = sqlx::query_scalar(LAST_START).bind(id).fetch_one(&shared.readers).await?;
        last_start = started.map(Timestamp::from_micros);
    }
    Ok(Some(QueueFacts { settings, running, last_start, max_set_at, bucket }))
}

async fn line(shared: &Shared, name: &QueueName, now: Timestamp) -> Result<Option<QueueLine>, Fault> {
    let mut reader = shared.readers.acquire().await?;
    let ids = names::queue_ids(&mut reader, &shared.catalog, std::slice::from_ref(name)).await?;
    let Some(&id) = ids.first() else { return Ok(None) };
    let full = serving(&mut reader, NOBODY, id, OWN_ROUTE, now).await?.is_full();
    let query = sqlx::query(HELD).bind(id).bind(now.micros()).bind(MOST_LANES).bind(MOST_JOBS).bind(full);
    let rows = query.fetch_all(&mut *reader).await?;
    let lanes: sqlx::Result<Vec<(bool, i64)>> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
    let mut due = held_back(&lanes?);
    if !due.all_held_are_counted() {
        let query = sqlx::query_scalar(IN_LINE).bind(id).bind(now.micros()).bind(MOST_JOBS).bind(full);
        due.in_line = counted(query.fetch_one(&mut *reader).await?);
    }
    let query = sqlx::query_scalar(NEXT).bind(id).bind(now.micros()).bind(MOST_JOBS).bind(full);
    due.next = counted(query.fetch_one(&mut *reader).await?);
    let mut by_state = [0; 9];
    for row in sqlx::query(DEPTH).bind(id).fetch_all(&mut *reader).await? {
        let (state, n): (u8, i64) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(count) = by_state.get_mut(usize::from(state)) {
            *count = u64::try_from(n).unwrap_or_default();
        }
    }
    drop(reader);
    let queue = queue_facts(shared, id).await?;
    Ok(queue.map(|queue| QueueLine { queue, by_state, due }))
}

/// Where the job belongs, and its place among the due jobs if it is one.
const PLACE: &str = "select j.queue_id, j.lane_id, case when j.target is null then j.kind_id else 0 end, \
      (select r.ord from ready r where r.tenant_id = j.tenant_id and r.job_id = j.id), t.paused, t.suspended, coalesce(t.paused_at, t.updated_at) \
    from job j cross join tenant t on t.id = j.tenant_id where j.tenant_id = ?1 and j.id = ?2";

macro_rules! full {
    () => {
        "exists (select 1 from limit_slot s \
           where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)"
    };
}

/// Jobs of the lane and lanes of the queue that a claim takes first.
const LINE: &str = concat!(
    "select \
      (select count(*) from (select 1 from ready r \
         where r.lane_id = me.id and (r.ord, r.job_id) < (?2, ?3) limit ?4)), \
      (select count(*) from (select 1 from lane l \
         where l.queue_id = me.queue_id and l.route = me.route \
           and l.active = 1 and l.blocked = 0 and l.paused = 0 \
           and (l.virtual_us, l.id) < (me.virtual_us, me.id) \
           and exists (select 1 from ready r where r.lane_id = l.id) and not ",
    full!(),
    " limit ?4)) \
     from lane me where me.id = ?1"
);

const LIMITS: &str = "select s.queue_id is null, s.max_running, s.running, \
      case when s.queue_id is null then (select t.max_running_at from tenant t where t.id = s.tenant_id) \
      else (select q.per_tenant_at from queue q where q.id = s.queue_id) end \
    from lane l cross join limit_slot s on s.id in (l.tenant_slot, l.queue_slot) where l.id = ?1";

/// Running jobs of a tenant, the latest first; `?2` only those of that queue.
const HOLDERS: &str = "select r.job_id, r.started_at from running r \
    where r.tenant_id = ?1 and (?2 is null or r.lane_id in ( \
      select l.id from lane l where l.tenant_id = ?1 and l.queue_id = ?2)) \
    order by r.started_at desc, r.job_id limit ?3";

/// Workers that serve a lane, alive or not.
macro_rules! would_serve {
    ($tenant:literal, $queue:literal, $route:literal) => {
        concat!(
            "(w.tenant_id is null or w.tenant_id = ",
            $tenant,
            ") and (w.queues = '[]' or (select q.name from queue q where q.id = ",
            $queue,
            ") in (select value from json_each(w.queues))) and case when ",
            $route,
            " = 0 then w.kinds = '[]' else (select k.name from kind k where k.id = ",
            $route,
            ") in (select value from json_each(w.kinds)) end"
        )
    };
}

/// Workers that are alive and serve a lane.
macro_rules! serving {
    ($tenant:literal, $queue:literal, $route:literal, $now:literal) => {
        concat!(
            "w.known = 1 and w.slots > 0 and w.lease_until > ",
            $now,
            " and ",
            would_serve!($tenant, $queue, $route)
        )
    };
}

const SERVING: &str = concat!(
    "select count(*), min(coalesce(sum(w.slots), 0), 4294967295), \
       coalesce(sum((select count(*) from running r where r.worker_id = w.id)), 0), \
       max((select max(r.started_at) from running r where r.worker_id = w.id)), \
       (select max(w.lease_until) from worker w where w.lease_until <= ?4 and ",
    would_serve!("?1", "?2", "?3"),
    ") from worker w where ",
    serving!("?1", "?2", "?3", "?4")
);

/// When the latest running job of a queue began.
const LAST_START: &str = "select max(r.started_at) from running r \
     where r.lane_id in (select l.id from lane l where l.queue_id = ?1)";

/// Lanes that claims pass by, and those whose jobs nobody serves.
const HELD: &str = concat!(
    "with lanes as materialized ( \
       select l.id, l.paused = 1 or ",
    full!(),
    " as by_tenant from lane l where l.queue_id = ?1 and l.active = 1 and (l.paused = 1 or ",
    full!(),
    " or (l.route = 0 and ?5) or not exists (select 1 from worker w where ",
    serving!("l.tenant_id", "l.queue_id", "l.route", "?2"),
    ")) limit ?3) \
     select by_tenant, (select count(*) from (select 1 from ready r where r.lane_id = lanes.id limit ?4)) \
     from lanes"
);

/// The other lanes. `?4`: whether TaskFlow's own workers have no room.
macro_rules! in_line {
    () => {
        concat!(
            "l.queue_id = ?1 and l.active = 1 and l.paused = 0 and not (",
            full!(),
            ") and not (l.route = 0 and ?4) and exists (select 1 from worker w where ",
            serving!("l.tenant_id", "l.queue_id", "l.route", "?2"),
            ")"
        )
    };
}

/// Jobs of the other lanes.
const IN_LINE: &str = concat!(
    "select count(*) from (select 1 from lane l join ready r on r.lane_id = l.id where ",
    in_line!(),
    " limit ?3)"
);

/// How many of these are next: one of all that TaskFlow itself runs, and one of each lane
/// that is pulled.
const NEXT: &str = concat!(
    "select (select count(*) from (select 1 from lane l \
       where l.route = 0 and exists (select 1 from ready r where r.lane_id = l.id) and ",
    in_line!(),
    " limit 1)) + (select count(*) from (select 1 from lane l \
       where l.route <> 0 and exists (select 1 from ready r where r.lane_id = l.id) and ",
    in_line!(),
    " limit ?3))"
);

const DEPTH: &str = "select state, n from depth where queue_id = ?1";
