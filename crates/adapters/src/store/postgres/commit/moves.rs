//! All changes that are not plain ends: they take each job from where it stands,
//! and put it where it is to be.

use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, Row};
use taskflow_domain::{Decision, Guard, JobChange, JobState, Standing, Timestamp};
use uuid::Uuid;

use super::Outcome;
use super::edits;
use super::places::Places;
use crate::store::error::Fault;
use crate::store::postgres::depth::Deltas;

/// Keeps the workers of leases that are to be taken back from extending them, and
/// waits for those that do so now.
const HOLD_WORKERS: &str = "
select w.id from worker w
where w.id in (
    select r.worker_id from unnest($1::int4[], $2::uuid[]) g(tenant_id, job_id)
    cross join lateral (select * from running r
        where r.tenant_id = g.tenant_id and r.job_id = g.job_id limit 1) r)
order by w.id for share";

/// Running jobs that do not go on. `$5` says which must not be under a request to
/// cancel, `$6` when the lease must have ended, if it must.
const LEAVE_RUNNING: &str = "
delete from running r using unnest($1::int4[], $2::int4[], $3::uuid[], $4::int8[], $5::bool[], $6::int8[])
    g(n, tenant_id, job_id, token, unless_cancelled, lapsed_by)
where r.tenant_id = any(array[g.tenant_id]) and r.job_id = g.job_id and r.token = g.token
    and (r.cancel_at is null or not g.unless_cancelled)
    and (g.lapsed_by is null
        or coalesce(r.lease_until, (select w.lease_until from worker w where w.id = r.worker_id), 0) <= g.lapsed_by)
returning g.n, 3::int2, r.lane_id, r.kind_id, r.priority, r.seq + 1, r.worker_id, r.started_at, r.charged_us,
    r.attempt, r.started_seq";

/// Running jobs that go on.
const STAY_RUNNING: &str = "
update running r set seq = r.seq + 1, priority = coalesce(g.priority, r.priority),
    cancel_at = coalesce(g.cancel_at, r.cancel_at), cancel_actor = coalesce(g.cancel_actor, r.cancel_actor)
from unnest($1::int4[], $2::int4[], $3::uuid[], $4::int8[], $5::bool[], $6::int2[], $7::int8[], $8::text[])
    g(n, tenant_id, job_id, token, unless_cancelled, priority, cancel_at, cancel_actor)
where r.tenant_id = any(array[g.tenant_id]) and r.job_id = g.job_id and r.token = g.token
    and (r.cancel_at is null or not g.unless_cancelled)
returning g.n, 3::int2, r.lane_id, r.kind_id, r.priority, r.seq, null::int4, null::int8, null::int8,
    null::int2, null::int4";

/// Jobs that do not run, found by their version. SCHEDULED and PENDING name the
/// same job before and after its promotion. The attempt that ended a job gets the
/// row of its own that it did without.
const LEAVE_REST: &str = "
with given as materialized (
    select * from unnest($1::int4[], $2::int4[], $3::uuid[], $4::int4[], $5::int2[])
        g(n, tenant_id, job_id, seq, state)),
due as (
    delete from ready r using given g
    where r.tenant_id = any(array[g.tenant_id]) and r.job_id = g.job_id and r.seq = g.seq and g.state in (1, 2)
    returning g.n, 2::int2 state, r.lane_id, r.kind_id, r.priority, r.seq + 1 seq),
later as (
    delete from parked r using given g
    where r.tenant_id = any(array[g.tenant_id]) and r.job_id = g.job_id and r.seq = g.seq
        and (r.state = g.state or (r.state = 1 and g.state = 2))
    returning g.n, r.state, r.lane_id, r.kind_id, r.priority, r.seq + 1 seq),
ended as (
    delete from finished r using given g
    where r.tenant_id = any(array[g.tenant_id]) and r.job_id = g.job_id and r.seq = g.seq and r.state = g.state
    returning g.n, r.*),
