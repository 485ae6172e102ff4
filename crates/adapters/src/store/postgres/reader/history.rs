//! One job's past: its attempts and its history, page by page.

use std::sync::{Arc, LazyLock};

use sqlx::Row;
use sqlx::postgres::PgRow;
use taskflow_application::ports::StoreResult;
use taskflow_domain::event::{History, NumberedAttempt};
use taskflow_domain::{Actor, Attempt, JobEvent, JobId, TenantId, Timestamp};

use super::super::{Inner, int};
use super::unreadable;
use crate::store::row::{AttemptRow, EventRow};

/// The columns of an attempt that has ended, from its row `a`.
pub(super) const ATTEMPT: &str = "
    a.number, (select w.name from worker w where w.id = a.worker_id) worker, a.token, a.started_at,
    a.finished_at, a.outcome, a.error_kind, a.error_message, a.result, a.then_state, a.next_run_at,
    a.reason, a.started_seq, a.ended_seq";

/// The same columns of the attempt that ended its job, from the row `r` of `finished`.
pub(super) const LAST: &str = "
    r.attempt, (select w.name from worker w where w.id = r.worker_id), r.token, r.started_at,
    r.finished_at, r.outcome, r.error_kind, r.error_message, r.result, r.state, null::int8,
    r.reason, r.started_seq, r.seq";

/// The same columns of the attempt that runs, from the row `r` of `running`.
const RUNNING: &str = "
    r.attempt, (select w.name from worker w where w.id = r.worker_id), r.token, r.started_at,
    null::int8, null::int2, null::text, null::text, null::text, null::int2, null::int8,
    null::text, r.started_seq, null::int4";

/// A row for each attempt with a greater number than `$3`, or one without an
/// attempt if the job has none; no row if there is no job.
static ATTEMPTS: LazyLock<String> = LazyLock::new(|| {
    let columns = AttemptRow::columns("a");
    format!(
        "select a.number is not null, {columns}
        from job j
        left join lateral (
            (select {ATTEMPT} from attempt a
             where a.tenant_id = $1 and a.job_id = $2 and a.number > $3
             order by a.number limit $4)
            union all
            (select {LAST} from finished r
             where r.tenant_id = $1 and r.job_id = $2 and r.attempt > $3 and r.worker_id is not null)
            union all
            (select {RUNNING} from running r
             where r.tenant_id = $1 and r.job_id = $2 and r.attempt > $3)
            order by number limit $4) a on true
        where j.tenant_id = $1 and j.id = $2
        order by a.number"
    )
});

/// A row for each attempt and each entry that tells of something after entry
/// `$3`; one without either if there is nothing to tell; no row if there is no
/// job. Among these are the first `$4` entries of the history.
static EVENTS: LazyLock<String> = LazyLock::new(|| {
    let (attempt, event) = (AttemptRow::columns("x"), EventRow::columns("x"));
    format!(
        "select j.created_at, j.created_by, x.number is not null, x.seq is not null, {attempt}, {event}
        from job j
        left join lateral (
            (select {ATTEMPT}, null::int4 as seq, null::int2 as kind, null::int8 as at,
                null::text as actor, null::text as data
             from attempt a
             where a.tenant_id = $1 and a.job_id = $2 and a.ended_seq > $3
             order by a.number limit $4)
            union all
            (select {LAST}, null, null, null, null, null
             from finished r
             where r.tenant_id = $1 and r.job_id = $2 and r.seq > $3 and r.worker_id is not null)
            union all
            (select {RUNNING}, null, null, null, null, null
             from running r
             where r.tenant_id = $1 and r.job_id = $2)
            union all
            (select null, null, null, null, null, null, null, null, null, null, null, null, null, null,
                e.seq, e.kind, e.at, e.actor, e.data
             from job_event e
             where e.tenant_id = $1 and e.job_id = $2 and e.seq > $3
             order by e.seq limit $4)) x on true
        where j.tenant_id = $1 and j.id = $2"
    )
});

/// A job's attempts with greater numbers than `after`; `None` if the job is absent.
pub(super) async fn attempts(
    inner: &Arc<Inner>,
    tenant: TenantId,
    job: JobId,
    after: u16,
    limit: u32,
) -> StoreResult<Option<Vec<Attempt>>> {
    let after = i16::try_from(after).unwrap_or(i16::MAX);
    let look = inner.look(tenant, move |connection| {
        let text: &'static str = &ATTEMPTS;
        let query = sqlx::query(text).bind(tenant.0).bind(job.0).bind(after).bind(i64::from(limit));
        Box::pin(query.fetch_all(connection))
    });
    let rows = look.await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let numbered = rows.iter().filter_map(|row| attempt(row, 0, 1, job).transpose());
    numbered.map(|numbered| Ok(numbered?.attempt)).collect::<StoreResult<_>>().map(Some)
}

/// A job's history after entry `after`; `None` if the job is absent.
pub(super) async fn events(
    inner: &Arc<Inner>,
    tenant: TenantId,
    job: JobId,
    after: u32,
    limit: u32,
) -> StoreResult<Option<Vec<JobEvent>>> {
    let look = inner.look(tenant, move |connection| {
        let text: &'static str = &EVENTS;
        let query = sqlx::query(text).bind(tenant.0).bind(job.0).bind(int(after)).bind(i64::from(limit));
        Box::pin(query.fetch_all(connection))
    });
    let rows = look.await?;
    let Some(history) = history(&rows, job)? else { return Ok(None) };
    let mut events = history.events();
    events.retain(|event| event.seq > after);
    events.truncate(limit as usize);
    Ok(Some(events))
}

fn history(rows: &[PgRow], job: JobId) -> StoreResult<Option<History>> {
    const ATTEMPT_AT: usize = 4;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut history = History {
        created_at: Timestamp::from_micros(first.try_get(0).map_err(unreadable)?),
        created_by: Actor::from_stored(first.try_get(1).map_err(unreadable)?),
        attempts: Vec::new(),
        recorded: Vec::new(),
    };
    for row in rows {
        history.attempts.extend(attempt(row, 2, ATTEMPT_AT, job)?);
        if row.try_get::<bool, _>(3).map_err(unreadable)? {
            let event = EventRow::read(row, ATTEMPT_AT + AttemptRow::COLUMNS.len()).map_err(unreadable)?;
            history.recorded.push(event.event(job.0)?);
        }
    }
    Ok(Some(history))
}

/// The attempt from the column `at` on, if the column `has` says that there is one.
fn attempt(row: &PgRow, has: usize, at: usize, job: JobId) -> StoreResult<Option<NumberedAttempt>> {
    if !row.try_get::<bool, _>(has).map_err(unreadable)? {
        return Ok(None);
    }
    let row = AttemptRow::read(row, at).map_err(unreadable)?;
    row.numbered(job.0).map(Some)
}
