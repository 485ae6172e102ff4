//! Queues over HTTP.

use std::collections::BTreeMap;

use axum::extract::State;
use taskflow_application::ports::QueueDepth;
use taskflow_domain::queue::{Queue, QueueSettings, Rate};
use taskflow_domain::{QueueName, Timestamp};
use taskflow_protocol::{self as wire, Time};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, MAX_BODY};
use super::describe::{ListProblems, LookProblems, PageParams, QueueParam, SetProblems};
use super::extract::{Answer, Asker, NamePath, Operator, detached};
use super::fault::{Faults, Path, Place};
use super::jobs::Why;
use super::json::{Object, Value, decode};
use super::page::{List, Wanted};
use super::problem::{Code, Problem};
use super::query::{NoQuery, Query};
use super::{ApiState, insight};

/// A limit is at most this.
const MAX_LIMIT: u64 = 1_000_000;
/// The period of a rate is at most a day, in milliseconds.
const MAX_PERIOD_MS: u64 = 86_400_000;
/// A reason has at most this many characters.
pub(super) const MAX_REASON: usize = 1_000;

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_queues))
        .routes(routes!(get_queue, put_queue))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
}

fn queue(
    queue: &Queue,
    depth: Option<&QueueDepth>,
    recent: wire::QueueRecent,
    now: Timestamp,
) -> wire::Queue {
    let settings = &queue.settings;
    // A hold that has ended by itself holds nothing, though the store still has it.
    let pause = settings.pause.as_ref().filter(|pause| pause.until.is_none_or(|until| until > now));
    let oldest_due = depth.and_then(|depth| depth.oldest_due);
    wire::Queue {
        name: queue.name.as_str().to_owned(),
        max_running: settings.max_running,
        max_running_per_tenant: settings.max_running_per_tenant,
        rate_limit: settings.rate.map(|rate| wire::Rate { limit: rate.limit, period_ms: rate.period_ms }),
        paused: pause.is_some(),
        pause: pause.map(|pause| wire::Pause {
            reason: pause.reason.clone(),
            actor: pause.actor.clone(),
            since: Time(pause.since),
            until: pause.until.map(Time),
        }),
        depth: depth.map(|depth| counts(depth.by_state)).unwrap_or_default(),
        oldest_due_at: oldest_due.map(Time),
        oldest_due_age_ms: oldest_due.map_or(0, |due| now.micros_since(due).max(0).unsigned_abs() / 1_000),
        draining: settings.drain.is_some(),
        drain: settings.drain.as_ref().map(|drain| wire::Drain {
            reason: drain.reason.clone(),
            actor: drain.actor.clone(),
            since: Time(drain.since),
        }),
        recent,
    }
}

const fn counts(by_state: [u64; 9]) -> wire::QueueCounts {
    let [waiting, scheduled, pending, running, paused, succeeded, failed, dead, cancelled] = by_state;
    wire::QueueCounts { waiting, scheduled, pending, running, paused, succeeded, failed, dead, cancelled }
}

pub(super) async fn with_depth(state: &ApiState, found: Queue) -> Result<wire::Queue, Problem> {
    let depths = state.queues.depths().await?;
    let depth = depths.iter().find(|depth| depth.name == found.name);
    let recent = insight::recent(state).await?.of(&found.name);
    Ok(queue(&found, depth, recent, state.queues.now()))
}

/// What is no name names no queue.
pub(super) fn name_of(NamePath(text): &NamePath) -> Result<QueueName, Problem> {
    QueueName::new(text).map_err(|_| Problem::not_found("queue"))
}

/// List queues
///
/// By name, with their settings and how full they are.
#[utoipa::path(
    get,
    path = "/v1/admin/queues",
    operation_id = "listQueues",
    tag = "queues",
    security(("key" = ["operator"])),
    params(PageParams),
    responses((status = 200, description = "The queues.", body = wire::QueueList), ListProblems)
)]
async fn list_queues(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::QueueList>, Problem> {
    let list = List::new("queues", &());
    let wanted = Wanted::read(&mut query, &list);
    query.close()?;
    let work = async move {
        let (queues, depths) = (state.queues.list().await?, state.queues.depths().await?);
        Ok::<_, Problem>((queues, depths, insight::recent(&state).await?, state.queues.now()))
    };
    let (queues, depths, recent, now) = detached(work).await??;
    let depths: BTreeMap<&QueueName, &QueueDepth> = depths.iter().map(|depth| (&depth.name, depth)).collect();
    let show = |found: &Queue| queue(found, depths.get(&found.name).copied(), recent.of(&found.name), now);
    let (page, next_cursor) = wanted.cut(&list, queues, |queue| queue.name.as_str().into());
    Ok(Answer(wire::QueueList { items: page.iter().map(show).collect(), next_cursor }))
}

/// Look at a queue
#[utoipa::path(
    get,
    path = "/v1/admin/queues/{name}",
    operation_id = "getQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    responses((status = 200, description = "The queue.", body = wire::Queue), LookProblems)
)]
async fn get_queue(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    name: NamePath,
    _: NoQuery,
) -> Result<Answer<wire::Queue>, Problem> {
    let name = name_of(&name)?;
    let work = async move {
        let found = state.queues.get(&name).await?.ok_or_else(|| Problem::not_found("queue"))?;
        with_depth(&state, found).await
    };
    detached(work).await?.map(Answer)
}