told as (
    insert into attempt (tenant_id, job_id, number, worker_id, token, started_at, finished_at, outcome,
        error_kind, error_message, result, then_state, reason, started_seq, ended_seq)
    select tenant_id, job_id, attempt, worker_id, token, started_at, finished_at, outcome,
        error_kind, error_message, result, state, reason, started_seq, seq
    from ended where worker_id is not null)
select x.*, null::int4, null::int8, null::int8, null::int2, null::int4
from (select * from due union all select * from later
    union all select n, state, lane_id, kind_id, null, seq + 1 from ended) x";

const LANES: &str = "
select l.id, l.queue_id, l.tenant_slot, l.queue_slot, q.max_running is not null
from lane l cross join lateral (select max_running from queue q where q.id = l.queue_id limit 1) q
where l.id = any($1::int4[])";

/// Room under limits, queues first, each by id.
const RELEASE: &str = "
with q as (
    update queue q set running = greatest(q.running - c.n, 0)
    from unnest($1::int4[], $2::int4[]) c(id, n) where q.id = any(array[c.id])
    returning q.id)
update limit_slot s set running = greatest(s.running - c.n, 0)
from (select * from unnest($3::int4[], $4::int4[]) c(id, n)
    where (select count(*) from q) >= 0 order by id) c
where s.id = any(array[c.id])";

const PRIORITIES: &str = "
select k.n, j.priority from unnest($1::int4[], $2::int4[], $3::uuid[]) k(n, tenant_id, job_id)
cross join lateral (select * from job j where j.tenant_id = k.tenant_id and j.id = k.job_id limit 1) j";

/// A job as a change found it.
pub(super) struct Found {
    pub(super) from: JobState,
    pub(super) lane: i32,
    pub(super) kind: i32,
    pub(super) priority: Option<i16>,
    /// The number of the entry of this change.
    pub(super) seq: i32,
    /// Of a job that does not go on running.
    pub(super) run: Option<Run>,
}

/// An execution that ended.
pub(super) struct Run {
    pub(super) worker: i32,
    pub(super) started_at: i64,
    pub(super) charged_us: i64,
    pub(super) number: i16,
    pub(super) started_seq: i32,
}

type FoundByPlace = BTreeMap<usize, Found>;

/// A lane: its id, its queue, its two limits, and whether the queue as a whole is limited.
type LaneLimits = (i32, i32, Option<i32>, Option<i32>, bool);

/// Commits the changes at `chosen` within a transaction.
pub(super) async fn commit(
    connection: &mut PgConnection,
    changes: &[JobChange],
    chosen: &[usize],
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    let mut found = FoundByPlace::new();
    take_running(connection, changes, chosen, &mut found).await?;
    take_rest(connection, changes, chosen, &mut found).await?;
    if found.is_empty() {
        return Ok(());
    }
    learn_priorities(connection, changes, &mut found).await?;
    edits::commit(connection, changes, found.keys().copied()).await?;
    let deltas = count(connection, changes, &found, outcome).await?;
    let mut places = Places::default();
    for (&at, found) in &found {
        places.push(&changes[at], found)?;
    }
    places.write(connection, &deltas.columns()).await?;
    for (at, found) in found {
        let change = &changes[at];
        if matches!(change.decision, Decision::Move(Standing::Pending { .. })) {
            outcome.due_lanes.push(found.lane);
        }
        if let Some(run) = found.run {
            let settle = change.settle_us;
            outcome.charges.add(found.lane, change.tenant.0, found.kind, run.charged_us, settle);
        }
        outcome.done.push(at);
    }
    Ok(())
}

/// Keys of changes as arrays, with what their guards need.
#[derive(Default)]
struct Keys {
    places: Vec<i32>,
    tenants: Vec<i32>,
    jobs: Vec<Uuid>,
    tokens: Vec<i64>,
    unless_cancelled: Vec<bool>,
    lapsed_by: Vec<Option<i64>>,
}

