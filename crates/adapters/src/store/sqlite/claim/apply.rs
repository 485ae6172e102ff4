//! Writing what a round decided: the jobs run, their lanes are charged, and the
//! limits count them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;
use taskflow_application::ports::StoreError;
use taskflow_domain::{ClaimedJob, JobId, JobState, Lease, LeaseToken, TenantId, Timestamp, fair};

use super::super::super::error::Fault;
use super::super::Shared;
use super::super::limits;
use super::super::names;
use super::super::record::{RunningRecord, batch};
use super::super::writes::{Table, Writes};
use super::pick::Picked;
use super::queues::OpenQueue;
use super::{Holder, Jobs, Plan, Queues, Wish};

/// What a lane gave in this round.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    jobs: u32,
    cost_us: i64,
}

pub(super) async fn apply(
    tx: &mut SqliteConnection,
    shared: &Shared,
    wish: &Wish,
    holder: Holder,
    open: &mut Queues,
    plan: &Plan,
    picked: Vec<Picked>,
) -> Result<Jobs, Fault> {
    names::know_kinds(tx, &shared.catalog, picked.iter().map(|job| job.job.kind_id)).await?;
    names::know_tenants(tx, &shared.catalog, picked.iter().map(|job| job.job.tenant_id)).await?;
    let mut writes = Writes::default();
    let mut given = vec![Given::default(); plan.lanes.len()];
    let mut jobs = Vec::with_capacity(picked.len());
    for job in picked {
        let queue_id = job.job.queue_id;
        let charged_us = job.cost_us.unwrap_or(fair::UNKNOWN_COST_US);
        given[job.lane].jobs += 1;
        given[job.lane].cost_us += charged_us;
        writes.leave(Table::Ready, JobState::Pending, queue_id, (job.job.tenant_id, job.job.id));
        writes.count(queue_id, JobState::Running, 1);
        let running = start(wish, holder, &job, charged_us);
        let queue = open.iter().find(|queue| queue.id == queue_id);
        jobs.push(claimed(shared, wish, holder, queue, job, &running)?);
        writes.running.push(running);
    }
    writes.flush(tx).await?;
    charge(tx, plan, &given).await?;
    count_queues(tx, open, plan, &given).await?;
    count_slots(tx, plan, &given).await?;
    Ok(jobs)
}

/// The row of the attempt that begins. An attempt's number ends with the 15 bits
/// that a token has for it.
fn start(wish: &Wish, holder: Holder, job: &Picked, charged_us: i64) -> RunningRecord {
    let request = &wish.request;
    let attempt = job.counters.attempt.saturating_add(1);
    RunningRecord {
        tenant_id: job.job.tenant_id,
        job_id: job.job.id,
        lane_id: job.lane_id,
        kind_id: job.job.kind_id,
        priority: job.job.priority,
        due_at: job.due_at,
        started_at: request.now.micros().max(job.due_at),
        worker_id: holder.id,
        token: LeaseToken::new(u16::try_from(attempt).unwrap_or_default(), request.nonce).0,
        lease_until: request.lease_until.map(Timestamp::micros),
        charged_us,
        attempt,
        spent: job.counters.spent.saturating_add(1),
        lost: job.counters.lost,
        interrupted: job.counters.interrupted,
        snoozed: job.counters.snoozed,
        seq: job.seq + 1,
        started_seq: job.seq + 1,
    }
}

fn claimed(
    shared: &Shared,
    wish: &Wish,
    holder: Holder,
    queue: Option<&OpenQueue>,
    job: Picked,
    running: &RunningRecord,
) -> Result<ClaimedJob, Fault> {
    let lost = |what: &str| Fault::Store(StoreError::Rejected(format!("a claimed job has no {what}")));
    let queue = queue.ok_or_else(|| lost("queue"))?.name.clone();
    let kind = shared.catalog.kinds.name(job.job.kind_id).ok_or_else(|| lost("kind"))?;
    let slug = shared.catalog.tenants.name(job.job.tenant_id).ok_or_else(|| lost("tenant"))?;
    let mut counters = job.counters.counters();
    counters.attempt += 1;
    counters.spent += 1;
    let spec = job.job.spec(queue, kind)?;
    let lease = Lease {
        tenant: TenantId(running.tenant_id),
        job: JobId(running.job_id),
        queue: spec.queue.clone(),
        kind: spec.kind.clone(),
        token: LeaseToken(running.token),
        worker: wish.request.worker.clone(),
        counters,
        retry_policy: spec.retry_policy,
        due: Timestamp::from_micros(running.due_at),
        started_at: Timestamp::from_micros(running.started_at),
        charged_us: running.charged_us,
        cancel: None,
        timeout_ms: spec.timeout_ms,
        until: wish.request.lease_until,
    };
    Ok(ClaimedJob { lease, spec, slug, expires_at: wish.request.lease_until.unwrap_or(holder.lease_until) })
}

