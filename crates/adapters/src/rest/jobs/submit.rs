//! Submitting jobs.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskflow_application::jobs::JobWish;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BATCH_BODY, MAX_BODY};
use super::super::describe::{BatchProblems, SubmitProblems};
use super::super::extract::{Answer, Asker, JobsWrite, detached};
use super::super::fault::{Asked, Faults, IDEMPOTENCY_KEY, Place};
use super::super::problem::{Code, Problem};
use super::super::query::NoQuery;
use super::wire::job;
use super::wish::{NO_DEPENDENCIES, batch, key_of, single};

/// The trace of the request, if it has a well-formed one; another is ignored, as
/// W3C Trace Context wants it.
pub(in super::super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { return None };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let good = version == "00"
        && hex(trace, 32)
        && !zero(trace)
        && hex(parent, 16)
        && !zero(parent)
        && hex(flags, 2);
    good.then(|| text.to_owned())
}

/// Submit a job
///
/// When the answer arrives, the job is on disk. The same idempotency key again
/// answers 200 with the first job. The body has at most 1,048,576 bytes, the
/// payload at most 262,144.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(super::super::describe::TenantHeader, super::super::describe::SubmitHeaders),
    request_body = wire::JobRequest,
    responses(
        (status = 201, description = "The job was accepted.", body = wire::Job,
         headers(("Location" = String, description = "Where the job is."))),
        (status = 200, description = "The idempotency key was used before, for this job.", body = wire::Job),
        SubmitProblems,
    )
)]
pub(super) async fn submit_job(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    _: NoQuery,
    headers: HeaderMap,
    body: Body<MAX_BODY>,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let key = key_of(&headers, &mut faults);
    let asked = if key.is_some() { Asked::OneByHeader } else { Asked::One };
    let wish = body.read_with(faults, |value, faults| single(value, key, faults))?;
    let wish = JobWish { traceparent: traceparent(&headers), ..wish };
    let work = async move { state.jobs.submit(&caller, wish).await };
    let submitted = detached(work).await?.map_err(|error| Problem::of_jobs(error, asked))?;
    let answer = Answer(job(&submitted.job));
    if !submitted.created {
        return Ok(answer.into_response());
    }
    let location = format!("/v1/jobs/{}", submitted.job.spec.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response())
}

/// Submit many jobs, all or none
///
/// The answer holds the jobs in the order of the request. It is 200 if an
/// earlier request with the same idempotency keys made all of them. The body has
/// at most 16,777,216 bytes, each payload at most 262,144.
#[utoipa::path(
    post,
    path = "/v1/jobs/batch",
    operation_id = "submitJobs",
    tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(super::super::describe::TenantHeader, super::super::describe::TraceHeader),
    request_body = wire::BatchRequest,
    responses(
        (status = 201, description = "The jobs were accepted.", body = wire::JobItems),
        (status = 200, description = "All idempotency keys were used before, for these jobs.",
         body = wire::JobItems),
        BatchProblems,
    )
)]
pub(super) async fn submit_jobs(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    _: NoQuery,
    headers: HeaderMap,
    body: Body<MAX_BATCH_BODY>,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    if headers.contains_key(IDEMPOTENCY_KEY) {
        faults.note(
            Place::Header(IDEMPOTENCY_KEY.into()),
            "a batch has an idempotency_key for each job instead",
        );
    }
    let mut batch = body.read_with(faults, batch)?;
    if !batch.dependencies.is_empty() {
        return Err(dependencies_unavailable(batch.dependencies));
    }
    let trace = traceparent(&headers);
    for wish in &mut batch.wishes {
        wish.traceparent.clone_from(&trace);
    }
    let work = async move { state.jobs.submit_batch(&caller, batch.wishes).await };
    let submitted = detached(work).await?.map_err(|error| Problem::of_jobs(error, Asked::Many))?;
    let created = submitted.iter().any(|one| one.created);
    let items = submitted.iter().map(|one| job(&one.job)).collect();
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(wire::JobItems { items })).into_response())
}

fn dependencies_unavailable(pointers: Vec<String>) -> Problem {
    let mut faults = Faults::default();
    for pointer in pointers {
        faults.note(Place::Body(pointer), NO_DEPENDENCIES);
    }
    Problem::with_faults(Code::DependenciesUnavailable, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_trace_is_ignored() {
        let trace = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            traceparent(&headers)
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace(good).as_deref(), Some(good));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace(bad), None, "{bad}");
        }
    }
}
