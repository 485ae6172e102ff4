//! What caused what: one tree, from a delivery to the last job.

use axum::extract::State;
use taskflow_application::automation::{TraceNode, Traced};
use taskflow_domain::TenantSlug;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::describe::{JobParam, LookProblems, TenantHeader};
use super::super::extract::{Answer, Asker, JobPath, JobsRead, detached};
use super::super::jobs::{attempt, job};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::wire::{firing, inbound};

fn node(of: &TraceNode, tenant: &TenantSlug) -> wire::TraceNode {
    let mut node = wire::TraceNode {
        kind: String::new(),
        event: None,
        firing: None,
        rule_name: None,
        job: None,
        attempts: Vec::new(),
        children: of.children.iter().map(|child| node(child, tenant)).collect(),
    };
    match &of.what {
        Traced::Event(event) => {
            "event".clone_into(&mut node.kind);
            node.event = Some(inbound(event));
        }
        Traced::Firing(fired, name) => {
            "firing".clone_into(&mut node.kind);
            node.firing = Some(firing(fired, tenant));
            node.rule_name.clone_from(name);
        }
        Traced::Job(made, attempts) => {
            "job".clone_into(&mut node.kind);
            node.job = Some(Box::new(job(made)));
            node.attempts = attempts.iter().map(attempt).collect();
        }
    }
    node
}

/// See what a job came from and what came of it
///
/// The tree of everything with the job's `correlation_id`: deliveries and events,
/// firings, jobs with their attempts, and the jobs that those caused. A tree is
/// shown to 32 levels and 8 MiB; `truncated` says that there is more.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/trace",
    operation_id = "getTrace",
    tag = "jobs",
    security(("key" = ["jobs:read"])),
    params(TenantHeader, JobParam),
    responses((status = 200, description = "The tree.", body = wire::Trace), LookProblems)
)]
pub(super) async fn get_trace(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsRead>,
    JobPath(id): JobPath,
    _: NoQuery,
) -> Result<Answer<wire::Trace>, Problem> {
    let automation = state.rules()?.clone();
    let tenant = caller.slug.clone();
    let trace = detached(async move { automation.trace(&caller, id).await }).await?;
    let trace = trace.map_err(|error| Problem::of_automation(error, "job"))?;
    Ok(Answer(wire::Trace {
        correlation_id: trace.correlation_id.0,
        truncated: trace.truncated,
        roots: trace.roots.iter().map(|root| node(root, &tenant)).collect(),
    }))
}
