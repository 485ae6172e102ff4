//! Whole jobs: what was asked for, where they stand, and what is told of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::StoreError;
use taskflow_domain::{Attempt, Job, LeaseToken, Standing, TenantId, Timestamp};
use uuid::Uuid;

use super::super::super::error::Fault;
use super::super::super::names::Catalog;
use super::super::super::row::{AttemptRow, CountersRow, JobRow, PlaceRow, ProgressRow};
use super::super::names;
use super::super::record::batch;

/// The jobs of these ids, in their order; absent ones are left out.
pub(in super::super) async fn look(
    reader: &mut SqliteConnection,
    catalog: &Catalog,
    tenant: TenantId,
    ids: &[Uuid],
    now: Timestamp,
) -> Result<Vec<Job>, Fault> {
    let rows = sqlx::query(LOOK.as_str()).bind(tenant.0).bind(batch(ids)?).fetch_all(&mut *reader).await?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        jobs.push(JobRow::read(row, 0)?);
    }
    names::know_queues(reader, catalog, jobs.iter().map(|job| job.queue_id)).await?;
    names::know_kinds(reader, catalog, jobs.iter().map(|job| job.kind_id)).await?;
    names::know_tenants(reader, catalog, jobs.iter().map(|job| job.tenant_id)).await?;
    let mut found = HashMap::with_capacity(jobs.len());
    for (row, job) in rows.iter().zip(jobs) {
        found.insert(job.id, assemble(row, job, catalog, now)?);
    }
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}

fn assemble(row: &SqliteRow, job: JobRow, catalog: &Catalog, now: Timestamp) -> Result<Job, Fault> {
    let id = job.id;
    let unknown = |column: &'static str| StoreError::Corrupt {
        table: "job",
        column,
        id: id.to_string(),
        detail: "names what does not exist".into(),
    };
    let queue = catalog.queues.name(job.queue_id).ok_or_else(|| unknown("queue_id"))?;
    let kind = catalog.kinds.name(job.kind_id).ok_or_else(|| unknown("kind_id"))?;
    let slug = catalog.tenants.name(job.tenant_id).ok_or_else(|| unknown("tenant_id"))?;
    let mut at = JobRow::COLUMNS.len();
    let place = PlaceRow::read(row, at)?;
    at += PlaceRow::COLUMNS.len();
    let counters = CountersRow::read(row, at)?.counters();
    at += CountersRow::COLUMNS.len();
    let progress = ProgressRow::read(row, at)?;
    at += ProgressRow::COLUMNS.len();
    let told = [progress.at, row.try_get(at)?].into_iter().flatten();
    let told_at = told.fold(place.since, i64::max);
    at += 1;
    let standing = place.standing(id, now)?;
    let ended = match row.try_get::<Option<i16>, _>(at)? {
        Some(_) => Some(AttemptRow::read(row, at)?.numbered(id)?.attempt),
        None => None,
    };
    let end = ended.as_ref().and_then(|attempt| attempt.end.as_ref());
    let last_error = end.and_then(|end| end.error.clone());
    let last_attempt = match &standing {
        Standing::Running { worker, token, started_at, .. } => Some(Attempt {
            number: LeaseToken::attempt(*token),
            worker: worker.clone(),
            token: *token,
            started_at: *started_at,
            end: None,
        }),
        _ => ended,
    };
    Ok(Job {
        spec: job.spec(queue, kind)?,
        slug,
        seq: place.version(id)?,
        standing,
        counters,
        last_attempt,
        last_error,
        progress: progress.progress(),
        updated_at: Timestamp::from_micros(told_at),
    })
}

/// Exactly one of `r`, `p`, `x` and `f` is there for each job.
static LOOK: LazyLock<String> = LazyLock::new(|| {
    let either = |column: &str, tables: &[&str]| {
        let columns: Vec<_> = tables.iter().map(|table| format!("{table}.{column}")).collect();
        format!("coalesce({})", columns.join(", "))
    };
    let everywhere = ["r", "p", "x", "f"];
    let counters: Vec<_> = CountersRow::COLUMNS.iter().map(|column| either(column, &everywhere)).collect();
    let place = [
        "case when r.job_id is not null then 2 when x.job_id is not null then 3 \
         else coalesce(p.state, f.state) end"
            .to_owned(),
        either("due_at", &["r", "p", "x"]),
        "coalesce(r.since, p.since, x.started_at, f.finished_at)".to_owned(),
        "p.delay, p.waiting, f.reason, w.name, x.token, x.cancel_at, x.cancel_actor".to_owned(),
        either("seq", &everywhere),
        "x.started_seq".to_owned(),
    ];
    // The last attempt has a row of its own, unless the job ended with it.
    let attempt = ATTEMPT_REST.split(", ").map(|column| match column.trim_start_matches("a.") {
        "next_run_at" => column.to_owned(),
        "then_state" => "iif(a.number is null, f.state, a.then_state)".to_owned(),
        "ended_seq" => "iif(a.number is null, f.seq, a.ended_seq)".to_owned(),
        same => format!("iif(a.number is null, f.{same}, a.{same})"),
    });
    let attempt: Vec<_> = attempt.collect();
    format!(
        "select {job}, {place}, {counters}, {progress}, \
           case when x.job_id is not null then (select e.at from job_event e \
             where e.job_id = x.job_id and e.tenant_id = ?1 order by e.seq desc limit 1) end, \
           {last}, v.name, {attempt} \
         from jsonb_each(?2) e \
         cross join job j on j.tenant_id = ?1 and j.id = unhex(e.value, '-') \
         left join ready r on r.tenant_id = ?1 and r.job_id = j.id \
         left join parked p on p.tenant_id = ?1 and p.job_id = j.id \
         left join running x on x.tenant_id = ?1 and x.job_id = j.id \
         left join finished f on f.tenant_id = ?1 and f.job_id = j.id \
         left join worker w on w.id = x.worker_id \
         left join progress g on g.tenant_id = ?1 and g.job_id = j.id \
         left join attempt a on a.tenant_id = ?1 and a.job_id = j.id \
           and a.number = {number} \
         left join worker v on v.id = iif(a.number is null, f.worker_id, a.worker_id)",
        job = JobRow::columns("j"),
        place = place.join(", "),
        counters = counters.join(", "),
        progress = ProgressRow::columns("g"),
        last = "iif(a.number is null and f.worker_id is not null, f.attempt, a.number)",
        attempt = attempt.join(", "),
        // The attempt of a running job has not ended, so the one before counts.
        number = "coalesce(r.attempt, p.attempt, f.attempt, x.attempt - 1)",
    )
});

/// The columns of an [`AttemptRow`] behind its number and its worker.
pub(super) const ATTEMPT_REST: &str = "a.token, a.started_at, a.finished_at, a.outcome, a.error_kind, \
    a.error_message, a.result, a.then_state, a.next_run_at, a.reason, a.started_seq, a.ended_seq";
