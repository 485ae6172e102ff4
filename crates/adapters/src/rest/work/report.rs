//! Heartbeats, ends of attempts and progress, each for many leases at once.

use std::collections::BTreeSet;

use axum::extract::State;
use taskflow_application::ports::StoreResult;
use taskflow_application::work::{ItemError, RemoteFailure, RemoteLease, RemoteProgress, Settled};
use taskflow_domain::change::Stop;
use taskflow_domain::{AttemptError, JobId, Json, Kind, LeaseToken, Progress, RetryPolicy};
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BATCH_BODY, MAX_BODY};
use super::super::describe::{BulkProblems, TenantHeader};
use super::super::extract::{Answer, Asker, Worker, detached};
use super::super::fault::{Faults, Path};
use super::super::jobs::{MAX_DOCUMENT, state as wire_state};
use super::super::json::{Object, Value, decode};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::claim::{LEASE_MS, LEASES_MS};

/// A report has at most this many entries.
const MAX_ITEMS: usize = 1_000;
/// The message of an error, and that of progress, have at most so many characters.
const MAX_ERROR: usize = 10_000;
const MAX_MESSAGE: usize = 1_000;
/// The greatest whole number that every JSON reader keeps.
const MAX_COUNT: u64 = 9_007_199_254_740_991;

fn token(text: &str) -> Result<LeaseToken, &'static str> {
    let form = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let token = if form { u64::from_str_radix(text, 16).ok() } else { None };
    token.map(|bits| LeaseToken(bits.cast_signed())).ok_or("must have 16 hexadecimal digits in lower case")
}

fn lease(object: &mut Object<'_, '_, '_>) -> Option<RemoteLease> {
    let job = object.required("job_id", decode::uuid).map(JobId);
    let token = object.required("lease_token", decode::made(token));
    Some(RemoteLease { job: job?, token: token? })
}

/// A report: what it tells of each job once, and who is to be answered.
struct Report<T, R> {
    /// What is told, of each job what is told first.
    told: Vec<T>,
    /// Every entry, and whether it is the first of its job.
    entries: Vec<(RemoteLease, bool)>,
    /// What stands beside the entries.
    rest: R,
}

