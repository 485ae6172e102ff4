//! Who keeps the engine going.

use axum::extract::State;
use taskflow_application::ports::RunnerStatus;
use taskflow_domain::Timestamp;
use taskflow_protocol::{self as wire, Time};

use super::super::ApiState;
use super::super::describe::{ListProblems, PageParams};
use super::super::extract::{Answer, Asker, Operator, detached};
use super::super::page::{List, Wanted};
use super::super::problem::Problem;
use super::super::query::Query;

fn runner(runner: &RunnerStatus) -> wire::Runner {
    let loops = runner.loops.iter().map(|status| wire::RunnerLoop {
        name: status.name.clone(),
        runs: status.runs,
        failures: status.failures,
        last_started_at: status.last_started_us.map(|at| Time(Timestamp::from_micros(at))),
        last_took_us: status.last_took_us,
        error: status.error.clone(),
    });
    wire::Runner {
        id: runner.name.clone(),
        started_at: Time(runner.started_at),
        seen_at: Time(runner.seen_at),
        loops: loops.collect(),
    }
}

/// List runners
///
/// The processes with loops, by name: what each loop did last, when, how long it
/// took, and why it failed. Each process tells every five seconds.
#[utoipa::path(
    get,
    path = "/v1/admin/runner",
    operation_id = "listRunners",
    tag = "operations",
    security(("key" = ["operator"])),
    params(PageParams),
    responses((status = 200, description = "The runners.", body = wire::RunnerList), ListProblems)
)]
pub(super) async fn list_runners(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::RunnerList>, Problem> {
    let list = List::new("runners", &());
    let wanted = Wanted::read(&mut query, &list);
    query.close()?;
    let found = detached(async move { state.insight.runners().await }).await??;
    let (page, next_cursor) = wanted.cut(&list, found, |one| one.name.as_str().into());
    Ok(Answer(wire::RunnerList { items: page.iter().map(runner).collect(), next_cursor }))
}
