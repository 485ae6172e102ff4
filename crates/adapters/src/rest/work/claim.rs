//! Claiming jobs, with a long poll.
//!
//! A worker that goes away while its claim is under way never hears of the jobs
//! that the claim brings. So the claim runs in a task of its own, and jobs that
//! find nobody waiting for them any more are handed back at once, which spends
//! no attempt, instead of lying still until their leases expire. A long poll is
//! a chain of short claims, so that such a task does not live long.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use taskflow_application::Caller;
use taskflow_application::ports::Claim;
use taskflow_application::work::{Ended, Guest, RemoteClaim, Work};
use taskflow_domain::{AttemptError, JobId, Kind, QueueName, Verdict, WorkerName};
use taskflow_protocol as wire;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};
use tracing::Instrument;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{BulkProblems, TenantHeader};
use super::super::extract::{Answer, Asker, Worker, detached};
use super::super::fault::{Faults, Path};
use super::super::jobs::claimed;
use super::super::json::{Object, Value, decode};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::waiting::Seat;

/// What a claim found, and why the attempts before failed.
#[derive(Default)]
struct Found(Claim, HashMap<JobId, AttemptError>);

/// A claim names at most this many queues, and this many kinds.
const MAX_NAMES: usize = 100;
/// A claim asks for at most this many jobs.
const MAX_JOBS: u64 = 1_000;
/// A claim waits at most this long, in milliseconds.
const MAX_WAIT_MS: u64 = 60_000;
/// One link in the chain of a long poll, in milliseconds.
const LINK_MS: u64 = 5_000;
/// How long a lease lasts if nobody says, in milliseconds.
pub(super) const LEASE_MS: u64 = 30_000;
/// How long a lease may last, in milliseconds.
pub(super) const LEASES_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

fn wish(value: Value<'_>, faults: &mut Faults) -> Option<RemoteClaim> {
    let queue = |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| {
        decode::made(QueueName::new)(value, path, faults)
    };
    let kind =
        |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| decode::made(Kind::new)(value, path, faults);
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let worker = object.required("worker_id", decode::made(WorkerName::new));
    let queues = object.optional("queues", decode::list(0..=MAX_NAMES, queue));
    let kinds = object.required("kinds", decode::list(1..=MAX_NAMES, kind));
    let max = object.optional("max", decode::whole(1..=MAX_JOBS)).unwrap_or(1);
    let wait_ms = object.optional("wait_ms", decode::whole(0..=MAX_WAIT_MS)).unwrap_or(0);
    let lease_ms = object.optional("lease_ms", decode::whole(LEASES_MS)).unwrap_or(LEASE_MS);
    object.close();
    Some(RemoteClaim {
        worker: worker?,
        queues: queues.unwrap_or_default(),
        kinds: kinds?,
        max: max as u32,
        wait_ms,
        lease_ms,
        all_tenants: false,
    })
}

/// Claim jobs
///
/// Jobs without a target, of the kinds that the worker serves. If there is none,
/// the answer waits for `wait_ms` until there is one. The worker extends the
/// leases by heartbeats, and reports the end of each attempt. Of one tenant, 500
/// claims may wait in each process; more are answered 429. Names of workers are
/// each tenant's own.
#[utoipa::path(
    post,
    path = "/v1/worker/claim",
    operation_id = "claimJobs",
    tag = "workers",
    security(("key" = ["worker"])),
    params(TenantHeader),
    request_body = wire::ClaimRequest,
    responses((status = 200, description = "The jobs, none if there are none.", body = wire::ClaimAnswer), BulkProblems)
)]
pub(super) async fn claim_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Worker>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::ClaimAnswer>, Problem> {
    let wish = body.read(wish)?;
    let seat = (wish.wait_ms > 0).then(|| state.waiting.sit(&caller.slug)).transpose()?.map(Arc::new);
    let (work, known, wished) = (state.work.clone(), caller.clone(), wish.clone());
    let guest = detached(async move { work.welcome(&known, &wished).await }).await??;
    let give_up = Instant::now() + Duration::from_millis(wish.wait_ms);
    loop {
        let left = give_up.saturating_duration_since(Instant::now()).as_millis();
        let wait_ms = u64::try_from(left).unwrap_or(0).min(LINK_MS);
        let link = RemoteClaim { wait_ms, ..wish.clone() };
        let Some(guest) = guest else { return Ok(Answer(wire::ClaimAnswer { items: Vec::new() })) };
        let claim = tokio::select! {
            claim = one_link(state.clone(), caller.clone(), guest, link, seat.clone()) => claim?,
            () = state.stop.cancelled() => Found::default(),
        };
        let over = Instant::now() >= give_up || state.stop.is_cancelled();
        if !claim.0.jobs.is_empty() || over {
            let Found(claim, errors) = claim;
            let items = claim.jobs.iter().map(|job| claimed(job, errors.get(&job.spec.id))).collect();
            return Ok(Answer(wire::ClaimAnswer { items }));
        }
    }
}

/// A claim that waits for a while. The key is asked again before its jobs go out,
/// and at the end of every link: one that was revoked meanwhile gets none. It has
/// its seat to the end, although its client may be gone before.
async fn one_link(
    state: ApiState,
    caller: Caller,
    guest: Guest,
    wish: RemoteClaim,
    seat: Option<Arc<Seat>>,
) -> Result<Found, Problem> {
    let (answer, answered) = oneshot::channel::<Result<Found, Problem>>();
    let task = async move {
        let claim = state.work.claim_for(guest, &wish).await;
        drop(seat);
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => return drop(answer.send(Err(error.into()))),
        };
        if let Err(denied) = state.access.still_open(&caller).await {
            hand_back(&state.work, claim).await;
            return drop(answer.send(Err(denied.into())));
        }
        let errors = last_errors(&state, &caller, &claim).await;
        if let Err(Ok(Found(unheard, _))) = answer.send(Ok(Found(claim, errors))) {
            hand_back(&state.work, unheard).await;
        }
    };
    tokio::spawn(task.in_current_span());
    match answered.await {
        Ok(claim) => claim,
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// Why the attempts before failed, of jobs that are tried again. A claim stands
/// whether or not that can be told.
async fn last_errors(state: &ApiState, caller: &Caller, claim: &Claim) -> HashMap<JobId, AttemptError> {
    let again = claim.jobs.iter().filter(|job| job.lease.counters.attempt > 1);
    let again: Vec<_> = again.map(|job| job.spec.id).collect();
    let found = state.jobs.last_errors(caller, &again).await;
    found
        .inspect_err(|error| tracing::warn!(error.message = %error, "what failed before could not be read"))
        .unwrap_or_default()
}

async fn hand_back(work: &Work, claim: Claim) {
    let ended = |job: taskflow_domain::ClaimedJob| Ended {
        lease: job.lease,
        verdict: Verdict::Interrupted,
        took_us: 0,
    };
    let ended: Vec<_> = claim.jobs.into_iter().map(ended).collect();
    if ended.is_empty() {
        return;
    }
    if let Err(error) = work.settle(&ended).await {
        // The leases expire, which brings the jobs back later.
        tracing::warn!(error.message = %error, "claimed jobs could not be handed back");
    }
}
