//! The last tables of a run, in the checker's form. Everything is read through
//! the ports, so it serves for every store.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{JobFilter, Page, Stores};
use taskflow_checker::History;
use taskflow_checker::history::{AttemptRow, DepthRow, EventRow, JobRow};
use taskflow_domain::{Attempt, Job, JobEvent, JobState, Standing, TenantId, TenantSlug, Timestamp};

use super::executor::number_of;
use super::log::{job_name, token_name};

/// How many rows are read at once.
const PART: u32 = 500;
/// More entries than any job has.
const MOST: u32 = 1_000_000;

/// Reads the tables of these tenants into a history.
pub async fn collect(stores: &Stores, tenants: &[TenantSlug], history: &mut History) -> Result<()> {
    for slug in tenants {
        let Some(tenant) = stores.tenants.get(slug).await? else { continue };
        for job in all_jobs(stores, tenant.id).await? {
            collect_job(stores, &job, history).await?;
        }
    }
    for depth in stores.queues.depths().await? {
        for (state, jobs) in JobState::ALL.into_iter().zip(depth.by_state) {
            let (queue, state) = (depth.name.as_str().to_owned(), state.as_str().to_owned());
            history.depths.push(DepthRow { queue, state, jobs });
        }
    }
    Ok(())
}

/// Reads all that belongs to a job into a history.
pub async fn collect_job(stores: &Stores, job: &Job, history: &mut History) -> Result<()> {
    history.jobs.push(job_row(job));
    let (tenant, id, name) = (job.spec.tenant, job.spec.id, job_name(job.spec.id));
    let attempts = stores.reader.attempts(tenant, id, 0, MOST).await?;
    let attempts = attempts.with_context(|| format!("{name} has no attempts"))?;
    history.attempts.extend(attempts.iter().map(|attempt| attempt_row(&name, &job.slug, attempt)));
    let events = stores.reader.events(tenant, id, 0, MOST).await?;
    let events = events.with_context(|| format!("{name} has no history"))?;
    history.events.extend(events.iter().map(|event| event_row(&name, &job.slug, event)));
    Ok(())
}

/// All jobs of a tenant as they are stored: at the beginning of time, no
/// scheduled one shows as due.
pub async fn all_jobs(stores: &Stores, tenant: TenantId) -> Result<Vec<Job>> {
    let mut all: Vec<Job> = Vec::new();
    loop {
        let page = Page { before: all.last().map(|job| job.spec.id), limit: PART };
        let part = stores.reader.list(tenant, &JobFilter::default(), page, Timestamp::MIN).await?;
        let last = part.len() < PART as usize;
        all.extend(part);
        if last {
            return Ok(all);
        }
    }
}

fn job_row(job: &Job) -> JobRow {
    let due = match &job.standing {
        Standing::Waiting { due }
        | Standing::Scheduled { due, .. }
        | Standing::Pending { due }
        | Standing::Paused { due, .. } => *due,
        Standing::Running { .. } | Standing::Ended { .. } => job.spec.run_at,
    };
    let number = number_of(job.spec.payload.as_str()).unwrap_or(u32::MAX);
    JobRow {
        job: job_name(job.spec.id),
        tenant: job.slug.as_str().into(),
        queue: job.spec.queue.as_str().into(),
        marker: format!("m-{number}"),
        key: job.spec.idempotency_key.clone(),
        state: job.standing.state().as_str().into(),
        due: due.micros(),
        max_attempts: job.spec.retry_policy.max_attempts.into(),
        seq: job.seq,
        attempts: job.counters.attempt.into(),
        firing: job.spec.firing_id.map(|firing| firing.to_string()),
    }
}

fn attempt_row(job: &str, tenant: &TenantSlug, attempt: &Attempt) -> AttemptRow {
    let end = attempt.end.as_ref();
    AttemptRow {
        job: job.into(),
        tenant: tenant.as_str().into(),
        number: attempt.number.into(),
        worker: attempt.worker.as_str().into(),
        token: token_name(attempt.token),
        started_at: attempt.started_at.micros(),
        ended_at: end.map(|end| end.at.micros()),
        outcome: end.map(|end| end.outcome.as_str().into()),
        then: end.map(|end| end.then.as_str().into()),
    }
}

fn event_row(job: &str, tenant: &TenantSlug, event: &JobEvent) -> EventRow {
    let time = |field: &str| {
        let text = event.data.get(field)?.as_str()?;
        Timestamp::parse_rfc3339(text).map(Timestamp::micros)
    };
    EventRow {
        job: job.into(),
        tenant: tenant.as_str().into(),
        seq: event.seq,
        kind: event.kind.as_str().into(),
        at: event.at.micros(),
        attempt: event.data.get("attempt").and_then(serde_json::Value::as_u64).map(|number| number as u32),
        due: time("next_run_at").or_else(|| time("run_at")),
    }
}
