//! Draining and purging queues.

use axum::extract::State;
use taskflow_application::queues::Purge;
use taskflow_domain::JobState;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{QueueParam, SetProblems};
use super::super::extract::{Answer, Asker, NamePath, Operator, detached};
use super::super::fault::{Faults, Path};
use super::super::json::{Object, Value, decode};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::super::queues::{MAX_REASON, name_of, with_depth};

/// Ten years, in milliseconds.
const MAX_AGE_MS: u64 = 315_360_000_000;

/// Why a queue shall take no new jobs.
#[derive(Default)]
struct Why {
    reason: Option<String>,
}

fn why(value: Value<'_>, faults: &mut Faults) -> Option<Why> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let reason = object.optional("reason", decode::text_of(MAX_REASON));
    object.close();
    Some(Why { reason })
}

/// Let a queue run out
///
/// It takes no new jobs: submits to it are answered 409 `queue_draining`, in this
/// process at once and in others within a second. Jobs that it has are run,
/// retried and redriven as ever. Ended by `resume`. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/admin/queues/{name}/drain",
    operation_id = "drainQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    request_body = Option<wire::DrainRequest>,
    responses((status = 200, description = "The queue.", body = wire::Queue), SetProblems)
)]
pub(super) async fn drain_queue(
    State(state): State<ApiState>,
    Asker(caller, _): Asker<Operator>,
    name: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Queue>, Problem> {
    let name = name_of(&name)?;
    let Why { reason } = body.read_if_sent(why)?;
    let work = async move {
        let drained = state.queues.drain(&caller, &name, reason).await?;
        let drained = drained.ok_or_else(|| Problem::not_found("queue"))?;
        with_depth(&state, drained).await
    };
    detached(work).await?.map(Answer)
}

fn job_state(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<JobState> {
    let text = decode::text(value, path, faults)?;
    let state = JobState::parse(&text).filter(|state| *state != JobState::Running);
    if state.is_none() {
        faults.at(path, "must be a state other than RUNNING");
    }
    state
}

fn purge(value: Value<'_>, faults: &mut Faults) -> Option<Purge> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let states = object.required("states", decode::list(1..=8, job_state));
    let age = object.optional("older_than_ms", decode::whole(0..=MAX_AGE_MS));
    let dry_run = object.optional("dry_run", decode::boolean);
    object.close();
    let mut states = states?;
    states.sort_unstable();
    states.dedup();
    Some(Purge {
        states,
        older_than_ms: age.and_then(|age| i64::try_from(age).ok()),
        dry_run: dry_run.unwrap_or(true),
    })
}

/// Delete jobs of a queue
///
/// Jobs of all tenants in the given states, with their attempts and histories,
/// for good; running ones never. Unless `dry_run` is false they are only counted,
/// up to 100,000 of a state. A call works for 20 seconds at most and says whether
/// there are `more`; calling again goes on.
#[utoipa::path(
    post,
    path = "/v1/admin/queues/{name}/purge",
    operation_id = "purgeQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    request_body = wire::PurgeRequest,
    responses((status = 200, description = "What was done.", body = wire::PurgeAnswer), SetProblems)
)]
pub(super) async fn purge_queue(
    State(state): State<ApiState>,
    Asker(caller, _): Asker<Operator>,
    name: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::PurgeAnswer>, Problem> {
    let name = name_of(&name)?;
    let wish = body.read(purge)?;
    let dry_run = wish.dry_run;
    let work = async move { state.queues.purge(&caller, &name, &wish).await };
    let done = detached(work).await??.ok_or_else(|| Problem::not_found("queue"))?;
    Ok(Answer(wire::PurgeAnswer { jobs: done.jobs, more: done.more, dry_run }))
}
