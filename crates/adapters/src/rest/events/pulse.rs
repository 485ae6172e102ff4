//! One tick of the engine, for platforms without a process that runs for long.

use std::time::Duration;

use axum::extract::State;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::BulkProblems;
use super::super::extract::{Answer, Asker, Operator, detached};
use super::super::fault::{Faults, Path};
use super::super::json::{Object, Value, decode};
use super::super::problem::{Code, Problem};
use super::super::query::NoQuery;

/// Jobs that a tick runs at most, and how many if nobody says.
const MAX_JOBS: u64 = 1_000;
const JOBS: u64 = 10;
/// How long a tick begins new work at most, and how long if nobody says, in
/// milliseconds. The answer comes after twice as long, which platforms and proxies
/// have to wait for.
const MAX_BUDGET_MS: u64 = 30_000;
const BUDGET_MS: u64 = 5_000;

fn bounds(value: Value<'_>, faults: &mut Faults) -> Option<(Option<u64>, Option<u64>)> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let jobs = object.optional("max_jobs", decode::whole(0..=MAX_JOBS));
    let budget = object.optional("budget_ms", decode::whole(0..=MAX_BUDGET_MS));
    object.close();
    Some((jobs, budget))
}

/// Do one bounded tick
///
/// Fires what is due, dispatches what happened, and runs due jobs that call HTTP
/// endpoints or are built in, up to a count, and waits for their ends. Nothing new
/// is begun when the budget is over; what runs then has as long again, of which the
/// last quarter, at most a second, is for handing back what has not ended, which
/// costs no attempt. So the answer comes after twice the budget at most. Safe beside
/// any number of running workers.
#[utoipa::path(
    post,
    path = "/v1/pulse",
    operation_id = "pulse",
    tag = "events",
    security(("key" = ["operator"])),
    request_body = Option<wire::PulseRequest>,
    responses((status = 200, description = "What was done.", body = wire::PulseAnswer), BulkProblems)
)]
pub(super) async fn pulse(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::PulseAnswer>, Problem> {
    let (jobs, budget) = body.read_if_sent(bounds)?;
    let none = || Problem::new(Code::Unavailable, "this process does not tick");
    let pulse = state.pulse.clone().ok_or_else(none)?;
    let jobs = jobs.unwrap_or(JOBS) as u32;
    let budget = Duration::from_millis(budget.unwrap_or(BUDGET_MS));
    let done = detached(async move { pulse.run(jobs, budget).await }).await??;
    Ok(Answer(wire::PulseAnswer {
        rules: done.rules,
        events: done.events,
        fan_out: done.fan_out,
        promoted: done.promoted,
        jobs: done.jobs,
        more: done.more,
    }))
}
