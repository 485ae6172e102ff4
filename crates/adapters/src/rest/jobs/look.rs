//! Looking at jobs, their attempts and their histories.

use axum::extract::State;
use taskflow_application::ports::Page;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::describe::{FilterParams, JobParam, ListProblems, LookProblems, PageParams, TenantHeader};
use super::super::extract::{Answer, Asker, JobPath, JobsRead, detached};
use super::super::page::{List, Wanted};
use super::super::problem::Problem;
use super::super::query::{NoQuery, Query};
use super::filter;
use super::wire::{attempt, event, job};

/// Find jobs
///
/// The newest first. Everything that is asked for must hold; of several states,
/// one. A label is asked for as `label.<key>=<value>`.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    security(("key" = ["jobs:read"])),
    params(TenantHeader, FilterParams, PageParams),
    responses((status = 200, description = "The jobs.", body = wire::JobList), ListProblems)
)]
pub(super) async fn list_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsRead>,
    mut query: Query,
) -> Result<Answer<wire::JobList>, Problem> {
    let filter = filter::of_query(&mut query);
    let list = List::new("jobs", &(&caller.slug, &filter));
    let wanted = Wanted::read(&mut query, &list);
    query.close()?;
    let page = Page { before: wanted.after, limit: wanted.limit };
    let listed = detached(async move { state.jobs.list(&caller, &filter, page).await }).await??;
    let last = listed.items.last().filter(|_| listed.more);
    let next_cursor = last.map(|job| list.cursor(&job.spec.id));
    Ok(Answer(wire::JobList { items: listed.items.iter().map(job).collect(), next_cursor }))
}

/// Look at a job
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    security(("key" = ["jobs:read"])),
    params(TenantHeader, JobParam),
    responses((status = 200, description = "The job.", body = wire::Job), LookProblems)
)]
pub(super) async fn get_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsRead>,
    JobPath(id): JobPath,
    _: NoQuery,
) -> Result<Answer<wire::Job>, Problem> {
    let found = detached(async move { state.jobs.get(&caller, id).await }).await??;
    Ok(Answer(job(&found)))
}

/// List a job's attempts
///
/// The first one first; the last one may be running.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/attempts",
    operation_id = "listJobAttempts",
    tag = "jobs",
    security(("key" = ["jobs:read"])),
    params(TenantHeader, JobParam, PageParams),
    responses((status = 200, description = "The attempts.", body = wire::AttemptList), LookProblems)
)]
pub(super) async fn list_attempts(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsRead>,
    JobPath(id): JobPath,
    mut query: Query,
) -> Result<Answer<wire::AttemptList>, Problem> {
    let list = List::new("attempts", &(&caller.slug, id));
    let wanted = Wanted::read(&mut query, &list);
    query.close()?;
    let after: u16 = wanted.after.unwrap_or(0);
    let work = async move { state.jobs.attempts(&caller, id, after, wanted.limit).await };
    let listed = detached(work).await??;
    let last = listed.items.last().filter(|_| listed.more);
    let next_cursor = last.map(|attempt| list.cursor(&attempt.number));
    Ok(Answer(wire::AttemptList { items: listed.items.iter().map(attempt).collect(), next_cursor }))
}

/// Read a job's history
///
/// The first entry first. No number is missing.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "listJobEvents",
    tag = "jobs",
    security(("key" = ["jobs:read"])),
    params(TenantHeader, JobParam, PageParams),
    responses((status = 200, description = "The history.", body = wire::EventList), LookProblems)
)]
pub(super) async fn list_events(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsRead>,
    JobPath(id): JobPath,
    mut query: Query,
) -> Result<Answer<wire::EventList>, Problem> {
    let list = List::new("events", &(&caller.slug, id));
    let wanted = Wanted::read(&mut query, &list);
    query.close()?;
    let after: u32 = wanted.after.unwrap_or(0);
    let work = async move { state.jobs.events(&caller, id, after, wanted.limit).await };
    let listed = detached(work).await??;
    let last = listed.items.last().filter(|_| listed.more);
    let next_cursor = last.map(|event| list.cursor(&event.seq));
    Ok(Answer(wire::EventList { items: listed.items.iter().map(event).collect(), next_cursor }))
}
