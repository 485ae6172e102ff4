//! The leases of running jobs: looking at them, extending them, finding those
//! that ended.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{Extended, LeaseKey, StoreResult};
use taskflow_domain::{JobId, Lease, TenantId, Timestamp};

use super::super::error::Fault;
use super::super::row::{CountersRow, LeaseRow};
use super::Shared;
use super::record::batch;
use super::writes::JobKey;

pub(super) async fn leases(shared: &Shared, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
    Ok(find(shared, jobs).await?)
}

async fn find(shared: &Shared, jobs: &[(TenantId, JobId)]) -> Result<Vec<Option<Lease>>, Fault> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<JobKey> = jobs.iter().map(|(tenant, job)| (tenant.0, job.0)).collect();
    let rows = sqlx::query(LEASES).bind(batch(&keys)?).fetch_all(&shared.readers).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let lease = read(row)?;
        found.insert((lease.tenant, lease.job), lease);
    }
    Ok(jobs.iter().map(|key| found.get(key).cloned()).collect())
}

fn read(row: &SqliteRow) -> Result<Lease, Fault> {
    let counters = CountersRow::read(row, LeaseRow::COLUMNS.len())?;
    Ok(LeaseRow::read(row, 0)?.lease(&counters)?)
}

pub(super) async fn expired(shared: &Shared, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
    Ok(find_expired(shared, now, limit).await?)
}

async fn find_expired(shared: &Shared, now: Timestamp, limit: u32) -> Result<Vec<Lease>, Fault> {
    let query = sqlx::query(EXPIRED).bind(now.micros()).bind(limit);
    query.fetch_all(&shared.readers).await?.iter().map(read).collect()
}

pub(super) async fn extend(
    shared: &Shared,
    leases: &[LeaseKey],
    until: Timestamp,
) -> StoreResult<Vec<Extended>> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = leases.iter().map(|(tenant, job, token)| (tenant.0, job.0, token.0)).collect();
    let held = shared
        .writer
        .run(move |tx| Box::pin(async move { extend_all(tx, batch(&keys)?, until).await }))
        .await?;
    Ok(leases
        .iter()
        .map(|(tenant, job, token)| match held.get(&(tenant.0, job.0)) {
            Some(&(held, cancel, timeout_at)) if held == token.0 => Extended::Held { cancel, timeout_at },
            _ => Extended::Lost,
        })
        .collect())
}

/// The leases among `keys` that are held: token, whether a cancel was requested,
/// and when the attempt has taken too long.
async fn extend_all(
    tx: &mut SqliteConnection,
    keys: String,
    until: Timestamp,
) -> Result<HashMap<JobKey, (i64, bool, Timestamp)>, Fault> {
    let grace_us = i64::try_from(Lease::TIMEOUT_GRACE_MS * 1_000).unwrap_or(i64::MAX);
    let query = sqlx::query(EXTEND).bind(keys).bind(until.micros()).bind(grace_us);
    let rows = query.fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let timeout_at = Timestamp::from_micros(row.try_get(4)?);
            Ok(((row.try_get(0)?, row.try_get(1)?), (row.try_get(2)?, row.try_get(3)?, timeout_at)))
        })
        .collect()
}

macro_rules! columns {
    () => {
        "r.tenant_id, r.job_id, \
         (select q.name from lane l cross join queue q on q.id = l.queue_id where l.id = r.lane_id), \
         (select k.name from kind k where k.id = r.kind_id), r.token, w.name, j.retry_policy, r.due_at, r.started_at, r.charged_us, \
         r.cancel_at, r.cancel_actor, j.timeout_ms, r.lease_until, r.attempt, r.spent, r.lost, r.interrupted, r.snoozed "
    };
}

const LEASES: &str = concat!(
    "select ",
    columns!(),
    "from jsonb_each(?1) e \
     cross join running r on r.tenant_id = e.value->>'$[0]' and r.job_id = unhex(e.value->>'$[1]', '-') \
     cross join worker w on w.id = r.worker_id \
     cross join job j on j.tenant_id = r.tenant_id and j.id = r.job_id"
);

/// Leases with an end of their own, and those of workers whose lease ended.
const EXPIRED: &str = concat!(
    "with late(tenant_id, job_id) as materialized ( \
       select tenant_id, job_id from running where lease_until < ?1 \
       union all \
       select r.tenant_id, r.job_id from worker w cross join running r on r.worker_id = w.id \
       where w.lease_until < ?1 and r.lease_until is null \
       limit ?2) \
     select ",
    columns!(),
    "from late cross join running r on r.tenant_id = late.tenant_id and r.job_id = late.job_id \
     cross join worker w on w.id = r.worker_id \
     cross join job j on j.tenant_id = r.tenant_id and j.id = r.job_id"
);

const EXTEND: &str = "update running set \
      lease_until = case when lease_until is null then null \
        else min(?2, started_at + ?3 + 1000 * (select j.timeout_ms from job j \
          where j.tenant_id = running.tenant_id and j.id = running.job_id)) end \
    from jsonb_each(?1) e \
    where running.tenant_id = e.value->>'$[0]' and running.job_id = unhex(e.value->>'$[1]', '-') \
      and running.token = e.value->>'$[2]' \
    returning tenant_id, job_id, token, cancel_at is not null, \
      started_at + 1000 * (select j.timeout_ms from job j \
        where j.tenant_id = running.tenant_id and j.id = running.job_id)";