/// Reads `items`, each by `one`, and what stands beside them by `rest`.
fn report<T, R>(
    value: Value<'_>,
    faults: &mut Faults,
    mut one: impl FnMut(RemoteLease, &mut Object<'_, '_, '_>) -> Option<T>,
    rest: impl FnOnce(&mut Object<'_, '_, '_>) -> R,
) -> Option<Report<T, R>> {
    let mut read = |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| {
        let mut object = Object::open(value, path, faults)?;
        let lease = lease(&mut object);
        // Without a lease the other fields are read all the same, for their faults.
        let stand_in = RemoteLease { job: JobId(uuid::Uuid::nil()), token: LeaseToken(0) };
        let item = one(lease.unwrap_or(stand_in), &mut object);
        object.close();
        Some((lease?, item?))
    };
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let list = object.required("items", decode::list(1..=MAX_ITEMS, &mut read));
    let rest = rest(&mut object);
    object.close();
    let mut seen = BTreeSet::new();
    let mut report = Report { told: Vec::new(), entries: Vec::new(), rest };
    for (lease, item) in list? {
        let first = seen.insert(lease.job);
        report.entries.push((lease, first));
        report.told.extend(first.then_some(item));
    }
    Some(report)
}

fn rejected(lease: RemoteLease, code: &str) -> wire::ReportItem {
    wire::ReportItem { ok: false, code: Some(code.to_owned()), ..accepted(lease) }
}

fn accepted(lease: RemoteLease) -> wire::ReportItem {
    wire::ReportItem { job_id: lease.job.0, ok: true, code: None, state: None, cancel_requested: None }
}

/// Answers every entry: the first of each job by its result, another one of the
/// same job by saying so.
fn answers<T>(
    entries: Vec<(RemoteLease, bool)>,
    results: StoreResult<Vec<Result<T, ItemError>>>,
    accept: impl Fn(wire::ReportItem, T) -> wire::ReportItem,
) -> Result<Answer<wire::ReportAnswer>, Problem> {
    let mut results = results?.into_iter();
    let one = |(lease, first)| match if first { results.next() } else { None } {
        Some(Ok(value)) => accept(accepted(lease), value),
        Some(Err(ItemError::StaleLease)) => rejected(lease, "stale_lease"),
        None => rejected(lease, "duplicate"),
    };
    let items = entries.into_iter().map(one).collect();
    Ok(Answer(wire::ReportAnswer { items }))
}

fn settled(item: wire::ReportItem, settled: Settled) -> wire::ReportItem {
    let state = match settled {
        Settled::Done(state) => Some(wire_state(state)),
        Settled::LeaseLost => None,
    };
    wire::ReportItem { state, ..item }
}

/// Extend leases
///
/// Answers for each lease whether it is still held, and whether the worker
/// should stop the job: because somebody asked for its end, or because the
/// attempt takes longer than its timeout. No lease outlasts the timeout by more
/// than 5 seconds; then the attempt ends as TIMEOUT.
#[utoipa::path(
    post,
    path = "/v1/worker/heartbeat",
    operation_id = "extendLeases",
    tag = "workers",
    security(("key" = ["worker"])),
    params(TenantHeader),
    request_body = wire::HeartbeatRequest,
    responses((status = 200, description = "An answer for each entry.", body = wire::ReportAnswer), BulkProblems)
)]
pub(super) async fn extend_leases(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Worker>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::ReportAnswer>, Problem> {
    let Report { told, entries, rest: lease_ms } = body.read(|value, faults| {
        report(
            value,
            faults,
            |lease, _| Some(lease),
            |object| object.optional("lease_ms", decode::whole(LEASES_MS)).unwrap_or(LEASE_MS),
        )
    })?;
    let results = detached(async move { state.work.heartbeat(&caller, &told, lease_ms).await }).await?;
    answers(entries, results, |item, cancel| wire::ReportItem { cancel_requested: Some(cancel), ..item })
}

/// Report attempts that ended well
///
/// The body has at most 16,777,216 bytes, each result at most 262,144.
#[utoipa::path(
    post,
    path = "/v1/worker/complete",
    operation_id = "completeJobs",
    tag = "workers",
    security(("key" = ["worker"])),
    params(TenantHeader),
    request_body = wire::CompleteRequest,
    responses((status = 200, description = "An answer for each entry.", body = wire::ReportAnswer), BulkProblems)
)]
pub(super) async fn complete_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Worker>,
    _: NoQuery,
    body: Body<MAX_BATCH_BODY>,
) -> Result<Answer<wire::ReportAnswer>, Problem> {
    let one = |lease, object: &mut Object<'_, '_, '_>| {
        let result: Option<Json> = object.optional("result", decode::document(MAX_DOCUMENT));
        Some((lease, result))
    };
    let Report { told, entries, .. } = body.read(|value, faults| report(value, faults, one, |_| ()))?;
    let results = detached(async move { state.work.complete(&caller, told).await }).await?;
    answers(entries, results, settled)
}

fn attempt_error(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<AttemptError> {
    let mut object = Object::open(value, path, faults)?;
    // The word of an error has the form of a kind: a name.
    let kind = object.required("type", decode::made(Kind::new));
    let message = object.required("message", decode::text_of(MAX_ERROR));
    object.close();
    Some(AttemptError { kind: kind?.as_str().to_owned(), message: message? })
}

/// The outcomes that a worker may tell of an attempt without success.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Failed,
    Cancelled,
    Interrupted,
    Snoozed,
}

const OUTCOMES: &[(&str, Told)] = &[
    ("FAILED", Told::Failed),
    ("CANCELLED", Told::Cancelled),
    ("INTERRUPTED", Told::Interrupted),
    ("SNOOZED", Told::Snoozed),
];

