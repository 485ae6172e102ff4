//! A job's past: its attempts, and the entries of its history.

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use taskflow_domain::event::{History, NumberedAttempt};
use taskflow_domain::{Actor, Attempt, JobEvent, JobId, TenantId, Timestamp};

use super::super::super::error::Fault;
use super::super::super::row::{AttemptRow, EventRow};
use super::super::Shared;
use super::look::ATTEMPT_REST;

pub(super) async fn attempts(
    shared: &Shared,
    tenant: TenantId,
    job: JobId,
    after: u16,
    limit: u32,
) -> Result<Option<Vec<Attempt>>, Fault> {
    let mut moment = shared.readers.begin().await?;
    let Some(_) = head(&mut moment, tenant, job).await? else { return Ok(None) };
    let sql = ended("a.number", "f.attempt");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.0).bind(job.0).bind(i64::from(after));
    let rows = query.bind(limit).fetch_all(&mut *moment).await?;
    let mut attempts = Vec::with_capacity(rows.len() + 1);
    for row in &rows {
        attempts.push(AttemptRow::read(row, 0)?.numbered(job.0)?.attempt);
    }
    if attempts.len() < limit as usize
        && let Some(running) = running(&mut moment, tenant, job).await?
        && running.attempt.number > after
    {
        attempts.push(running.attempt);
    }
    moment.commit().await?;
    Ok(Some(attempts))
}

pub(super) async fn events(
    shared: &Shared,
    tenant: TenantId,
    job: JobId,
    after: u32,
    limit: u32,
) -> Result<Option<Vec<JobEvent>>, Fault> {
    let mut moment = shared.readers.begin().await?;
    let Some((created_at, created_by)) = head(&mut moment, tenant, job).await? else { return Ok(None) };
    let mut recorded = Vec::new();
    let query = sqlx::query(RECORDED).bind(tenant.0).bind(job.0).bind(i64::from(after)).bind(limit);
    for row in query.fetch_all(&mut *moment).await? {
        recorded.push(EventRow::read(&row, 0)?.event(job.0)?);
    }
    // Each attempt makes two entries, so these are enough to fill the page.
    let sql = ended("a.ended_seq", "f.seq");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.0).bind(job.0).bind(i64::from(after));
    let mut attempts = Vec::new();
    for row in query.bind(limit).fetch_all(&mut *moment).await? {
        attempts.push(AttemptRow::read(&row, 0)?.numbered(job.0)?);
    }
    if attempts.len() < limit as usize {
        attempts.extend(running(&mut moment, tenant, job).await?);
    }
    moment.commit().await?;
    let mut events = History { created_at, created_by, attempts, recorded }.events();
    events.retain(|event| event.seq > after);
    events.truncate(limit as usize);
    Ok(Some(events))
}

/// When and by whom the job was made, if it exists.
async fn head(
    reader: &mut SqliteConnection,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<(Timestamp, Actor)>, Fault> {
    let row = sqlx::query(HEAD).bind(tenant.0).bind(job.0).fetch_optional(reader).await?;
    row.map(|row| Ok((Timestamp::from_micros(row.try_get(0)?), Actor::from_stored(row.try_get(1)?))))
        .transpose()
}

async fn running(
    reader: &mut SqliteConnection,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<NumberedAttempt>, Fault> {
    let row = sqlx::query(RUNNING).bind(tenant.0).bind(job.0).fetch_optional(reader).await?;
    row.map(|row| Ok(AttemptRow::read(&row, 0)?.numbered(job.0)?)).transpose()
}

/// The ended attempts whose number is greater than `?3`, in rising order. The
/// number is a column of `attempt`, and of `finished` for the one that ended the job.
fn ended(own: &str, last: &str) -> String {
    format!(
        "select a.number, w.name, {ATTEMPT_REST} from attempt a join worker w on w.id = a.worker_id \
           where a.tenant_id = ?1 and a.job_id = ?2 and {own} > ?3 \
         union all \
         select f.attempt, w.name, f.token, f.started_at, f.finished_at, f.outcome, f.error_kind, \
           f.error_message, f.result, f.state, null, f.reason, f.started_seq, f.seq \
           from finished f join worker w on w.id = f.worker_id \
           where f.tenant_id = ?1 and f.job_id = ?2 and {last} > ?3 \
         order by 1 limit ?4"
    )
}

const HEAD: &str = "select created_at, created_by from job where tenant_id = ?1 and id = ?2";

const RUNNING: &str = "select r.attempt, w.name, r.token, r.started_at, null, null, null, null, null, null, \
      null, null, r.started_seq, null \
    from running r join worker w on w.id = r.worker_id where r.tenant_id = ?1 and r.job_id = ?2";

const RECORDED: &str = "select seq, kind, at, actor, data from job_event \
    where tenant_id = ?1 and job_id = ?2 and seq > ?3 order by seq limit ?4";