/// Charges the lanes, and lets those sleep that have nothing left.
async fn charge(tx: &mut SqliteConnection, plan: &Plan, given: &[Given]) -> Result<(), Fault> {
    let charges: Vec<(i32, i64, Option<i64>)> = plan
        .lanes
        .iter()
        .zip(given)
        .filter(|(lane, _)| lane.take > 0)
        .map(|(lane, given)| {
            let average = (given.jobs > 0).then(|| given.cost_us / i64::from(given.jobs.max(1)));
            (lane.id, fair::charge_us(given.cost_us, lane.weight), average)
        })
        .collect();
    if !charges.is_empty() {
        sqlx::query(CHARGE).bind(batch(&charges)?).execute(tx).await?;
    }
    Ok(())
}

/// Counts the starts under the limits of the queues themselves.
async fn count_queues(
    tx: &mut SqliteConnection,
    open: &mut Queues,
    plan: &Plan,
    given: &[Given],
) -> Result<(), Fault> {
    let mut starts = BTreeMap::<i32, u32>::new();
    for (lane, given) in plan.lanes.iter().zip(given).filter(|(_, given)| given.jobs > 0) {
        *starts.entry(lane.queue_id).or_default() += given.jobs;
    }
    let mut counts: Vec<(i32, u32, Option<i64>, Option<i64>)> = Vec::new();
    for queue in open {
        let Some(&jobs) = starts.get(&queue.id) else { continue };
        queue.room = queue.room.saturating_sub(jobs);
        queue.rate = queue.rate.map(|bucket| bucket.spent(jobs));
        if queue.counted || queue.rate.is_some() {
            let bucket = queue.rate;
            let (micro, at) = (bucket.map(|b| b.micro_tokens), bucket.map(|b| b.at.micros()));
            counts.push((queue.id, if queue.counted { jobs } else { 0 }, micro, at));
        }
    }
    if !counts.is_empty() {
        sqlx::query(COUNT).bind(batch(&counts)?).execute(tx).await?;
    }
    Ok(())
}

/// Counts the starts under the limits of tenants, and blocks the lanes of the
/// limits that are full, also of those that were full before.
async fn count_slots(tx: &mut SqliteConnection, plan: &Plan, given: &[Given]) -> Result<(), Fault> {
    let mut starts = BTreeMap::<i32, i64>::new();
    for (lane, given) in plan.lanes.iter().zip(given) {
        for slot in lane.slots.into_iter().flatten() {
            *starts.entry(slot).or_default() += i64::from(given.jobs);
        }
    }
    if starts.is_empty() {
        return Ok(());
    }
    limits::count(tx, &starts).await?;
    let met: BTreeSet<i32> = starts.into_keys().collect();
    limits::block(tx, &met).await
}

const CHARGE: &str = "update lane set \
      virtual_us = virtual_us + (e.value->>'$[1]'), \
      cost_us = coalesce(e.value->>'$[2]', cost_us), \
      active = exists (select 1 from ready r where r.lane_id = lane.id) \
    from jsonb_each(?1) e where lane.id = e.value->>'$[0]'";

const COUNT: &str = "update queue set \
      running = running + (e.value->>'$[1]'), \
      bucket_micro = coalesce(e.value->>'$[2]', bucket_micro), \
      bucket_at = coalesce(e.value->>'$[3]', bucket_at) \
    from jsonb_each(?1) e where queue.id = e.value->>'$[0]'";