/// How an attempt ended without success; fields that mean nothing for its outcome
/// are faults.
fn stop(object: &mut Object<'_, '_, '_>) -> Option<Stop> {
    let outcome = object.optional("outcome", decode::choice(OUTCOMES));
    let failed = matches!(outcome, None | Some(Told::Failed));
    let error = if failed {
        object.required("error", attempt_error)
    } else {
        object.optional("error", attempt_error)
    };
    let permanent = object.optional("permanent", decode::boolean);
    let retry_after_ms = object.optional("retry_after_ms", decode::whole(0..=RetryPolicy::LONGEST_DELAY_MS));
    if !failed && error.is_some() {
        object.fault("error", "is for failures");
    }
    if !failed && permanent.is_some() {
        object.fault("permanent", "is for failures");
    }
    if matches!(outcome, Some(Told::Cancelled | Told::Interrupted)) && retry_after_ms.is_some() {
        object.fault("retry_after_ms", "is for failures and SNOOZED");
    }
    let permanent = permanent.unwrap_or(false);
    match outcome {
        None => Some(Stop::Ended { error: error?, permanent, retry_after_ms }),
        Some(Told::Failed) => Some(Stop::Failed { error: error?, permanent, retry_after_ms }),
        Some(Told::Cancelled) => Some(Stop::Told),
        Some(Told::Interrupted) => Some(Stop::Interrupted),
        Some(Told::Snoozed) => {
            if retry_after_ms.is_none() {
                object.fault("retry_after_ms", "is required for SNOOZED");
            }
            Some(Stop::Snoozed { for_ms: retry_after_ms? })
        }
    }
}

/// Report attempts that did not succeed
///
/// A job that failed is tried again as its retry policy says, unless the failure
/// is permanent. `outcome` tells other ends: `CANCELLED` (it stopped because a
/// heartbeat had told it to), `INTERRUPTED` (the worker has to go: no attempt is
/// spent, 20 times) and `SNOOZED` (run it in `retry_after_ms`: no attempt is
/// spent, 100 times).
#[utoipa::path(
    post,
    path = "/v1/worker/fail",
    operation_id = "failJobs",
    tag = "workers",
    security(("key" = ["worker"])),
    params(TenantHeader),
    request_body = wire::FailRequest,
    responses((status = 200, description = "An answer for each entry.", body = wire::ReportAnswer), BulkProblems)
)]
pub(super) async fn fail_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Worker>,
    _: NoQuery,
    body: Body<MAX_BATCH_BODY>,
) -> Result<Answer<wire::ReportAnswer>, Problem> {
    let one = |lease, object: &mut Object<'_, '_, '_>| Some(RemoteFailure { lease, stop: stop(object)? });
    let Report { told, entries, .. } = body.read(|value, faults| report(value, faults, one, |_| ()))?;
    let results = detached(async move { state.work.fail(&caller, told).await }).await?;
    answers(entries, results, settled)
}

/// Report how far attempts are
#[utoipa::path(
    post,
    path = "/v1/worker/progress",
    operation_id = "reportProgress",
    tag = "workers",
    security(("key" = ["worker"])),
    params(TenantHeader),
    request_body = wire::ProgressRequest,
    responses((status = 200, description = "An answer for each entry.", body = wire::ReportAnswer), BulkProblems)
)]
pub(super) async fn report_progress(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Worker>,
    _: NoQuery,
    body: Body<MAX_BATCH_BODY>,
) -> Result<Answer<wire::ReportAnswer>, Problem> {
    let one = |lease, object: &mut Object<'_, '_, '_>| {
        let percent = object.required("percent", decode::whole(0..=100));
        let message = object.optional("message", decode::text_of(MAX_MESSAGE));
        let succeeded = object.optional("succeeded", decode::whole(0..=MAX_COUNT)).unwrap_or(0);
        let failed = object.optional("failed", decode::whole(0..=MAX_COUNT)).unwrap_or(0);
        let progress = Progress { percent: percent? as u8, message, succeeded, failed };
        Some(RemoteProgress { lease, progress })
    };
    let Report { told, entries, .. } = body.read(|value, faults| report(value, faults, one, |_| ()))?;
    let results = detached(async move { state.work.progress(&caller, told).await }).await?;
    answers(entries, results, |item, ()| item)
}