impl Keys {
    fn push(&mut self, at: usize, change: &JobChange) {
        self.places.push(i32::try_from(at).unwrap_or(i32::MAX));
        self.tenants.push(change.tenant.0);
        self.jobs.push(change.job.0);
        if let Some((token, unless_cancelled, lapsed_by)) = change.guard.of_running() {
            self.tokens.push(token.0);
            self.unless_cancelled.push(unless_cancelled);
            self.lapsed_by.push(lapsed_by.map(Timestamp::micros));
        }
    }
}

async fn take_running(
    connection: &mut PgConnection,
    changes: &[JobChange],
    chosen: &[usize],
    found: &mut FoundByPlace,
) -> Result<(), Fault> {
    let (mut leaving, mut staying) = (Keys::default(), Keys::default());
    let (mut priorities, mut cancel_at, mut cancel_by) = (Vec::new(), Vec::new(), Vec::new());
    for &at in chosen {
        let change = &changes[at];
        let request = match (&change.guard, &change.decision) {
            (Guard::Version { .. }, _) | (_, Decision::Move(Standing::Running { .. })) => continue,
            (_, Decision::Move(_)) => {
                leaving.push(at, change);
                continue;
            }
            (_, Decision::RequestCancel(request)) => Some(request),
            (_, Decision::Keep) => None,
        };
        staying.push(at, change);
        let edit = change.edit.as_ref().and_then(|edit| edit.priority);
        priorities.push(edit.map(taskflow_domain::Priority::code));
        cancel_at.push(request.map(|request| request.at.micros()));
        cancel_by.push(request.map(|request| request.actor.as_str()));
    }
    let bind = |sql, keys: &Keys| {
        sqlx::query(sql)
            .bind(keys.places.clone())
            .bind(keys.tenants.clone())
            .bind(keys.jobs.clone())
            .bind(keys.tokens.clone())
            .bind(keys.unless_cancelled.clone())
    };
    if !leaving.places.is_empty() {
        if leaving.lapsed_by.iter().any(Option::is_some) {
            sqlx::query(HOLD_WORKERS)
                .bind(&leaving.tenants)
                .bind(&leaving.jobs)
                .execute(&mut *connection)
                .await?;
        }
        let query = bind(LEAVE_RUNNING, &leaving).bind(leaving.lapsed_by.clone());
        let rows = query.fetch_all(&mut *connection).await?;
        keep(found, &rows)?;
    }
    if !staying.places.is_empty() {
        let query = bind(STAY_RUNNING, &staying).bind(priorities).bind(cancel_at).bind(cancel_by);
        let rows = query.fetch_all(connection).await?;
        keep(found, &rows)?;
    }
    Ok(())
}

