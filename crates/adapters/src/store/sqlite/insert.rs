//! Inserting jobs: known keys and full backlogs first, then all rows at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{Inserted, NewJob, StoreError, StoreResult};
use taskflow_domain::{Counters, JobId, Standing, TenantId};
use uuid::Uuid;

use super::super::error::Fault;
use super::super::row::JobRow;
use super::Shared;
use super::ids::{Found, JobIds};
use super::record::{JobRecord, KeyRecord, LabelRecord, batch};
use super::writes::{Spot, Writes};

pub(super) async fn insert(
    shared: &Arc<Shared>,
    jobs: Vec<NewJob>,
    atomic: bool,
) -> StoreResult<Vec<Inserted>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let unit = Arc::clone(shared);
    let (answers, found) = shared
        .writer
        .run(move |tx| Box::pin(async move { insert_all(tx, &unit, jobs, atomic).await }))
        .await?;
    found.remember(&shared.catalog);
    Ok(answers)
}

pub(super) async fn insert_all(
    tx: &mut SqliteConnection,
    shared: &Shared,
    jobs: Vec<NewJob>,
    atomic: bool,
) -> Result<(Vec<Inserted>, Found), Fault> {
    let mut found = Found::default();
    let answers = judge(tx, &jobs).await?;
    let refused = |answer: &Inserted| matches!(answer, Inserted::KeyReused(_) | Inserted::BacklogFull(_));
    if atomic && answers.iter().any(refused) {
        return Ok((answers, found));
    }
    let fresh: Vec<&NewJob> = jobs
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| **answer == Inserted::New)
        .map(|(job, _)| job)
        .collect();
    if !fresh.is_empty() {
        let specs: Vec<_> = fresh.iter().map(|job| &job.spec).collect();
        let ids = found.resolve(tx, &shared.catalog, &specs).await?;
        let mut writes = Writes::default();
        for (job, ids) in fresh.into_iter().zip(ids) {
            write(&mut writes, job, ids)?;
        }
        writes.flush(tx).await?;
    }
    Ok((answers, found))
}

/// What becomes of each job, as if they came one after the other.
async fn judge(tx: &mut SqliteConnection, jobs: &[NewJob]) -> Result<Vec<Inserted>, Fault> {
    let mut used = known_keys(tx, jobs).await?;
    let mut rooms = rooms(tx, jobs.iter().map(|job| job.spec.tenant)).await?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let key = job.spec.idempotency_key.as_deref().map(|key| (job.spec.tenant.0, key.to_owned()));
        if let Some((id, fingerprint)) = key.as_ref().and_then(|key| used.get(key)) {
            let same = fingerprint.as_slice() == job.fingerprint;
            answers.push(if same { Inserted::Existing(JobId(*id)) } else { Inserted::KeyReused(JobId(*id)) });
            continue;
        }
        if let Some((room, most)) = rooms.get_mut(&job.spec.tenant.0) {
            if *room == 0 {
                answers.push(Inserted::BacklogFull(*most));
                continue;
            }
            *room -= 1;
        }
        if let Some(key) = key {
            used.insert(key, (job.spec.id.0, job.fingerprint.to_vec()));
        }
        answers.push(Inserted::New);
    }
    Ok(answers)
}

type Keys = HashMap<(i32, String), (Uuid, Vec<u8>)>;

async fn known_keys(tx: &mut SqliteConnection, jobs: &[NewJob]) -> Result<Keys, Fault> {
    let asked: BTreeSet<(i32, &str)> = jobs
        .iter()
        .filter_map(|job| Some((job.spec.tenant.0, job.spec.idempotency_key.as_deref()?)))
        .collect();
    if asked.is_empty() {
        return Ok(Keys::new());
    }
    let asked: Vec<_> = asked.into_iter().collect();
    let rows = sqlx::query(KEYS).bind(batch(&asked)?).fetch_all(tx).await?;
    rows.iter()
        .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), (row.try_get(2)?, row.try_get(3)?))))
        .collect()
}

/// For each tenant with a limit on its backlog: the room that is left, and the limit.
pub(super) async fn rooms(
    tx: &mut SqliteConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<i32, (i64, u32)>, Fault> {
    let tenants: BTreeSet<i32> = tenants.map(|tenant| tenant.0).collect();
    let tenants: Vec<_> = tenants.into_iter().collect();
    let mut rooms = HashMap::new();
    for row in sqlx::query(BACKLOGS).bind(batch(&tenants)?).fetch_all(&mut *tx).await? {
        let (tenant, most): (i32, u32) = (row.try_get(0)?, row.try_get(1)?);
        let waiting: i64 =
            sqlx::query(WAITING).bind(tenant).bind(most).fetch_one(&mut *tx).await?.try_get(0)?;
        rooms.insert(tenant, ((i64::from(most) - waiting).max(0), most));
    }
    Ok(rooms)
}

fn write(writes: &mut Writes, job: &NewJob, ids: JobIds) -> Result<(), Fault> {
    let spec = &job.spec;
    if !matches!(
        job.standing,
        Standing::Waiting { .. } | Standing::Scheduled { .. } | Standing::Pending { .. }
    ) {
        return Err(StoreError::Rejected("a new job waits, is scheduled or is pending".into()).into());
    }
    let tenant_id = spec.tenant.0;
    for (key, value) in &spec.labels {
        let (key, value) = (key.clone(), value.clone());
        writes.labels.push(LabelRecord { tenant_id, key, value, job_id: spec.id.0 });
    }
    if let Some(key) = &spec.idempotency_key {
        writes.keys.push(KeyRecord {
            tenant_id,
            key: key.clone(),
            job_id: spec.id.0,
            fingerprint: hex(&job.fingerprint),
            created_at: spec.created_at.micros(),
        });
    }
    let spot = Spot {
        job: (tenant_id, spec.id.0),
        lane_id: ids.lane,
        queue_id: ids.queue,
        kind_id: ids.kind,
        priority: spec.priority,
        since: spec.created_at,
        counters: Counters::default(),
        seq: 1,
    };
    writes.place(&spot, &job.standing)?;
    let row = JobRow::of(spec, ids.queue, ids.kind)?;
    writes.jobs.push(JobRecord {
        tenant_id,
        id: row.id,
        queue_id: row.queue_id,
        kind_id: row.kind_id,
        lane_id: ids.lane,
        priority: row.priority,
        payload: row.payload,
        labels: row.labels,
        target: row.target,
        retry_policy: row.retry_policy,
        timeout_ms: row.timeout_ms,
        idempotency_key: row.idempotency_key,
        correlation_id: row.correlation_id,
        parent_job_id: row.parent_job_id,
        rule_id: row.rule_id,
        firing_id: row.firing_id,
        traceparent: row.traceparent,
        created_by: row.created_by,
        created_at: row.created_at,
        run_at: row.run_at,
    });
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

const KEYS: &str = "select i.tenant_id, i.key, i.job_id, i.fingerprint \
    from jsonb_each(?1) e cross join idempotency i \
    on i.tenant_id = e.value->>'$[0]' and i.key = e.value->>'$[1]'";

const BACKLOGS: &str = "select t.id, case when t.suspended then 0 else t.max_backlog end from jsonb_each(?1) e \
    cross join tenant t on t.id = e.value where t.max_backlog is not null or t.suspended = 1";

/// Counted no further than the limit, so that a long backlog costs no more than a full one.
const WAITING: &str = "select (select count(*) from ( \
      select 1 from lane l cross join ready r on r.lane_id = l.id where l.tenant_id = ?1 limit ?2)) \
    + (select count(*) from (select 1 from parked where tenant_id = ?1 limit ?2))";
