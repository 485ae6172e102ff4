//! Workers over HTTP, as an operator sees them.

use std::collections::BTreeMap;

use axum::extract::State;
use taskflow_application::ports::{StoreResult, Worker, WorkerState};
use taskflow_domain::{TenantId, TenantSlug, Timestamp};
use taskflow_protocol::{self as wire, Time};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::describe::{ListProblems, PageParams};
use super::extract::{Answer, Asker, Operator, detached};
use super::page::{List, Wanted};
use super::problem::Problem;
use super::query::Query;

/// Tenants read at once while their names are looked up.
const STEP: u32 = 500;

/// The routes.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_workers))
}

fn worker(
    worker: &Worker,
    running: u32,
    names: &BTreeMap<TenantId, TenantSlug>,
    now: Timestamp,
) -> wire::Worker {
    let tenant = worker.tenant.and_then(|id| names.get(&id));
    wire::Worker {
        id: worker.name.as_str().to_owned(),
        tenant: tenant.map(|slug| slug.as_str().to_owned()),
        state: match worker.state(now) {
            WorkerState::Alive => wire::WorkerState::Alive,
            WorkerState::Leaving => wire::WorkerState::Leaving,
            WorkerState::Lost => wire::WorkerState::Lost,
        },
        queues: worker.queues.iter().map(|queue| queue.as_str().to_owned()).collect(),
        kinds: worker.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        slots: worker.slots,
        running,
        started_at: Time(worker.started_at),
        seen_at: Time(worker.beat_at),
        lease_expires_at: Time(worker.lease_until),
    }
}

/// Where a worker stands in the list. Workers of several tenants may have one name.
fn place(worker: &Worker) -> String {
    format!("{}\n{:010}", worker.name, worker.tenant.map_or(0, |tenant| tenant.0))
}

/// The names of the tenants that these workers serve.
async fn names_of(state: &ApiState, workers: &[Worker]) -> StoreResult<BTreeMap<TenantId, TenantSlug>> {
    let mut missing: Vec<TenantId> = workers.iter().filter_map(|worker| worker.tenant).collect();
    missing.sort_unstable();
    missing.dedup();
    let mut names = BTreeMap::new();
    let mut after = None;
    while names.len() < missing.len() {
        let page = state.tenants.list(after.as_ref(), STEP).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.slug.clone());
        let wanted = page.into_iter().filter(|tenant| missing.binary_search(&tenant.id).is_ok());
        names.extend(wanted.map(|tenant| (tenant.id, tenant.slug)));
    }
    Ok(names)
}

/// List workers
///
/// Those that are known, by name: those of TaskFlow itself and those on the network,
/// each with whether it is there. One that is LOST is forgotten when it runs no job and
/// was not heard of for ten minutes, or ten leases.
#[utoipa::path(
    get,
    path = "/v1/admin/workers",
    operation_id = "listWorkers",
    tag = "workers",
    security(("key" = ["operator"])),
    params(PageParams),
    responses((status = 200, description = "The workers.", body = wire::WorkerList), ListProblems)
)]
async fn list_workers(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::WorkerList>, Problem> {
    let list = List::new("workers", &());
    let wanted = Wanted::read(&mut query, &list);
    query.close()?;
    let work = async move {
        let (workers, next) = wanted.cut(&list, state.work.workers().await?, |one| place(one).into());
        let now = state.insight.now();
        let names = names_of(&state, &workers).await?;
        let busy = state.work.busy().await?.into_iter();
        let busy: BTreeMap<_, _> = busy.map(|(name, tenant, n)| ((name, tenant), n)).collect();
        let running = |one: &Worker| busy.get(&(one.name.clone(), one.tenant)).copied().unwrap_or_default();
        let items = workers.iter().map(|one| worker(one, running(one), &names, now)).collect();
        Ok::<_, Problem>(wire::WorkerList { items, next_cursor: next })
    };
    Ok(Answer(detached(work).await??))
}
