//! What running attempts tell of their progress: shown, and kept in the history.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{StoreError, StoreResult};
use taskflow_domain::{JobId, LeaseToken, Progress, TenantId, Timestamp, WorkerName, event};
use uuid::Uuid;

use super::super::error::Fault;
use super::Shared;
use super::record::{EventRecord, ProgressRecord, batch, insert_sql};
use super::writes::{JobKey, Writes};

type Told = (TenantId, JobId, LeaseToken, Progress);

pub(super) async fn progress(shared: &Shared, reports: &[Told], at: Timestamp) -> StoreResult<Vec<bool>> {
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    let reports = reports.to_vec();
    shared.writer.run(move |tx| Box::pin(async move { note(tx, &reports, at).await })).await
}

struct Held {
    token: i64,
    seq: i32,
    worker: WorkerName,
}

async fn note(tx: &mut SqliteConnection, reports: &[Told], at: Timestamp) -> Result<Vec<bool>, Fault> {
    let mut held = held(tx, reports).await?;
    let mut writes = Writes::default();
    let mut shown = HashMap::<JobKey, ProgressRecord>::new();
    let mut answers = Vec::with_capacity(reports.len());
    for (tenant, job, token, progress) in reports {
        let key = (tenant.0, job.0);
        let Some(held) = held.get_mut(&key).filter(|held| held.token == token.0) else {
            answers.push(false);
            continue;
        };
        held.seq += 1;
        let seq = u32::try_from(held.seq).unwrap_or_default();
        let entry = event::progressed(seq, &held.worker, progress, at);
        writes.events.push(EventRecord {
            tenant_id: key.0,
            job_id: key.1,
            seq: held.seq,
            kind: entry.kind.code(),
            at: at.micros(),
            actor: entry.actor.as_str().to_owned(),
            data: entry.data.to_string(),
        });
        shown.insert(key, record(key, progress, at));
        answers.push(true);
    }
    let seqs: Vec<(i32, Uuid, i32)> =
        shown.keys().filter_map(|key| Some((key.0, key.1, held.get(key)?.seq))).collect();
    if !seqs.is_empty() {
        let shown: Vec<_> = shown.into_values().collect();
        sqlx::query(NUMBER).bind(batch(&seqs)?).execute(&mut *tx).await?;
        sqlx::query(SHOW.as_str()).bind(batch(&shown)?).execute(&mut *tx).await?;
        writes.flush(tx).await?;
    }
    Ok(answers)
}

async fn held(tx: &mut SqliteConnection, reports: &[Told]) -> Result<HashMap<JobKey, Held>, Fault> {
    let keys: Vec<JobKey> = reports.iter().map(|(tenant, job, ..)| (tenant.0, job.0)).collect();
    let mut held = HashMap::new();
    for row in sqlx::query(HELD).bind(batch(&keys)?).fetch_all(tx).await? {
        let name: String = row.try_get(4)?;
        let worker = WorkerName::new(&name)
            .map_err(|fault| StoreError::Rejected(format!("the stored worker {name:?} {fault}")))?;
        held.insert(
            (row.try_get(0)?, row.try_get(1)?),
            Held { token: row.try_get(2)?, seq: row.try_get(3)?, worker },
        );
    }
    Ok(held)
}

fn record(key: JobKey, progress: &Progress, at: Timestamp) -> ProgressRecord {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    ProgressRecord {
        tenant_id: key.0,
        job_id: key.1,
        percent: i16::from(progress.percent),
        message: progress.message.clone(),
        succeeded: count(progress.succeeded),
        failed: count(progress.failed),
        at: at.micros(),
    }
}

const HELD: &str = "select r.tenant_id, r.job_id, r.token, r.seq, w.name \
    from jsonb_each(?1) e \
    cross join running r on r.tenant_id = e.value->>'$[0]' and r.job_id = unhex(e.value->>'$[1]', '-') \
    cross join worker w on w.id = r.worker_id";

const NUMBER: &str = "update running set seq = e.value->>'$[2]' from jsonb_each(?1) e \
    where running.tenant_id = e.value->>'$[0]' and running.job_id = unhex(e.value->>'$[1]', '-')";

static SHOW: LazyLock<String> = LazyLock::new(|| insert_sql::<ProgressRecord>("insert or replace"));