struct Wish {
    settings: QueueSettings,
    paused: Option<bool>,
}

/// So many in so much time.
pub(super) fn rate(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Rate> {
    let mut object = Object::open(value, path, faults)?;
    let limit = object.required("limit", decode::whole(1..=MAX_LIMIT));
    let period_ms = object.required("period_ms", decode::whole(1..=MAX_PERIOD_MS));
    object.close();
    Some(Rate { limit: limit? as u32, period_ms: period_ms? as u32 })
}

fn wish(value: Value<'_>, faults: &mut Faults) -> Option<Wish> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let limit = |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| {
        decode::whole(1..=MAX_LIMIT)(value, path, faults).map(|limit| limit as u32)
    };
    let settings = QueueSettings {
        max_running: object.optional("max_running", limit),
        max_running_per_tenant: object.optional("max_running_per_tenant", limit),
        rate: object.optional("rate_limit", rate),
        pause: None,
        drain: None,
    };
    let paused = object.optional("paused", decode::boolean);
    object.close();
    Some(Wish { settings, paused })
}

/// Set a queue's limits
///
/// All of them: what is left out is not limited any more. The queue is made if
/// it does not exist. When the answer arrives, no job starts against the new
/// limits.
#[utoipa::path(
    put,
    path = "/v1/admin/queues/{name}",
    operation_id = "putQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    request_body = wire::QueueRequest,
    responses((status = 200, description = "The queue.", body = wire::Queue), SetProblems)
)]
async fn put_queue(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    name: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Queue>, Problem> {
    // What is made must have a name that one can have.
    let name = QueueName::new(&name.0)
        .map_err(|error| Problem::at(Code::Invalid, Place::Segment("name"), error.to_string()))?;
    let Wish { settings, paused } = body.read(wish)?;
    let work = async move {
        let put = state.queues.put(&caller, &name, settings, paused).await?;
        with_depth(&state, put).await
    };
    detached(work).await?.map(Answer)
}

#[derive(Default)]
struct Hold {
    reason: Option<String>,
    until: Option<Timestamp>,
}

fn hold(value: Value<'_>, faults: &mut Faults, now: Timestamp) -> Option<Hold> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let hold = Hold {
        reason: object.optional("reason", decode::text_of(MAX_REASON)),
        until: object.optional("until", decode::time_after(now)),
    };
    object.close();
    Some(hold)
}

/// Hold a queue
///
/// Running jobs run on, and nothing new starts. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/admin/queues/{name}/pause",
    operation_id = "pauseQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    request_body = Option<wire::PauseRequest>,
    responses((status = 200, description = "The queue.", body = wire::Queue), SetProblems)
)]
async fn pause_queue(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    name: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Queue>, Problem> {
    let name = name_of(&name)?;
    let now = state.queues.now();
    let hold = body.read_if_sent(|value, faults| hold(value, faults, now))?;
    let work = async move {
        let paused = state.queues.pause(&caller, &name, hold.reason, hold.until).await?;
        let paused = paused.ok_or_else(|| Problem::not_found("queue"))?;
        with_depth(&state, paused).await
    };
    detached(work).await?.map(Answer)
}

/// Let a queue go on
///
/// Ends a hold, and a drain. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/admin/queues/{name}/resume",
    operation_id = "resumeQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    request_body = Option<wire::ReasonRequest>,
    responses((status = 200, description = "The queue.", body = wire::Queue), SetProblems)
)]
async fn resume_queue(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    name: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Queue>, Problem> {
    let name = name_of(&name)?;
    let caller = body.read_if_sent(Why::read)?.of(caller);
    let work = async move {
        let resumed = state.queues.resume(&caller, &name).await?;
        let resumed = resumed.ok_or_else(|| Problem::not_found("queue"))?;
        with_depth(&state, resumed).await
    };
    detached(work).await?.map(Answer)
}