async fn take_rest(
    connection: &mut PgConnection,
    changes: &[JobChange],
    chosen: &[usize],
    found: &mut FoundByPlace,
) -> Result<(), Fault> {
    let mut wanted: Vec<(usize, JobState, u32)> = chosen
        .iter()
        .filter_map(|&at| match (&changes[at].guard, &changes[at].decision) {
            (_, Decision::Move(Standing::Running { .. })) => None,
            (Guard::Version { state, seq }, Decision::Move(_)) => Some((at, *state, *seq)),
            _ => None,
        })
        .collect();
    // A job may be promoted between the two looks: the first waits for it and finds it gone, and
    // only another statement can see where it went.
    for _ in 0..2 {
        if wanted.is_empty() {
            break;
        }
        let mut keys = Keys::default();
        for &(at, ..) in &wanted {
            keys.push(at, &changes[at]);
        }
        let rows = sqlx::query(LEAVE_REST)
            .bind(keys.places)
            .bind(keys.tenants)
            .bind(keys.jobs)
            .bind(wanted.iter().map(|&(.., seq)| i32::try_from(seq).unwrap_or(i32::MAX)).collect::<Vec<_>>())
            .bind(wanted.iter().map(|(_, state, _)| state.code()).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        keep(found, &rows)?;
        wanted.retain(|(at, state, _)| {
            !found.contains_key(at) && matches!(state, JobState::Scheduled | JobState::Pending)
        });
    }
    Ok(())
}

fn keep(found: &mut FoundByPlace, rows: &[sqlx::postgres::PgRow]) -> Result<(), Fault> {
    for row in rows {
        let worker: Option<i32> = row.try_get(6)?;
        let run = match worker {
            Some(worker) => Some(Run {
                worker,
                started_at: row.try_get(7)?,
                charged_us: row.try_get(8)?,
                number: row.try_get(9)?,
                started_seq: row.try_get(10)?,
            }),
            None => None,
        };
        let from = JobState::from_code(row.try_get(1)?).unwrap_or(JobState::Running);
        let (lane, kind, priority, seq) =
            (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let at = usize::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default();
        found.insert(at, Found { from, lane, kind, priority, seq, run });
    }
    Ok(())
}

/// An ended job's place does not keep its priority; its job does.
async fn learn_priorities(
    connection: &mut PgConnection,
    changes: &[JobChange],
    found: &mut FoundByPlace,
) -> Result<(), Fault> {
    let mut keys = Keys::default();
    for (&at, _) in found.iter().filter(|(_, found)| found.priority.is_none()) {
        keys.push(at, &changes[at]);
    }
    if keys.places.is_empty() {
        return Ok(());
    }
    let rows: Vec<(i32, i16)> = sqlx::query_as(PRIORITIES)
        .bind(keys.places)
        .bind(keys.tenants)
        .bind(keys.jobs)
        .fetch_all(connection)
        .await?;
    for (place, priority) in rows {
        if let Some(found) = usize::try_from(place).ok().and_then(|at| found.get_mut(&at)) {
            found.priority = Some(priority);
        }
    }
    Ok(())
}

/// Gives back the room under limits of the jobs that do not run any more, and
/// says how the depths of queues change.
async fn count(
    connection: &mut PgConnection,
    changes: &[JobChange],
    found: &FoundByPlace,
    outcome: &mut Outcome,
) -> Result<Deltas, Fault> {
    let lanes: Vec<i32> = found.values().map(|found| found.lane).collect();
    let rows: Vec<LaneLimits> = sqlx::query_as(LANES).bind(lanes).fetch_all(&mut *connection).await?;
    let lanes: HashMap<i32, (i32, [Option<i32>; 2], bool)> =
        rows.into_iter().map(|row| (row.0, (row.1, [row.2, row.3], row.4))).collect();
    let mut deltas = Deltas::default();
    let (mut queues, mut slots): (BTreeMap<i32, i32>, BTreeMap<i32, i32>) = Default::default();
    for (at, found) in found {
        let Some((queue, limits, capped)) = lanes.get(&found.lane) else { continue };
        if let Decision::Move(to) = &changes[*at].decision {
            deltas.moved(*queue, found.from, to.state());
        }
        if found.run.is_some() {
            if *capped {
                *queues.entry(*queue).or_default() += 1;
            }
            for slot in limits.iter().flatten() {
                *slots.entry(*slot).or_default() += 1;
            }
        }
    }
    outcome.freed_slots.extend(slots.keys());
    outcome.freed_queue |= !queues.is_empty();
    if !queues.is_empty() || !slots.is_empty() {
        let (queue_ids, queue_counts): (Vec<i32>, Vec<i32>) = queues.into_iter().unzip();
        let (slot_ids, slot_counts): (Vec<i32>, Vec<i32>) = slots.into_iter().unzip();
        sqlx::query(RELEASE)
            .bind(queue_ids)
            .bind(queue_counts)
            .bind(slot_ids)
            .bind(slot_counts)
            .execute(connection)
            .await?;
    }
    Ok(deltas)
}
