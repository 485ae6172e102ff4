//! Old jobs go, with all that belongs to them.

use std::collections::BTreeMap;

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::StoreResult;
use taskflow_domain::{JobState, Timestamp};

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
    let mut queues = BTreeMap::<i32, i64>::new();
    let mut keys: Vec<JobKey> = Vec::with_capacity(old.len());
    for row in query.fetch_all(&mut *tx).await? {
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
const DELETE: [&str; 7] = [
    "delete from job_label where (tenant_id, key, value, job_id) in ( \
       select j.tenant_id, l.key, l.value, j.id from jsonb_each(?1) e \
       cross join job j on j.tenant_id = e.value->>'$[0]' and j.id = unhex(e.value->>'$[1]', '-') \
       cross join jsonb_each(j.labels) l)",
    of_these!("idempotency", "job_id"),
    of_these!("attempt", "job_id"),
    of_these!("job_event", "job_id"),
    of_these!("progress", "job_id"),
    of_these!("finished", "job_id"),
    of_these!("job", "id"),
];
