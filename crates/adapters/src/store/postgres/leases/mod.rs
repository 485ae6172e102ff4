//! Leases: who runs what, how long yet, and which have ended.

mod progress;

use std::sync::{Arc, LazyLock};

use sqlx::Row;
use sqlx::postgres::PgRow;
use taskflow_application::ports::{Extended, LeaseKey, StoreResult};
use taskflow_domain::{JobId, Lease, TenantId, Timestamp};
use uuid::Uuid;

use super::unit::repeat;
use super::{Inner, int};
use crate::store::error::from_sqlx;
use crate::store::row::{CountersRow, LeaseRow};

pub(super) use progress::progress;

/// A running job `r` with the columns of [`LeaseRow`] that stand elsewhere.
const RUNNING: &str = "
    r.*,
    (select q.name from lane l join queue q on q.id = l.queue_id where l.id = r.lane_id) queue,
    (select k.name from kind k where k.id = r.kind_id) kind,
    (select w.name from worker w where w.id = r.worker_id) worker,
    (select j.retry_policy from job j where j.tenant_id = r.tenant_id and j.id = r.job_id) retry_policy,
    (select j.timeout_ms from job j where j.tenant_id = r.tenant_id and j.id = r.job_id) timeout_ms";

static LEASES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select k.n, {lease}, {counters}
        from unnest($1::int4[], $2::int4[], $3::uuid[]) k(n, tenant_id, job_id)
        cross join lateral (
            select {RUNNING} from running r
            where r.tenant_id = k.tenant_id and r.job_id = k.job_id limit 1) x",
        lease = LeaseRow::columns("x"),
        counters = CountersRow::columns("x"),
    )
});

/// Leases with an end of their own, and those of workers whose lease ended, by
/// two indexes.
static EXPIRED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select 0, {lease}, {counters}
        from (
            (select {RUNNING} from running r where r.lease_until < $1 order by r.lease_until limit $2::int4)
            union all
            (select r.* from worker w cross join lateral (
                select {RUNNING} from running r
                where r.worker_id = w.id and r.lease_until is null limit $2::int4) r
            where w.known and w.lease_until < $1 limit $2::int4)) x
        limit $2::int4",
        lease = LeaseRow::columns("x"),
        counters = CountersRow::columns("x"),
    )
});

/// Leases that the worker's lease governs stay so, and none outlives its timeout
/// for longer than `$6`, the time to stop.
const EXTEND: &str = "
update running r set lease_until = case when r.lease_until is null then null
    else least($4, r.started_at + k.timeout_us + $6) end
from (
    select k.n, k.tenant_id, k.job_id, k.token, j.timeout_ms * 1000 timeout_us
    from unnest($1::int4[], $2::int4[], $3::uuid[], $5::int8[]) k(n, tenant_id, job_id, token)
    cross join lateral (
        select timeout_ms from job j where j.tenant_id = k.tenant_id and j.id = k.job_id limit 1) j) k
where r.tenant_id = any(array[k.tenant_id]) and r.job_id = k.job_id and r.token = k.token
returning k.n, r.cancel_at is not null, r.started_at + k.timeout_us";

fn places(n: usize) -> Vec<i32> {
    (0..i32::try_from(n).unwrap_or(i32::MAX)).collect()
}

fn read(rows: &[PgRow]) -> StoreResult<Vec<(i32, Lease)>> {
    rows.iter()
        .map(|row| {
            let parts = || {
                Ok((
                    row.try_get(0)?,
                    LeaseRow::read(row, 1)?,
                    CountersRow::read(row, 1 + LeaseRow::COLUMNS.len())?,
                ))
            };
            let (place, lease, counters) = parts().map_err(|fault: sqlx::Error| from_sqlx(&fault))?;
            Ok((place, lease.lease(&counters)?))
        })
        .collect()
}

/// The leases of running jobs: see the port.
pub(super) async fn leases(inner: &Inner, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
    let mut found: Vec<Option<Lease>> = jobs.iter().map(|_| None).collect();
    if jobs.is_empty() {
        return Ok(found);
    }
    let (tenants, ids): (Vec<i32>, Vec<Uuid>) = jobs.iter().map(|(tenant, job)| (tenant.0, job.0)).unzip();
    let rows = repeat(|| {
        sqlx::query(LEASES.as_str()).bind(places(jobs.len())).bind(&tenants).bind(&ids).fetch_all(&inner.pool)
    })
    .await?;
    for (place, lease) in read(&rows)? {
        if let Some(found) = usize::try_from(place).ok().and_then(|at| found.get_mut(at)) {
            *found = Some(lease);
        }
    }
    Ok(found)
}

/// Extends leases: see the port.
pub(super) async fn extend(
    inner: &Arc<Inner>,
    leases: &[LeaseKey],
    until: Timestamp,
) -> StoreResult<Vec<Extended>> {
    let mut answers = vec![Extended::Lost; leases.len()];
    if leases.is_empty() {
        return Ok(answers);
    }
    let tenants: Vec<i32> = leases.iter().map(|(tenant, ..)| tenant.0).collect();
    let ids: Vec<Uuid> = leases.iter().map(|(_, job, _)| job.0).collect();
    let tokens: Vec<i64> = leases.iter().map(|(.., token)| token.0).collect();
    // A row is updated once in a statement, so a lease that stands twice in the
    // call is answered by its key.
    let grace_us = i64::try_from(Lease::TIMEOUT_GRACE_MS * 1_000).unwrap_or(i64::MAX);
    let rows: Vec<(i32, bool, i64)> = repeat(|| {
        sqlx::query_as(EXTEND)
            .bind(places(leases.len()))
            .bind(&tenants)
            .bind(&ids)
            .bind(until.micros())
            .bind(&tokens)
            .bind(grace_us)
            .fetch_all(&inner.pool)
    })
    .await?;
    let held: std::collections::HashMap<_, Extended> = rows
        .into_iter()
        .filter_map(|(place, cancel, timeout_at)| {
            let held = Extended::Held { cancel, timeout_at: Timestamp::from_micros(timeout_at) };
            Some((*leases.get(usize::try_from(place).ok()?)?, held))
        })
        .collect();
    for (answer, lease) in answers.iter_mut().zip(leases) {
        if let Some(&held) = held.get(lease) {
            *answer = held;
        }
    }
    Ok(answers)
}

/// Leases that ended: see the port.
pub(super) async fn expired(inner: &Inner, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
    let rows =
        repeat(|| sqlx::query(EXPIRED.as_str()).bind(now.micros()).bind(int(limit)).fetch_all(&inner.pool))
            .await?;
    Ok(read(&rows)?.into_iter().map(|(_, lease)| lease).collect())
}
