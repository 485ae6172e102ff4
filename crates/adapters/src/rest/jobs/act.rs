//! Acting on one job.

use axum::extract::State;
use taskflow_application::Caller;
use taskflow_domain::Edit;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{ActProblems, JobParam, TenantHeader};
use super::super::extract::{Answer, Asker, JobPath, JobsWrite, detached};
use super::super::fault::{Faults, Path};
use super::super::json::{Object, Value, decode};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::wire::job;
use super::wish::{PRIORITIES, labels};

/// A reason has at most this many characters.
pub(super) const MAX_REASON: usize = 1_000;

/// A body that says at most why.
#[derive(Default)]
pub(in super::super) struct Why(Option<String>);

impl Why {
    /// Reads it.
    pub(in super::super) fn read(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut object = Object::open(value, &Path::ROOT, faults)?;
        let reason = object.optional("reason", decode::text_of(MAX_REASON));
        object.close();
        Some(Self(reason))
    }

    /// Who asks, with this reason if there is one.
    pub(in super::super) fn of(self, caller: Caller) -> Caller {
        because(caller, self.0)
    }
}

/// Who asks, with the reason of the body where it names one.
pub(super) fn because(caller: Caller, reason: Option<String>) -> Caller {
    match reason {
        Some(reason) => Caller { reason: Some(reason.into()), ..caller },
        None => caller,
    }
}

/// Cancel a job
///
/// A job that has not begun is CANCELLED at once. A running one is told to stop
/// (`state_reason` is `cancel_requested`), and is CANCELLED once it has. The body
/// may be left out.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancelJob",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader, JobParam),
    request_body = Option<wire::CancelRequest>,
    responses((status = 200, description = "The job.", body = wire::Job), ActProblems)
)]
pub(super) async fn cancel_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    JobPath(id): JobPath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Job>, Problem> {
    let Why(reason) = body.read_if_sent(Why::read)?;
    let work = async move { state.jobs.cancel(&caller, id, reason.as_deref()).await };
    Ok(Answer(job(&detached(work).await??)))
}

/// Send an ended job through again
///
/// Possible for FAILED, DEAD and CANCELLED jobs. The retry budget begins anew,
/// the attempts keep their numbers. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/retry",
    operation_id = "retryJob",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader, JobParam),
    request_body = Option<wire::ReasonRequest>,
    responses((status = 200, description = "The job.", body = wire::Job), ActProblems)
)]
pub(super) async fn retry_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    JobPath(id): JobPath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Job>, Problem> {
    let caller = body.read_if_sent(Why::read)?.of(caller);
    Ok(Answer(job(&detached(async move { state.jobs.retry(&caller, id).await }).await??)))
}

/// Hold a job
///
/// Possible for WAITING, SCHEDULED and PENDING jobs. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/pause",
    operation_id = "pauseJob",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader, JobParam),
    request_body = Option<wire::ReasonRequest>,
    responses((status = 200, description = "The job.", body = wire::Job), ActProblems)
)]
pub(super) async fn pause_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    JobPath(id): JobPath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Job>, Problem> {
    let caller = body.read_if_sent(Why::read)?.of(caller);
    Ok(Answer(job(&detached(async move { state.jobs.pause(&caller, id).await }).await??)))
}

/// End the hold on a job
///
/// Possible for PAUSED jobs. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/resume",
    operation_id = "resumeJob",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader, JobParam),
    request_body = Option<wire::ReasonRequest>,
    responses((status = 200, description = "The job.", body = wire::Job), ActProblems)
)]
pub(super) async fn resume_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    JobPath(id): JobPath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Job>, Problem> {
    let caller = body.read_if_sent(Why::read)?.of(caller);
    Ok(Answer(job(&detached(async move { state.jobs.resume(&caller, id).await }).await??)))
}

fn edit(value: Value<'_>, faults: &mut Faults) -> Option<Edit> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let edit = Edit {
        run_at: object.optional("run_at", decode::time),
        priority: object.optional("priority", decode::choice(PRIORITIES)),
        labels: object.optional("labels", labels),
    };
    object.close();
    Some(edit)
}

/// Reschedule, reprioritise or relabel a job
///
/// Possible while the job has not ended; the time of a running job has passed
/// and cannot be changed. What is left out stays as it is; labels are replaced
/// as a whole.
#[utoipa::path(
    patch,
    path = "/v1/jobs/{id}",
    operation_id = "editJob",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(TenantHeader, JobParam),
    request_body = wire::EditRequest,
    responses((status = 200, description = "The job.", body = wire::Job), ActProblems)
)]
pub(super) async fn edit_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    JobPath(id): JobPath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Job>, Problem> {
    let edit = body.read(edit)?;
    let work = async move {
        if edit == Edit::default() {
            state.jobs.get(&caller, id).await
        } else {
            state.jobs.edit(&caller, id, edit).await
        }
    };
    Ok(Answer(job(&detached(work).await??)))
}
