//! Deleting jobs that ended long enough ago.

use std::sync::Arc;

use taskflow_application::ports::StoreResult;
use taskflow_domain::{JobState, Timestamp};

use super::unit::{detached, repeat};
use super::{Inner, count, int};

/// A row of `finished` is never updated, so its place holds. Everything else goes
/// by the job's key; its labels by what the job says of them, as their index
/// serves look-ups by label.
const PRUNE: &str = "
with old as materialized (
    select f.ctid ct from finished f
    where f.state = $1 and f.finished_at < $2 and not exists (
        select 1 from idempotency i
        where i.tenant_id = f.tenant_id and i.job_id = f.job_id and i.created_at > $3)
    order by f.finished_at limit $4::int4 for update skip locked),
gone as (
    delete from finished where ctid = any(array(select ct from old)) returning tenant_id, job_id),
jobs as (
    delete from job j using gone g where j.tenant_id = any(array[g.tenant_id]) and j.id = g.job_id
    returning j.tenant_id, j.id, j.queue_id, j.labels),
attempts as (
    delete from attempt a using gone g where a.tenant_id = any(array[g.tenant_id]) and a.job_id = g.job_id),
events as (
    delete from job_event e using gone g where e.tenant_id = any(array[g.tenant_id]) and e.job_id = g.job_id),
told as (
    delete from progress p using gone g where p.tenant_id = any(array[g.tenant_id]) and p.job_id = g.job_id),
keys as (
    delete from idempotency i using gone g where i.tenant_id = any(array[g.tenant_id]) and i.job_id = g.job_id),
labels as (
    delete from job_label l using (
        select j.tenant_id, j.id, o.key, o.value
        from jobs j cross join lateral json_each_text(j.labels::json) o
        where j.labels is not null) o
    where l.tenant_id = any(array[o.tenant_id]) and l.key = o.key and l.value = o.value and l.job_id = o.id),
counted as (
    insert into depth_delta (queue_id, state, n)
    select queue_id, $1, -count(*) from jobs group by 1)
select count(*) from gone";

/// Deletes ended jobs: see the port.
pub(super) async fn prune(
    inner: &Arc<Inner>,
    state: JobState,
    before: Timestamp,
    keys_before: Timestamp,
    limit: u32,
) -> StoreResult<u32> {
    if !state.is_terminal() {
        return Ok(0);
    }
    let inner = Arc::clone(inner);
    detached(async move {
        let jobs: i64 = repeat(|| {
            sqlx::query_scalar(PRUNE)
                .bind(state.code())
                .bind(before.micros())
                .bind(keys_before.micros())
                .bind(int(limit))
                .fetch_one(&inner.pool)
        })
        .await?;
        Ok(count(u64::try_from(jobs).unwrap_or_default()))
    })
    .await
}
