//! Deleting jobs of a queue because an operator said so.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use sqlx::AssertSqlSafe;
use taskflow_application::ports::StoreResult;
use taskflow_domain::{JobState, QueueName, Timestamp};

use super::unit::{detached, repeat};
use super::{Inner, count, int};

/// Jobs of a queue in a state, lane by lane, in a table of places.
const FOUND: &str = "
select f.ctid ct from lane l cross join lateral (
    select f.ctid from TABLE f
    where f.lane_id = l.id and f.tenant_id = l.tenant_id and STATE and ($3::int8 is null or f.SINCE < $3)
    limit $4::int4 LOCK) f
where l.queue_id = $1 limit $4::int4";

/// Everything that belongs to the jobs that are gone, as in `super::prune`.
const REST: &str = "
jobs as (
    delete from job j using gone g where j.tenant_id = g.tenant_id and j.id = g.job_id
    returning j.tenant_id, j.id, j.queue_id, j.labels),
attempts as (
    delete from attempt a using gone g where a.tenant_id = g.tenant_id and a.job_id = g.job_id),
events as (
    delete from job_event e using gone g where e.tenant_id = g.tenant_id and e.job_id = g.job_id),
told as (
    delete from progress p using gone g where p.tenant_id = g.tenant_id and p.job_id = g.job_id),
keys as (
    delete from idempotency i using gone g where i.tenant_id = g.tenant_id and i.job_id = g.job_id),
labels as (
    delete from job_label l using (
        select j.tenant_id, j.id, o.key, o.value
        from jobs j cross join lateral json_each_text(j.labels::json) o
        where j.labels is not null) o
    where l.tenant_id = o.tenant_id and l.key = o.key and l.value = o.value and l.job_id = o.id),
counted as (
    insert into depth_delta (queue_id, state, n)
    select queue_id, $2, -count(*) from jobs group by 1)
select count(*) from gone";

/// The statements of a state: the one that deletes and the one that counts.
struct Statements {
    delete: String,
    count: String,
}

static STATEMENTS: LazyLock<HashMap<JobState, Statements>> = LazyLock::new(|| {
    let states = JobState::ALL.into_iter().filter(|state| *state != JobState::Running);
    states.map(|state| (state, statements(state))).collect()
});

/// Rows of these tables are only deleted and inserted, so that their places
/// (`ctid`) hold from the look to the delete.
fn statements(state: JobState) -> Statements {
    let (table, in_state, since) = match state {
        JobState::Pending => ("ready", "$2::int2 is not null", "since"),
        JobState::Waiting | JobState::Scheduled | JobState::Paused => {
            ("parked", "f.state = $2::int2", "since")
        }
        _ => ("finished", "f.state = $2::int2", "finished_at"),
    };
    let found = |lock: &str| {
        let found = FOUND.replace("TABLE", table).replace("STATE", in_state);
        found.replace("SINCE", since).replace("LOCK", lock)
    };
    let old = found("for update skip locked");
    let gone = format!(
        "delete from {table} where ctid = any(array(select ct from old)) returning tenant_id, job_id"
    );
    Statements {
        delete: format!("with old as materialized ({old}),\ngone as ({gone}),{REST}"),
        count: format!("select count(*) from ({}) x", found("")),
    }
}

/// Deletes jobs of a queue: see the port.
pub(super) async fn purge(
    inner: &Arc<Inner>,
    name: &QueueName,
    state: JobState,
    before: Option<Timestamp>,
    limit: u32,
) -> StoreResult<u32> {
    let inner = Arc::clone(inner);
    let name = name.clone();
    detached(async move { run(&inner, &name, state, before, limit, |statements| &statements.delete).await })
        .await
}

/// Counts what would be deleted: see the port.
pub(super) async fn purgeable(
    inner: &Inner,
    name: &QueueName,
    state: JobState,
    before: Option<Timestamp>,
    most: u32,
) -> StoreResult<u32> {
    run(inner, name, state, before, most, |statements| &statements.count).await
}

async fn run(
    inner: &Inner,
    name: &QueueName,
    state: JobState,
    before: Option<Timestamp>,
    limit: u32,
    which: fn(&Statements) -> &str,
) -> StoreResult<u32> {
    let queues = inner.find_queues(std::slice::from_ref(name)).await?;
    let (Some(&queue), Some(statements)) = (queues.first(), STATEMENTS.get(&state)) else {
        return Ok(0);
    };
    let jobs: i64 = repeat(|| {
        // Put together from the constants of this file only.
        sqlx::query_scalar(AssertSqlSafe(which(statements).to_owned()))
            .bind(queue)
            .bind(state.code())
            .bind(before.map(Timestamp::micros))
            .bind(int(limit))
            .fetch_one(&inner.pool)
    })
    .await?;
    Ok(count(u64::try_from(jobs).unwrap_or_default()))
}
