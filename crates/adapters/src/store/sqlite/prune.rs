//! Old jobs go, with all that belongs to them.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::StoreResult;
use taskflow_domain::{JobState, QueueName, Timestamp};

use super::super::error::Fault;
use super::Shared;
use super::record::batch;
use super::writes::{JobKey, Writes};

pub(super) async fn prune(
    shared: &Shared,
    state: JobState,
    before: Timestamp,
    keys_before: Timestamp,
    limit: u32,
) -> StoreResult<u32> {
    if !state.is_terminal() {
        return Ok(0);
    }
    let old = find(shared, state, before, keys_before, limit).await?;
    if old.is_empty() {
        return Ok(0);
    }
    shared.writer.run(move |tx| Box::pin(async move { delete(tx, state, before, &old).await })).await
}

/// The search may pass over many jobs whose keys are young, so it does not hold
/// the write lock. What it found may since have been redriven; the unit of work
/// looks again.
async fn find(
    shared: &Shared,
    state: JobState,
    before: Timestamp,
    keys_before: Timestamp,
    limit: u32,
) -> Result<Vec<JobKey>, Fault> {
    let query = sqlx::query(OLD).bind(state.code()).bind(before.micros()).bind(keys_before.micros());
    let rows = query.bind(limit).fetch_all(&shared.readers).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn delete(
    tx: &mut SqliteConnection,
    state: JobState,
    before: Timestamp,
    old: &[JobKey],
) -> Result<u32, Fault> {
    let query = sqlx::query(STILL).bind(batch(old)?).bind(state.code()).bind(before.micros());
    let rows = query.fetch_all(&mut *tx).await?;
    delete_all(tx, state, &rows).await
}

/// Deletes the jobs of these rows, each of tenant, job and queue.
async fn delete_all(tx: &mut SqliteConnection, state: JobState, rows: &[SqliteRow]) -> Result<u32, Fault> {
    let mut queues = BTreeMap::<i32, i64>::new();
    let mut keys: Vec<JobKey> = Vec::with_capacity(rows.len());
    for row in rows {
        keys.push((row.try_get(0)?, row.try_get(1)?));
        *queues.entry(row.try_get(2)?).or_default() -= 1;
    }
    if keys.is_empty() {
        return Ok(0);
    }
    let text = batch(&keys)?;
    for sql in DELETE {
        sqlx::query(sql).bind(text.clone()).execute(&mut *tx).await?;
    }
    let mut writes = Writes::default();
    for (queue_id, by) in queues {
        writes.count(queue_id, state, by);
    }
    writes.flush(tx).await?;
    Ok(u32::try_from(keys.len()).unwrap_or(u32::MAX))
}

/// Deletes jobs of a queue: see the port.
pub(super) async fn purge(
    shared: &Shared,
    name: &QueueName,
    state: JobState,
    before: Option<Timestamp>,
    limit: u32,
) -> StoreResult<u32> {
    let Some(sql) = jobs_of(state) else { return Ok(0) };
    let name = name.as_str().to_owned();
    shared
        .writer
        .run(move |tx| {
            Box::pin(async move {
                let query = sqlx::query(sql).bind(name).bind(state.code());
                let query = query.bind(before.map(Timestamp::micros)).bind(limit);
                let rows = query.fetch_all(&mut *tx).await?;
                delete_all(tx, state, &rows).await
            })
        })
        .await
}

/// Counts what would be deleted: see the port.
pub(super) async fn purgeable(
    shared: &Shared,
    name: &QueueName,
    state: JobState,
    before: Option<Timestamp>,
    most: u32,
) -> StoreResult<u32> {
    let Some(sql) = jobs_of(state) else { return Ok(0) };
    let query = sqlx::query(sql).bind(name.as_str().to_owned()).bind(state.code());
    let query = query.bind(before.map(Timestamp::micros)).bind(most);
    let rows = query.fetch_all(&shared.readers).await.map_err(Fault::from)?;
    Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}

macro_rules! jobs_of {
    ($table:literal, $state:literal, $since:literal) => {
        concat!(
            "select f.tenant_id, f.job_id, l.queue_id from queue q cross join lane l on l.queue_id = q.id \
             cross join ",
            $table,
            " f on f.tenant_id = l.tenant_id and f.lane_id = l.id \
             where q.name = ?1 and ",
            $state,
            " and (?3 is null or f.",
            $since,
            " < ?3) limit ?4"
        )
    };
}

/// The statement that finds the jobs of a queue in a state.
fn jobs_of(state: JobState) -> Option<&'static str> {
    match state {
        JobState::Running => None,
        JobState::Pending => Some(jobs_of!("ready", "?2 is not null", "since")),
        JobState::Waiting | JobState::Scheduled | JobState::Paused => {
            Some(jobs_of!("parked", "f.state = ?2", "since"))
        }
        _ => Some(jobs_of!("finished", "f.state = ?2", "finished_at")),
    }
}

const OLD: &str = "select f.tenant_id, f.job_id from finished f \
    where f.state = ?1 and f.finished_at < ?2 \
      and not exists (select 1 from idempotency i \
        where i.tenant_id = f.tenant_id and i.job_id = f.job_id and i.created_at > ?3) \
    order by f.finished_at limit ?4";

const STILL: &str = "select f.tenant_id, f.job_id, j.queue_id from jsonb_each(?1) e \
    cross join finished f on f.tenant_id = e.value->>'$[0]' and f.job_id = unhex(e.value->>'$[1]', '-') \
    cross join job j on j.tenant_id = f.tenant_id and j.id = f.job_id \
    where f.state = ?2 and f.finished_at < ?3";

macro_rules! of_these {
    ($table:literal, $id:literal) => {
        concat!(
            "delete from ",
            $table,
            " where (tenant_id, ",
            $id,
            ") in (select e.value->>'$[0]', unhex(e.value->>'$[1]', '-') from jsonb_each(?1) e)"
        )
    };
}

/// The labels' rows are found by the labels in the job, so the job goes later.
const DELETE: [&str; 9] = [
    "delete from job_label where (tenant_id, key, value, job_id) in ( \
       select j.tenant_id, l.key, l.value, j.id from jsonb_each(?1) e \
       cross join job j on j.tenant_id = e.value->>'$[0]' and j.id = unhex(e.value->>'$[1]', '-') \
       cross join jsonb_each(j.labels) l)",
    of_these!("idempotency", "job_id"),
    of_these!("attempt", "job_id"),
    of_these!("job_event", "job_id"),
    of_these!("progress", "job_id"),
    of_these!("ready", "job_id"),
    of_these!("parked", "job_id"),
    of_these!("finished", "job_id"),
    of_these!("job", "id"),
];
