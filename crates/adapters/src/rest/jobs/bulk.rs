//! Acting on many jobs by filter.

use axum::extract::State;
use taskflow_application::Caller;
use taskflow_application::jobs::{BulkAction, BulkOutcome};
use taskflow_application::ports::JobFilter;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{BulkProblems, TenantHeader};
use super::super::extract::{Answer, Asker, JobsWrite, detached};
use super::super::fault::{Faults, Path};
use super::super::json::{Object, Value, decode};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::act::{MAX_REASON, because};
use super::filter;

struct Wish {
    filter: JobFilter,
    dry_run: bool,
    reason: Option<String>,
}

fn wish(value: Value<'_>, faults: &mut Faults) -> Option<Wish> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let filter = object.required("filter", filter::of_body);
    let dry_run = object.optional("dry_run", decode::boolean);
    let reason = object.optional("reason", decode::text_of(MAX_REASON));
    object.close();
    Some(Wish { filter: filter?, dry_run: dry_run.unwrap_or(false), reason })
}

async fn act(
    state: ApiState,
    caller: Caller,
    action: BulkAction,
    wish: Wish,
) -> Result<Answer<wire::BulkAnswer>, Problem> {
    let Wish { filter, dry_run, reason } = wish;
    let caller = because(caller, reason);
    let work = async move { state.jobs.bulk(&caller, action, &filter, dry_run).await };
    let outcome = detached(work).await??;
    let BulkOutcome { matched, changed, backlog_full } = outcome;
    Ok(Answer(wire::BulkAnswer { matched, changed, dry_run, backlog_full }))
}

/// Cancel jobs by filter
///
/// Jobs that have ended are not meant. With `dry_run` they are only counted.
#[utoipa::path(
    post,
    path = "/v1/jobs/cancel",
    operation_id = "cancelJobs",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader),
    request_body = wire::BulkRequest,
    responses((status = 200, description = "What was met and done.", body = wire::BulkAnswer), BulkProblems)
)]
pub(super) async fn cancel_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::BulkAnswer>, Problem> {
    act(state, caller, BulkAction::Cancel, body.read(wish)?).await
}

/// Send ended jobs through again by filter
///
/// Meant are FAILED and DEAD jobs, and CANCELLED ones only if the filter names
/// that state. With `dry_run` they are only counted. It ends early, and says so,
/// when as many jobs wait as the tenant's `max_backlog` allows; where that is so
/// from the start, the answer is 429.
#[utoipa::path(
    post,
    path = "/v1/jobs/retry",
    operation_id = "retryJobs",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader),
    request_body = wire::BulkRequest,
    responses((status = 200, description = "What was met and done.", body = wire::BulkAnswer), BulkProblems)
)]
pub(super) async fn retry_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::BulkAnswer>, Problem> {
    act(state, caller, BulkAction::Retry, body.read(wish)?).await
}
