//! Why a job does not run, and what the jobs of a queue wait for.

use axum::extract::State;
use taskflow_domain::explain::{Explanation, Gate, GateReport};
use taskflow_protocol::{self as wire, Time};

use super::super::ApiState;
use super::super::describe::{JobParam, LookProblems, QueueParam, TenantHeader};
use super::super::extract::{Answer, Asker, JobPath, JobsRead, NamePath, Operator, detached};
use super::super::jobs::state as wire_state;
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::super::queues::name_of;

const fn gate(gate: Gate) -> wire::Gate {
    match gate {
        Gate::ScheduledLater => wire::Gate::ScheduledLater,
        Gate::RetryBackoff => wire::Gate::RetryBackoff,
        Gate::Dependency => wire::Gate::Dependency,
        Gate::PausedJob => wire::Gate::PausedJob,
        Gate::PausedQueue => wire::Gate::PausedQueue,
        Gate::TenantLimit => wire::Gate::TenantLimit,
        Gate::QueueLimit => wire::Gate::QueueLimit,
        Gate::ConcurrencyPolicy => wire::Gate::ConcurrencyPolicy,
        Gate::RateLimit => wire::Gate::RateLimit,
        Gate::FairShare => wire::Gate::FairShare,
        Gate::NoWorker => wire::Gate::NoWorker,
        Gate::CircuitOpen => wire::Gate::CircuitOpen,
        Gate::BacklogCap => wire::Gate::BacklogCap,
        Gate::OverlapBlocked => wire::Gate::OverlapBlocked,
        Gate::Draining => wire::Gate::Draining,
    }
}

fn report(report: &GateReport) -> wire::GateReport {
    wire::GateReport {
        gate: gate(report.gate),
        open: report.open,
        detail: report.detail.clone(),
        since: report.since.map(Time),
        opens_when: report.opens_when.clone(),
        opens_at: report.opens_at.map(Time),
        limit: report.limit,
        in_use: report.in_use,
        held_by: report.held_by.iter().map(|job| job.0).collect(),
    }
}

fn explanation(found: &Explanation) -> wire::Explanation {
    wire::Explanation {
        state: wire_state(found.state),
        runnable: found.runnable,
        gates: found.gates.iter().map(report).collect(),
    }
}

/// Ask why a job does not run
///
/// Every gate between the job and its start, open or closed, with numbers, since
/// when, and what would open it. A job that is `runnable` is what its queue hands
/// out next. A job that runs or has ended stands before no gate.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/explain",
    operation_id = "explainJob",
    tag = "jobs",
    security(("key" = ["jobs:read"])),
    params(TenantHeader, JobParam),
    responses((status = 200, description = "The gates.", body = wire::Explanation), LookProblems)
)]
pub(super) async fn explain_job(
    State(state): State<ApiState>,
    Asker(caller, _): Asker<JobsRead>,
    JobPath(id): JobPath,
    _: NoQuery,
) -> Result<Answer<wire::Explanation>, Problem> {
    let found = detached(async move { state.insight.explain(&caller, id).await }).await??;
    Ok(Answer(explanation(&found)))
}

/// Ask what the jobs of a queue wait for
///
/// How many wait at which gate, each counted at the first that it meets. The
/// sums are kept as work happens; jobs that are due and held back are counted up
/// to a bound.
#[utoipa::path(
    get,
    path = "/v1/admin/queues/{name}/explain",
    operation_id = "explainQueue",
    tag = "queues",
    security(("key" = ["operator"])),
    params(QueueParam),
    responses((status = 200, description = "The gates.", body = wire::QueueExplanation), LookProblems)
)]
pub(super) async fn explain_queue(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    name: NamePath,
    _: NoQuery,
) -> Result<Answer<wire::QueueExplanation>, Problem> {
    let name = name_of(&name)?;
    let found = detached(async move { state.insight.explain_queue(&name).await }).await??;
    let gates = found.ok_or_else(|| Problem::not_found("queue"))?;
    let gates = gates.iter().map(|found| wire::QueueGate {
        gate: gate(found.gate),
        jobs: found.jobs,
        at_least: found.at_least,
    });
    Ok(Answer(wire::QueueExplanation { gates: gates.collect() }))
}
